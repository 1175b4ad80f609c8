// test: a clock that moves only when told, and a seeded source of randomness.
import type { Clock, Timer } from "../../../src/kube/clock.ts";

interface Pending {
  readonly at: number;
  readonly order: number;
  run: (() => void) | undefined;
}

const before = (a: Pending, b: Pending): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

/** A binary heap; cancelled entries stay until they come to the top. */
class Heap {
  readonly #items: Pending[] = [];
  live = 0;

  push(item: Pending): void {
    this.live += 1;
    let i = this.#items.push(item) - 1;
    while (i > 0) {
      const up = (i - 1) >> 1;
      if (!before(item, this.#items[up]!)) break;
      this.#items[i] = this.#items[up]!;
      i = up;
    }
    this.#items[i] = item;
  }

  peek(): Pending | undefined {
    while (this.#items.length > 0 && !this.#items[0]!.run) this.#take();
    return this.#items[0];
  }

  pop(): Pending | undefined {
    return this.peek() && this.#take();
  }

  #take(): Pending {
    const top = this.#items[0]!;
    const last = this.#items.pop()!;
    const size = this.#items.length;
    if (size === 0) return top;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= size) break;
      if (child + 1 < size && before(this.#items[child + 1]!, this.#items[child]!)) child += 1;
      if (!before(this.#items[child]!, last)) break;
      this.#items[i] = this.#items[child]!;
      i = child;
    }
    this.#items[i] = last;
    return top;
  }
}

/** Lets everything run that waits for promises only. */
export const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class VirtualClock implements Clock {
  #monotonic = 1_000;
  #wall = Date.UTC(2026, 0, 1);
  #order = 0;
  readonly #pending = new Heap();

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
    return this.#pending.live;
  }

  after(ms: number, run: () => void): Timer {
    // Whole milliseconds, as timers have: sums of fractions never quite reach what they aim at.
    const entry: Pending = { at: this.#monotonic + Math.ceil(Math.max(0, ms)), order: this.#order++, run };
    this.#pending.push(entry);
    return {
      [Symbol.dispose]: () => {
        if (!entry.run) return;
        entry.run = undefined;
        this.#pending.live -= 1;
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
      const next = this.#pending.peek();
      if (!next?.run || next.at > end) break;
      this.#pending.pop();
      this.#pending.live -= 1;
      this.#moveTo(Math.max(this.#monotonic, next.at));
      const { run } = next;
      next.run = undefined;
      run();
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
