// bgp/session: neighbours that are configured as a range of addresses: who belongs to one, under which configuration, and when it is forgotten.
import { type Address, contains, formatAddress } from "../../net/address.ts";
import type { PeerSession } from "./peer.ts";
import { type Clock, type PeerConfig, State, type Timer } from "./types.ts";

/** A neighbour of a range that is down stays this long: its pauses still count against it, and it can be looked at. */
const LINGER_MS = 120_000;

/** The range that an address belongs to: the longest prefix counts. */
export function rangeOf(
  peers: readonly PeerConfig[],
  remote: Address,
  link: string | undefined,
): PeerConfig | undefined {
  let best: PeerConfig | undefined;
  let length = -1;
  for (const p of peers)
    for (const prefix of p.range?.prefixes ?? []) {
      if (prefix.length <= length || !contains(prefix, remote)) continue;
      if (p.interface !== undefined && link !== undefined && p.interface !== link) continue;
      best = p;
      length = prefix.length;
    }
  return best;
}

/** The configuration of one neighbour of a range. It connects to us, never we to it. */
export const memberConfig = (range: PeerConfig, address: Address): PeerConfig => ({
  ...range,
  name: `${range.name}-${formatAddress(address)}`,
  address,
  range: undefined,
  passive: true,
});

/** Whether a session came by a range. */
export const isMember = (session: PeerSession): boolean => session.rib.audience !== session.name;

/** Nothing would be lost with it: neither a connection nor routes that are kept. */
const isIdle = (s: PeerSession): boolean => s.state <= State.active && !s.stale[1] && !s.stale[2];

/** The neighbour of a range that gives its place to a new one; undefined where all are in use. */
export const replaceable = (members: readonly PeerSession[]): PeerSession | undefined =>
  members.filter(isIdle).sort((a, b) => a.since - b.since)[0];

/** Forgets neighbours of ranges some time after they went down. */
export class Reaper {
  readonly #clock: Clock;
  readonly #remove: (session: PeerSession) => void;
  readonly #timers = new Map<PeerSession, Timer>();

  constructor(clock: Clock, remove: (session: PeerSession) => void) {
    this.#clock = clock;
    this.#remove = remove;
  }

  changed(session: PeerSession): void {
    if (!isMember(session)) return;
    if (session.state === State.established) this.forget(session);
    else if (!this.#timers.has(session)) this.#arm(session);
  }

  /** The session is gone, or alive. */
  forget(session: PeerSession): void {
    this.#timers.get(session)?.cancel();
    this.#timers.delete(session);
  }

  #arm(session: PeerSession): void {
    const timer = this.#clock.after(LINGER_MS, () => {
      this.#timers.delete(session);
      if (isIdle(session)) this.#remove(session);
      else if (session.state !== State.established) this.#arm(session);
    });
    this.#timers.set(session, timer);
  }
}
