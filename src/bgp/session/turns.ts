// bgp/session: whose turn it is to be sent something: a little each, round by round, and the input in between, so that nobody waits for another.
import type { Pulse } from "./pulse.ts";
import type { Clock } from "./types.ts";

/** One that is sent something when its turn comes. */
export interface Hearing {
  /** New or slow: it waits until the others have had theirs. */
  readonly patient: boolean;
  /** Sends one chunk at most. False: there is no more to send, or it takes no more now. */
  sendChunk(): boolean;
}

/** Rounds, and milliseconds, before what has come in meanwhile is read. */
const ROUNDS_MAX = 8;
const SPELL_MS = 10;
/** Of those who are patient: chunks among all of them, and milliseconds. */
const PATIENT_CHUNKS = 8;
const PATIENT_MS = 2;

export class Turns {
  readonly #clock: Clock;
  readonly #pulse: Pulse;
  /** In the order of their turns; at most every neighbour once. */
  readonly #prompt = new Set<Hearing>();
  readonly #patient = new Set<Hearing>();
  #due = false;
  #running = false;

  constructor(clock: Clock, pulse: Pulse) {
    this.#clock = clock;
    this.#pulse = pulse;
  }

  /** There may be something for it. */
  add(who: Hearing): void {
    this.#queue(who);
    this.#soon();
  }

  forget(who: Hearing): void {
    this.#prompt.delete(who);
    this.#patient.delete(who);
  }

  #queue(who: Hearing): void {
    if (this.#prompt.has(who) || this.#patient.has(who)) return;
    (who.patient ? this.#patient : this.#prompt).add(who);
  }

  #soon(): void {
    if (this.#due || this.#running) return;
    this.#due = true;
    this.#clock.soon(() => {
      this.#due = false;
      this.run();
    });
  }

  /** Gives turns until nobody wants more or it is time to read again; the rest follows by itself. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      this.#spell(this.#prompt, this.#prompt.size * ROUNDS_MAX, SPELL_MS);
      this.#spell(this.#patient, PATIENT_CHUNKS, PATIENT_MS);
    } finally {
      this.#running = false;
    }
    if (this.#prompt.size + this.#patient.size > 0) this.#soon();
  }

  #spell(queue: Set<Hearing>, chunksMax: number, ms: number): void {
    const until = this.#clock.now() + ms;
    let chunks = 0;
    // Who is added again goes to the end, which the loop comes to as well.
    for (const who of queue) {
      queue.delete(who);
      if (who.sendChunk()) {
        this.#queue(who);
        if (++chunks >= chunksMax) break;
      }
      this.#pulse.beat();
      if (this.#clock.now() >= until) break;
    }
  }
}
