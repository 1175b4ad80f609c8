// bgp/session: one neighbour: its connections, collisions, graceful restart as restarter and helper, retries, and what it shows of itself.
import { type Address, formatAddress, toInteger } from "../../net/address.ts";
import type { Chain } from "../policy/chain.ts";
import { type ExportTarget, exportTarget } from "../rib/export.ts";
import { receiveUpdate, type UpdateCounters, updateCounters } from "../rib/receive.ts";
import type { Rib, RibPeer } from "../rib/rib.ts";
import { type Afi, afis, SAFI_UNICAST } from "../wire/constants.ts";
import { Cease, describeNotification, type Notification, shutdownData } from "../wire/notification.ts";
import { nextHopHash } from "../wire/scan.ts";
import { Channel, type ChannelOwner, cease, type Ending } from "./channel.ts";
import { farewell, why } from "./messages.ts";
import { ourOpen } from "./negotiate.ts";
import { Retry } from "./retry.ts";
import { Sender } from "./sender.ts";
import { StaleRoutes } from "./stale.ts";
import {
  type Clock,
  type Connection,
  type ConnectionHandler,
  type PeerConfig,
  type Random,
  State,
  type Timer,
  type Transport,
} from "./types.ts";

/** What all sessions of a speaker share. */
export interface SessionContext {
  readonly rib: Rib;
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly routerId: number;
  /** The agent has said that its first round is done: End-of-RIB may be sent. */
  readonly complete: boolean;
  /** Routes have come in: they are to be decided and sent on. */
  changed(): void;
  sessionChanged(peer: PeerSession): void;
  endOfRib(peer: PeerSession, afi: Afi): void;
  log(
    level: "error" | "info" | "warn" | "debug",
    peer: string,
    text: string,
    fields?: Readonly<Record<string, unknown>>,
  ): void;
}

const CONNECT_TIMEOUT_MS_MIN = 5_000;
/** A second connection this soon after the first came up is a collision, not a restart. */
const COLLISION_WINDOW_MS = 5_000;
/** An UPDATE that is not quite right is logged this often a neighbour and minute. */
const COMPLAINTS_PER_MINUTE = 10;

export class PeerSession implements ChannelOwner {
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
  sender: Sender | undefined;
  readonly #context: SessionContext;
  readonly #retry: Retry;
  #chains: { import: Chain; export: Chain };
  #outgoing: Channel | undefined;
  #incoming: Channel | undefined;
  /** A second connection while a session is up. */
  #challenger: Channel | undefined;
  #up: Channel | undefined;
  #connectTimer: Timer | undefined;
  readonly #stale: StaleRoutes;
  #establishedAt = 0;
  /** No End-of-RIB has been sent to the neighbour since this process started: the R bit tells it so. */
  #restarting = true;
  #stopped = true;
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
    this.#retry = new Retry(context.clock, context.random);
    this.#stale = new StaleRoutes(context.rib, rib, context.clock, () => {
      context.changed();
      context.sessionChanged(this);
    });
    this.since = context.clock.unixMs();
  }

  get name(): string {
    return this.config.name;
  }

  /** All connections, each once. */
  get #channels(): Channel[] {
    const all = [this.#outgoing, this.#incoming, this.#challenger, this.#up];
    return [...new Set(all)].filter((c) => c !== undefined);
  }

  /** Families with routes of the last session that are kept. */
  get stale(): Readonly<Record<Afi, boolean>> {
    return this.#stale.families;
  }

  get negotiated() {
    return this.#up?.negotiated;
  }

  get updatesSent(): number {
    return this.updatesSentBefore + (this.sender?.updatesSent ?? 0);
  }

  get localAddress(): Address | undefined {
    return this.#up?.connection?.local ?? this.config.localAddress;
  }

  /** Begins to connect, unless the configuration says otherwise. */
  start(): void {
    this.#retry.reset();
    const { config } = this;
    const held = config.adminDown
      ? why.adminDown
      : config.passwordMissing
        ? why.passwordMissing
        : config.families.length === 0
          ? why.noFamily
          : undefined;
    this.#stopped = held !== undefined;
    if (held !== undefined) this.#setDown(State.idle, held);
    else if (config.passive) this.#setDown(State.active, why.passive);
    else this.#connect();
  }

  /** Ends the session with a Cease, and with it all the neighbour's routes. */
  stop(subcode: number, text: string): void {
    this.#stopped = true;
    this.#connectTimer?.cancel();
    const n = cease(
      subcode,
      text,
      subcode === Cease.shutdown || subcode === Cease.reset ? shutdownData(text) : undefined,
    );
    for (const channel of this.#channels) channel.fail(n);
    this.#stale.drop();
    for (const afi of afis) this.#context.rib.removePaths(this.rib, afi, false);
    this.#context.changed();
  }

  /** The speaker stops: silently where the neighbour then keeps our routes, else with a Cease. */
  stopForUpgrade(): void {
    this.#stopped = true;
    this.#connectTimer?.cancel();
    for (const channel of this.#channels) {
      if (channel.negotiated?.gracefulRestart) channel.drop(why.stopped);
      else channel.fail(cease(Cease.shutdown, why.stopped, shutdownData(farewell.stopped)));
    }
  }

  [Symbol.dispose](): void {
    this.#connectTimer?.cancel();
    this.#stale[Symbol.dispose]();
    for (const channel of this.#channels) channel.drop(why.stopped);
  }

  /** Takes a changed configuration; what cannot change in a living session ends it. */
  reconfigure(config: PeerConfig, chains: { import: Chain; export: Chain }): void {
    const before = this.config;
    this.config = config;
    this.#chains = chains;
    const down = config.adminDown || config.passwordMissing;
    if (sessionKey(before) !== sessionKey(config) || down !== (before.adminDown || before.passwordMissing)) {
      if (config.adminDown) this.stop(Cease.shutdown, farewell.adminDown);
      else this.stop(Cease.configChange, "configuration changed");
      this.start();
      return;
    }
    if (this.#up) this.#applyPolicy();
    else if (!this.#stopped && JSON.stringify(before.prefixesMax) !== JSON.stringify(config.prefixesMax))
      this.start();
  }

  /** Carries policy, limits and next hops into a living session. */
  #applyPolicy(): void {
    const { rib, routerId } = this.#context;
    const { ebgp } = this.negotiated!;
    rib.setImport(this.rib, { ebgp, localAsn: this.config.localAsn, routerId, chain: this.#chains.import });
    this.sender!.setTarget(this.#target());
    for (const afi of afis)
      if (this.rib.received[afi] > this.config.prefixesMax[afi])
        this.#up?.fail(cease(Cease.maxPrefixes, `more than ${this.config.prefixesMax[afi]} prefixes`));
  }

  #target(): ExportTarget {
    const { localAsn, nextHop } = this.config;
    const { ebgp } = this.negotiated!;
    return exportTarget({ ebgp, localAsn, chain: this.#chains.export, nextHop, local: this.localAddress });
  }

  #connect(): void {
    this.#connectTimer?.cancel();
    if (this.#stopped || this.#outgoing || this.#up) return;
    const { clock, random, transport } = this.#context;
    const { config } = this;
    const channel = new Channel(this, config, this.#open(), true, clock, random);
    this.#outgoing = channel;
    this.#setDown(State.connect, why.connecting(this.#targetText()));
    channel.attach(
      transport.connect(
        {
          address: config.address,
          port: config.port,
          localAddress: config.localAddress,
          interface: config.interface,
          password: config.password,
          ttlSecurityHops: config.ttlSecurityHops,
          ttl: config.peerAsn === config.localAsn ? 0 : config.multihopTtl || 1,
        },
        channel,
      ),
    );
    const timeout = Math.max(config.connectRetrySeconds * 1000, CONNECT_TIMEOUT_MS_MIN);
    this.#connectTimer = clock.after(timeout, () => {
      if (channel.state === State.connect) channel.drop(why.connectTimeout(this.#targetText()));
    });
  }

  #open() {
    return ourOpen(this.config, this.#context.routerId, this.#restarting);
  }

  #targetText(): string {
    return `${formatAddress(this.config.address)} port ${this.config.port}`;
  }

  /** A connection from the neighbour. Undefined when it is not wanted now. */
  accept(connection: Connection): ConnectionHandler | undefined {
    if (this.#stopped || this.#retry.refusing) return undefined;
    const { clock, random } = this.#context;
    if (this.#incoming && this.#incoming !== this.#up) this.#incoming.drop("a newer connection replaces it");
    const channel = new Channel(this, this.config, this.#open(), false, clock, random);
    channel.attach(connection);
    if (!this.#up) this.#incoming = channel;
    else {
      this.#challenger?.drop("a newer connection replaces it");
      this.#challenger = channel;
    }
    return channel;
  }

  stateChanged(channel: Channel): void {
    if (this.#up && channel !== this.#up) return;
    const other = channel === this.#outgoing ? this.#incoming : this.#outgoing;
    if (other && other.state > channel.state) return;
    if (channel.state === State.established) return;
    const reason = channel.state === State.openSent ? why.handshake : why.confirm;
    if (channel.state >= State.openSent) this.#setDown(channel.state, reason);
  }

  opened(channel: Channel): boolean {
    if (this.#up && this.#up !== channel) {
      // RFC 4724 4.2: a neighbour that knows graceful restart and connects anew has restarted. Not so right after the session came
      // up: then it is the other half of a simultaneous open, and taking it would make both ends change places for ever.
      const settled = this.#context.clock.now() - this.#establishedAt > COLLISION_WINDOW_MS;
      if (!settled || !this.#up.negotiated?.gracefulRestart) {
        channel.fail(cease(Cease.collision, "a session is established already"));
        return false;
      }
      this.#up.drop(why.replaced);
      if (this.#challenger === channel) {
        this.#challenger = undefined;
        this.#incoming = channel;
      }
      return true;
    }
    const other = channel === this.#outgoing ? this.#incoming : this.#outgoing;
    // Also one that has not answered yet: both ends know both identifiers by now, so both choose the same survivor. Waiting for the
    // OPEN would let one end come up on the connection that the other is about to close.
    if (!other || other.state < State.openSent) return true;
    // RFC 4271 6.8: the connection that the higher identifier opened survives (RFC 6286: then the higher AS).
    const { routerId } = this.#context;
    const theirs = channel.negotiated!.routerId;
    const oursWins = routerId !== theirs ? routerId > theirs : this.config.localAsn > this.config.peerAsn;
    const loser = channel.outgoing === oursWins ? other : channel;
    loser.fail(cease(Cease.collision, "connection collision"));
    return loser !== channel;
  }

  established(channel: Channel): void {
    const other = channel === this.#outgoing ? this.#incoming : this.#outgoing;
    this.#up = channel;
    if (other) {
      if (other.state === State.connect) other.drop("not needed any more");
      else other.fail(cease(Cease.collision, "connection collision"));
    }
    this.#connectTimer?.cancel();
    const { rib, clock } = this.#context;
    const n = channel.negotiated!;
    const remote = channel.connection?.remote ?? this.config.address;
    this.rib.ebgp = n.ebgp;
    this.rib.asn = n.peerAsn;
    this.rib.routerId = n.routerId;
    this.rib.address = toInteger(remote);
    for (const afi of afis) {
      const own = this.#ownAddress(afi);
      this.rib.ownNextHop[afi] = own ? nextHopHash(own) : 0;
      this.endOfRibReceived[afi] = false;
    }
    this.#stale.resume(n);
    this.sender = new Sender(rib, channel, this.rib, clock);
    this.#establishedAt = clock.now();
    this.#applyPolicy();
    this.#setDown(State.established, "");
    this.#context.log("info", this.name, "session established", {
      holdSeconds: n.holdSeconds,
      gracefulRestart: n.gracefulRestart !== undefined,
    });
    this.#context.changed();
  }

  #ownAddress(afi: Afi): Uint8Array | undefined {
    return this.#target().nextHop[afi];
  }

  update(channel: Channel, b: Uint8Array, start: number, end: number): Notification | undefined {
    const { rib } = this.#context;
    const n = channel.negotiated!;
    const outcome = receiveUpdate(
      rib,
      { peer: this.rib, context: n, families: n.families, prefixesMax: this.config.prefixesMax },
      this.counters,
      b,
      start,
      end,
    );
    if (outcome.complaint !== undefined) this.#complain(outcome.complaint);
    if (outcome.endOfRib) this.#onEndOfRib(outcome.endOfRib);
    this.#context.changed();
    return outcome.error;
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

  refresh(_channel: Channel, afi: number, safi: number, subtype: number): void {
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

  drained(channel: Channel): void {
    if (channel === this.#up) this.pump();
  }

  /** Sends what there is to send. */
  pump(): void {
    this.sender?.pump(this.#context.complete);
    if (
      this.#restarting &&
      this.sender &&
      afis.every((a) => !this.negotiated!.families[a] || this.sender!.endOfRibSent[a])
    )
      this.#restarting = false;
  }

  ended(channel: Channel, ending: Ending): void {
    if (ending.kind === "sent") this.lastErrorSent = describeNotification(ending.notification);
    if (ending.kind === "received") this.lastErrorReceived = describeNotification(ending.notification);
    const wasUp = channel === this.#up;
    if (channel === this.#outgoing) this.#outgoing = undefined;
    if (channel === this.#incoming) this.#incoming = undefined;
    if (channel === this.#challenger) this.#challenger = undefined;
    const reason = this.#reason(channel, ending);
    if (wasUp) this.#sessionDown(channel, ending, reason);
    if (this.#up) return;
    const rest = this.#outgoing ?? this.#incoming ?? this.#challenger;
    if (this.#stopped) this.#setDown(State.idle, this.config.adminDown ? why.adminDown : reason);
    else if (rest) this.#setDown(rest.state, reason);
    if (rest || this.#stopped) return;
    this.#scheduleConnect(channel, ending, reason, wasUp);
  }

  #reason(channel: Channel, ending: Ending): string {
    if (ending.kind === "sent") return why.sent(ending.notification);
    if (ending.kind === "received") return why.received(ending.notification);
    if (ending.ours) return ending.reason;
    return channel.state === State.connect
      ? why.connectFailed(this.#targetText(), ending.reason)
      : why.closedByPeer(ending.reason);
  }

  #scheduleConnect(channel: Channel, ending: Ending, reason: string, wasUp: boolean): void {
    const { clock } = this.#context;
    const retry = this.config.connectRetrySeconds;
    const lived = wasUp ? clock.now() - this.#establishedAt : 0;
    const collided =
      ending.kind !== "closed" &&
      ending.notification.code === 6 &&
      ending.notification.subcode === Cease.collision;
    const limit =
      ending.kind === "sent" &&
      ending.notification.code === 6 &&
      ending.notification.subcode === Cease.maxPrefixes;
    const pause =
      channel.state === State.connect
        ? this.#retry.connectFailed(retry)
        : collided
          ? this.#retry.collided(retry)
          : this.#retry.sessionEnded(retry, lived, limit);
    this.#connectTimer?.cancel();
    if (this.config.passive) {
      this.#setDown(State.active, reason);
      return;
    }
    this.#setDown(State.active, why.waiting(Math.ceil(pause / 1000), reason));
    this.#connectTimer = clock.after(pause, () => this.#connect());
  }

  #sessionDown(channel: Channel, ending: Ending, reason: string): void {
    const { rib } = this.#context;
    this.#up = undefined;
    this.flaps++;
    this.updatesSentBefore += this.sender?.updatesSent ?? 0;
    this.sender?.[Symbol.dispose]();
    this.sender = undefined;
    rib.dropEmptyGroups();
    const kept = this.#stale.keep(channel.negotiated!, ending, !this.#stopped);
    this.#context.log("warn", this.name, "session ended", { reason, keptFamilies: kept });
    this.#context.changed();
  }

  #setDown(state: State, reason: string): void {
    if (this.state === state && this.downReason === reason) return;
    if (this.state !== state) this.since = this.#context.clock.unixMs();
    this.state = state;
    this.downReason = reason;
    this.#context.sessionChanged(this);
  }
}

/** Equal where a session can go on under the other configuration. */
function sessionKey(c: PeerConfig): string {
  return JSON.stringify(
    [
      c.address,
      c.port,
      c.peerAsn,
      c.localAsn,
      c.localAddress,
      c.families,
      c.holdSeconds,
      c.password,
      c.ttlSecurityHops,
      c.multihopTtl,
      c.gracefulRestart,
      c.restartSeconds,
      c.forwardingPreserved,
      c.passive,
      c.interface,
    ],
    (_k, v: unknown) => (typeof v === "bigint" ? v.toString() : v),
  );
}
