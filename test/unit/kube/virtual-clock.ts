// test: a clock that moves only when told, and a seeded source of randomness.
import type { Clock, Timer } from "../../../src/kube/clock.ts";

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

/** Lets everything run that waits for promises only. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class VirtualClock implements Clock {
  #monotonic = 1_000;
  #wall = Date.UTC(2026, 0, 1);
  #order = 0;
  #pending: Pending[] = [];

  now(): number {
    return this.#wall;
  }
  monotonic(): number {
    return this.#monotonic;
  }
  /** Moves wall time alone, as NTP or an operator does. */
  jumpWall(ms: number): void {
    this.#wall += ms;
  }
  get timers(): number {
    return this.#pending.length;
  }

  after(ms: number, run: () => void): Timer {
    // Whole milliseconds, as timers have: sums of fractions never quite reach what they aim at.
    const entry: Pending = { at: this.#monotonic + Math.ceil(Math.max(0, ms)), order: this.#order++, run };
    this.#pending.push(entry);
    return {
      [Symbol.dispose]: () => {
        this.#pending = this.#pending.filter((p) => p !== entry);
      },
    };
  }

  /** Lets `ms` pass; timers run in order, and promises settle between them. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonic + Math.ceil(ms);
    await settle();
    for (let steps = 0; ; steps++) {
      if (steps > 2_000_000)
        throw new Error("virtual time does not move: a timer re-arms itself without a pause");
      const next = this.#pending
        .filter((p) => p.at <= end)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (!next) break;
      this.#pending = this.#pending.filter((p) => p !== next);
      this.#moveTo(Math.max(this.#monotonic, next.at));
      next.run();
      await settle();
    }
    this.#moveTo(end);
  }

  /** Advances in steps until the condition holds. @throws Error after `limitMs` of virtual time */
  async until(condition: () => boolean, limitMs = 600_000, stepMs = 20): Promise<void> {
    for (let passed = 0; !condition(); passed += stepMs) {
      if (passed > limitMs) throw new Error(`condition not met within ${limitMs} ms of virtual time`);
      await this.advance(stepMs);
    }
  }

  #moveTo(at: number): void {
    this.#wall += at - this.#monotonic;
    this.#monotonic = at;
  }
}

/** mulberry32: the same numbers for the same seed on every machine. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
