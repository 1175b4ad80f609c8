// bgp/rib: which prefixes changed, in order, read by many at their own pace. A slow reader is a position in it, not a queue.
import { capacityFor, grown } from "./columns.ts";

/** A reader's place: the index of the next entry it has not seen. Owned by the log that opened it. */
export interface LogCursor {
  position: number;
}

/** What a log tells of the prefixes it holds: a pinned one is not given back. */
export interface Pins {
  /** By pid: how many logs still speak of it. */
  readonly pins: Uint16Array;
  /** Called when a prefix has left a log. */
  releaseIfUnused(pid: number): void;
}

let nextId = 0;

/**
 * A list of prefix numbers. Only the newest entry of a prefix counts; older ones are skipped and squeezed out, so the log
 * never holds more than twice as many entries as there are prefixes, however far behind a reader is.
 */
export class ChangeLog {
  /** Tells logs apart. */
  readonly id = nextId++;
  /** Changes whenever places no longer mean what they meant, or an entry that was read may speak for a later change. */
  epoch = 0;
  #pids = new Int32Array(64);
  #count = 0;
  /** Entries before this index have been read by all. */
  #start = 0;
  /** By pid: index of its live entry, and 1; 0 for none. */
  #at = new Int32Array(64);
  #live = 0;
  /** The furthest reader's position, kept so that an append need not ask every reader. */
  #furthest = 0;
  readonly #cursors = new Set<LogCursor>();
  readonly #table: Pins;

  constructor(table: Pins) {
    this.#table = table;
  }

  /** Index after the newest entry. */
  get end(): number {
    return this.#count;
  }

  /** Prefixes that some reader has still to see. */
  get live(): number {
    return this.#live;
  }

  /** A new reader that has seen everything up to now. */
  open(): LogCursor {
    const cursor = { position: this.#count };
    this.#cursors.add(cursor);
    this.#furthest = this.#count;
    return cursor;
  }

  /** What has been written for stretches of the log is not to be used again. */
  renew(): void {
    this.epoch++;
  }

  close(cursor: LogCursor): void {
    this.#cursors.delete(cursor);
    this.trim();
  }

  get readers(): number {
    return this.#cursors.size;
  }

  /** Notes that a prefix changed. */
  append(pid: number): void {
    if (this.#cursors.size === 0) return;
    if (pid >= this.#at.length) this.#at = grown(this.#at, capacityFor(this.#at.length, pid + 1));
    const before = this.#at[pid]! - 1;
    if (before >= 0) {
      // Nobody has read the entry that is there: it speaks for this change too.
      if (before >= this.#furthest) return;
    } else {
      this.#live++;
      this.#table.pins[pid]!++;
    }
    if (this.#count === this.#pids.length) this.#makeRoom();
    this.#pids[this.#count++] = pid;
    this.#at[pid] = this.#count;
  }

  /** The prefix of entry `index`, or -1 where a newer entry of the same prefix follows. */
  entry(index: number): number {
    const pid = this.#pids[index]!;
    return this.#at[pid] === index + 1 ? pid : -1;
  }

  /** Notes in another log what a reader of this one has still to see. */
  carry(from: LogCursor, to: ChangeLog): void {
    for (let i = from.position; i < this.#count; i++) {
      const pid = this.entry(i);
      if (pid >= 0) to.append(pid);
    }
  }

  /** Forgets what all readers have seen. Call after cursors have moved. */
  trim(): void {
    let slowest = this.#count;
    const before = this.#furthest;
    this.#furthest = 0;
    for (const c of this.#cursors) {
      if (c.position < slowest) slowest = c.position;
      if (c.position > this.#furthest) this.#furthest = c.position;
    }
    if (this.#furthest < before) this.epoch++;
    const pids = this.#pids;
    const at = this.#at;
    const table = this.#table;
    const { pins } = table;
    for (let i = this.#start; i < slowest; i++) {
      const pid = pids[i]!;
      if (at[pid] !== i + 1) continue;
      at[pid] = 0;
      this.#live--;
      if (--pins[pid]! === 0) table.releaseIfUnused(pid);
    }
    this.#start = slowest;
    if (this.#start === this.#count && this.#count > 0) {
      this.epoch++;
      for (const c of this.#cursors) c.position = 0;
      this.#furthest = 0;
      this.#start = 0;
      this.#count = 0;
    }
  }

  /** Squeezes out superseded entries; grows only when that frees less than half. */
  #makeRoom(): void {
    const cursors = [...this.#cursors].sort((a, b) => a.position - b.position);
    let to = 0;
    let c = 0;
    for (let from = this.#start; from < this.#count; from++) {
      while (c < cursors.length && cursors[c]!.position <= from) cursors[c++]!.position = to;
      const pid = this.#pids[from]!;
      if (this.#at[pid] !== from + 1) continue;
      this.#pids[to++] = pid;
      this.#at[pid] = to;
    }
    while (c < cursors.length) cursors[c++]!.position = to;
    this.#furthest = cursors.at(-1)?.position ?? 0;
    if (to < this.#count) this.epoch++;
    this.#start = 0;
    this.#count = to;
    if (to * 2 > this.#pids.length)
      this.#pids = grown(this.#pids, capacityFor(this.#pids.length, this.#pids.length + 1));
  }
}
