// agent: the loop. Level-triggered: whatever happens, a round takes the newest state of everything and brings the node in line.
import type { Ack, HelloReply, RouteBatch, Session } from "../api/generated/proto/speaker_pb.js";
import { isPaused, type NodeNetwork, type NodeNetworkStatus } from "../api/index.ts";
import { describeError } from "../kube/index.ts";
import { Histogram } from "../metrics/index.ts";
import {
  canonical,
  drainOrder,
  drainWakesAt,
  encodeDesired,
  inForceOf,
  isAnnounced,
  type LastGood,
  listsHashOf,
  plan as makePlan,
  noDrain,
  nothingRemembered,
  type Plan,
  type PlanInputs,
  pendingWithdrawals,
  retirementsSent,
  retirementsWakeAt,
  type Snapshot,
  stepDrain,
  stepRetirements,
} from "../plan/index.ts";
import { Acks } from "./acks.ts";
import { secretsOf } from "./convert.ts";
import { blocksInUse, fillsOf, hostLocalAddresses } from "./in-use.ts";
import { DatapathKeeper, inspectMs } from "./keeper.ts";
import { LearnedRoutes } from "./learned.ts";
import { eventsOf } from "./news.ts";
import type { AgentParts, Progress } from "./ports.ts";
import { RangeSessions } from "./ranges.ts";
import { reportedRollouts, stepWatches } from "./rollouts.ts";
import { Rounds } from "./rounds.ts";
import type { SpeakerListener } from "./speaker/client.ts";
import { decodeSession, type SessionView } from "./speaker/decode.ts";
import { type StatusInputs, statusOf } from "./status.ts";

/** How long a start waits for the API server before the stored snapshot is taken. */
const storedAfterMs = 3_000;
/** How long a start waits for the first answer about passwords. */
const passwordsWithinMs = 5_000;
/** The snapshot is stored this long after a change at most. */
const storeMs = 1_000;
/** On top of the peers' restart time, before routes of a restarted speaker go. */
const restartMarginMs = 10_000;
/** The first routes of a session have all been reported after this, ms. */
const longStandingMs = 3_000;
/** Counts of sessions are asked for after a change, and also without one, no more often than this, ms. */
const countsMs = 400;
const countsAnywayMs = 10_000;
/** A node that begins to drain has said so in its status within this, ms. */
const settleMs = 300;

const away: StatusInputs["speaker"] = { connected: false, version: "", pid: "", reason: "", refused: "" };
const emptyProgress: Progress = { drain: noDrain, retiring: [], guardSerial: 0, generation: 0 };

export class Agent implements Disposable {
  /** Desired states that went to the speaker. */
  sent = 0;
  /** Of rounds. */
  readonly durations = new Histogram();
  readonly #p: AgentParts;
  readonly #startedAt: number;
  readonly #begun: number;
  readonly #acks: Acks;
  readonly #learned: LearnedRoutes;
  readonly #keeper: DatapathKeeper;
  readonly #rounds: Rounds;
  readonly #sessions = new Map<string, SessionView>();
  readonly #ranges = new RangeSessions();

  #stored: Snapshot | undefined;
  #snapshotStored: Snapshot | undefined;
  #snapshotStoredAt = Number.NEGATIVE_INFINITY;
  #lastGood: LastGood | undefined;
  #uid: string | undefined;
  #progress: Progress = emptyProgress;
  #progressStored: Progress | undefined;
  #plan: Plan | undefined;
  #planned: { readonly key: readonly unknown[]; readonly plan: Plan } | undefined;
  #restored = false;
  #cni: StatusInputs["cni"] = { state: "NotOwned" };

  #speaker: StatusInputs["speaker"] = { ...away, reason: "not connected yet" };
  /** The speaker had a desired state when the connection began. */
  #speakerKnows = false;
  /** Hash of the last desired state that went out on this connection. */
  #sent = "";
  #lastStatus: StatusInputs | undefined;
  #conditions: StatusInputs["previous"];
  #reported: NodeNetworkStatus | undefined;
  #countsChanged = false;
  #askedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: AgentParts) {
    this.#p = parts;
    this.#startedAt = parts.clock.now();
    this.#begun = parts.clock.monotonic();
    this.#rounds = new Rounds({
      clock: parts.clock,
      run: () => this.#round(),
      failed: (error) =>
        parts.log.error({ error: describeError(error), stack: stackOf(error) }, "a round failed"),
      dueIn: () => this.#dueIn(),
      onDone: (ms) => this.durations.observe(ms / 1000),
    });
    this.#acks = new Acks((peer) => this.#sessions.get(peer)?.state !== "Established");
    this.#learned = new LearnedRoutes(parts.names, parts.log);
    this.#keeper = new DatapathKeeper(parts.datapath, parts.connect, parts.clock, parts.log, () =>
      this.poke(),
    );
  }

  /** The plan in force, for those who explain it. */
  get plan(): Plan | undefined {
    return this.#plan;
  }

  /** What the status was last made of. */
  get view(): StatusInputs | undefined {
    return this.#lastStatus;
  }

  get rounds(): { readonly count: number; readonly failures: number } {
    return this.#rounds;
  }

  /** Routes of the speaker that could not be read. */
  get malformedRoutes(): number {
    return this.#learned.malformed;
  }

  /** Reads the stored snapshot and begins. */
  start(): void {
    this.#stored = this.#p.store.readSnapshot();
    this.#lastGood = this.#stored?.lastGood;
    this.poke();
  }

  /** Something has changed: a round follows at once. */
  poke(): void {
    this.#rounds.poke();
  }

  /** Stops. Links, programs, maps, kernel routes and the speaker's state stay as they are. */
  [Symbol.dispose](): void {
    this.#rounds[Symbol.dispose]();
  }

  /** What the speaker's connection calls. */
  readonly listener: SpeakerListener = {
    connected: (hello: HelloReply) => this.#connected(hello),
    disconnected: (reason: string) => {
      if (this.#speaker.connected || this.#speaker.reason !== reason)
        this.#p.log.warn({ reason }, "no connection to the speaker");
      this.#speaker = { ...away, reason };
      this.#sent = "";
      this.poke();
    },
    ack: (ack: Ack) => {
      this.#acks.put(ack.peer, Number(ack.generation), ack.state);
      this.#countsChanged = true;
      this.poke();
    },
    session: (session: Session) => {
      const view = decodeSession(session);
      this.#sessions.set(session.range || session.peer, this.#ranges.put(session.range, view));
      // A session that has stood for a while when it is heard of: its End-of-RIB came before this connection.
      const { clock } = this.#p;
      if (view.state === "Established" && clock.now() - view.since >= longStandingMs)
        this.#learned.endOfRibs(session, clock.monotonic());
      this.poke();
    },
    refused: (reason: string) => {
      this.#p.log.error({ reason }, "the speaker refuses the desired state");
      this.#speaker = { ...this.#speaker, refused: reason };
      this.poke();
    },
    routes: (batch: RouteBatch) => {
      this.#learned.apply(batch, this.#p.clock.monotonic());
      this.#p.speaker.ackRoutes(batch.sequence);
      this.#countsChanged = true;
      this.poke();
    },
  };

  #connected(hello: HelloReply): void {
    this.#p.log.info(
      { pid: String(hello.pid), generation: String(hello.generation), version: hello.version },
      "connected to the speaker",
    );
    this.#speaker = { ...away, connected: true, version: hello.version, pid: String(hello.pid), reason: "" };
    this.#acks.clear();
    this.#sessions.clear();
    this.#ranges.clear();
    this.#sent = "";
    this.#speakerKnows = hello.generation > 0n;
    const generation = Math.max(this.#progress.generation, Number(hello.generation));
    this.#progress = { ...this.#progress, generation };
    const peers = this.#plan?.speaker.peers ?? this.#progress.inForce?.speaker.peers ?? [];
    const restartMs = Math.max(120, ...peers.map((p) => p.restartSeconds)) * 1000 + restartMarginMs;
    this.#learned.connected(hello.pid, restartMs, this.#p.clock.monotonic());
    this.poke();
  }

  /** Ms until the datapath is looked at again, or time alone moves something. */
  #dueIn(): number {
    const { clock } = this.#p;
    const { drain, retiring } = this.#progress;
    const seconds = this.#plan?.drainSeconds ?? 0;
    const due = [
      drainWakesAt(drain, seconds),
      retirementsWakeAt(retiring, seconds),
      drain.phase === "Quiet" ? drain.since + settleMs : undefined,
    ].flatMap((at) => (at === undefined || at <= clock.now() ? [] : [at - clock.now()]));
    return Math.min(inspectMs, ...due);
  }

  /** The newest snapshot; the stored one where the API server has not been read in full since the start. */
  #snapshot(): Snapshot | undefined {
    const { cluster, clock } = this.#p;
    const fresh = cluster.snapshot(this.#lastGood ?? nothingRemembered);
    if (fresh) return fresh;
    return clock.monotonic() - this.#begun >= storedAfterMs ? this.#stored : undefined;
  }

  async #round(): Promise<void> {
    const { clock, passwords, node } = this.#p;
    const snapshot = this.#snapshot();
    if (!snapshot) return this.#report();
    this.#adopt(snapshot);
    passwords.want(secretsOf(snapshot, node));
    if (!passwords.settled && this.#waitsForPasswords()) return this.#report();

    await this.#keeper.followPods();
    await this.#keeper.inspect();
    this.#learned.expire(clock.monotonic());
    this.#stepDrain(snapshot);
    const first = await this.#firstPlan(snapshot);
    await this.#keeper.program(first);
    await this.#keeper.prove(first);
    // With the proofs of what has just been programmed.
    const next = this.#makePlan(snapshot);
    this.#commit(snapshot, next);
    this.#tell(next);
    // After the neighbours: no decision waits for it.
    if (snapshot !== this.#stored) this.#storeSnapshot(snapshot);
    await this.#syncRoutes(next);
    this.#configureCni(next);
    this.#writeNames(next);
    this.#askSessions();
    this.#report();
  }

  /**
   * Whether to wait for the first answer about passwords: for a while, and as long as the API server is away and the
   * speaker has what an earlier agent told it. A session that is up must not lose its password for want of an answer.
   */
  #waitsForPasswords(): boolean {
    const { clock, cluster } = this.#p;
    if (clock.monotonic() - this.#begun < passwordsWithinMs) return true;
    return this.sent === 0 && this.#speakerKnows && cluster.staleBecause !== undefined;
  }

  /**
   * The plan with the proofs that there are so far. Where nothing is to be programmed the datapath is not even opened: such a
   * node is only looked at.
   */
  async #firstPlan(snapshot: Snapshot): Promise<Plan> {
    const plan = this.#makePlan(snapshot);
    if (plan.mode !== "Announce" && !this.#restored) return plan;
    await this.#restore();
    this.#learned.configure(plan, this.#p.clock.monotonic());
    return this.#makePlan(snapshot);
  }

  /** Once: takes over the route maps of an earlier run, before anything is put into them. */
  async #restore(): Promise<void> {
    if (this.#restored) return;
    try {
      await this.#learned.restore(this.#p.datapath, this.#p.clock.monotonic());
      this.#restored = true;
    } catch (error) {
      this.#keeper.failed("the route maps cannot be read", error);
    }
  }

  /** Routes that cannot be installed keep nothing from being announced. */
  async #syncRoutes(next: Plan): Promise<void> {
    if (!this.#restored) return;
    try {
      this.#keeper.setRoutes(await this.#learned.sync(next, this.#p.datapath, this.#p.kernelRoutes));
    } catch (error) {
      this.#learned.invalidate();
      this.#keeper.failed("learned routes cannot be installed", error);
    }
  }

  /** The first snapshot of a cluster brings what was in force for it. */
  #adopt(snapshot: Snapshot): void {
    if (this.#uid === snapshot.clusterUID) return;
    this.#uid = snapshot.clusterUID;
    const progress = this.#p.store.readProgress(snapshot.clusterUID);
    if (progress)
      this.#progress = { ...progress, generation: Math.max(progress.generation, this.#progress.generation) };
  }

  /** The plan for what is known now; the same one as before where nothing of that has changed. */
  #makePlan(snapshot: Snapshot): Plan {
    const { clock, host, passwords, node } = this.#p;
    const { drain, retiring, guardSerial, inForce } = this.#progress;
    const { proofs } = this.#keeper;
    const elsewhere = this.#elsewhere(snapshot);
    const present = passwords.present();
    const facts = host();
    const learned = this.#learned.view;
    const inputs: PlanInputs = {
      proofs,
      passwords: present,
      ...(inForce && { previous: inForce }),
      drain,
      retiring,
      ...(elsewhere && { elsewhere }),
      guardSerial,
      learned,
      host: facts,
      now: clock.now(),
    };
    const values = canonical([[...present].sort(), facts]);
    const key = [snapshot, proofs, inForce, drain, retiring, guardSerial, elsewhere, learned, values];
    if (!this.#planned?.key.every((k, i) => k === key[i]))
      this.#planned = { key, plan: makePlan(snapshot, node, inputs) };
    return this.#planned!.plan;
  }

  /** What other nodes announce, where this node thinks of withdrawing something. */
  #elsewhere(snapshot: Snapshot): ReadonlySet<string> | undefined {
    const { elsewhere, node } = this.#p;
    const { drain, inForce } = this.#progress;
    const { proofs } = this.#keeper;
    const ask = (since: number, everyMs: number): ReadonlySet<string> | undefined =>
      elsewhere.get(node, snapshot.nodes, since, everyMs, () => this.poke());
    // Another node that begins to drain in the same moment has to have said so first.
    if (drain.phase === "Quiet") return ask(drain.since + settleMs, 1_000);
    if (drain.phase === "None") {
      const failing = inForce?.announcements.some(
        (a) => isAnnounced(a) && (proofs.get(a.prefix!)?.state ?? "Proven") !== "Proven",
      );
      if (failing) return ask(0, 5_000);
    }
    elsewhere.forget();
    return undefined;
  }

  #waiting(generation: number, peers: readonly string[]): readonly string[] {
    if (!this.#speaker.connected) return peers;
    const there = new Set(this.#progress.inForce?.speaker.peers.map((p) => p.name));
    // A peer that is configured no more has no session that could hold anything.
    return this.#acks.waiting(
      generation,
      peers.filter((p) => there.has(p)),
    );
  }

  #stepDrain(snapshot: Snapshot): void {
    const { clock, node } = this.#p;
    const own = snapshot.nodes.find((n) => n.metadata.name === node);
    // What is in force stays, the phase of a drain among it.
    if (own && isPaused(own)) return;
    const peers = this.#progress.inForce?.speaker.peers.map((p) => p.name) ?? [];
    const drain = stepDrain(this.#progress.drain, {
      taint: drainOrder(snapshot, node),
      drainSeconds: this.#progress.inForce?.drainSeconds ?? this.#plan?.drainSeconds ?? 5,
      acknowledged: (generation) => this.#waiting(generation, peers).length === 0,
      kept: this.#kept(),
      pendingWithdrawals: pendingWithdrawals(this.#progress.retiring).length,
      now: clock.now(),
    });
    this.#progress = { ...this.#progress, drain };
  }

  #kept(): readonly string[] {
    return (this.#progress.inForce?.announcements ?? []).flatMap((a) =>
      (a.reason.code === "LastAnnouncer" || a.reason.code === "AnnouncerUnknown") && a.prefix !== undefined
        ? [a.prefix]
        : [],
    );
  }

  /** The plan is in force from here on. */
  #commit(snapshot: Snapshot, next: Plan): void {
    const { clock } = this.#p;
    const previous = this.#progress.inForce;
    const retiring = stepRetirements(this.#progress.retiring, {
      previous,
      next,
      drainSeconds: next.drainSeconds,
      acknowledged: (generation, peers) => this.#waiting(generation, peers).length === 0,
      now: clock.now(),
    });
    const same = this.#plan?.hash === next.hash && previous !== undefined;
    if (canonical(next.lastGood) !== canonical(this.#lastGood)) this.#lastGood = next.lastGood;
    this.#plan = next;
    this.#progress = {
      ...this.#progress,
      inForce: same ? previous : inForceOf(next),
      // The same object where nothing has changed: what depends on it is then not made again.
      retiring:
        canonical(retiring) === canonical(this.#progress.retiring) ? this.#progress.retiring : retiring,
      guardSerial: this.#progress.guardSerial + (next.approved ? 1 : 0),
    };
    const names = new Set(next.speaker.peers.map((p) => p.name));
    this.#acks.retain(names);
    this.#ranges.retain(names);
    this.#storeProgress(snapshot.clusterUID);
  }

  /** At most once a second; what is put off is stored by a later round. */
  #storeSnapshot(snapshot: Snapshot): void {
    const { clock, store } = this.#p;
    const now = clock.monotonic();
    if (snapshot === this.#snapshotStored || now - this.#snapshotStoredAt < storeMs) return;
    store.writeSnapshot(snapshot);
    this.#snapshotStored = snapshot;
    this.#snapshotStoredAt = now;
  }

  #storeProgress(uid: string): void {
    const before = this.#progressStored;
    const now = this.#progress;
    if (
      before?.inForce === now.inForce &&
      before?.drain === now.drain &&
      before?.retiring === now.retiring &&
      before?.guardSerial === now.guardSerial &&
      before?.generation === now.generation &&
      before?.watches === now.watches
    )
      return;
    this.#p.store.writeProgress(uid, now);
    this.#progressStored = now;
  }

  /** Sends the desired state if it is not what the speaker has. */
  #tell(next: Plan): void {
    const { speaker, passwords, log } = this.#p;
    // Who never had a neighbour has nobody to wait for either.
    if (next.speaker.asn === 0) {
      this.#stamp();
      return;
    }
    if (!speaker.connected) return;
    const secrets = passwords.passwords();
    const text = listsHashOf([next.speaker, [...secrets]]);
    if (text !== this.#sent) {
      const generation = this.#progress.generation + 1;
      if (!speaker.sendDesired(encodeDesired(next.speaker, BigInt(generation), true, secrets))) return;
      this.#sent = text;
      this.#speaker = { ...this.#speaker, refused: "" };
      this.sent += 1;
      this.#progress = { ...this.#progress, generation };
      log.info(
        {
          generation,
          origins: next.speaker.origins.length,
          peers: next.speaker.peers.length,
          hash: next.hash,
        },
        "desired state sent to the speaker",
      );
    }
    this.#stamp();
  }

  /** What begins now is in the generation that was sent last. */
  #stamp(): void {
    const { generation, drain, retiring } = this.#progress;
    this.#progress = {
      ...this.#progress,
      retiring: retiring.some((r) => r.generation === undefined)
        ? retirementsSent(retiring, generation)
        : retiring,
      drain: drain.generation === undefined && drain.phase !== "None" ? { ...drain, generation } : drain,
    };
    if (this.#uid !== undefined) this.#storeProgress(this.#uid);
  }

  #configureCni(next: Plan): void {
    try {
      this.#cni = this.#p.cni(next.owns.includes("Pods"), next.conflist);
    } catch (error) {
      this.#cni = { state: "Failed", message: describeError(error) };
    }
  }

  #writeNames(next: Plan): void {
    const clusters = Object.fromEntries([
      ...next.routePolicy.peerings.map((p) => [p.clusterID, p.clusterName] as const),
      [next.clusterID, next.clusterName] as const,
    ]);
    try {
      this.#p.names.write(
        { node: next.node, cluster: next.clusterName, nodeIndex: this.#p.nodeIndex },
        clusters,
        this.#learned.peers.names(),
      );
    } catch (error) {
      this.#p.log.warn({ error: describeError(error) }, "the table of names cannot be written");
    }
  }

  /** The speaker tells states of sessions by itself, their counts only when it is asked. */
  #askSessions(): void {
    const { clock, speaker } = this.#p;
    const since = clock.monotonic() - this.#askedAt;
    if (!speaker.connected || since < (this.#countsChanged ? countsMs : countsAnywayMs)) return;
    this.#countsChanged = false;
    this.#askedAt = clock.monotonic();
    speaker.askSessions();
  }

  /** Read only where Waggle gives pods their addresses. */
  #inUse(network: NodeNetwork | undefined): Pick<StatusInputs, "inUse" | "podBlocks"> {
    const { host, log } = this.#p;
    if (!this.#plan?.owns.includes("Pods")) return { inUse: [] };
    try {
      const addresses = hostLocalAddresses(host().cniDataDir);
      const podBlocks = fillsOf(addresses, network);
      const inUse = blocksInUse(addresses, network, this.#snapshot()?.pools ?? []);
      return { inUse, ...(podBlocks && { podBlocks }) };
    } catch (error) {
      log.warn({ error: describeError(error) }, "host-local's store cannot be read");
      return { inUse: [] };
    }
  }

  /** The report with what has gone wrong since changes that are being rolled out came into force here. */
  #watched(report: NodeNetworkStatus, stored: NodeNetworkStatus | undefined): NodeNetworkStatus {
    const { watches = [] } = this.#progress;
    // Without a plan nothing is known of what is in force.
    if (!this.#plan) return watches.length > 0 ? { ...report, rollouts: reportedRollouts(watches) } : report;
    const before = this.#reported ?? stored;
    const reports = { before, now: report };
    const next = stepWatches(watches, this.#plan.rollouts, reports, this.#p.clock.now());
    this.#reported = report;
    if (next.length !== watches.length || next.some((w, i) => w !== watches[i])) {
      this.#progress = { ...this.#progress, watches: next };
      if (this.#uid !== undefined) this.#storeProgress(this.#uid);
    }
    return next.length > 0 ? { ...report, rollouts: reportedRollouts(next) } : report;
  }

  #report(): void {
    const { clock, cluster, datapath, event, status, version } = this.#p;
    const network = cluster.nodeNetwork;
    const { generation } = network?.metadata ?? {};
    const { drain, retiring } = this.#progress;
    const peers = this.#plan?.speaker.peers.map((p) => p.name) ?? [];
    const inputs: StatusInputs = {
      version,
      startedAt: this.#startedAt,
      layout: datapath.layout,
      generation,
      plan: this.#plan,
      staleBecause: cluster.staleBecause,
      speaker: this.#speaker,
      sessions: new Map(this.#sessions),
      proofs: this.#keeper.proofs,
      datapath: this.#keeper.view,
      routes: this.#learned.view,
      drain,
      kept: this.#kept(),
      elsewhereKnown: this.#plan?.announcements.every((a) => a.reason.code !== "AnnouncerUnknown") ?? true,
      unacknowledged: drain.generation === undefined ? peers : this.#waiting(drain.generation, peers),
      retiring,
      cni: this.#cni,
      ...this.#inUse(network),
      announcedBefore: network?.status?.announced,
      previous: this.#conditions ?? network?.status?.conditions,
      now: clock.now(),
    };
    for (const news of eventsOf(this.#lastStatus, inputs)) event(news);
    this.#lastStatus = inputs;
    const next = this.#watched(statusOf(inputs), network?.status);
    this.#conditions = next.conditions;
    status.set(next);
  }
}

const stackOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? "") : "");
