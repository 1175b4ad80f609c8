// bgp/rib: what neighbours of a group hear at one place of its change log, written once and given to all who come there.
import type { ChangeLog } from "./changelog.ts";

/** UPDATEs for a stretch of a change log. */
export interface SharedChunk {
  /** Place in the log after it. */
  readonly end: number;
  /** Whole messages. */
  readonly bytes: Uint8Array;
  readonly messages: number;
  /** Prefixes announced, withdrawn, and left out because there was nothing to take back. */
  readonly announced: Int32Array;
  readonly withdrawn: readonly number[];
  readonly silent: readonly number[];
  /** Neighbours whose routes are among those announced: they do not get them back. */
  readonly sources: ReadonlySet<number>;
}

interface Held {
  readonly chunk: SharedChunk;
  readonly log: ChangeLog;
  /** Of the log: places mean what they meant as long as it is the same. */
  readonly epoch: number;
  readonly bytes: number;
}

/** Octets kept at most, over all logs. */
const BYTES_MAX = 8 * 1024 * 1024;

/** The chunks written last. What is not here any more is written again. */
export class SharedChunks {
  readonly #held = new Map<string, Held>();
  #bytes = 0;

  /** @param form what else the octets depend on */
  get(log: ChangeLog, position: number, form: number): SharedChunk | undefined {
    const held = this.#held.get(keyOf(log, position, form));
    return held && held.epoch === log.epoch ? held.chunk : undefined;
  }

  keep(log: ChangeLog, position: number, form: number, chunk: SharedChunk): void {
    const key = keyOf(log, position, form);
    this.#drop(key);
    const { announced, withdrawn, silent } = chunk;
    const bytes = chunk.bytes.length + announced.byteLength + (withdrawn.length + silent.length) * 8;
    this.#held.set(key, { chunk, log, epoch: log.epoch, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#held.keys()) {
      if (this.#bytes <= BYTES_MAX) break;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    const held = this.#held.get(key);
    if (!held) return;
    this.#held.delete(key);
    this.#bytes -= held.bytes;
  }

  /** Lets go of what nobody can ask for any more. */
  trim(): void {
    for (const [key, { log, epoch }] of this.#held) if (epoch !== log.epoch) this.#drop(key);
  }
}

const keyOf = (log: ChangeLog, position: number, form: number): string => `${log.id}:${position}:${form}`;
