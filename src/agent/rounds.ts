// agent: when the loop runs: soon after something has changed, never twice at once, and when time alone moves something.
import type { Clock, Timer } from "../kube/index.ts";

/** Changes that come together are one round, ms. */
const debounceMs = 15;
/** Rounds that follow one another without a pause for others. */
const burst = 16;

export interface RoundsOptions {
  readonly clock: Clock;
  /** One round. A failure leaves everything as it was; the next round begins from the newest state again. */
  readonly run: () => Promise<void>;
  readonly failed: (error: unknown) => void;
  /** After each round, however it ended. */
  readonly onDone?: (ms: number) => void;
  /** Ms until a round is due although nothing has changed. */
  readonly dueIn: () => number;
}

export class Rounds implements Disposable {
  count = 0;
  failures = 0;
  readonly #o: RoundsOptions;
  #soon: Timer | undefined;
  #wake: Timer | undefined;
  #running = false;
  #again = false;
  #disposed = false;

  constructor(options: RoundsOptions) {
    this.#o = options;
  }

  /** Something has changed. */
  poke(): void {
    if (this.#disposed) return;
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#soon ??= this.#o.clock.after(debounceMs, () => {
      this.#soon = undefined;
      void this.#run();
    });
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#soon?.[Symbol.dispose]();
    this.#wake?.[Symbol.dispose]();
  }

  async #run(): Promise<void> {
    this.#running = true;
    try {
      do {
        this.#again = false;
        this.count += 1;
        const begun = this.#o.clock.monotonic();
        try {
          await this.#o.run();
        } finally {
          this.#o.onDone?.(this.#o.clock.monotonic() - begun);
        }
      } while (this.#again && !this.#disposed && this.count % burst !== 0);
    } catch (error) {
      this.failures += 1;
      // What was asked for meanwhile waits for the next wake-up: a round that fails at once must not spin.
      this.#again = false;
      this.#o.failed(error);
    }
    this.#running = false;
    if (this.#again) this.poke();
    this.#wake?.[Symbol.dispose]();
    if (!this.#disposed) this.#wake = this.#o.clock.after(this.#o.dueIn(), () => this.poke());
  }
}
