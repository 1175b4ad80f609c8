// fleet/hub: the streams of agents: who is connected, what they say to which run, and when they are given up.
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  type AgentHello,
  type FromAgent,
  type Prepare,
  type ToAgent,
  ToAgentSchema,
} from "../../api/generated/proto/hub_pb.js";
import { type Clock, describeError } from "../../kube/index.ts";
import { messages } from "../messages.ts";
import { Outbox } from "../outbox.ts";
import { bounds, type Log, protocolVersion, type Timing } from "../protocol.ts";
import { every, Watchdog, within } from "../watchdog.ts";
import type { Authenticator } from "./authenticate.ts";

type Message<C extends FromAgent["message"]["case"]> = Extract<FromAgent["message"], { case: C }>["value"];

/** What a run hears of its nodes. */
export interface RunPort {
  compiled(node: string, message: Message<"compiled"> & object): void;
  attached(node: string, message: Message<"attached"> & object): void;
  report(node: string, chunkJson: Uint8Array): void;
  finished(node: string, message: Message<"finished"> & object): void;
  /** The stream is gone, and everything of this run on that node with it. */
  lost(node: string): void;
}

/** One agent's stream. */
export interface AgentSession {
  readonly node: string;
  readonly hello: AgentHello;
  /** Routes what the agent says of this run to the port, until `forget`. */
  listen(run: string, port: RunPort): void;
  forget(run: string): void;
  prepare(message: Prepare): void;
  attach(run: string): void;
  stop(run: string, reason: string): void;
}

export interface AgentStats {
  joined: number;
  replaced: number;
  refused: number;
  silent: number;
  /** Messages of runs that nobody listens to: late answers of runs that have ended. */
  unheard: number;
}

class Session implements AgentSession {
  readonly node: string;
  readonly hello: AgentHello;
  readonly outbox = new Outbox<ToAgent>(bounds.messageBytes, 4_096);
  readonly #runs = new Map<string, RunPort>();
  #unheard: () => void;

  constructor(hello: AgentHello, unheard: () => void) {
    this.node = hello.node;
    this.hello = hello;
    this.#unheard = unheard;
  }

  listen(run: string, port: RunPort): void {
    this.#runs.set(run, port);
  }
  forget(run: string): void {
    this.#runs.delete(run);
  }
  get busy(): boolean {
    return this.#runs.size > 0;
  }
  prepare(value: Prepare): void {
    this.#send({ case: "prepare", value });
  }
  attach(run: string): void {
    this.#send({ case: "attach", value: { $typeName: "waggle.hub.v1.Attach", run } });
  }
  stop(run: string, reason: string): void {
    this.#send({ case: "stop", value: { $typeName: "waggle.hub.v1.Stop", run, reason } });
  }
  heartbeat(atMs: number): void {
    // An agent that does not even read heartbeats needs no queue of them.
    if (this.outbox.size < 16)
      this.#send({
        case: "heartbeat",
        value: { $typeName: "waggle.hub.v1.Heartbeat", atUnixMs: BigInt(Math.floor(atMs)) },
      });
  }
  greet(cluster: string): void {
    this.#send({
      case: "hello",
      value: { $typeName: "waggle.hub.v1.HubHello", protocol: protocolVersion, cluster },
    });
  }

  take(message: FromAgent["message"]): void {
    if (message.case === undefined || message.case === "heartbeat" || message.case === "hello") return;
    const port = this.#runs.get(message.value.run);
    if (!port) {
      this.#unheard();
      return;
    }
    if (message.case === "compiled") port.compiled(this.node, message.value);
    else if (message.case === "attached") port.attached(this.node, message.value);
    else if (message.case === "report") port.report(this.node, message.value.chunkJson);
    else port.finished(this.node, message.value);
  }

  /** Tells every run that this node is gone. */
  lose(): void {
    const ports = [...this.#runs.values()];
    this.#runs.clear();
    for (const port of ports) port.lost(this.node);
  }

  #send(message: ToAgent["message"]): void {
    this.outbox.push(create(ToAgentSchema, { message }));
  }
}

export interface AgentRegistryOptions {
  readonly authenticator: Authenticator;
  readonly cluster: string;
  readonly clock: Clock;
  readonly timing: Timing;
  readonly log: Log;
}

export class AgentRegistry {
  readonly stats: AgentStats = { joined: 0, replaced: 0, refused: 0, silent: 0, unheard: 0 };
  readonly #options: AgentRegistryOptions;
  readonly #sessions = new Map<string, Session>();
  #closed = false;

  constructor(options: AgentRegistryOptions) {
    this.#options = options;
  }

  get(node: string): AgentSession | undefined {
    return this.#sessions.get(node);
  }
  get size(): number {
    return this.#sessions.size;
  }
  nodes(): readonly string[] {
    return [...this.#sessions.keys()].sort();
  }

  /** Ends every stream, and takes no more. */
  close(): void {
    this.#closed = true;
    this.#sendAway(messages.hubStops());
  }

  /** While another hub is the cluster's, agents are sent there: they ask anew where the hub is. */
  set active(active: boolean) {
    this.#closed = !active;
    if (!active) this.#sendAway(messages.otherHub());
  }

  #sendAway(why: string): void {
    for (const session of this.#sessions.values())
      session.outbox.end(new ConnectError(why, Code.Unavailable));
  }

  /** AgentHub.Join: one stream, from its token to its end. */
  async *join(
    requests: AsyncIterable<FromAgent>,
    authorization: string | null,
    signal: AbortSignal,
  ): AsyncGenerator<ToAgent, void, undefined> {
    const { clock, timing, cluster, log } = this.#options;
    const incoming = requests[Symbol.asyncIterator]();
    let session: Session;
    try {
      session = await this.#admit(incoming, authorization);
    } catch (error) {
      this.stats.refused += 1;
      log.warn({ error: describeError(error) }, "agent refused");
      throw error;
    }
    const { node, outbox } = session;
    this.#sessions.get(node)?.outbox.end(new ConnectError(messages.replaced(), Code.Aborted));
    if (this.#sessions.has(node)) this.stats.replaced += 1;
    this.#sessions.get(node)?.lose();
    this.#sessions.set(node, session);
    this.stats.joined += 1;
    log.info({ node, version: session.hello.version, kernel: session.hello.kernel }, "agent joined");

    const leave = (why: string): void => {
      if (this.#sessions.get(node) === session) {
        this.#sessions.delete(node);
        log.info({ node, why }, "agent left");
      }
      session.lose();
      outbox.drop();
    };
    const gone = (): void => leave("stream closed");
    signal.addEventListener("abort", gone, { once: true });
    using watchdog = new Watchdog(clock, timing.peerDeadMs, () => {
      this.stats.silent += 1;
      leave("silent");
    });
    using _beat = every(clock, timing.heartbeatMs, () => session.heartbeat(clock.now()));
    using _review = every(clock, timing.reviewMs, () => void this.#review(session, authorization, leave));
    void this.#read(incoming, session, watchdog).then(
      () => leave("stream ended"),
      (error: unknown) => leave(describeError(error)),
    );
    try {
      session.greet(cluster);
      yield* outbox;
    } finally {
      signal.removeEventListener("abort", gone);
      leave("stream ended");
      void incoming.return?.();
    }
  }

  async #read(incoming: AsyncIterator<FromAgent>, session: Session, watchdog: Watchdog): Promise<void> {
    for (let next = await incoming.next(); !next.done; next = await incoming.next()) {
      watchdog.heard();
      session.take(next.value.message);
    }
  }

  async #admit(incoming: AsyncIterator<FromAgent>, authorization: string | null): Promise<Session> {
    const { authenticator, clock, timing } = this.#options;
    if (this.#closed) throw new ConnectError(messages.hubStops(), Code.Unavailable);
    const { node } = await authenticator.agent(authorization);
    const first = await within(clock, timing.helloMs, incoming.next());
    const hello =
      first && !first.done && first.value.message.case === "hello" ? first.value.message.value : undefined;
    if (!hello) throw new ConnectError("the stream must begin with a hello", Code.InvalidArgument);
    if (hello.protocol !== protocolVersion)
      throw new ConnectError(
        messages.otherProtocol(hello.protocol, protocolVersion),
        Code.FailedPrecondition,
      );
    if (hello.node !== node)
      throw new ConnectError(messages.otherNode(hello.node, node), Code.PermissionDenied);
    if (this.#sessions.size >= bounds.agents && !this.#sessions.has(node))
      throw new ConnectError(messages.tooManyAgents(bounds.agents), Code.ResourceExhausted);
    return new Session(hello, () => {
      this.stats.unheard += 1;
    });
  }

  /** A token that no longer holds (expired, its node or account deleted) ends its stream; the agent comes back with a new one. */
  async #review(session: Session, authorization: string | null, leave: (why: string) => void): Promise<void> {
    // Runs are bounded in time; the next review comes after them.
    if (session.busy) return;
    try {
      const { node } = await this.#options.authenticator.agent(authorization);
      if (node !== session.node) leave("its token is now another node's");
    } catch (error) {
      // An API server that does not answer has not said that the token is bad.
      if (
        !(error instanceof ConnectError) ||
        error.code === Code.Unavailable ||
        error.code === Code.ResourceExhausted
      )
        return;
      leave(`token review: ${error.rawMessage}`);
    }
  }
}
