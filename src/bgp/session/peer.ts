// bgp/session: one neighbour: what its session means for the RIB, its configuration as it changes, and what it shows of itself.
import { type Address, formatPrefix, toBytes, toInteger } from "../../net/address.ts";
import type { Chain } from "../policy/chain.ts";
import { type ExportTarget, exportTarget } from "../rib/export.ts";
import { Links } from "../rib/links.ts";
import { receiveUpdate, type UpdateCounters, updateCounters } from "../rib/receive.ts";
import type { Rib, RibPeer } from "../rib/rib.ts";
import { exportTreatment, importTreatment, type TreatedSession } from "../rib/treatment.ts";
import { type Afi, afis, SAFI_UNICAST } from "../wire/constants.ts";
import { Cease, describeNotification, type Notification, shutdownData } from "../wire/notification.ts";
import type { Open } from "../wire/open.ts";
import { nextHopHash } from "../wire/scan.ts";
import type { BfdStatus } from "./bfd.ts";
import { type Channel, cease, type Ending } from "./channel.ts";
import { Connections, type ConnectionsHost } from "./connections.ts";
import { LimitWatch } from "./limits.ts";
import { farewell, why } from "./messages.ts";
import { ourOpen, updateForm } from "./negotiate.ts";
import type { Pulse } from "./pulse.ts";
import { Sender } from "./sender.ts";
import { StaleRoutes } from "./stale.ts";
import type { Hearing } from "./turns.ts";
import {
  type Clock,
  type Connection,
  type ConnectionHandler,
  noLimits,
  type PeerConfig,
  type Random,
  State,
  type Transport,
} from "./types.ts";

/** Sees octets of whole messages, received or sent. They are to be copied or written at once. */
export type MessageTap = (peer: PeerSession, channel: Channel, sent: boolean, bytes: Uint8Array) => void;

/** What all sessions of a speaker share. */
export interface SessionContext {
  readonly rib: Rib;
  readonly clock: Clock;
  readonly pulse: Pulse;
  readonly random: Random;
  readonly transport: Transport;
  readonly routerId: number;
  readonly clusterId: number;
  /** Some neighbour is a client of ours (RFC 4456). */
  readonly reflecting: boolean;
  /** The agent has said that its first round is done: End-of-RIB may be sent. */
  readonly complete: boolean;
  /** Routes have come in: they are to be decided and sent on. */
  changed(): void;
  /** There may be something that a neighbour is to hear: it gets its turn. */
  hungry(peer: PeerSession): void;
  sessionChanged(peer: PeerSession): void;
  /** A session has begun, or has ended. */
  up(peer: PeerSession, channel: Channel): void;
  down(peer: PeerSession, ending: Ending): void;
  /** Who wants to see each message. */
  readonly tap: MessageTap | undefined;
  endOfRib(peer: PeerSession, afi: Afi): void;
  log(
    level: "error" | "info" | "warn" | "debug",
    peer: string,
    text: string,
    fields?: Readonly<Record<string, unknown>>,
  ): void;
}

/** An UPDATE that is not quite right is logged this often a neighbour and minute. */
const COMPLAINTS_PER_MINUTE = 10;

export class PeerSession implements ConnectionsHost, Hearing {
  config: PeerConfig;
  readonly rib: RibPeer;
  state: State = State.idle;
  since: number;
  lastErrorSent = "";
  lastErrorReceived = "";
  downReason: string = why.starting;
  flaps = 0;
  readonly counters: UpdateCounters = updateCounters();
  readonly endOfRibReceived: Record<Afi, boolean> = { 1: false, 2: false };
  updatesSentBefore = 0;
  /** Of the path to the neighbour; undefined where it is not watched, or nothing is known yet. */
  bfd: BfdStatus | undefined;
  sender: Sender | undefined;
  readonly limits: LimitWatch;
  readonly #context: SessionContext;
  readonly #connections: Connections;
  #chains: { import: Chain; export: Chain };
  readonly #stale: StaleRoutes;
  /** No End-of-RIB has been sent to the neighbour since this process started: the R bit tells it so. */
  #restarting = true;
  /** Of the last session: whether paths came with identifiers. */
  readonly #pathsIn: Record<Afi, boolean> = { 1: false, 2: false };
  #complaints = { minute: 0, count: 0 };

  constructor(
    config: PeerConfig,
    rib: RibPeer,
    chains: { import: Chain; export: Chain },
    context: SessionContext,
  ) {
    this.config = config;
    this.rib = rib;
    this.#chains = chains;
    this.#context = context;
    this.limits = new LimitWatch(rib, context.clock);
    this.#connections = new Connections(
      this,
      context.clock,
      context.random,
      context.transport,
      context.pulse,
    );
    this.#stale = new StaleRoutes(context.rib, rib, context.clock, () => {
      context.changed();
      context.sessionChanged(this);
    });
    this.since = context.clock.unixMs();
  }

  get name(): string {
    return this.config.name;
  }

  /** Families with routes of the last session that are kept. */
  get stale(): Readonly<Record<Afi, boolean>> {
    return this.#stale.families;
  }

  get negotiated() {
    return this.#connections.session?.negotiated;
  }

  /** The connection of the session, while there is one. */
  get channel(): Channel | undefined {
    return this.#connections.session;
  }

  get updatesSent(): number {
    return this.updatesSentBefore + (this.sender?.updatesSent ?? 0);
  }

  get localAddress(): Address | undefined {
    return this.#connections.session?.connection?.local ?? this.config.localAddress;
  }

  get routerId(): number {
    return this.#context.routerId;
  }

  /** Begins to connect, unless the configuration says otherwise. */
  start(): void {
    const { config } = this;
    const held = config.adminDown
      ? why.adminDown
      : config.passwordMissing
        ? why.passwordMissing
        : config.families.length === 0
          ? why.noFamily
          : config.unnumbered && toInteger(config.address) === 0n
            ? why.noRouter(config.interface ?? "")
            : config.range
              ? why.range(config.range.prefixes.map(formatPrefix).join(", "))
              : undefined;
    if (held === undefined) this.#connections.start();
    else this.show(State.idle, held);
  }

  /** Ends the session with a Cease, and with it all the neighbour's routes. */
  stop(subcode: number, text: string): void {
    const told = subcode === Cease.shutdown || subcode === Cease.reset;
    const n = cease(subcode, text, told ? shutdownData(text) : undefined);
    this.#connections.stop((channel) => channel.fail(n));
    this.#stale.drop();
    for (const afi of afis) this.#context.rib.removePaths(this.rib, afi, false);
    this.#context.changed();
  }

  /** The speaker stops: silently where the neighbour then keeps our routes, else with a Cease. */
  stopForUpgrade(): void {
    this.#connections.stop((channel) => {
      if (channel.negotiated?.gracefulRestart) channel.drop(why.stopped);
      else channel.fail(cease(Cease.shutdown, why.stopped, shutdownData(farewell.stopped)));
    });
  }

  [Symbol.dispose](): void {
    this.#stale[Symbol.dispose]();
    this.#connections.stop((channel) => channel.drop(why.stopped));
  }

  /** Takes a changed configuration; what cannot change in a living session ends it. */
  reconfigure(config: PeerConfig, chains: { import: Chain; export: Chain }): void {
    const before = this.config;
    this.config = config;
    this.#chains = chains;
    if (!config.bfd) this.bfd = undefined;
    const down = config.adminDown || config.passwordMissing;
    if (sessionKey(before) !== sessionKey(config) || down !== (before.adminDown || before.passwordMissing)) {
      if (config.adminDown) this.stop(Cease.shutdown, farewell.adminDown);
      else this.stop(Cease.configChange, "configuration changed");
      this.start();
      return;
    }
    if (this.#connections.session) this.#applyPolicy();
    else if (!this.#connections.stopped && limitKey(before) !== limitKey(config)) this.start();
  }

  /** Carries policy, limits and next hops into a living session. */
  #applyPolicy(): void {
    const { rib, routerId } = this.#context;
    const { ebgp } = this.negotiated!;
    const { localAsn, treatment } = this.config;
    rib.setImport(this.rib, {
      ebgp,
      localAsn,
      routerId,
      chain: this.#chains.import,
      treatment: importTreatment(treatment, this.#treated()),
    });
    const { prefixesMax, prefixLimits = noLimits } = this.config;
    this.sender!.setTarget(this.#target());
    this.sender!.setLimits(prefixLimits.sent);
    for (const afi of afis)
      if (prefixLimits.action === "teardown" && this.rib.received[afi] > prefixesMax[afi])
        this.#connections.session?.fail(cease(Cease.maxPrefixes, `more than ${prefixesMax[afi]} prefixes`));
      else this.#watchLimit(afi);
  }

  /** Says it where the neighbour comes near the most prefixes that it may send. */
  #watchLimit(afi: Afi): void {
    const seen = this.limits.look(afi, this.config);
    if (!seen) return;
    if (seen.text !== undefined) this.#complain(seen.text);
    if (seen.ask) this.sender?.askAgain(afi);
    this.#context.sessionChanged(this);
  }

  #treated(): TreatedSession {
    const { ebgp, peerAsn, routerId } = this.negotiated!;
    const { reflecting, clusterId } = this.#context;
    return { ebgp, peerAsn, peerRouterId: routerId, reflecting, clusterId };
  }

  #target(): ExportTarget {
    const { localAsn, nextHop, addPath } = this.config;
    const { ebgp, pathsOut, extendedNextHop, longLived } = this.negotiated!;
    // What is not sent at all ends the session when it changes; how many paths are sent does not.
    const paths = (afi: Afi) => (pathsOut[afi] ? Math.max(addPath[afi].send, 1) : undefined);
    return exportTarget({
      ebgp,
      localAsn,
      chain: this.#chains.export,
      nextHop,
      local: this.localAddress,
      treatment: exportTreatment(this.config.treatment, this.#treated()),
      paths: { 1: paths(1), 2: paths(2) },
      extendedNextHop,
      longLived: longLived !== undefined,
    });
  }

  /**
   * What BFD says of the path. RFC 5882 4.3.2: while the session is up, a failure is a failure, whatever the C bit says. While the
   * neighbour restarts, its BFD may just have gone with its control plane: only with the C bit does a failure end the wait.
   */
  bfdChanged(status: BfdStatus | undefined): void {
    this.bfd = status;
    if (status?.failed) {
      const reason = why.bfdDown(status.diagnostic);
      const { session } = this.#connections;
      if (session) session.fail(cease(Cease.bfdDown, reason));
      else if (status.remoteIndependent && this.#stale.any) {
        this.#context.log("warn", this.name, "kept routes go", { reason });
        this.#stale.drop();
        this.#context.changed();
      }
    }
    this.#context.sessionChanged(this);
  }

  open(): Open {
    return ourOpen(this.config, this.#context.routerId, this.#restarting);
  }

  /** A connection from the neighbour. Undefined when it is not wanted now. */
  accept(connection: Connection): ConnectionHandler | undefined {
    return this.#connections.accept(connection);
  }

  up(channel: Channel): void {
    const { rib, clock } = this.#context;
    const n = channel.negotiated!;
    const remote = channel.connection?.remote ?? this.config.address;
    this.rib.ebgp = n.ebgp;
    this.rib.asn = n.peerAsn;
    this.rib.routerId = n.routerId;
    this.rib.reflectorClient = !n.ebgp && this.config.treatment.reflectorClient;
    this.rib.address = toInteger(remote);
    // A neighbour that is some hops away may name what it likes (RFC 4271 5.1.3).
    const { multihopTtl, ttlSecurityHops } = this.config;
    const links = n.ebgp && multihopTtl <= 1 && ttlSecurityHops <= 1 ? channel.connection?.links : undefined;
    this.rib.links = links && new Links(links, toBytes(remote));
    this.rib.linkName = this.config.interface ?? "";
    for (const afi of afis) {
      const own = this.#target().nextHop[afi];
      this.rib.ownNextHop[afi] = own ? nextHopHash(own) : 0;
      this.endOfRibReceived[afi] = false;
    }
    for (const afi of afis) {
      // Without identifiers a path that is kept cannot be found again, so it is not kept.
      if (this.#pathsIn[afi] !== n.pathsIn[afi]) this.#stale.endOfRib(afi);
      this.#pathsIn[afi] = n.pathsIn[afi];
    }
    this.#stale.resume(n);
    this.sender = new Sender(rib, channel, this.rib, clock);
    this.#applyPolicy();
    this.#context.up(this, channel);
    this.#context.log("info", this.name, "session established", {
      holdSeconds: n.holdSeconds,
      gracefulRestart: n.gracefulRestart !== undefined,
    });
    this.#context.changed();
  }

  update(channel: Channel, b: Uint8Array, start: number, end: number): Notification | undefined {
    const { rib } = this.#context;
    const n = channel.negotiated!;
    const outcome = receiveUpdate(
      rib,
      {
        peer: this.rib,
        context: n,
        families: n.families,
        form: updateForm(n),
        prefixesMax: this.config.prefixesMax,
        overLimit: this.config.prefixLimits?.action ?? "teardown",
      },
      this.counters,
      b,
      start,
      end,
    );
    if (outcome.complaint !== undefined) this.#complain(outcome.complaint);
    for (const afi of afis) if (n.families[afi]) this.#watchLimit(afi);
    if (outcome.endOfRib) this.#onEndOfRib(outcome.endOfRib);
    this.#context.changed();
    return outcome.error;
  }

  get tapped(): boolean {
    return this.#context.tap !== undefined;
  }

  message(channel: Channel, sent: boolean, bytes: Uint8Array): void {
    this.#context.tap?.(this, channel, sent, bytes);
  }

  defect(error: unknown): void {
    this.#context.log("error", this.name, "internal error", {
      reason: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  }

  #complain(text: string): void {
    const minute = Math.floor(this.#context.clock.now() / 60_000);
    if (minute !== this.#complaints.minute) this.#complaints = { minute, count: 0 };
    if (this.#complaints.count++ < COMPLAINTS_PER_MINUTE) this.#context.log("warn", this.name, text);
  }

  #onEndOfRib(afi: Afi): void {
    this.endOfRibReceived[afi] = true;
    this.#stale.endOfRib(afi);
    this.#context.endOfRib(this, afi);
    this.#context.sessionChanged(this);
  }

  refresh(afi: number, safi: number, subtype: number): void {
    if (safi !== SAFI_UNICAST || (afi !== 1 && afi !== 2) || !this.negotiated!.families[afi]) {
      this.#complain(`ROUTE-REFRESH for AFI ${afi} SAFI ${safi}, which was not negotiated`);
      return;
    }
    // RFC 7313 4.1: BoRR and EoRR frame a refresh; what did not come between them is gone.
    if (subtype === 0) this.sender!.refresh(afi);
    else if (subtype === 1) this.#context.rib.markStale(this.rib, afi);
    else if (subtype === 2) this.#context.rib.removePaths(this.rib, afi, true);
    this.#context.changed();
  }

  drained(): void {
    this.sender?.drained();
    this.#context.hungry(this);
  }

  get patient(): boolean {
    return this.sender?.patient ?? true;
  }

  sendChunk(): boolean {
    const more = this.sender?.pump(this.#context.complete) ?? false;
    if (
      this.#restarting &&
      this.sender &&
      afis.every((a) => !this.negotiated!.families[a] || this.sender!.endOfRibSent[a])
    )
      this.#restarting = false;
    return more;
  }

  noted(ending: Ending): void {
    if (ending.kind === "sent") this.lastErrorSent = describeNotification(ending.notification);
    if (ending.kind === "received") this.lastErrorReceived = describeNotification(ending.notification);
  }

  down(channel: Channel, ending: Ending, reason: string): void {
    const { rib } = this.#context;
    this.flaps++;
    this.updatesSentBefore += this.sender?.updatesSent ?? 0;
    this.sender?.[Symbol.dispose]();
    this.sender = undefined;
    this.#context.down(this, ending);
    rib.dropEmptyGroups();
    const kept = this.#stale.keep(channel.negotiated!, ending, !this.#connections.stopped);
    this.#context.log("warn", this.name, "session ended", { reason, keptFamilies: kept });
    this.#context.changed();
  }

  show(state: State, reason: string): void {
    if (this.state === state && this.downReason === reason) return;
    if (this.state !== state) this.since = this.#context.clock.unixMs();
    this.state = state;
    this.downReason = reason;
    this.#context.sessionChanged(this);
  }
}

const limitKey = (c: PeerConfig): string => JSON.stringify([c.prefixesMax, c.prefixLimits?.action]);

/** Equal where a session can go on under the other configuration. */
export function sessionKey(c: PeerConfig): string {
  return JSON.stringify(
    [
      c.address,
      c.port,
      c.peerAsn,
      c.localAsn,
      c.localAddress,
      c.localPort,
      c.families,
      c.holdSeconds,
      c.password,
      c.ttlSecurityHops,
      c.multihopTtl,
      c.gracefulRestart,
      c.restartSeconds,
      c.longLivedSeconds,
      c.forwardingPreserved,
      c.passive,
      c.interface,
      c.treatment.role,
      c.treatment.strictRole,
      c.treatment.reflectorClient,
      c.treatment.routeServerClient,
      c.unnumbered,
      c.range,
      c.families.map((afi) => [c.addPath[afi].receive, c.addPath[afi].send > 0]),
      c.extendedNextHop,
    ],
    (_k, v: unknown) => (typeof v === "bigint" ? v.toString() : v),
  );
}
