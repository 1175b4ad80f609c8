// bgp/session: the state machine of one TCP connection (RFC 4271 8): OPEN, KEEPALIVE, timers, errors. A neighbour may have two for a moment.
import { EXTENDED_MESSAGE_BYTES_MAX, HEADER_BYTES, MessageType } from "../wire/constants.ts";
import { decodeNotification, FrameReader, keepaliveMessage, notificationMessage } from "../wire/frame.ts";
import { Cease, type Notification, notification } from "../wire/notification.ts";
import { decodeOpen, encodeOpen, type Open } from "../wire/open.ts";
import { why } from "./messages.ts";
import { type Negotiated, negotiate } from "./negotiate.ts";
import type { Pulse } from "./pulse.ts";
import {
  type Clock,
  type Connection,
  type ConnectionHandler,
  type PeerConfig,
  type Random,
  State,
  type Timer,
} from "./types.ts";

/** How a connection ended. */
export type Ending =
  | { readonly kind: "sent"; readonly notification: Notification }
  | { readonly kind: "received"; readonly notification: Notification }
  /** Closed or failed without a NOTIFICATION; `ours` when we meant it. */
  | { readonly kind: "closed"; readonly reason: string; readonly ours: boolean };

/** What a channel asks of the neighbour it belongs to. */
export interface ChannelOwner {
  /** An acceptable OPEN has come: false when this connection must give way to another (the owner has ended it). */
  opened(channel: Channel): boolean;
  established(channel: Channel): void;
  update(channel: Channel, b: Uint8Array, start: number, end: number): Notification | undefined;
  refresh(channel: Channel, afi: number, safi: number, subtype: number): void;
  drained(channel: Channel): void;
  stateChanged(channel: Channel): void;
  /** Whether {@link message} wants to hear. */
  readonly tapped: boolean;
  /** Octets of one or more whole messages have come or gone. */
  message(channel: Channel, sent: boolean, bytes: Uint8Array): void;
  /** Something was thrown that should not have been. */
  defect(error: unknown): void;
  ended(channel: Channel, ending: Ending): void;
}

/** Hold time until the neighbour's OPEN has been seen (RFC 4271 8.2.2 suggests 4 minutes). */
const OPEN_HOLD_SECONDS = 240;
/** Of the hold time. RFC 4271 10 says a third at most: this much less leaves room for what delays it. */
const KEEPALIVE_SHARE = 0.27;
/** RFC 9687: at least this long, and twice the hold time. */
const SEND_HOLD_SECONDS_MIN = 480;

export class Channel implements ConnectionHandler {
  readonly outgoing: boolean;
  state: State = State.connect;
  negotiated: Negotiated | undefined;
  /** Whole OPEN messages, for those who monitor (RFC 7854 4.10). */
  openSent: Uint8Array | undefined;
  openReceived: Uint8Array | undefined;
  readonly #owner: ChannelOwner;
  readonly #config: PeerConfig;
  readonly #open: Open;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #pulse: Pulse;
  readonly #frames = new FrameReader();
  #connection: Connection | undefined;
  #hold: Timer | undefined;
  #keepalive: Timer | undefined;
  #heard = 0;
  #holdMs = 0;
  /** When everything written had last been taken by the kernel. */
  #emptied = 0;
  /** A KEEPALIVE was due while octets were waiting to leave. */
  #owed = false;
  #ended = false;

  constructor(
    owner: ChannelOwner,
    config: PeerConfig,
    open: Open,
    outgoing: boolean,
    clock: Clock,
    random: Random,
    pulse: Pulse,
  ) {
    this.#owner = owner;
    this.#config = config;
    this.#open = open;
    this.outgoing = outgoing;
    this.#clock = clock;
    this.#random = random;
    this.#pulse = pulse;
  }

  /** Gives the channel its connection; `connected` follows for one that is not up yet. */
  attach(connection: Connection): void {
    this.#connection = connection;
  }

  get connection(): Connection | undefined {
    return this.#connection;
  }

  connected(): void {
    if (this.#ended) return;
    this.#heard = this.#emptied = this.#clock.now();
    this.#setState(State.openSent);
    this.openSent = encodeOpen(this.#open);
    this.#send(this.openSent);
    this.#startHold(OPEN_HOLD_SECONDS);
  }

  data(chunk: Uint8Array): void {
    if (this.#ended) return;
    this.#heard = this.#clock.now();
    let error: Notification | undefined;
    try {
      error = this.#frames.push(chunk, (type, b, start, end) => {
        const wrong = this.#message(type, b, start, end);
        if (wrong) this.fail(wrong);
        return !this.#ended;
      });
    } catch (defect) {
      // A defect of ours in reading what a neighbour sent costs the session with that neighbour, not all of them.
      this.#owner.defect(defect);
      error = notification(6, Cease.resources, "internal error while reading a message");
    }
    if (error && !this.#ended) this.fail(error);
    this.#pulse.beat();
  }

  drained(): void {
    if (this.#ended) return;
    this.#emptied = this.#clock.now();
    if (this.#owed) {
      this.#owed = false;
      this.#send(keepaliveMessage);
    }
    this.#owner.drained(this);
  }

  closed(reason: string): void {
    this.#end({ kind: "closed", reason, ours: false });
  }

  /** Ends the connection with a NOTIFICATION. */
  fail(n: Notification): void {
    if (this.#ended) return;
    // Before OPEN was sent there is no session that a NOTIFICATION could speak of.
    if (this.state >= State.openSent) {
      const hard = this.negotiated?.restartOnNotification && isFinal(n);
      this.#send(notificationMessage(hard ? hardReset(n) : n));
    }
    this.#end({ kind: "sent", notification: n });
  }

  /** Ends the connection without a word, so that a neighbour that knows graceful restart keeps our routes. */
  drop(reason: string): void {
    this.#end({ kind: "closed", reason, ours: true });
  }

  /** Sends octets of an established session. False asks to wait for `drained`. */
  write(bytes: Uint8Array): boolean {
    return this.#send(bytes);
  }

  #send(bytes: Uint8Array): boolean {
    if (this.#owner.tapped) this.#owner.message(this, true, bytes);
    const now = this.#connection?.write(bytes) ?? false;
    if ((this.#connection?.pendingBytes ?? 0) === 0) this.#emptied = this.#clock.now();
    return now;
  }

  #setState(state: State): void {
    this.state = state;
    this.#owner.stateChanged(this);
  }

  #end(ending: Ending): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#hold?.cancel();
    this.#keepalive?.cancel();
    if (ending.kind === "closed" && !ending.ours) this.#connection?.destroy();
    else this.#connection?.end();
    this.#owner.ended(this, ending);
  }

  #message(type: number, b: Uint8Array, start: number, end: number): Notification | undefined {
    if (this.#owner.tapped) this.#owner.message(this, false, b.slice(start - HEADER_BYTES, end));
    if (type === MessageType.notification) {
      this.#end({ kind: "received", notification: decodeNotification(b, start, end) });
      return undefined;
    }
    switch (this.state) {
      case State.openSent:
        if (type === MessageType.open) return this.#onOpen(b, start, end);
        return unexpected(1, type);
      case State.openConfirm:
        if (type === MessageType.keepalive) return this.#onConfirmed();
        return unexpected(2, type);
      case State.established:
        if (type === MessageType.update) return this.#owner.update(this, b, start, end);
        if (type === MessageType.keepalive) return undefined;
        if (type === MessageType.routeRefresh) return this.#onRefresh(b, start, end);
        return unexpected(3, type);
      default:
        return unexpected(0, type);
    }
  }

  #onOpen(b: Uint8Array, start: number, end: number): Notification | undefined {
    const theirs = decodeOpen(b, start, end);
    if ("code" in theirs) return theirs;
    const negotiated = negotiate(this.#config, this.#open, theirs);
    if ("code" in negotiated) return negotiated;
    this.negotiated = negotiated;
    this.openReceived = b.slice(start - HEADER_BYTES, end);
    if (!this.#owner.opened(this)) return undefined;
    this.#setState(State.openConfirm);
    this.#send(keepaliveMessage);
    this.#startHold(negotiated.holdSeconds);
    this.#startKeepalive(negotiated.holdSeconds);
    return undefined;
  }

  #onConfirmed(): undefined {
    if (this.negotiated!.messageBytesMax > this.#frames.lengthMax)
      this.#frames.lengthMax = EXTENDED_MESSAGE_BYTES_MAX;
    this.#setState(State.established);
    this.#owner.established(this);
  }

  #onRefresh(b: Uint8Array, start: number, end: number): Notification | undefined {
    const { enhancedRouteRefresh } = this.negotiated!;
    if (end - start !== 4) {
      // RFC 7313 5 gives it an error of its own; without that capability it is a header error.
      if (enhancedRouteRefresh)
        return notification(7, 1, "ROUTE-REFRESH length", b.slice(start - HEADER_BYTES, end));
      return notification(1, 2, "ROUTE-REFRESH length", b.slice(start - 3, start - 1));
    }
    // Without RFC 7313 the octet is reserved, and to be ignored (RFC 2918 3).
    const subtype = enhancedRouteRefresh ? b[start + 2]! : 0;
    this.#owner.refresh(this, (b[start]! << 8) | b[start + 1]!, b[start + 3]!, subtype);
    return undefined;
  }

  #startHold(seconds: number): void {
    this.#hold?.cancel();
    this.#hold = undefined;
    this.#holdMs = seconds * 1000;
    if (seconds > 0) this.#hold = this.#clock.after(this.#holdMs, () => this.#holdExpired());
  }

  /** The timer is not moved for each message: when it fires, it asks when something was last heard. */
  #holdExpired(): void {
    const left = this.#heard + this.#holdMs - this.#clock.now();
    if (left > 0) {
      this.#hold = this.#clock.after(left, () => this.#holdExpired());
      return;
    }
    // After a stall of our own, what the neighbour sent in time may still wait in the socket: read first, judge then.
    this.#clock.soon(() => {
      if (this.#ended) return;
      if (this.#heard + this.#holdMs > this.#clock.now()) this.#holdExpired();
      else this.fail(notification(4, 0, why.holdTimer));
    });
  }

  #startKeepalive(holdSeconds: number): void {
    this.#keepalive?.cancel();
    if (holdSeconds === 0) return;
    const tick = (): void => {
      // RFC 4271 10: jitter of 0.75 to 1.
      const ms = holdSeconds * 1000 * KEEPALIVE_SHARE * (0.75 + this.#random() * 0.25);
      this.#keepalive = this.#pulse.after(ms, () => {
        const pending = this.#connection?.pendingBytes ?? 0;
        // Behind octets that the neighbour does not take, one more KEEPALIVE says nothing: it follows once they have gone.
        this.#owed = pending > 0;
        if (pending === 0) this.#send(keepaliveMessage);
        else if (this.#sendHoldExpired(holdSeconds)) {
          this.fail(notification(8, 0, why.sendHoldTimer));
          return;
        }
        tick();
      });
    };
    tick();
  }

  #sendHoldExpired(holdSeconds: number): boolean {
    const seconds = Math.max(SEND_HOLD_SECONDS_MIN, holdSeconds * 2);
    return this.#clock.now() - this.#emptied > seconds * 1000;
  }
}

const unexpected = (subcode: number, type: number): Notification =>
  // RFC 6608 4: the type goes along.
  notification(5, subcode, `unexpected message of type ${type}`, Uint8Array.of(type));

/** A Cease after which the neighbour is not to keep our routes, nor we the neighbour's. */
export const isFinal = (n: Notification): boolean =>
  n.code === 6 &&
  ((n.subcode >= Cease.maxPrefixes && n.subcode <= Cease.configChange) || n.subcode === Cease.bfdDown);

/** The same as a Hard Reset (RFC 8538 3.1), for a neighbour that otherwise restarts gracefully after any NOTIFICATION. */
const hardReset = (n: Notification): Notification =>
  notification(6, Cease.hardReset, n.reason, Uint8Array.of(n.code, n.subcode, ...n.data));

export const cease = (subcode: number, reason: string, data?: Uint8Array): Notification =>
  notification(6, subcode, reason, data);
