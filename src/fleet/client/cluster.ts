// fleet/client: one cluster's part of a run: a Trace with the caller's own credentials, then that cluster's hub with a one-time key.
import { createHash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { ConnectError, createClient } from "@connectrpc/connect";
import {
  CallerHub,
  type FromCaller,
  FromCallerSchema,
  type PhaseOne,
  type RunDone,
  type RunEvent,
} from "../../api/generated/proto/hub_pb.js";
import type { Trace } from "../../api/index.ts";
import { ApiError, type Clock, isNotFound, kinds, sleep } from "../../kube/index.ts";
import type { NodeChunk } from "../../results/types.ts";
import { decodeChunk } from "../chunks.ts";
import type { Dial, HubConnection } from "../dial.ts";
import { messages } from "../messages.ts";
import { Outbox } from "../outbox.ts";
import { bounds, type HubEndpoint, type Timing } from "../protocol.ts";
import { every, Watchdog, within } from "../watchdog.ts";
import type { AskedCluster, NodeFailure, Question } from "./types.ts";

/** How one cluster's part ended. */
export interface ClusterEnd {
  readonly asked: number;
  readonly answered: number;
  readonly lostEvents: number;
  readonly mapFull: number;
  readonly unattributed: number;
  readonly errors: readonly NodeFailure[];
  readonly exitCode: number;
  /** What ended it early: the connection, the hub. */
  readonly error?: string;
}

export interface ClusterRunOptions extends AskedCluster {
  readonly question: Question;
  readonly clock: Clock;
  readonly timing: Timing;
  readonly randomBytes: (size: number) => Uint8Array;
  readonly socketExists: (path: string) => boolean;
  readonly dial: Dial;
  readonly onAttached: (attached: number, asked: number) => void;
  /** `node` is empty for what the hub has merged. */
  readonly onChunk: (node: string, chunk: NodeChunk) => void;
}

/** Phase 1 of a cluster, or why there is none. */
export type Opened = { readonly phase: PhaseOne } | { readonly error: string };

/** An error whose message is a sentence of the catalogue. */
class Told extends Error {}

const hubWaitMs = 10_000;

export class ClusterRun {
  readonly name: string;
  readonly #options: ClusterRunOptions;
  readonly #outbox = new Outbox<FromCaller>(bounds.messageBytes);
  readonly #ended = new AbortController();
  #trace: Trace | undefined;
  #connection: HubConnection | undefined;
  #phase: PhaseOne | undefined;
  #end: Promise<ClusterEnd> | undefined;

  constructor(options: ClusterRunOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Creates the Trace, joins the hub and waits for phase 1. Never rejects. */
  async open(): Promise<Opened> {
    try {
      const key = Buffer.from(this.#options.randomBytes(32)).toString("hex");
      await this.#createTrace(key);
      const phase = await this.#join(key);
      return { phase };
    } catch (error) {
      return { error: this.#explain(error) };
    }
  }

  proceed(schemaHash: string): void {
    this.#say({ case: "proceed", value: { $typeName: "waggle.hub.v1.Proceed", schemaHash } });
  }

  /** Asks for the answer so far. Before the hub was joined there is nothing to stop. */
  stop(): void {
    if (!this.#end) return;
    this.#say({ case: "stop", value: { $typeName: "waggle.hub.v1.Stop", run: "", reason: "stopped" } });
  }

  /** Resolves at the end of the run. Never rejects. */
  get ended(): Promise<ClusterEnd> {
    return this.#end ?? Promise.resolve({ ...nothing, error: messages.stoppedEarly() });
  }

  /** Leaves the hub and deletes the Trace. An object that cannot be deleted now goes by its age. */
  async close(): Promise<void> {
    this.#outbox.drop();
    this.#ended.abort(new Error("the caller has ended"));
    this.#connection?.[Symbol.dispose]();
    if (!this.#trace) return;
    const { client, clock } = this.#options;
    const { name, uid } = this.#trace.metadata;
    const deleted = client.delete(kinds.Trace, name, {
      retries: 0,
      timeoutMs: 3_000,
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    });
    await within(
      clock,
      3_000,
      deleted.catch(() => undefined),
    );
  }

  async #createTrace(key: string): Promise<void> {
    const { client, question, randomBytes } = this.#options;
    const name = `trace-${Buffer.from(randomBytes(8)).toString("hex")}`;
    try {
      this.#trace = await client.create(
        kinds.Trace,
        {
          apiVersion: "waggle.dev/v1alpha1",
          kind: "Trace",
          metadata: { name },
          spec: {
            script: question.script,
            nodeSelector: question.nodeSelector,
            durationSeconds: question.durationSeconds,
            ...(question.positional.length > 0 ? { positional: question.positional } : {}),
            keyHash: createHash("sha256").update(key, "utf8").digest("hex"),
            limits: { mapBytes: 64 * 1024 * 1024, ringBytes: 8 * 1024 * 1024 },
          },
        },
        { timeoutMs: hubWaitMs, retries: 1 },
      );
    } catch (error) {
      if (isNotFound(error)) throw new Told(messages.notInstalled());
      if (error instanceof ApiError) {
        if (error.code === 401 || error.code === 403) throw new Told(messages.refused(error.message));
        throw error;
      }
      throw new Told(messages.noAnswer((error as Error).message));
    }
  }

  /** Polls quickly at first: a hub answers within milliseconds. */
  async #hub(): Promise<HubEndpoint> {
    const { client, clock } = this.#options;
    const until = clock.monotonic() + hubWaitMs;
    for (let pauseMs = 5; clock.monotonic() < until; pauseMs = Math.min(pauseMs * 2, 500)) {
      const trace = await client.get(kinds.Trace, this.#trace!.metadata.name, { timeoutMs: hubWaitMs });
      const { hub, phase, message } = trace.status ?? {};
      if (phase === "Failed") throw new Told(message ?? messages.runError(""));
      if (hub?.caBundle)
        return {
          ca: hub.caBundle,
          ...(hub.address === undefined ? {} : { address: hub.address }),
          ...(hub.socket === undefined ? {} : { socket: hub.socket }),
        };
      await sleep(clock, pauseMs);
    }
    throw new Told(messages.noHub(hubWaitMs));
  }

  async #join(key: string): Promise<PhaseOne> {
    const { dial, clock, timing } = this.#options;
    const hub = await this.#hub();
    this.#say({
      case: "run",
      value: { $typeName: "waggle.hub.v1.RunRequest", trace: this.#trace!.metadata.name, key },
    });
    const endpoint = this.#reachable(hub);
    this.#connection = dial(endpoint);
    const phaseOne = Promise.withResolvers<PhaseOne>();
    const events = createClient(CallerHub, this.#connection.transport).run(this.#outbox, {
      signal: this.#ended.signal,
    });
    this.#end = this.#read(events, phaseOne.resolve).catch((error: unknown) => {
      phaseOne.reject(error);
      return { ...this.#soFar(), error: this.#explain(error) };
    });
    try {
      // The hub bounds phase 1; this is for a hub that does not.
      const phase = await within(clock, hubWaitMs + timing.prepareMs, phaseOne.promise);
      if (!phase) throw new Told(messages.noHub(hubWaitMs + timing.prepareMs));
      return phase;
    } catch (error) {
      if (error instanceof Told) throw error;
      throw new Told(messages.hubUnreachable(endpoint.socket ?? endpoint.address ?? "?", plain(error)));
    }
  }

  /** The socket only where the address would lead to this machine anyway. */
  #reachable({ address, socket, ca }: HubEndpoint): HubEndpoint {
    const local = address === undefined || /^(127\.|localhost:|\[::1\])/.test(address);
    if (local && socket !== undefined && this.#options.socketExists(socket)) return { ca, socket };
    if (address === undefined)
      throw new Told(messages.hubUnreachable(socket ?? "?", "it listens on another machine's socket"));
    return { ca, address };
  }

  async #read(events: AsyncIterable<RunEvent>, compiled: (phase: PhaseOne) => void): Promise<ClusterEnd> {
    const { clock, timing, onAttached, onChunk } = this.#options;
    using watchdog = new Watchdog(clock, timing.peerDeadMs, () =>
      this.#ended.abort(new Told(messages.hubLost("it is silent"))),
    );
    using _beat = every(clock, timing.heartbeatMs, () => {
      const atUnixMs = BigInt(Math.floor(clock.now()));
      if (this.#outbox.size < 16)
        this.#say({ case: "heartbeat", value: { $typeName: "waggle.hub.v1.Heartbeat", atUnixMs } });
    });
    for await (const { message } of events) {
      watchdog.heard();
      switch (message.case) {
        case "compiled":
          this.#phase = message.value;
          compiled(message.value);
          break;
        case "attached":
          onAttached(message.value.attached, this.#phase?.asked ?? 0);
          break;
        case "report":
          onChunk(message.value.node, decodeChunk(message.value.chunkJson));
          break;
        case "done":
          return endOf(message.value);
        default:
          break;
      }
    }
    throw new Told(messages.hubLost("it ended the stream"));
  }

  #soFar(): ClusterEnd {
    return { ...nothing, asked: this.#phase?.asked ?? 0, errors: this.#phase?.errors ?? [] };
  }

  #say(message: FromCaller["message"]): void {
    this.#outbox.push(create(FromCallerSchema, { message }));
  }

  #explain(error: unknown): string {
    const { reason } = this.#ended.signal;
    if (reason instanceof Told) return reason.message;
    if (error instanceof Told) return error.message;
    if (error instanceof ApiError) return `${error.reason}: ${error.message}`;
    return this.#phase ? messages.hubLost(plain(error)) : messages.noAnswer(plain(error));
  }
}

const nothing = {
  asked: 0,
  answered: 0,
  lostEvents: 0,
  mapFull: 0,
  unattributed: 0,
  errors: [],
  exitCode: 0,
} as const;

const plain = (error: unknown): string =>
  error instanceof ConnectError ? error.rawMessage : error instanceof Error ? error.message : String(error);

/** Whether a RunDone's reason is an early end and not the normal one. */
const normalEnds: ReadonlySet<string> = new Set([
  "done",
  messages.nothingAttached(),
  messages.stoppedEarly(),
]);

const endOf = (done: RunDone): ClusterEnd => ({
  asked: done.asked,
  answered: done.answered,
  lostEvents: Number(done.lostEvents),
  mapFull: Number(done.mapFull),
  unattributed: Number(done.unattributed),
  errors: done.errors.map(({ node, error }) => ({ node, error })),
  exitCode: done.exitCode,
  ...(normalEnds.has(done.reason) ? {} : { error: done.reason }),
});
