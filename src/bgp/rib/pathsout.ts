// bgp/rib: Adj-RIB-Out of one session and family where several paths of a prefix are sent (RFC 7911), or the best of those that may go to a
// client of a route server (RFC 7947): a place in the group's log, and what was sent last.
import type { Afi } from "../wire/constants.ts";
import { nlriBytes, PATH_ID_BYTES } from "../wire/nlri.ts";
import { toTwoOctet, type UpdateWriter } from "../wire/writer.ts";
import type { SessionOut, Told } from "./adjout.ts";
import type { AttributeTable } from "./attributes.ts";
import type { LogCursor } from "./changelog.ts";
import { capacityFor, grown } from "./columns.ts";
import type { ExportGroup, GroupMember, Hearer } from "./group.ts";
import { SendLimit } from "./sendlimit.ts";
import type { FamilyTable } from "./table.ts";

/** Index of this node among the neighbours. */
const LOCAL = 0;
/** Prefixes that one call of {@link PathsOut.fill} looks at, at most. */
const PREFIXES_PER_FILL = 16_384;

/** Attributes of a path that is to be sent again although it is as it was. */
const AGAIN = -2;

/** Attributes of a route of our own are complete, those of a learned one may be as learned (ExportGroup.rewrites): they are told apart. */
const ownCode = (attribute: number): number => -attribute - 16;

/** The attribute set that a code stands for; -1 for none. */
const setOf = (code: number): number => (code >= 0 ? code : code <= -16 ? ownCode(code) : -1);

/** One path as it is to be sent. */
interface SentPath {
  readonly path: number;
  /** Ours for it: unique within a prefix, the same for all neighbours; 0 where paths have none. */
  readonly id: number;
  /** Number of its attribute set, by {@link ownCode} where the route is our own. */
  readonly code: number;
}

/** Identifiers and codes of attributes last sent, as lists by prefix in columns: 12 octets a path. */
class SentPaths {
  #head = new Int32Array(64).fill(-1);
  id = new Uint32Array(64);
  code = new Int32Array(64);
  next = new Int32Array(64);
  #limit = 0;
  #free = -1;
  count = 0;

  first(pid: number): number {
    return pid < this.#head.length ? this.#head[pid]! : -1;
  }

  find(pid: number, id: number): number {
    let at = this.first(pid);
    while (at >= 0 && this.id[at] !== id) at = this.next[at]!;
    return at;
  }

  set(pid: number, id: number, code: number): void {
    let at = this.find(pid, id);
    if (at < 0) {
      at = this.#take();
      if (pid >= this.#head.length)
        this.#head = grown(this.#head, capacityFor(this.#head.length, pid + 1), -1);
      this.id[at] = id;
      this.next[at] = this.#head[pid]!;
      this.#head[pid] = at;
      this.count++;
    }
    this.code[at] = code;
  }

  #take(): number {
    if (this.#free >= 0) {
      const at = this.#free;
      this.#free = this.next[at]!;
      return at;
    }
    const at = this.#limit++;
    if (at >= this.id.length) {
      const capacity = capacityFor(this.id.length, at + 1);
      this.id = grown(this.id, capacity);
      this.code = grown(this.code, capacity);
      this.next = grown(this.next, capacity);
    }
    return at;
  }

  remove(pid: number, id: number): void {
    let before = -1;
    let at = this.first(pid);
    while (at >= 0 && this.id[at] !== id) {
      before = at;
      at = this.next[at]!;
    }
    if (at < 0) return;
    if (before < 0) this.#head[pid] = this.next[at]!;
    else this.next[before] = this.next[at]!;
    this.code[at] = -1;
    this.next[at] = this.#free;
    this.#free = at;
    this.count--;
  }

  /** Everything is to be sent again; what has been sent stays known. */
  forgetAttributes(): void {
    for (let at = 0; at < this.#limit; at++) if (this.code[at] !== -1) this.code[at] = AGAIN;
  }

  mark(used: Uint8Array): void {
    for (let at = 0; at < this.#limit; at++) {
      const set = setOf(this.code[at]!);
      if (set >= 0) used[set] = 1;
    }
  }
}

export class PathsOut implements GroupMember, SessionOut {
  readonly afi: Afi;
  readonly group: ExportGroup;
  readonly #peer: Hearer;
  readonly #table: FamilyTable;
  readonly #attributes: AttributeTable;
  readonly #as4: boolean;
  readonly #cursor: LogCursor;
  readonly #pathsMax: number;
  /** Paths have identifiers; without, there is one of each prefix. */
  readonly #ids: boolean;
  /** Next pid of a walk over the whole table; -1 when none is going on. */
  #walk = 0;
  #sent = new SentPaths();
  #limit: SendLimit | undefined;
  /** Prefixes that the limit kept back and now has room for. */
  #again: readonly number[] = [];

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
    this.#ids = group.target.paths?.[afi] !== undefined;
    this.#pathsMax = group.target.paths?.[afi] ?? 1;
    this.#cursor = group.logs[afi].open();
    group.join(afi, peer.index, this);
  }

  [Symbol.dispose](): void {
    this.group.logs[this.afi].close(this.#cursor);
    this.group.leave(this.afi, this.#peer.index, this);
  }

  get advertised(): number {
    return this.#sent.count;
  }

  get idle(): boolean {
    return (
      this.#walk < 0 && this.#again.length === 0 && this.#cursor.position === this.group.logs[this.afi].end
    );
  }

  /** Whatever changes of a prefix is in the log: there is nothing to be told beside it. */
  nudge(): void {}

  get heldBack(): number {
    return this.#limit?.heldBack ?? 0;
  }

  setLimit(max: number | undefined): void {
    const before = this.#limit?.max;
    if (before === max) return;
    if (max === undefined) this.#limit = undefined;
    else if (this.#limit) this.#limit.max = max;
    else this.#limit = new SendLimit(max);
    if (before !== undefined || this.advertised > (max ?? Infinity)) this.#walk = 0;
  }

  restart(): void {
    this.#walk = 0;
    this.#sent.forgetAttributes();
  }

  /** Takes over what was announced before on the same session, when the neighbour moves to another group. */
  inherit(before: PathsOut): void {
    this.#sent = before.#sent;
    this.#sent.forgetAttributes();
    // Before the old log lets go of prefixes that are gone and not yet taken back.
    before.group.logs[this.afi].carry(before.#cursor, this.group.logs[this.afi]);
  }

  mark(used: Uint8Array): void {
    this.#sent.mark(used);
  }

  /** What would be announced of a prefix now, best first. */
  paths(pid: number): readonly SentPath[] {
    const table = this.#table;
    const first = table.head[pid]!;
    if (first < 0) return [];
    const out: SentPath[] = [];
    const take = (path: number): void => {
      const attribute = this.group.outForPath(this.afi, pid, path, this.#peer);
      if (attribute <= 0) return;
      const id = this.#ids ? path + 1 : 0;
      out.push({ path, id, code: table.pathPeer[path] === LOCAL ? ownCode(attribute) : attribute });
    };
    if (table.pathNext[first]! < 0) {
      if (table.pathAttr[first]! >= 0) take(first);
      return out;
    }
    for (const { path } of table.candidates(pid).order) {
      if (out.length >= this.#pathsMax) break;
      take(path);
    }
    return out;
  }

  /** Writes UPDATEs of about `budget` octets at most. Packs paths that share attributes, withdrawals first. */
  take(writer: UpdateWriter, messageBytesMax: number, budget: number): Told {
    writer.begin(messageBytesMax);
    this.#fill(writer, budget);
    return { bytes: writer.finish(), messages: writer.messages };
  }

  #fill(writer: UpdateWriter, budget: number): void {
    const log = this.group.logs[this.afi];
    const withdrawn: number[] = [];
    /** By code: pid, id, pid, id, … */
    const announced = new Map<number, number[]>();
    let estimate = 0;
    const take = (pid: number): void => {
      const bytes = PATH_ID_BYTES + nlriBytes(this.#table.prefixes.lengths[pid]!);
      const sent = this.#sent;
      const wanted = this.#allowed(pid);
      for (let at = sent.first(pid); at >= 0; at = sent.next[at]!) {
        const id = sent.id[at]!;
        if (wanted.some((p) => p.id === id)) continue;
        withdrawn.push(pid, id);
        estimate += bytes;
      }
      for (const { id, code } of wanted) {
        const at = sent.find(pid, id);
        if (at >= 0 && sent.code[at] === code) continue;
        const list = announced.get(code);
        if (list) list.push(pid, id);
        else {
          announced.set(code, [pid, id]);
          estimate += 32 + this.#attributes.end(setOf(code)) - this.#attributes.start(setOf(code));
        }
        estimate += bytes;
      }
    };
    this.#limit?.begin(this.#sent.count);
    let looked = 0;
    // One source a call, so that no prefix is taken twice in it.
    const walking = this.#walk >= 0 || this.#again.length > 0;
    while (this.#walk >= 0 && estimate < budget && looked++ < PREFIXES_PER_FILL) {
      if (this.#walk >= this.#table.prefixes.limit) this.#walk = -1;
      else take(this.#walk++);
    }
    if (looked === 0 && this.#again.length > 0) {
      const again = this.#again;
      this.#again = again.slice(PREFIXES_PER_FILL);
      for (const pid of again.slice(0, PREFIXES_PER_FILL)) take(pid);
    }
    while (!walking && estimate < budget && looked++ < PREFIXES_PER_FILL) {
      if (this.#cursor.position >= log.end) break;
      const pid = log.entry(this.#cursor.position++);
      if (pid >= 0) take(pid);
    }
    this.#writeWithdrawn(writer, withdrawn);
    for (const [code, list] of announced) this.#writeAnnounced(writer, code, list);
    if (this.#limit) this.#lookAgain(this.#limit);
    log.trim();
  }

  /** The paths of a prefix that are to be sent, as far as the limit lets them. */
  #allowed(pid: number): readonly SentPath[] {
    const wanted = this.paths(pid);
    const limit = this.#limit;
    if (!limit) return wanted;
    const sent = this.#sent;
    for (let at = sent.first(pid); at >= 0; at = sent.next[at]!) {
      const id = sent.id[at]!;
      if (!wanted.some((p) => p.id === id)) limit.allows(pid, false, true);
    }
    return wanted.filter(({ id }) => limit.allows(pid, true, sent.find(pid, id) >= 0));
  }

  #lookAgain(limit: SendLimit): void {
    if (this.#walk >= 0 || this.#again.length > 0) return;
    const released = limit.release(this.#sent.count);
    if (released === "all") this.#walk = 0;
    else this.#again = released;
  }

  #writeWithdrawn(writer: UpdateWriter, list: readonly number[]): void {
    if (list.length === 0) return;
    const { keys, lengths, words } = this.#table.prefixes;
    writer.withdraw(this.afi, this.#ids);
    for (let i = 0; i < list.length; i += 2) {
      const pid = list[i]!;
      writer.add(keys, pid * words, lengths[pid]!, list[i + 1]!);
      this.#sent.remove(pid, list[i + 1]!);
    }
  }

  #writeAnnounced(writer: UpdateWriter, code: number, list: readonly number[]): void {
    const { keys, lengths, words } = this.#table.prefixes;
    if (!this.#open(writer, code)) {
      // RFC 4271 9.2: what fits no message is not advertised, and what was before is taken back.
      this.group.tooLong += list.length / 2;
      const sent: number[] = [];
      for (let i = 0; i < list.length; i += 2)
        if (this.#sent.find(list[i]!, list[i + 1]!) >= 0) sent.push(list[i]!, list[i + 1]!);
      this.#writeWithdrawn(writer, sent);
      return;
    }
    for (let i = 0; i < list.length; i += 2) {
      const pid = list[i]!;
      writer.add(keys, pid * words, lengths[pid]!, list[i + 1]!);
      this.#sent.set(pid, list[i + 1]!, code);
    }
  }

  #open(writer: UpdateWriter, code: number): boolean {
    const t = this.#attributes;
    const attribute = setOf(code);
    let b = t.bytes;
    let start = t.start(attribute);
    let end = t.end(attribute);
    if (this.group.rewrites[this.afi] && code >= 0) {
      b = this.group.rewritten(this.afi, attribute);
      start = 0;
      end = b.length;
    }
    if (!this.#as4) {
      b = toTwoOctet(b, start, end, this.afi);
      start = 0;
      end = b.length;
    }
    return writer.announce(this.afi, b, start, end, this.#ids);
  }
}
