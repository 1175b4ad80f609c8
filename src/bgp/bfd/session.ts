// bgp/bfd: one session in asynchronous mode (RFC 5880 6): its state, its two timers, the poll sequence. Clock and randomness are handed in.
import type { Clock, Random, Timer } from "../session/types.ts";
import { type BfdPacket, BfdState, Diagnostic, encodePacket } from "./packet.ts";

/** What is configured of a session; milliseconds. */
export interface BfdParameters {
  readonly transmitMs: number;
  readonly receiveMs: number;
  readonly detectMultiplier: number;
}

/** Why a session left Up. Only the first two say anything of the path (RFC 5882 3.2). */
export type DownCause = "expired" | "neighbor" | "neighbor-admin" | "admin";

export interface BfdSessionOwner {
  send(bytes: Uint8Array): void;
  /** The state has changed. `cause` is set where it was Up until now. */
  changed(session: BfdSession, cause: DownCause | undefined): void;
  /** Another interval or detection time is in force, or the neighbour says something else of itself. */
  negotiated(session: BfdSession): void;
}

/** RFC 5880 6.8.3: no faster than this until the session is up. Microseconds. */
const SLOW_US = 1_000_000;

export class BfdSession {
  state: BfdState = BfdState.down;
  diagnostic: number = Diagnostic.none;
  readonly discriminator: number;
  remoteDiscriminator = 0;
  remoteState: BfdState = BfdState.down;
  remoteDiagnostic: number = Diagnostic.none;
  /** The neighbour's last C bit. */
  remoteIndependent = false;
  sent = 0;
  received = 0;
  #parameters: BfdParameters;
  readonly #owner: BfdSessionOwner;
  readonly #clock: Clock;
  readonly #random: Random;
  /** What we announce, and what the timers use: the second follows when a poll sequence has told the neighbour. */
  #announced: { tx: number; rx: number };
  #used: { tx: number; rx: number };
  /** RFC 5880 6.8.1: 1 until the neighbour has spoken. */
  #remoteMinRx = 1;
  #remoteMinTx = 0;
  #remoteMultiplier = 0;
  #remoteDemand = false;
  #polling = false;
  /** Parameters changed while a poll sequence was going on: it must be run once more. */
  #pollAgain = false;
  #heard = 0;
  #lastSent = 0;
  #transmit: Timer | undefined;
  #detect: Timer | undefined;
  #detectAt = 0;
  #closed = false;

  constructor(
    parameters: BfdParameters,
    discriminator: number,
    owner: BfdSessionOwner,
    clock: Clock,
    random: Random,
  ) {
    this.#parameters = parameters;
    this.discriminator = discriminator;
    this.#owner = owner;
    this.#clock = clock;
    this.#random = random;
    this.#announced = { tx: this.#wantedTx(), rx: parameters.receiveMs * 1000 };
    this.#used = { ...this.#announced };
    this.#schedule();
  }

  /** Microseconds between our packets before jitter; 0 while the neighbour wants none. */
  get transmitInterval(): number {
    return this.#remoteMinRx === 0 ? 0 : Math.max(this.#used.tx, this.#remoteMinRx);
  }

  /** Microseconds of silence after which the session is down (RFC 5880 6.8.4); 0 before the neighbour has spoken. */
  get detectionTime(): number {
    return this.#remoteMultiplier * Math.max(this.#used.rx, this.#remoteMinTx);
  }

  /** What there is to see besides the state. */
  get #picture(): string {
    const { remoteState, remoteDiagnostic, remoteIndependent } = this;
    return `${this.transmitInterval} ${this.detectionTime} ${remoteState} ${remoteDiagnostic} ${remoteIndependent}`;
  }

  /** Ends the session without a word. */
  [Symbol.dispose](): void {
    this.#closed = true;
    this.#transmit?.cancel();
    this.#detect?.cancel();
  }

  #wantedTx(): number {
    const configured = this.#parameters.transmitMs * 1000;
    return this.state === BfdState.up ? configured : Math.max(configured, SLOW_US);
  }

  /** Takes changed parameters into the living session. */
  configure(parameters: BfdParameters): void {
    this.#parameters = parameters;
    this.#renegotiate();
    this.#sendNow(false);
  }

  /** RFC 5880 6.8.3: announces what is wanted now; what would hurt a neighbour that does not know it yet waits for its F bit. */
  #renegotiate(): void {
    const wanted = { tx: this.#wantedTx(), rx: this.#parameters.receiveMs * 1000 };
    if (wanted.tx === this.#announced.tx && wanted.rx === this.#announced.rx) return;
    this.#announced = wanted;
    const up = this.state === BfdState.up;
    if (!up || wanted.tx < this.#used.tx) this.#used.tx = wanted.tx;
    if (!up || wanted.rx > this.#used.rx) this.#used.rx = wanted.rx;
    if (this.state === BfdState.up || this.state === BfdState.init) {
      // RFC 5880 6.5: a sequence that is going on may be answered for the old values.
      if (this.#polling) this.#pollAgain = true;
      this.#polling = true;
    }
    this.#armDetect();
    this.#schedule();
  }

  /** RFC 5880 6.8.16: held down by us; packets go on so that the neighbour knows. */
  adminDown(): void {
    if (this.state === BfdState.adminDown) return;
    this.#become(BfdState.adminDown, Diagnostic.administrativelyDown, "admin");
  }

  /** Takes a packet that is for this session (RFC 5880 6.8.6). */
  receive(p: BfdPacket): void {
    if (this.#closed) return;
    this.received++;
    const before = this.#picture;
    this.#heard = this.#clock.now();
    this.remoteDiscriminator = p.myDiscriminator;
    this.remoteState = p.state;
    this.remoteDiagnostic = p.diagnostic;
    this.remoteIndependent = p.independent;
    this.#remoteDemand = p.demand;
    this.#remoteMinRx = p.requiredMinRx;
    this.#remoteMinTx = p.desiredMinTx;
    this.#remoteMultiplier = p.detectMultiplier;
    if (this.#polling && p.final) this.#polled();
    if (this.state === BfdState.adminDown) return;
    this.#step(p.state);
    this.#armDetect();
    if (p.poll) this.#sendNow(true);
    this.#schedule();
    if (this.#picture !== before) this.#owner.negotiated(this);
  }

  #polled(): void {
    this.#polling = this.#pollAgain;
    this.#pollAgain = false;
    if (!this.#polling) this.#used = { ...this.#announced };
  }

  /** The table of RFC 5880 6.2. */
  #step(theirs: BfdState): void {
    if (theirs === BfdState.adminDown) {
      if (this.state !== BfdState.down)
        this.#become(BfdState.down, Diagnostic.neighborSignaled, "neighbor-admin");
    } else if (this.state === BfdState.down) {
      if (theirs === BfdState.down) this.#become(BfdState.init, this.diagnostic, undefined);
      else if (theirs === BfdState.init) this.#become(BfdState.up, Diagnostic.none, undefined);
    } else if (this.state === BfdState.init) {
      if (theirs !== BfdState.down) this.#become(BfdState.up, Diagnostic.none, undefined);
    } else if (theirs === BfdState.down) this.#become(BfdState.down, Diagnostic.neighborSignaled, "neighbor");
  }

  #become(state: BfdState, diagnostic: number, cause: DownCause | undefined): void {
    const wasUp = this.state === BfdState.up;
    this.state = state;
    this.diagnostic = diagnostic;
    if (state === BfdState.down || state === BfdState.adminDown) {
      this.#polling = false;
      this.#pollAgain = false;
    }
    this.#renegotiate();
    // RFC 5880 6.8.7: news need not wait for the next turn.
    this.#sendNow(false);
    this.#owner.changed(this, wasUp ? cause : undefined);
  }

  /** As with BGP's hold timer the clock is not moved for each packet: when it fires, it asks when something was last heard. */
  #armDetect(): void {
    const ms = this.detectionTime / 1000;
    if (ms === 0) return;
    const at = this.#heard + ms;
    if (this.#detect && this.#detectAt <= at) return;
    this.#detect?.cancel();
    this.#detectAt = at;
    this.#detect = this.#clock.after(at - this.#clock.now(), () => {
      this.#detect = undefined;
      this.#expired();
    });
  }

  #expired(): void {
    const deadline = (): number => this.#heard + this.detectionTime / 1000;
    if (this.#closed) return;
    if (deadline() > this.#clock.now()) {
      this.#armDetect();
      return;
    }
    // After a stall of our own, what came in time may still wait in the socket: read first, judge then.
    this.#clock.soon(() => {
      if (this.#closed || this.detectionTime === 0) return;
      if (deadline() > this.#clock.now()) {
        this.#armDetect();
        return;
      }
      this.remoteDiscriminator = 0;
      this.#remoteMultiplier = 0;
      this.#remoteMinRx = 1;
      if (this.state === BfdState.init || this.state === BfdState.up)
        this.#become(BfdState.down, Diagnostic.timeExpired, "expired");
    });
  }

  /** Arms the next packet at its jittered interval from the last one (RFC 5880 6.8.7). */
  #schedule(): void {
    this.#transmit?.cancel();
    this.#transmit = undefined;
    const interval = this.transmitInterval;
    if (this.#closed || interval === 0 || this.#quiet) return;
    const most = this.#parameters.detectMultiplier === 1 ? 0.9 : 1;
    const ms = (interval * (0.75 + this.#random() * (most - 0.75))) / 1000;
    this.#transmit = this.#clock.after(Math.max(this.#lastSent + ms - this.#clock.now(), 0), () => {
      this.#emit(false);
      this.#schedule();
    });
  }

  /** The neighbour is in demand mode and needs no packets (RFC 5880 6.8.7). */
  get #quiet(): boolean {
    return (
      this.#remoteDemand && this.state === BfdState.up && this.remoteState === BfdState.up && !this.#polling
    );
  }

  #sendNow(final: boolean): void {
    if (this.#closed) return;
    // Nothing but an answer to a poll goes to a neighbour that wants no packets.
    if (!final && this.#remoteMinRx === 0) return;
    this.#emit(final);
    this.#schedule();
  }

  #emit(final: boolean): void {
    this.#lastSent = this.#clock.now();
    this.sent++;
    this.#owner.send(
      encodePacket({
        diagnostic: this.diagnostic,
        state: this.state,
        poll: this.#polling && !final,
        final,
        // This thread ends with the speaker.
        independent: false,
        demand: false,
        detectMultiplier: this.#parameters.detectMultiplier,
        myDiscriminator: this.discriminator,
        yourDiscriminator: this.remoteDiscriminator,
        desiredMinTx: this.#announced.tx,
        requiredMinRx: this.#announced.rx,
        requiredMinEchoRx: 0,
      }),
    );
  }
}
