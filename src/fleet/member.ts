// fleet: an agent's side of the hub: dials it, keeps the stream, runs what it asks within this node's own ceilings, and stops
// everything when the hub is gone.
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { AgentHub, type FromAgent, FromAgentSchema, type ToAgent } from "../api/generated/proto/hub_pb.js";
import { backoff, type Clock, describeError, type Random, sleep } from "../kube/index.ts";
import type { Tracer } from "../trace/types.ts";
import type { Dial } from "./dial.ts";
import { MemberRuns } from "./member-runs.ts";
import { messages } from "./messages.ts";
import { Outbox } from "./outbox.ts";
import {
  bounds,
  defaultTiming,
  type HubEndpoint,
  type Log,
  protocolVersion,
  type Timing,
} from "./protocol.ts";
import { every, Watchdog } from "./watchdog.ts";

/** What an agent lets a hub ask for; a hub that asks for more memory gets this much. */
export interface Ceilings {
  readonly runs: number;
  readonly durationMs: number;
  readonly mapBytes: number;
  readonly ringBytes: number;
}

export const defaultCeilings: Ceilings = {
  runs: bounds.runsPerAgent,
  durationMs: bounds.durationMs,
  mapBytes: bounds.mapBytes,
  ringBytes: bounds.ringBytes,
};

export interface MemberOptions {
  /** Where the hub is now; asked before each attempt. Undefined: not known yet. May throw. */
  readonly discover: () => Promise<HubEndpoint | undefined>;
  /** A current token for audience waggle-hub; asked before each attempt. */
  readonly token: () => Promise<string>;
  readonly node: string;
  readonly version: string;
  /** uname release. */
  readonly kernel: string;
  readonly tracer: Tracer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly ceilings?: Partial<Ceilings>;
  readonly timing?: Partial<Timing>;
  /** How the hub is reached; default TLS. A simulation passes its own. */
  readonly dial?: Dial;
}

export interface MemberState {
  readonly connected: boolean;
  /** Name of the hub's cluster, once it has said so. */
  readonly cluster?: string;
  /** Why it is not connected. */
  readonly lastError?: string;
  readonly runs: number;
}

export interface MemberStats {
  dials: number;
  joins: number;
  /** Streams that ended, and runs that were stopped by it. */
  losses: number;
  runsLost: number;
  runs: number;
  /** Prepare requests that this node's ceilings refused. */
  refused: number;
  linesDropped: number;
}

export interface Member extends AsyncDisposable {
  readonly state: MemberState;
  readonly stats: MemberStats;
  /** Stops all runs and leaves the hub. */
  close(): Promise<void>;
}

/** A stream that has lived this long was a good one: the next failure is a first failure. */
const goodStreamMs = 10_000;

export function joinHub(options: MemberOptions): Member {
  const { clock, random, log, node } = options;
  const timing = { ...defaultTiming, ...options.timing };
  const stats: MemberStats = {
    dials: 0,
    joins: 0,
    losses: 0,
    runsLost: 0,
    runs: 0,
    refused: 0,
    linesDropped: 0,
  };
  const stop = new AbortController();
  const runs = new MemberRuns({
    tracer: options.tracer,
    ceilings: { ...defaultCeilings, ...options.ceilings },
    clock,
    timing,
    log,
    stats,
  });
  let state: Omit<MemberState, "runs"> = { connected: false };

  const session = async (): Promise<void> => {
    const endpoint = await options.discover();
    if (!endpoint) throw new Error("no hub has said where it is");
    const token = await options.token();
    const dial = options.dial ?? (await import("./dial.ts")).dialHub;
    stats.dials += 1;
    using connection = dial(endpoint);
    const outbox = new Outbox<FromAgent>(bounds.agentQueueBytes);
    const ended = new AbortController();
    const send = (message: FromAgent["message"], bytes?: number): boolean => {
      const value = create(FromAgentSchema, { message });
      if (bytes !== undefined) return outbox.offer(value, bytes);
      outbox.push(value);
      return true;
    };
    send({
      case: "hello",
      value: {
        $typeName: "waggle.hub.v1.AgentHello",
        protocol: protocolVersion,
        node,
        version: options.version,
        kernel: options.kernel,
      },
    });
    using watchdog = new Watchdog(clock, timing.hubDeadMs, () => ended.abort(new Error("the hub is silent")));
    using _beat = every(clock, timing.heartbeatMs, () => {
      const atUnixMs = BigInt(Math.floor(clock.now()));
      if (outbox.size < 64)
        send({ case: "heartbeat", value: { $typeName: "waggle.hub.v1.Heartbeat", atUnixMs } });
    });
    const signal = AbortSignal.any([ended.signal, stop.signal]);
    const incoming = createClient(AgentHub, connection.transport).join(outbox, {
      headers: { authorization: `Bearer ${token}` },
      signal,
    });
    try {
      for await (const message of untilAborted(incoming, signal)) {
        watchdog.heard();
        receive(message, send);
      }
      throw new Error("the hub ended the stream");
    } finally {
      state = { connected: false };
      outbox.drop();
      // Whatever happened, nothing stays attached for a hub that is not there.
      const lost = runs.size;
      if (lost > 0) {
        stats.runsLost += lost;
        log.warn({ runs: lost }, "hub lost; its runs are stopped");
      }
      await runs.stopAll("hub-lost");
    }
  };

  const receive = (message: ToAgent, send: (m: FromAgent["message"], bytes?: number) => boolean): void => {
    const m = message.message;
    if (m.case === "hello") {
      if (m.value.protocol !== protocolVersion)
        throw new Error(messages.otherProtocol(protocolVersion, m.value.protocol));
      state = { connected: true, cluster: m.value.cluster };
      stats.joins += 1;
      log.info({ cluster: m.value.cluster }, "joined the hub");
    } else if (m.case === "prepare") runs.prepare(m.value, send);
    else if (m.case === "attach") runs.attach(m.value.run, send);
    else if (m.case === "stop") runs.stop(m.value.run);
  };

  const loop = async (): Promise<void> => {
    const pause = backoff(timing.redialMinMs, timing.redialMaxMs, random);
    while (!stop.signal.aborted) {
      const began = clock.monotonic();
      const before = stats.joins;
      let why: string;
      try {
        await session();
        why = "ended";
      } catch (error) {
        why = describeError(error);
      }
      if (stop.signal.aborted) break;
      if (stats.joins > before) {
        stats.losses += 1;
        if (clock.monotonic() - began >= goodStreamMs) pause.reset();
      }
      // The same complaint once: a hub may be away for days.
      if (state.lastError !== why) log.warn({ error: why }, "not connected to the hub");
      state = { connected: false, lastError: why };
      await sleep(clock, pause.next(), stop.signal);
    }
  };

  const running = loop();
  const close = async (): Promise<void> => {
    stop.abort(new Error("the agent leaves"));
    await running;
    await runs.stopAll("stopped");
  };
  return {
    get state() {
      return { ...state, runs: runs.size };
    },
    stats,
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Iterates until the signal aborts, whatever the source does then. */
async function* untilAborted<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  const aborted = new Promise<never>((_, reject) => {
    const fail = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    if (signal.aborted) fail();
    else signal.addEventListener("abort", fail, { once: true });
  });
  // It may reject when nobody waits any more.
  aborted.catch(() => undefined);
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), aborted]);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    void iterator.return?.()?.catch(() => undefined);
  }
}
