// bgp/session: timers that do not wait for the end of long work: whoever works in pieces lets them run between two of them.
import type { Clock, Timer } from "./types.ts";

interface Beat {
  readonly at: number;
  readonly run: () => void;
  readonly timer: Timer;
}

export class Pulse {
  readonly #clock: Clock;
  /** At most one a connection. */
  readonly #beats = new Set<Beat>();
  /** Nothing is due before this. */
  #next = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs once, after `ms`: when the clock says so, or at a {@link beat} that comes before the clock has a chance to. */
  after(ms: number, run: () => void): Timer {
    const beat: Beat = {
      at: this.#clock.now() + ms,
      run: () => {
        this.#beats.delete(beat);
        beat.timer.cancel();
        run();
      },
      timer: this.#clock.after(ms, () => beat.run()),
    };
    this.#beats.add(beat);
    this.#next = Math.min(this.#next, beat.at);
    return {
      cancel: () => {
        this.#beats.delete(beat);
        beat.timer.cancel();
      },
    };
  }

  /** Runs what is due. */
  beat(): void {
    const now = this.#clock.now();
    if (now < this.#next) return;
    const due: Beat[] = [];
    let next = Number.POSITIVE_INFINITY;
    for (const beat of this.#beats)
      if (beat.at <= now) due.push(beat);
      else next = Math.min(next, beat.at);
    this.#next = next;
    // In their order: what one does may cancel another.
    for (const beat of due.sort((a, b) => a.at - b.at)) if (this.#beats.has(beat)) beat.run();
  }
}
