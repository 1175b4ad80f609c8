// bgp/rib: how many prefixes one neighbour is sent at most, and which are kept back until there is room.

/** Prefixes kept back that are remembered one by one; beyond, everything is looked through once there is room. */
const HELD_MAX = 65_536;

export class SendLimit {
  /** Routes at most. */
  max: number;
  readonly #held = new Set<number>();
  #beyond = false;
  /** Routes that the neighbour has once all that was decided is written. */
  #count = 0;

  constructor(max: number) {
    this.max = max;
  }

  /** Prefixes that are kept back, as far as they are remembered. */
  get heldBack(): number {
    return this.#held.size;
  }

  /** Decisions follow for a neighbour that has `advertised` routes. */
  begin(advertised: number): void {
    this.#count = advertised;
  }

  /**
   * Whether a route may be (or stay) with the neighbour.
   * @param wanted but for the limit it would be
   * @param sent it is there
   */
  allows(pid: number, wanted: boolean, sent: boolean): boolean {
    if (!wanted) {
      this.#held.delete(pid);
      if (sent) this.#count--;
      return false;
    }
    if (sent ? this.#count <= this.max : this.#count < this.max) {
      if (!sent) this.#count++;
      return true;
    }
    if (sent) this.#count--;
    if (this.#held.size < HELD_MAX) this.#held.add(pid);
    else this.#beyond = true;
    return false;
  }

  /** Prefixes for which there is room now; "all" where they are not known one by one. */
  release(advertised: number): readonly number[] | "all" {
    const room = this.max - advertised;
    if (room <= 0) return [];
    if (this.#held.size === 0 && this.#beyond) {
      this.#beyond = false;
      return "all";
    }
    const out: number[] = [];
    for (const pid of this.#held) {
      if (out.length >= room) break;
      out.push(pid);
    }
    for (const pid of out) this.#held.delete(pid);
    return out;
  }
}
