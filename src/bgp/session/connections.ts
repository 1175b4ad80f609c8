// bgp/session: the TCP connections with one neighbour: ours, its, and which of them becomes the session (RFC 4271 6.8); attempts and pauses.
import { formatAddress } from "../../net/address.ts";
import { Cease, type Notification } from "../wire/notification.ts";
import type { Open } from "../wire/open.ts";
import { Channel, type ChannelOwner, cease, type Ending } from "./channel.ts";
import { why } from "./messages.ts";
import type { Pulse } from "./pulse.ts";
import { Retry } from "./retry.ts";
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

/** What the connections ask of the neighbour they belong to. */
export interface ConnectionsHost {
  readonly config: PeerConfig;
  /** Ours, host byte order. */
  readonly routerId: number;
  open(): Open;
  /** A connection has become the session. */
  up(channel: Channel): void;
  /** The session has ended. */
  down(channel: Channel, ending: Ending, reason: string): void;
  /** What there is to see has changed; called after `up` and `down`, too. */
  show(state: State, reason: string): void;
  /** A connection, the session's or not, has ended. */
  noted(ending: Ending): void;
  update(channel: Channel, b: Uint8Array, start: number, end: number): Notification | undefined;
  refresh(afi: number, safi: number, subtype: number): void;
  drained(): void;
  readonly tapped: boolean;
  message(channel: Channel, sent: boolean, bytes: Uint8Array): void;
  defect(error: unknown): void;
}

const CONNECT_TIMEOUT_MS_MIN = 5_000;
/** A second connection this soon after the first came up is a collision, not a restart. */
const COLLISION_WINDOW_MS = 5_000;

export class Connections implements ChannelOwner {
  readonly #host: ConnectionsHost;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #transport: Transport;
  readonly #retry: Retry;
  readonly #pulse: Pulse;
  #outgoing: Channel | undefined;
  #incoming: Channel | undefined;
  /** A second connection while a session is up. */
  #challenger: Channel | undefined;
  #up: Channel | undefined;
  #upSince = 0;
  #timer: Timer | undefined;
  #stopped = true;

  constructor(host: ConnectionsHost, clock: Clock, random: Random, transport: Transport, pulse: Pulse) {
    this.#pulse = pulse;
    this.#host = host;
    this.#clock = clock;
    this.#random = random;
    this.#transport = transport;
    this.#retry = new Retry(clock, random);
  }

  /** The session's connection. */
  get session(): Channel | undefined {
    return this.#up;
  }

  /** Neither side may connect. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** All connections, each once. */
  get #channels(): Channel[] {
    const all = [this.#outgoing, this.#incoming, this.#challenger, this.#up];
    return [...new Set(all)].filter((c) => c !== undefined);
  }

  /** Begins to connect, or to wait for the neighbour; earlier failures are forgotten. */
  start(): void {
    this.#retry.reset();
    this.#stopped = false;
    if (this.#host.config.passive) this.#host.show(State.active, why.passive);
    else this.#connect();
  }

  /** Stops, and ends each connection as `end` does. */
  stop(end: (channel: Channel) => void): void {
    this.#stopped = true;
    this.#timer?.cancel();
    for (const channel of this.#channels) end(channel);
  }

  #newChannel(outgoing: boolean): Channel {
    return new Channel(
      this,
      this.#host.config,
      this.#host.open(),
      outgoing,
      this.#clock,
      this.#random,
      this.#pulse,
    );
  }

  get #target(): string {
    const { address, port, unnumbered, interface: link } = this.#host.config;
    return `${formatAddress(address)}${unnumbered ? `%${link}` : ""} port ${port}`;
  }

  #connect(): void {
    this.#timer?.cancel();
    if (this.#stopped || this.#outgoing || this.#up) return;
    const { config } = this.#host;
    const channel = this.#newChannel(true);
    this.#outgoing = channel;
    if (!this.#incoming) this.#host.show(State.connect, why.connecting(this.#target));
    channel.attach(
      this.#transport.connect(
        {
          address: config.address,
          port: config.port,
          localAddress: config.localAddress,
          localPort: config.localPort ?? 0,
          interface: config.interface,
          password: config.password,
          ttlSecurityHops: config.ttlSecurityHops,
          ttl: config.peerAsn === config.localAsn ? 0 : config.multihopTtl || 1,
        },
        channel,
      ),
    );
    const timeout = Math.max(config.connectRetrySeconds * 1000, CONNECT_TIMEOUT_MS_MIN);
    this.#timer = this.#clock.after(timeout, () => {
      if (channel.state === State.connect) channel.drop(why.connectTimeout(this.#target));
    });
  }

  /** A connection from the neighbour. Undefined when it is not wanted now. */
  accept(connection: Connection): ConnectionHandler | undefined {
    if (this.#stopped || this.#retry.refusing) return undefined;
    const channel = this.#newChannel(false);
    channel.attach(connection);
    const before = this.#up ? this.#challenger : this.#incoming;
    if (this.#up) this.#challenger = channel;
    else this.#incoming = channel;
    before?.drop("a newer connection replaces it");
    return channel;
  }

  /** The other connection with the neighbour, if there are two. */
  #otherThan(channel: Channel): Channel | undefined {
    return channel === this.#outgoing ? this.#incoming : this.#outgoing;
  }

  stateChanged(channel: Channel): void {
    if (this.#up || channel.state < State.openSent || channel.state === State.established) return;
    const other = this.#otherThan(channel);
    if (other && other.state > channel.state) return;
    this.#host.show(channel.state, channel.state === State.openSent ? why.handshake : why.confirm);
  }

  opened(channel: Channel): boolean {
    if (this.#up) return this.#replaces(this.#up, channel);
    const other = this.#otherThan(channel);
    // Also one that has not answered yet: both ends know both identifiers by now, so both choose the same survivor. Waiting for the
    // OPEN would let one end come up on the connection that the other is about to close.
    if (!other || other.state < State.openSent) return true;
    // RFC 4271 6.8: the connection that the higher identifier opened survives (RFC 6286: then the higher AS).
    const { routerId, config } = this.#host;
    const theirs = channel.negotiated!.routerId;
    const oursWins = routerId !== theirs ? routerId > theirs : config.localAsn > channel.negotiated!.peerAsn;
    const loser = channel.outgoing === oursWins ? other : channel;
    loser.fail(cease(Cease.collision, "connection collision"));
    return loser !== channel;
  }

  /** Whether a second connection takes the place of the session. */
  #replaces(up: Channel, channel: Channel): boolean {
    // RFC 4724 4.2: a neighbour that knows graceful restart and connects anew has restarted. Not so right after the session came
    // up: then it is the other half of a simultaneous open, and taking it would make both ends change places for ever.
    const settled = this.#clock.now() - this.#upSince > COLLISION_WINDOW_MS;
    if (!settled || !up.negotiated?.gracefulRestart) {
      channel.fail(cease(Cease.collision, "a session is established already"));
      return false;
    }
    up.drop(why.replaced);
    if (this.#challenger === channel) {
      this.#challenger = undefined;
      this.#incoming = channel;
    }
    return true;
  }

  established(channel: Channel): void {
    const other = this.#otherThan(channel);
    this.#up = channel;
    this.#upSince = this.#clock.now();
    if (other?.state === State.connect) other.drop("not needed any more");
    else other?.fail(cease(Cease.collision, "connection collision"));
    this.#timer?.cancel();
    this.#host.up(channel);
    if (this.#up === channel) this.#host.show(State.established, "");
  }

  ended(channel: Channel, ending: Ending): void {
    this.#host.noted(ending);
    const wasUp = channel === this.#up;
    if (wasUp) this.#up = undefined;
    if (channel === this.#outgoing) this.#outgoing = undefined;
    if (channel === this.#incoming) this.#incoming = undefined;
    if (channel === this.#challenger) this.#challenger = undefined;
    const reason = this.#reason(channel, ending);
    if (wasUp) this.#host.down(channel, ending, reason);
    if (this.#up) return;
    const rest = this.#outgoing ?? this.#incoming ?? this.#challenger;
    if (this.#stopped) this.#host.show(State.idle, this.#host.config.adminDown ? why.adminDown : reason);
    else if (rest) this.#host.show(rest.state, reason);
    else this.#again(channel, ending, reason, wasUp);
  }

  #reason(channel: Channel, ending: Ending): string {
    if (ending.kind === "sent") return why.sent(ending.notification);
    if (ending.kind === "received") return why.received(ending.notification);
    if (ending.ours) return ending.reason;
    return channel.state === State.connect
      ? why.connectFailed(this.#target, ending.reason)
      : why.closedByPeer(ending.reason);
  }

  /** Nothing is left: when to try again. */
  #again(channel: Channel, ending: Ending, reason: string, wasUp: boolean): void {
    const { connectRetrySeconds: retry, connectRetryMaxSeconds: most } = this.#host.config;
    const subcode =
      ending.kind !== "closed" && ending.notification.code === 6 ? ending.notification.subcode : 0;
    let pause: number;
    if (channel.state === State.connect) pause = this.#retry.connectFailed(retry);
    else if (subcode === Cease.collision) pause = this.#retry.collided(retry);
    else {
      const lived = wasUp ? this.#clock.now() - this.#upSince : 0;
      const limit = ending.kind === "sent" && subcode === Cease.maxPrefixes;
      const wanted = this.#host.config.prefixLimits?.restartSeconds ?? true;
      pause = this.#retry.sessionEnded(retry, lived, limit && wanted, most);
    }
    this.#timer?.cancel();
    if (this.#host.config.passive) {
      this.#host.show(State.active, reason);
      return;
    }
    this.#host.show(State.active, why.waiting(Math.ceil(pause / 1000), reason));
    this.#timer = this.#clock.after(pause, () => this.#connect());
  }

  update(channel: Channel, b: Uint8Array, start: number, end: number): Notification | undefined {
    return this.#host.update(channel, b, start, end);
  }

  refresh(_channel: Channel, afi: number, safi: number, subtype: number): void {
    this.#host.refresh(afi, safi, subtype);
  }

  drained(channel: Channel): void {
    if (channel === this.#up) this.#host.drained();
  }

  get tapped(): boolean {
    return this.#host.tapped;
  }

  message(channel: Channel, sent: boolean, bytes: Uint8Array): void {
    this.#host.message(channel, sent, bytes);
  }

  defect(error: unknown): void {
    this.#host.defect(error);
  }
}
