// agent tests: a node in virtual time: cluster, speaker, datapath and disk as values that a test or a seed changes.
import { create } from "@bufbuild/protobuf";
import { Agent } from "../../../src/agent/agent.ts";
import type {
  AgentParts,
  DatapathPort,
  KernelRoutesPort,
  NewEvent,
  Progress,
} from "../../../src/agent/ports.ts";
import {
  AckSchema,
  AckState,
  type DesiredState,
  HelloReplySchema,
  RouteBatchSchema,
  SessionSchema,
  SessionState,
} from "../../../src/api/generated/proto/speaker_pb.js";
import type { NodeNetwork, NodeNetworkStatus } from "../../../src/api/index.ts";
import type {
  DesiredDatapath,
  DesiredKernelRoute,
  DesiredRoutes,
  Finding,
  ProofState,
} from "../../../src/datapath/index.ts";
import type { Clock, Timer } from "../../../src/kube/index.ts";
import { formatPrefix, fromBytes, maskTo, toBytes } from "../../../src/net/address.ts";
import { canonical, type LastGood, parseCanonical, type Snapshot } from "../../../src/plan/index.ts";
import { nodeNetwork } from "../plan/fixture.ts";

/** Time that passes only when it is told to; timers run in order, and promises between them. */
export class VirtualClock implements Clock {
  #now = 0;
  #sequence = 0;
  readonly #timers = new Map<number, { at: number; run: () => void }>();

  now(): number {
    return 1_700_000_000_000 + this.#now;
  }
  monotonic(): number {
    return this.#now;
  }
  after(ms: number, run: () => void): Timer {
    const id = this.#sequence++;
    this.#timers.set(id, { at: this.#now + Math.max(0, ms), run });
    return { [Symbol.dispose]: () => void this.#timers.delete(id) };
  }

  /** Lets everything settle that needs no time. */
  async settle(): Promise<void> {
    for (let i = 0; i < 40; i++) await Promise.resolve();
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await this.settle();
      let next: [number, { at: number; run: () => void }] | undefined;
      for (const entry of this.#timers)
        if (
          entry[1].at <= end &&
          (!next || entry[1].at < next[1].at || (entry[1].at === next[1].at && entry[0] < next[0]))
        )
          next = entry;
      if (!next) break;
      this.#timers.delete(next[0]);
      this.#now = Math.max(this.#now, next[1].at);
      next[1].run();
    }
    this.#now = end;
    await this.settle();
  }
}

const addressText = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** The datapath as it would be in the kernel: outlives agents. */
export class FakeDatapath {
  desired: DesiredDatapath | undefined;
  routes: DesiredRoutes = { attributes: [], prefixes: [] };
  kernelRoutes = new Map<string, DesiredKernelRoute>();
  /** By address or prefix; default Proven where it is programmed. */
  verdicts = new Map<string, ProofState>();
  findings: Finding[] = [];
  broken = false;
  syncs = 0;
  /** Names of all calls that reach kernel or bpffs. */
  calls: string[] = [];
  /** Called after every sync. */
  onSync: (desired: DesiredDatapath) => void = () => undefined;

  programmed(target: string): boolean {
    const d = this.desired;
    if (!d) return false;
    if (target.includes("/")) return d.podBlocks.includes(target);
    return d.services.some((s) => s.vip === target && s.entry && s.backends.length > 0);
  }

  port(): DatapathPort {
    const port = this.#port();
    const named = Object.entries(port).map(([name, value]) => [
      name,
      typeof value === "function" && name !== "close"
        ? (...given: unknown[]) => {
            this.calls.push(name);
            return (value as (...args: unknown[]) => unknown)(...given);
          }
        : value,
    ]);
    return Object.fromEntries(named) as DatapathPort;
  }

  #port(): DatapathPort {
    return {
      layout: "layout1",
      sync: async (desired) => {
        if (this.broken) throw new Error("EPERM");
        this.desired = desired;
        this.syncs += 1;
        this.onSync(desired);
        return {
          generation: desired.generation,
          maps: [{ name: "services", used: desired.services.length, max: 1024, refused: 0 }],
          changed: 1,
          refused: [],
        };
      },
      prove: async (targets) => {
        if (this.broken) throw new Error("EPERM");
        return targets.map((target) => {
          const key = target.kind === "vip" ? target.address : target.prefix;
          const state = this.verdicts.get(key) ?? (this.programmed(key) ? "Proven" : "Failed");
          return { target, state, reason: state === "Proven" ? "1 packet" : "it came out wrongly" };
        });
      },
      inspect: async () => {
        if (this.broken) throw new Error("EPERM");
        return this.findings;
      },
      followPods: async () => 0,
      repair: async () => {
        const { findings } = this;
        const repaired = findings.filter((f) => f.repairable);
        this.findings = this.findings.filter((f) => !f.repairable);
        return { repaired, left: findings.filter((f) => !f.repairable) };
      },
      readRoutes: async () => this.routes,
      syncRoutes: async (desired) => {
        this.routes = desired;
        return { changed: 1, maps: [] };
      },
      close: () => undefined,
    };
  }

  kernel(): KernelRoutesPort {
    return {
      sync: async (routes, prune) => {
        this.calls.push("kernelRoutes");
        if (prune) this.kernelRoutes.clear();
        for (const r of routes) this.kernelRoutes.set(r.prefix, r);
        return { installed: this.kernelRoutes.size, changed: 1, refused: [] };
      },
      close: () => undefined,
    };
  }
}

/** The speaker process: outlives agents, and can be replaced. */
export class FakeSpeaker {
  readonly clock: VirtualClock;
  pid = 100n;
  generation = 0n;
  state: DesiredState | undefined;
  agent: Agent | undefined;
  /** Until a peer acknowledges, ms; undefined = never. */
  ackMs: number | undefined = 20;
  established = true;
  received: DesiredState[] = [];
  onState: (state: DesiredState) => void = () => undefined;

  constructor(clock: VirtualClock) {
    this.clock = clock;
  }

  origins(): readonly string[] {
    return [
      ...new Set((this.state?.origins ?? []).map((o) => formatPrefix(maskTo(fromBytes(o.prefix), o.length)))),
    ].sort();
  }

  connect(agent: Agent): void {
    this.agent = agent;
    agent.listener.connected(
      create(HelloReplySchema, { protocol: 1, version: "test", pid: this.pid, generation: this.generation }),
    );
    this.sessions();
    agent.listener.routes(create(RouteBatchSchema, { sequence: 1n, snapshotDone: true }));
  }

  disconnect(reason = "gone"): void {
    const agent = this.agent;
    this.agent = undefined;
    agent?.listener.disconnected(reason);
  }

  /** Another process: it knows nothing. */
  restart(): void {
    this.disconnect();
    this.pid += 1n;
    this.generation = 0n;
    this.state = undefined;
  }

  sessions(): void {
    for (const peer of this.state?.peers ?? [])
      this.agent?.listener.session(
        create(SessionSchema, {
          peer: peer.name,
          address: peer.address,
          peerAsn: peer.peerAsn,
          state:
            this.established && !peer.passwordMissing
              ? SessionState.SESSION_ESTABLISHED
              : SessionState.SESSION_ACTIVE,
          downReason: this.established ? "" : "no route to host",
        }),
      );
  }

  receive(state: DesiredState): boolean {
    if (!this.agent) return false;
    this.state = state;
    this.generation = state.generation;
    this.received.push(state);
    this.onState(state);
    const { pid } = this;
    if (this.ackMs !== undefined)
      this.clock.after(this.ackMs, () => {
        if (this.pid !== pid) return;
        this.sessions();
        for (const peer of state.peers)
          this.agent?.listener.ack(
            create(AckSchema, {
              generation: state.generation,
              peer: peer.name,
              state: this.established ? AckState.ACK_SENT : AckState.ACK_PEER_DOWN,
            }),
          );
      });
    return true;
  }
}

/** What survives on disk. */
export class FakeDisk {
  snapshot: string | undefined;
  progress: string | undefined;
  uid = "";
}

export class World {
  readonly clock = new VirtualClock();
  readonly datapath = new FakeDatapath();
  readonly speaker = new FakeSpeaker(this.clock);
  readonly disk = new FakeDisk();
  /** What the API server says; undefined while it does not answer. */
  cluster: Snapshot | undefined;
  staleBecause: string | undefined;
  passwords = new Map<string, string>();
  passwordsSettled = true;
  elsewhere: ReadonlySet<string> | undefined;
  /** Addresses that take connections. */
  answering = new Set<string>();
  agent: Agent | undefined;
  status: NodeNetworkStatus | undefined;
  events: NewEvent[] = [];
  logs: string[] = [];
  #memo: { cluster: Snapshot; lastGood: LastGood; snapshot: Snapshot } | undefined;
  #seen: Snapshot | undefined;

  parts(): AgentParts {
    const world = this;
    const log = (level: string) => (members: object, message: string) =>
      void this.logs.push(`${level} ${message} ${JSON.stringify(members)}`);
    return {
      node: "node1",
      nodeIndex: 1,
      version: "test",
      clock: this.clock,
      log: { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") },
      cluster: {
        get complete() {
          return world.#seen !== undefined;
        },
        get staleBecause() {
          return world.cluster ? undefined : (world.staleBecause ?? "no answer");
        },
        get nodeNetwork(): NodeNetwork | undefined {
          return (
            world.cluster && { ...nodeNetwork(), metadata: { ...nodeNetwork().metadata, generation: 3 } }
          );
        },
        snapshot: (lastGood) => world.#snapshot(lastGood),
      },
      passwords: {
        want: () => undefined,
        get settled() {
          return world.passwordsSettled;
        },
        present: () => new Set(world.passwords.keys()),
        passwords: () => world.passwords,
      },
      elsewhere: { get: () => world.elsewhere, forget: () => undefined },
      speaker: {
        get connected() {
          return world.speaker.agent !== undefined;
        },
        sendDesired: (state) => world.speaker.receive(state),
        ackRoutes: () => undefined,
        askSessions: () => world.speaker.sessions(),
      },
      datapath: this.datapath.port(),
      kernelRoutes: this.datapath.kernel(),
      connect: async (address) => (this.answering.has(address) ? undefined : "connection refused"),
      store: {
        readSnapshot: () =>
          this.disk.snapshot === undefined ? undefined : (parseCanonical(this.disk.snapshot) as Snapshot),
        writeSnapshot: (snapshot) => {
          this.disk.snapshot = canonical(snapshot);
        },
        readProgress: (uid) =>
          this.disk.progress !== undefined && this.disk.uid === uid
            ? (parseCanonical(this.disk.progress) as Progress)
            : undefined,
        writeProgress: (uid, progress) => {
          this.disk.uid = uid;
          this.disk.progress = canonical(progress);
        },
      },
      host: () => ({ connected: [], apiServer: [], cniDataDir: "/data" }),
      cni: (owns, wanted) =>
        !owns
          ? { state: "NotOwned" }
          : wanted
            ? { state: "Written", path: "10-waggle.conflist" }
            : { state: "Waits" },
      names: { storedPeers: () => ({}), write: () => undefined },
      status: { set: (status) => void (this.status = status) },
      event: (event) => void this.events.push(event),
    };
  }

  #snapshot(lastGood: LastGood): Snapshot | undefined {
    if (this.cluster) this.#seen = this.cluster;
    if (!this.#seen) return undefined;
    if (this.#memo?.cluster !== this.#seen || this.#memo.lastGood !== lastGood)
      this.#memo = { cluster: this.#seen, lastGood, snapshot: { ...this.#seen, lastGood } };
    return this.#memo.snapshot;
  }

  /** Starts an agent, as after a crash: only disk, kernel and speaker know anything. */
  start(): Agent {
    this.#seen = undefined;
    this.agent = new Agent(this.parts());
    this.agent.start();
    this.speaker.connect(this.agent);
    return this.agent;
  }

  /** kill -9. */
  kill(): void {
    this.agent?.[Symbol.dispose]();
    this.agent = undefined;
    this.speaker.agent = undefined;
  }

  async change(cluster: Snapshot | undefined, ms = 100): Promise<void> {
    this.cluster = cluster;
    this.agent?.poke();
    await this.clock.advance(ms);
  }

  condition(type: string): string {
    const c = this.status?.conditions?.find((x) => x.type === type);
    return c ? `${c.status} ${c.reason}: ${c.message}` : "";
  }
}

export { addressText, toBytes };
