// fleet: notices silence on a stream, keeps our own side of it from being silent, and waits no longer than it should.
import type { Clock, Timer } from "../kube/index.ts";

/** Calls `silent` once if `heard` is not called for `ms`. */
export class Watchdog implements Disposable {
  readonly #clock: Clock;
  readonly #ms: number;
  readonly #silent: () => void;
  #last: number;
  #timer: Timer | undefined;

  constructor(clock: Clock, ms: number, silent: () => void) {
    this.#clock = clock;
    this.#ms = ms;
    this.#silent = silent;
    this.#last = clock.monotonic();
    this.#arm(ms);
  }

  heard(): void {
    this.#last = this.#clock.monotonic();
  }

  #arm(ms: number): void {
    // One timer that looks when it fires, not one a message.
    this.#timer = this.#clock.after(ms, () => {
      const rest = this.#last + this.#ms - this.#clock.monotonic();
      if (rest <= 0) this.#silent();
      else this.#arm(rest);
    });
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
  }
}

/** Calls `beat` every `ms` until disposed. @throws RangeError for a time that Node's timers would take for 1 ms */
export function every(clock: Clock, ms: number, beat: () => void): Disposable {
  if (!(ms > 0 && ms < 2 ** 31)) throw new RangeError(`an interval of ${ms} ms cannot be kept`);
  let timer: Timer;
  const arm = (): void => {
    timer = clock.after(ms, () => {
      arm();
      beat();
    });
  };
  arm();
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}

/** The promise's value, or undefined when it has not come after `ms`. */
export function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => resolve(undefined));
    promise.then(
      (value) => {
        timer[Symbol.dispose]();
        resolve(value);
      },
      (error: unknown) => {
        timer[Symbol.dispose]();
        reject(error);
      },
    );
  });
}
