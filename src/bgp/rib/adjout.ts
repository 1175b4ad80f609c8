// bgp/rib: Adj-RIB-Out of one session and family: a place in its group's log, one bit a prefix for what was sent, nothing queued.
import type { Afi } from "../wire/constants.ts";
import { nlriBytes } from "../wire/nlri.ts";
import type { UpdateWriter } from "../wire/writer.ts";
import { toTwoOctet } from "../wire/writer.ts";
import type { AttributeTable } from "./attributes.ts";
import type { LogCursor } from "./changelog.ts";
import { grown } from "./columns.ts";
import { type ExportGroup, type GroupMember, type Hearer, NOTHING } from "./group.ts";
import { SendLimit } from "./sendlimit.ts";
import type { SharedChunk } from "./shared.ts";
import type { FamilyTable } from "./table.ts";

/** Entries that one call of {@link AdjRibOut.fill} looks at, at most. */
const ENTRIES_MAX = 65536;

/** Scratch for sorting by attributes, shared by all sessions: a call leaves it as it found it. */
interface Scratch {
  /** By attribute set: first entry of its bucket, -1 empty. */
  bucket: Int32Array;
  readonly pid: Int32Array;
  readonly next: Int32Array;
}

const scratch: Scratch = {
  bucket: new Int32Array(64).fill(-1),
  pid: new Int32Array(ENTRIES_MAX),
  next: new Int32Array(ENTRIES_MAX),
};

/** UPDATEs that a neighbour is to be told: whole messages, possibly none. Others may have got the same octets: they do not change. */
export interface Told {
  readonly bytes: Uint8Array;
  readonly messages: number;
  /** The octets are still the writer's: see UpdateWriter.lend. */
  readonly lent?: boolean;
}

/** Adj-RIB-Out as a session uses it: {@link AdjRibOut}, or PathsOut where several paths of a prefix are sent. */
export interface SessionOut extends Disposable {
  readonly afi: Afi;
  readonly group: ExportGroup;
  /** Routes announced and not withdrawn. */
  readonly advertised: number;
  readonly idle: boolean;
  restart(): void;
  /** Most routes that it is sent (undefined: no limit), now and from now on. */
  setLimit(max: number | undefined): void;
  /** Prefixes that the limit keeps back. */
  readonly heldBack: number;
  mark(used: Uint8Array): void;
  /**
   * UPDATEs of about `budget` octets at most, or what others were told at the same place; counted as sent from now on.
   * @param lend whether the octets may stay the writer's
   */
  take(writer: UpdateWriter, messageBytesMax: number, budget: number, lend?: boolean): Told;
}

export class AdjRibOut implements GroupMember, SessionOut {
  readonly afi: Afi;
  readonly group: ExportGroup;
  readonly #peer: Hearer;
  readonly #table: FamilyTable;
  readonly #attributes: AttributeTable;
  readonly #as4: boolean;
  readonly #cursor: LogCursor;
  /** Next pid of a walk over the whole table; -1 when none is going on. */
  #walk = 0;
  /** By pid: announced and not withdrawn since. */
  #sent: Int32Array = new Int32Array(8);
  /** Attributes last sent of originated prefixes: they are few, and sending them again unchanged is noise to a neighbour. */
  readonly #origins = new Map<number, number>();
  /** Prefixes to look at again that the log does not tell of; at most as many as there are prefixes. */
  readonly #nudged = new Set<number>();
  /** Prefixes announced and not withdrawn. */
  advertised = 0;
  #limit: SendLimit | undefined;

  constructor(
    afi: Afi,
    group: ExportGroup,
    peer: Hearer,
    table: FamilyTable,
    attributes: AttributeTable,
    as4: boolean,
  ) {
    this.afi = afi;
    this.group = group;
    this.#peer = peer;
    this.#table = table;
    this.#attributes = attributes;
    this.#as4 = as4;
    this.#cursor = group.logs[afi].open();
    group.join(afi, peer.index, this);
  }

  [Symbol.dispose](): void {
    this.group.logs[this.afi].close(this.#cursor);
    this.group.leave(this.afi, this.#peer.index, this);
  }

  /** Everything that is to be sent has been handed out. */
  get idle(): boolean {
    return (
      this.#walk < 0 && this.#nudged.size === 0 && this.#cursor.position === this.group.logs[this.afi].end
    );
  }

  nudge(pid: number): void {
    // What the log tells of it at an earlier place is right for the others, but no longer for this one.
    this.group.logs[this.afi].renew();
    this.#nudged.add(pid);
  }

  /** Sends everything again (ROUTE-REFRESH). */
  restart(): void {
    this.#walk = 0;
    this.#origins.clear();
  }

  get heldBack(): number {
    return this.#limit?.heldBack ?? 0;
  }

  setLimit(max: number | undefined): void {
    const before = this.#limit?.max;
    if (before === max) return;
    if (max === undefined) this.#limit = undefined;
    else if (this.#limit) this.#limit.max = max;
    else this.#limit = new SendLimit(max);
    // What there is room for now, or no room any more, is found by looking through everything.
    if (before !== undefined || this.advertised > (max ?? Infinity)) this.#walk = 0;
  }

  /**
   * Takes over what another session object has announced on the same connection: the neighbour has moved to another group, so
   * everything is told again and what the new group does not have is withdrawn.
   */
  inherit(before: AdjRibOut): void {
    this.#sent = before.#sent.slice();
    this.advertised = before.advertised;
    for (const [pid, attribute] of before.#origins) this.#origins.set(pid, attribute);
    // What is to be taken back stands in the new log before the old one lets go of it: else its number might be another prefix's by the
    // time the walk comes there, and the neighbour would keep the route for ever.
    const log = this.group.logs[this.afi];
    const limit = Math.min(this.#sent.length * 32, this.#table.prefixes.limit);
    for (let pid = 0; pid < limit; pid++) if (this.#isSent(pid) && this.out(pid) <= 0) log.append(pid);
  }

  mark(used: Uint8Array): void {
    for (const id of this.#origins.values()) used[id] = 1;
  }

  /** What would be announced of a prefix now; 0 and below: nothing. The one answer that sending and asking share. */
  out(pid: number): number {
    return this.group.outFor(this.afi, pid, this.#peer);
  }

  take(writer: UpdateWriter, messageBytesMax: number, budget: number, lend = false): Told {
    const log = this.group.logs[this.afi];
    const { position } = this.#cursor;
    const form = messageBytesMax * 2 + (this.#as4 ? 1 : 0);
    const told = this.#limit ? undefined : this.#takeShared(this.group.shared.get(log, position, form));
    if (told) return told;
    writer.begin(messageBytesMax);
    const part = this.#fill(writer, budget, log.readers > 1 && !this.#limit);
    const keep = part !== undefined && this.#cursor.position > position;
    const lent = lend && !keep;
    const bytes = lent ? writer.lend() : writer.finish();
    // Closing the last message counts it.
    const { messages } = writer;
    if (keep)
      this.group.shared.keep(log, position, form, { ...part, end: this.#cursor.position, bytes, messages });
    log.trim();
    return { bytes, messages, lent };
  }

  /** Takes what others were told, where it is to the word what this neighbour is to hear. */
  #takeShared(chunk: SharedChunk | undefined): Told | undefined {
    if (!chunk || this.#walk >= 0 || this.#nudged.size > 0 || chunk.sources.has(this.#peer.index))
      return undefined;
    const { announced, withdrawn, silent } = chunk;
    if (silent.some((pid) => this.#isSent(pid)) || !withdrawn.every((pid) => this.#isSent(pid)))
      return undefined;
    for (const pid of withdrawn) this.#setSent(pid, false);
    for (let i = 0; i < announced.length; i++) this.#setSent(announced[i]!, true);
    if (this.#origins.size > 0) {
      for (const pid of withdrawn) this.#origins.delete(pid);
      for (const pid of announced) this.#origins.delete(pid);
    }
    this.#cursor.position = chunk.end;
    this.group.logs[this.afi].trim();
    return chunk;
  }

  /**
   * Writes UPDATEs of about `budget` octets at most. Packs prefixes that share attributes, withdrawals first.
   * @param share whether others might be told the same
   * @returns what is to be known for that; undefined where it is meant for this neighbour alone
   */
  #fill(
    writer: UpdateWriter,
    budget: number,
    share: boolean,
  ): Omit<SharedChunk, keyof Told | "end"> | undefined {
    const log = this.group.logs[this.afi];
    const { tooLong } = this.group;
    const learned = this.group.out[this.afi];
    const silent: number[] = [];
    const { pid: pids, next } = scratch;
    const order: number[] = [];
    const withdrawn: number[] = [];
    /** Routes of our own by attributes: few, and never as learned ones are. */
    const originated = new Map<number, number[]>();
    let entries = 0;
    let estimate = 0;
    this.#limit?.begin(this.advertised);
    const take = (pid: number): void => {
      let attribute = this.out(pid);
      if (this.#limit && !this.#limit.allows(pid, attribute >= 0, this.#isSent(pid))) attribute = -1;
      const bytes = nlriBytes(this.#table.prefixes.lengths[pid]!);
      if (attribute <= 0) {
        // Not so for others: it is this neighbour's own route, or one of ours that it is not to hear.
        if (shared && pid < learned.length && learned[pid] !== NOTHING) shared = false;
        if (!this.#isSent(pid)) {
          if (shared) silent.push(pid);
          return;
        }
        withdrawn.push(pid);
        estimate += bytes;
        return;
      }
      if (learned[pid]! < 0) {
        // What is heard of our own routes depends on who hears.
        shared = false;
        if (this.#origins.get(pid) === attribute && this.#isSent(pid)) return;
        const list = originated.get(attribute);
        if (list) list.push(pid);
        else originated.set(attribute, [pid]);
        estimate += 32 + bytes + this.#attributes.end(attribute) - this.#attributes.start(attribute);
        return;
      }
      if (attribute >= scratch.bucket.length) this.#growBuckets();
      const { bucket } = scratch;
      if (bucket[attribute]! < 0) {
        order.push(attribute);
        estimate += 32 + this.#attributes.end(attribute) - this.#attributes.start(attribute);
      }
      pids[entries] = pid;
      next[entries] = bucket[attribute]!;
      bucket[attribute] = entries++;
      estimate += bytes;
    };
    let looked = 0;
    // One source a call: what the walk or a nudge has just taken may also stand in the log, and is not to be told twice in one.
    const aside = this.#walk >= 0 || this.#nudged.size > 0;
    let shared = share && !aside;
    while (this.#walk >= 0 && estimate < budget && looked++ < ENTRIES_MAX) {
      if (this.#walk >= this.#table.prefixes.limit) this.#walk = -1;
      else take(this.#walk++);
    }
    if (looked === 0)
      for (const pid of this.#nudged) {
        if (estimate >= budget || looked++ >= ENTRIES_MAX) break;
        this.#nudged.delete(pid);
        take(pid);
      }
    while (!aside && estimate < budget && looked++ < ENTRIES_MAX) {
      if (this.#cursor.position >= log.end) break;
      const pid = log.entry(this.#cursor.position++);
      if (pid >= 0) take(pid);
    }
    this.#writeWithdrawn(writer, withdrawn);
    for (const [attribute, own] of originated) this.#writeOriginated(writer, attribute, own);
    for (const attribute of order) {
      this.#writeLearned(writer, attribute, scratch.bucket[attribute]!);
      scratch.bucket[attribute] = -1;
    }
    if (this.#limit) this.#lookAgain(this.#limit);
    if (!shared || this.group.tooLong !== tooLong) return undefined;
    const announced = pids.slice(0, entries);
    const { bestPeer } = this.#table;
    const sources = new Set<number>();
    for (let i = 0; i < entries; i++) sources.add(bestPeer[announced[i]!]!);
    return { announced, withdrawn, silent, sources };
  }

  /** Prefixes that were kept back come next where there is room now. */
  #lookAgain(limit: SendLimit): void {
    if (this.#walk >= 0) return;
    const released = limit.release(this.advertised);
    if (released === "all") this.#walk = 0;
    else for (const pid of released) this.#nudged.add(pid);
  }

  #growBuckets(): void {
    scratch.bucket = grown(scratch.bucket, this.#attributes.limit * 2, -1);
  }

  #writeWithdrawn(writer: UpdateWriter, pids: readonly number[]): void {
    if (pids.length === 0) return;
    const { keys, lengths, words } = this.#table.prefixes;
    writer.withdraw(this.afi);
    for (const pid of pids) {
      writer.add(keys, pid * words, lengths[pid]!);
      this.#setSent(pid, false);
      this.#origins.delete(pid);
    }
  }

  #writeOriginated(writer: UpdateWriter, attribute: number, pids: readonly number[]): void {
    const { keys, lengths, words } = this.#table.prefixes;
    const t = this.#attributes;
    if (!this.#open(writer, t.bytes, t.start(attribute), t.end(attribute))) {
      this.#cannotSend(writer, pids);
      return;
    }
    for (const pid of pids) {
      writer.add(keys, pid * words, lengths[pid]!);
      this.#setSent(pid, true);
      this.#origins.set(pid, attribute);
    }
  }

  #writeLearned(writer: UpdateWriter, attribute: number, first: number): void {
    const { keys, lengths, words } = this.#table.prefixes;
    const { group } = this;
    const t = this.#attributes;
    let opened: boolean;
    if (group.rewrites[this.afi]) {
      const bytes = group.rewritten(this.afi, attribute);
      opened = this.#open(writer, bytes, 0, bytes.length);
    } else opened = this.#open(writer, t.bytes, t.start(attribute), t.end(attribute));
    const { pid: pids, next } = scratch;
    if (!opened) {
      const list: number[] = [];
      for (let i = first; i >= 0; i = next[i]!) list.push(pids[i]!);
      this.#cannotSend(writer, list);
      return;
    }
    for (let i = first; i >= 0; i = next[i]!) {
      const pid = pids[i]!;
      writer.add(keys, pid * words, lengths[pid]!);
      this.#setSent(pid, true);
      if (this.#origins.size > 0) this.#origins.delete(pid);
    }
  }

  #open(writer: UpdateWriter, b: Uint8Array, start: number, end: number): boolean {
    if (this.#as4) return writer.announce(this.afi, b, start, end);
    const bytes = toTwoOctet(b, start, end, this.afi);
    return writer.announce(this.afi, bytes, 0, bytes.length);
  }

  /** RFC 4271 9.2: what fits no message is not advertised, and what was before is taken back. */
  #cannotSend(writer: UpdateWriter, pids: readonly number[]): void {
    this.group.tooLong += pids.length;
    this.#writeWithdrawn(
      writer,
      pids.filter((pid) => this.#isSent(pid)),
    );
  }

  #isSent(pid: number): boolean {
    return pid >> 5 < this.#sent.length && (this.#sent[pid >> 5]! & (1 << (pid & 31))) !== 0;
  }

  #setSent(pid: number, on: boolean): void {
    if (this.#isSent(pid) === on) return;
    if (pid >> 5 >= this.#sent.length)
      this.#sent = grown(this.#sent, Math.max((pid >> 5) + 1, this.#table.head.length >> 5));
    this.#sent[pid >> 5]! ^= 1 << (pid & 31);
    this.advertised += on ? 1 : -1;
  }
}
