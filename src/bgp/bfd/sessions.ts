// bgp/bfd: all sessions of a speaker: which are wanted, which one a packet is for (RFC 5880 6.3), what is told of them. Sockets are handed in.
import type { BfdStatus, BfdTarget } from "../session/bfd.ts";
import type { Clock, Random, Timer } from "../session/types.ts";
import { type BfdState, decodePacket, diagnosticName, type Refusal, stateNames } from "./packet.ts";
import { BfdSession, type DownCause } from "./session.ts";

/** As many as there may be neighbours. */
export const SESSIONS_MAX = 4096;
/** After a session is not wanted any more, the neighbour is told for at most this long that this is no failure. */
const LINGER_MS_MAX = 10_000;

/** The way out for one session. */
export interface BfdLink {
  send(bytes: Uint8Array): void;
  /** Why nothing can be sent; empty when it can. */
  readonly problem: string;
  [Symbol.dispose](): void;
}

/** Where a datagram came from. */
export interface BfdSource {
  readonly multihop: boolean;
  /** The sender's address in the form of {@link addressText}. */
  readonly address: string;
  /** The interface, where the address is link-local; else empty. */
  readonly interface: string;
  /** Our address that it was sent to, in the same form, where the socket knows it. */
  readonly localAddress: string;
}

export interface BfdSessionsParts {
  readonly clock: Clock;
  readonly random: Random;
  open(target: BfdTarget): BfdLink;
  changed(key: string, status: BfdStatus): void;
}

/** Datagrams that were not taken, by reason. */
export interface BfdCounters {
  refused: Record<Refusal, number>;
  /** For no session that is configured. */
  strangers: number;
  /** Targets beyond the most there may be. */
  tooMany: number;
}

interface Entry {
  target: BfdTarget;
  readonly session: BfdSession;
  readonly link: BfdLink;
  since: number;
  downs: number;
  /** Set while it only tells the neighbour that it goes. */
  leaving: Timer | undefined;
}

export class BfdSessions {
  readonly counters: BfdCounters = {
    refused: {
      short: 0,
      version: 0,
      length: 0,
      multiplier: 0,
      multipoint: 0,
      discriminator: 0,
      authentication: 0,
    },
    strangers: 0,
    tooMany: 0,
  };
  readonly #parts: BfdSessionsParts;
  readonly #byKey = new Map<string, Entry>();
  readonly #byDiscriminator = new Map<number, Entry>();
  /** By hop kind and address of the neighbour. */
  readonly #byAddress = new Map<string, Entry[]>();

  constructor(parts: BfdSessionsParts) {
    this.#parts = parts;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Makes these the sessions there are; one whose path stays lives on with its new parameters. */
  set(targets: readonly BfdTarget[]): void {
    const wanted = new Map(targets.map((t) => [t.key, t]));
    for (const [key, entry] of this.#byKey) if (!wanted.has(key) && !entry.leaving) this.#leave(key, entry);
    for (const [key, target] of wanted) {
      const entry = this.#byKey.get(key);
      if (entry && !entry.leaving) {
        const same =
          entry.target.transmitMs === target.transmitMs &&
          entry.target.receiveMs === target.receiveMs &&
          entry.target.detectMultiplier === target.detectMultiplier;
        entry.target = target;
        if (!same) entry.session.configure(target);
        continue;
      }
      if (entry) this.#remove(key, entry);
      if (this.#byKey.size >= SESSIONS_MAX) this.counters.tooMany++;
      else this.#add(target);
    }
  }

  /** The speaker ends: each neighbour is told that this is no failure of the path. */
  stop(): void {
    for (const entry of this.#byKey.values()) entry.session.adminDown();
  }

  [Symbol.dispose](): void {
    for (const [key, entry] of this.#byKey) this.#remove(key, entry);
  }

  /** Takes a datagram. */
  receive(bytes: Uint8Array, from: BfdSource): void {
    const p = decodePacket(bytes);
    if (typeof p === "string") {
      this.counters.refused[p]++;
      return;
    }
    const entry =
      p.yourDiscriminator === 0 ? this.#atSource(from) : this.#byDiscriminator.get(p.yourDiscriminator);
    // RFC 5881 4, 5883 4: the discriminator alone does not say that a packet came by the path that it speaks of.
    if (!entry || entry.target.multihop !== from.multihop || !this.#fits(entry, from)) {
      this.counters.strangers++;
      return;
    }
    entry.session.receive(p);
  }

  #atSource(from: BfdSource): Entry | undefined {
    return this.#byAddress.get(addressKey(from))?.find((e) => !e.leaving && this.#fits(e, from));
  }

  #fits({ target }: Entry, from: BfdSource): boolean {
    if (addressText(target.address) !== from.address) return false;
    if (target.interface !== undefined && from.interface !== "" && target.interface !== from.interface)
      return false;
    return (
      from.localAddress === "" ||
      target.localAddress === undefined ||
      addressText(target.localAddress) === from.localAddress
    );
  }

  #add(target: BfdTarget): void {
    const { clock, random } = this.#parts;
    let discriminator = 0;
    while (discriminator === 0 || this.#byDiscriminator.has(discriminator))
      discriminator = Math.floor(random() * 2 ** 32);
    const link = this.#parts.open(target);
    const session = new BfdSession(
      target,
      discriminator,
      {
        send: (bytes) => link.send(bytes),
        changed: (_s, cause) => this.#changed(entry, cause),
        negotiated: () => this.#report(entry, false),
      },
      clock,
      random,
    );
    const entry: Entry = { target, session, link, since: clock.unixMs(), downs: 0, leaving: undefined };
    this.#byKey.set(target.key, entry);
    this.#byDiscriminator.set(discriminator, entry);
    const at = addressKey({ multihop: target.multihop, address: addressText(target.address) });
    this.#byAddress.set(at, [...(this.#byAddress.get(at) ?? []), entry]);
    this.report(target.key);
  }

  #leave(key: string, entry: Entry): void {
    const linger = Math.min(entry.session.detectionTime / 1000, LINGER_MS_MAX);
    entry.leaving = this.#parts.clock.after(linger, () => this.#remove(key, entry));
    entry.session.adminDown();
  }

  #remove(key: string, entry: Entry): void {
    entry.leaving?.cancel();
    entry.session[Symbol.dispose]();
    entry.link[Symbol.dispose]();
    this.#byKey.delete(key);
    this.#byDiscriminator.delete(entry.session.discriminator);
    const at = addressKey({ multihop: entry.target.multihop, address: addressText(entry.target.address) });
    const rest = (this.#byAddress.get(at) ?? []).filter((e) => e !== entry);
    if (rest.length > 0) this.#byAddress.set(at, rest);
    else this.#byAddress.delete(at);
  }

  #changed(entry: Entry, cause: DownCause | undefined): void {
    entry.since = this.#parts.clock.unixMs();
    if (cause !== undefined) entry.downs++;
    this.#report(entry, cause === "expired" || cause === "neighbor");
  }

  /** Tells of a session again: its link has changed. */
  report(key: string): void {
    const entry = this.#byKey.get(key);
    if (entry) this.#report(entry, false);
  }

  #report(entry: Entry, failed: boolean): void {
    const { session: s, target } = entry;
    if (entry.leaving) return;
    this.#parts.changed(target.key, {
      state: stateNames[s.state],
      diagnostic: diagnosticName(s.diagnostic),
      remoteState: stateNames[s.remoteState],
      remoteDiagnostic: diagnosticName(s.remoteDiagnostic),
      remoteIndependent: s.remoteIndependent,
      sinceUnixMs: entry.since,
      transmitMs: s.transmitInterval / 1000,
      detectMs: s.detectionTime / 1000,
      downs: entry.downs,
      problem: entry.link.problem,
      failed,
    });
  }

  /** The state of a session; undefined for one that is not there. */
  state(key: string): BfdState | undefined {
    return this.#byKey.get(key)?.session.state;
  }
}

const addressKey = (from: Pick<BfdSource, "multihop" | "address">): string =>
  `${from.multihop ? "m" : "s"} ${from.address}`;

/** An address as {@link BfdSource} carries it. */
export const addressText = (a: {
  readonly family: number;
  readonly hi: bigint;
  readonly lo: bigint;
}): string => `${a.family} ${a.hi.toString(16)} ${a.lo.toString(16)}`;
