// fleet tests: clusters with a hub and agents each, in virtual time, over streams in memory that a test can cut or freeze.
import { Code, ConnectError, createRouterTransport, type Transport } from "@connectrpc/connect";
import type { Node } from "../../../src/api/index.ts";
import type { RunTraceOptions, TraceEvent, TraceOutcome } from "../../../src/fleet/client/index.ts";
import { runTrace } from "../../../src/fleet/client/index.ts";
import type { Dial } from "../../../src/fleet/dial.ts";
import { type HubCore, hubCore } from "../../../src/fleet/hub/index.ts";
import { joinHub, type Member, type MemberOptions } from "../../../src/fleet/member.ts";
import { defaultTiming, type Log } from "../../../src/fleet/protocol.ts";
import { type Clock, kinds } from "../../../src/kube/index.ts";
import type { MapData, NodeChunk, ResultSchema } from "../../../src/results/types.ts";
import type { Finished, Prepared, PrepareRequest, RunListener, Tracer } from "../../../src/trace/types.ts";
import { SimulatedApi } from "../kube/simulated-api.ts";
import { seeded, VirtualClock } from "../kube/virtual-clock.ts";

export const quiet: Log = { debug() {}, info() {}, warn() {}, error() {} };

export const schema: ResultSchema = {
  version: 1,
  maps: [
    { name: "@c", key: ["string"], value: "uint64", kind: "count" },
    { name: "@h", key: [], value: "uint64", kind: "hist", hist: { bits: 0, min: "0", max: "0", step: "0" } },
    { name: "@v", key: ["uint64"], value: "int64", kind: "value" },
  ],
  rounds: [{ site: 1, map: "@c", top: 0, divide: 1 }],
};

export const countMap = (rows: Readonly<Record<string, number>>): MapData => ({
  name: "@c",
  rows: Object.entries(rows).map(([key, n]) => ({ key: [key], cell: { number: String(n) } })),
});

/** What one node's tracer does with a run. */
export interface Plan {
  readonly errors?: readonly string[];
  readonly hash?: string;
  readonly prepareMs?: number;
  readonly attachError?: string;
  /** Chunks while it runs. */
  readonly chunks?: readonly { readonly atMs: number; readonly chunk: NodeChunk }[];
  readonly maps?: readonly MapData[];
  /** Ends by itself before its deadline. */
  readonly exitAtMs?: number;
  readonly exitCode?: number;
  readonly lostEvents?: number;
  /** Never answers a stop, nor ends at its deadline. */
  readonly hangs?: boolean;
}

interface LiveRun {
  readonly request: PrepareRequest;
  listener?: RunListener;
}

export class FakeTracer implements Tracer {
  readonly runs = new Map<string, LiveRun>();
  readonly stops: { run: string; reason: string; atMs: number }[] = [];
  prepared = 0;
  attaches = 0;
  readonly #clock: Clock;
  readonly #plan: () => Plan;

  constructor(clock: Clock, plan: () => Plan) {
    this.#clock = clock;
    this.#plan = plan;
  }

  get attached(): number {
    return [...this.runs.values()].filter((r) => r.listener).length;
  }

  async prepare(request: PrepareRequest): Promise<Prepared> {
    const plan = this.#plan();
    this.prepared += 1;
    if (plan.prepareMs) await this.#pause(plan.prepareMs);
    if (plan.errors) return { ok: false, errors: plan.errors };
    this.runs.set(request.run, { request });
    return { ok: true, schema, schemaHash: plan.hash ?? "hash-a", warnings: [] };
  }

  async attach(run: string, listener: RunListener) {
    const plan = this.#plan();
    this.attaches += 1;
    const live = this.runs.get(run);
    if (!live) return { ok: false, probes: 0, error: "not prepared" };
    if (plan.attachError) {
      this.runs.delete(run);
      return { ok: false, probes: 0, error: plan.attachError };
    }
    live.listener = listener;
    for (const { atMs, chunk } of plan.chunks ?? [])
      this.#clock.after(atMs, () => {
        if (this.runs.get(run) === live) listener.chunk(chunk);
      });
    if (!plan.hangs)
      this.#clock.after(plan.exitAtMs ?? live.request.durationMs, () =>
        this.#end(run, live, plan.exitAtMs === undefined ? "deadline" : "exit"),
      );
    return { ok: true, probes: 1 };
  }

  async stop(run: string, reason: Finished["reason"]): Promise<void> {
    this.stops.push({ run, reason, atMs: this.#clock.monotonic() });
    const live = this.runs.get(run);
    if (!live || this.#plan().hangs) return;
    this.#end(run, live, reason);
  }

  async close(): Promise<void> {
    for (const run of [...this.runs.keys()]) await this.stop(run, "stopped");
  }

  #end(run: string, live: LiveRun, reason: Finished["reason"]): void {
    if (this.runs.get(run) !== live) return;
    this.runs.delete(run);
    const plan = this.#plan();
    live.listener?.chunk({ kind: "maps", maps: plan.maps ?? [] });
    live.listener?.finished({
      reason,
      lostEvents: plan.lostEvents ?? 0,
      mapFull: 0,
      unattributed: 0,
      exitCode: plan.exitCode ?? 0,
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#clock.after(ms, resolve));
  }
}

/** A connection that can be cut, as when a process dies, or frozen, as when a cable is pulled. */
export class Wire {
  readonly #broken = new AbortController();
  #thaw: Promise<void> | undefined;

  cut(): void {
    // Over a pulled cable the other end does not hear of it.
    if (!this.#thaw) this.#broken.abort(new ConnectError("connection reset", Code.Unavailable));
  }
  freeze(): void {
    this.#thaw = new Promise(() => undefined);
  }

  wrap(transport: Transport): Transport {
    const broken = this.#broken.signal;
    const gate = async function* <T>(
      wire: Wire,
      source: AsyncIterable<T>,
      given?: AbortSignal,
    ): AsyncGenerator<T> {
      const local = new Promise<never>((_, reject) => {
        const fail = (): void => reject(given?.reason);
        if (given?.aborted) fail();
        else given?.addEventListener("abort", fail, { once: true });
      });
      local.catch(() => undefined);
      const iterator = source[Symbol.asyncIterator]();
      for (;;) {
        const next = await Promise.race([iterator.next(), local]);
        if (wire.#thaw) await Promise.race([wire.#thaw, local]);
        if (broken.aborted) throw broken.reason;
        if (next.done) return;
        yield next.value;
      }
    };
    return {
      unary: transport.unary.bind(transport),
      stream: async (method, signal, timeoutMs, header, input, contextValues) => {
        // Our own end of a pulled cable notices that we hang up; the other end does not.
        const far = new AbortController();
        const hangUp = (): void => {
          if (!this.#thaw) far.abort(signal?.reason);
        };
        if (signal?.aborted) hangUp();
        else signal?.addEventListener("abort", hangUp, { once: true });
        const either = AbortSignal.any([broken, far.signal]);
        const there = gate(this, input);
        const answer = await transport.stream(method, either, timeoutMs, header, there, contextValues);
        return { ...answer, message: gate(this, answer.message, signal) };
      },
    };
  }
}

export class SimCluster {
  readonly api: SimulatedApi;
  readonly members = new Map<string, { member: Member; tracer: FakeTracer; wire: () => Wire }>();
  readonly callers: Wire[] = [];
  core: HubCore;
  readonly name: string;
  readonly #world: World;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    this.api = new SimulatedApi({ clock: world.clock, random: world.random, latencyMs: 4 });
    this.core = this.#start();
  }

  get address(): string {
    return `${this.name}.test:1`;
  }

  #start(): HubCore {
    const core = hubCore({
      client: this.api.client("hub"),
      endpoint: { address: this.address, ca: `CA of ${this.name}` },
      cluster: this.name,
      clock: this.#world.clock,
      random: this.#world.random,
      timing: defaultTiming,
      log: quiet,
      authenticator: {
        async agent(authorization) {
          const node = /^Bearer token-of-(.+)$/.exec(authorization ?? "")?.[1];
          if (!node) throw new ConnectError("who?", Code.Unauthenticated);
          return { node };
        },
      },
    });
    core.traces.start();
    return core;
  }

  /** A dead hub process: no stream is told anything. */
  killHub(): void {
    for (const { wire } of this.members.values()) wire().cut();
    for (const wire of this.callers) wire.cut();
  }

  addNode(node: string, plan: Plan | (() => Plan), more: Partial<MemberOptions> = {}): FakeTracer {
    this.api.put(kinds.Node, {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: node, labels: { "kubernetes.io/hostname": node } },
    } satisfies Node);
    const { clock, random } = this.#world;
    const tracer = new FakeTracer(clock, typeof plan === "function" ? plan : () => plan);
    let wire = new Wire();
    const member = joinHub({
      discover: async () => ({ address: this.address, ca: "" }),
      token: async () => `token-of-${node}`,
      node,
      version: "1",
      kernel: "6",
      tracer,
      clock,
      random,
      log: quiet,
      dial: () => {
        wire = new Wire();
        const transport = wire.wrap(createRouterTransport(this.core.routes));
        return { transport, [Symbol.dispose]: () => undefined };
      },
      ...more,
    });
    this.members.set(node, { member, tracer, wire: () => wire });
    return tracer;
  }
}

export class World {
  readonly clock = new VirtualClock();
  readonly random: () => number;
  readonly clusters = new Map<string, SimCluster>();

  constructor(seed: number, ...names: readonly string[]) {
    this.random = seeded(seed);
    for (const name of names) this.clusters.set(name, new SimCluster(this, name));
  }

  cluster(name: string): SimCluster {
    return this.clusters.get(name)!;
  }

  /** Until all agents have joined. */
  async joined(): Promise<void> {
    await this.clock.until(() =>
      [...this.clusters.values()].every((c) =>
        [...c.members.values()].every((m) => m.member.state.connected),
      ),
    );
  }

  readonly dial: Dial = (endpoint) => {
    const cluster = [...this.clusters.values()].find((c) => c.address === endpoint.address);
    if (!cluster) throw new Error(`nobody at ${endpoint.address}`);
    const wire = new Wire();
    cluster.callers.push(wire);
    const transport = wire.wrap(createRouterTransport(cluster.core.routes));
    return { transport, [Symbol.dispose]: () => wire.cut() };
  };

  /** Starts a question; `outcome` is set when it is answered. */
  ask(more: Partial<RunTraceOptions> = {}): Asked {
    const events: TraceEvent[] = [];
    const stop = new AbortController();
    const asked: Asked = { events, stop, outcome: undefined };
    void runTrace({
      clusters: [...this.clusters.values()].map((c) => ({ name: c.name, client: c.api.client("caller") })),
      script: "x",
      nodeSelector: {},
      durationSeconds: 5,
      positional: [],
      strict: false,
      onEvent: (event) => events.push(event),
      stop: stop.signal,
      clock: this.clock,
      randomBytes: (size) => Uint8Array.from({ length: size }, () => Math.floor(this.random() * 256)),
      socketExists: () => false,
      dial: this.dial,
      ...more,
    }).then((outcome) => {
      asked.outcome = outcome;
    });
    return asked;
  }

  async answer(more: Partial<RunTraceOptions> = {}): Promise<TraceOutcome> {
    const asked = this.ask(more);
    await this.clock.until(() => asked.outcome !== undefined);
    return asked.outcome!;
  }
}

export interface Asked {
  readonly events: TraceEvent[];
  readonly stop: AbortController;
  outcome: TraceOutcome | undefined;
}
