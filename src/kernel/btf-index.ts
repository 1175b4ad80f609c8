// kernel: the index over BTF that lies on disk: names to type ids in about a millisecond, rebuilt whenever it does not fit.
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { Btf, BtfKind, btfDirectory, FileBytes, readHeader, scanOffsets } from "./btf.ts";

/** Grows with every change of the layout below. */
export const indexVersion = 1;

const magic = 0x46544257; // "WBTF"

/**
 * The file, in 32-bit little-endian words: this header; offsets of all types; names (bucket starts, then type ids);
 * enumerators (bucket starts, then pairs of type id and position). Buckets are by FNV-1a of the name.
 */
const Header = {
  magic: 0,
  version: 1,
  /** Bytes of the BTF that it was made from. */
  btfLength: 2,
  firstId: 3,
  types: 4,
  nameBuckets: 5,
  names: 6,
  enumBuckets: 7,
  enumerators: 8,
  /** 8 words: the key. */
  key: 9,
  words: 17,
} as const;

/** Kinds of types that can be asked for by name. */
const namedKinds: ReadonlySet<number> = new Set([
  BtfKind.INT,
  BtfKind.STRUCT,
  BtfKind.UNION,
  BtfKind.ENUM,
  BtfKind.ENUM64,
  BtfKind.TYPEDEF,
  BtfKind.FUNC,
  BtfKind.VAR,
  BtfKind.FLOAT,
]);

const powerOfTwo = (n: number): number => 2 ** Math.max(4, Math.ceil(Math.log2(Math.max(1, n))));

/** FNV-1a of a name, 32 bits, as Btf.hashString computes it in place. */
export function hashName(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name, "latin1")) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** Puts entries into buckets by counting: starts[b]..starts[b + 1] are the entries of bucket b. */
function bucketed(hashes: readonly number[], buckets: number): { starts: Uint32Array; order: Uint32Array } {
  const starts = new Uint32Array(buckets + 1);
  for (const hash of hashes) {
    const b = (hash & (buckets - 1)) + 1;
    starts[b] = (starts[b] ?? 0) + 1;
  }
  for (let b = 1; b <= buckets; b++) starts[b] = (starts[b] ?? 0) + (starts[b - 1] ?? 0);
  const next = starts.slice();
  const order = new Uint32Array(hashes.length);
  for (const [i, hash] of hashes.entries()) {
    const b = hash & (buckets - 1);
    order[next[b] ?? 0] = i;
    next[b] = (next[b] ?? 0) + 1;
  }
  return { starts, order };
}

/** Makes the index of one BTF object. `key` identifies the object: 32 bytes. */
export function buildIndex(bytes: Uint8Array, key: Uint8Array, base?: Btf): Uint32Array {
  const offsets = scanOffsets(bytes);
  const btf = new Btf(bytes, base ? { base, offsets } : { offsets });
  const ids: number[] = [];
  const hashes: number[] = [];
  const enumTypes: number[] = [];
  const enumPositions: number[] = [];
  const enumHashes: number[] = [];
  for (let id = btf.firstId; id < btf.endId; id++) {
    const kind = btf.kind(id);
    if (!namedKinds.has(kind)) continue;
    const name = btf.nameOffset(id);
    if (name !== 0) {
      ids.push(id);
      hashes.push(btf.hashString(name));
    }
    if (kind !== BtfKind.ENUM && kind !== BtfKind.ENUM64) continue;
    for (let i = 0; i < btf.elements(id); i++) {
      enumTypes.push(id);
      enumPositions.push(i);
      enumHashes.push(btf.hashString(btf.enumeratorName(id, i)));
    }
  }
  const nameBuckets = powerOfTwo(ids.length);
  const enumBuckets = powerOfTwo(enumTypes.length);
  const names = bucketed(hashes, nameBuckets);
  const enums = bucketed(enumHashes, enumBuckets);
  const total =
    Header.words + offsets.length + nameBuckets + 1 + ids.length + enumBuckets + 1 + 2 * enumTypes.length;
  const words = new Uint32Array(total);
  words[Header.magic] = magic;
  words[Header.version] = indexVersion;
  words[Header.btfLength] = bytes.length;
  words[Header.firstId] = btf.firstId;
  words[Header.types] = offsets.length;
  words[Header.nameBuckets] = nameBuckets;
  words[Header.names] = ids.length;
  words[Header.enumBuckets] = enumBuckets;
  words[Header.enumerators] = enumTypes.length;
  words.set(new Uint32Array(Uint8Array.from(key).buffer), Header.key);
  let at: number = Header.words;
  const put = (part: Uint32Array) => {
    words.set(part, at);
    at += part.length;
  };
  put(offsets);
  put(names.starts);
  for (const i of names.order) words[at++] = ids[i] ?? 0;
  put(enums.starts);
  for (const i of enums.order) {
    words[at++] = enumTypes[i] ?? 0;
    words[at++] = enumPositions[i] ?? 0;
  }
  return words;
}

/** BTF with its index: what everybody asks for types by name. */
export class IndexedBtf {
  readonly btf: Btf;
  /** "vmlinux" or the module. */
  readonly module: string;
  readonly #words: Uint32Array;

  constructor(module: string, bytes: Uint8Array, words: Uint32Array, base?: Btf) {
    const types = words[Header.types] ?? 0;
    const offsets = words.subarray(Header.words, Header.words + types);
    this.btf = new Btf(bytes, base ? { base, offsets, label: module } : { offsets });
    this.module = module;
    this.#words = words;
  }

  /** Id of the first type of that name and one of these kinds; undefined if there is none. */
  find(name: string, ...kinds: readonly number[]): number | undefined {
    for (const id of this.#bucket(name))
      if (kinds.includes(this.btf.kind(id)) && this.btf.name(id) === name) return id;
    return undefined;
  }

  *#bucket(name: string): Generator<number> {
    const words = this.#words;
    const buckets = words[Header.nameBuckets] ?? 1;
    const starts = Header.words + (words[Header.types] ?? 0);
    const bucket = starts + (hashName(name) & (buckets - 1));
    const entries = starts + buckets + 1;
    for (let i = words[bucket] ?? 0; i < (words[bucket + 1] ?? 0); i++) yield words[entries + i] ?? 0;
  }

  /** The enum and the position in it of the first enumerator of that name. */
  findEnumerator(name: string): { readonly typeId: number; readonly index: number } | undefined {
    const words = this.#words;
    const buckets = words[Header.enumBuckets] ?? 1;
    const starts =
      Header.words +
      (words[Header.types] ?? 0) +
      (words[Header.nameBuckets] ?? 0) +
      1 +
      (words[Header.names] ?? 0);
    const bucket = starts + (hashName(name) & (buckets - 1));
    const entries = starts + buckets + 1;
    for (let i = words[bucket] ?? 0; i < (words[bucket + 1] ?? 0); i++) {
      const typeId = words[entries + 2 * i] ?? 0;
      const index = words[entries + 2 * i + 1] ?? 0;
      const owner = this.btf.owner(typeId);
      if (owner.string(owner.enumeratorName(typeId, index)) === name) return { typeId, index };
    }
    return undefined;
  }

  /** Names of all types of one kind that pass the filter, in order of ids. Walks all types: some milliseconds. */
  *names(kind: number, prefix = ""): Generator<string> {
    for (let id = this.btf.firstId; id < this.btf.endId; id++) {
      if (this.btf.kind(id) !== kind) continue;
      const name = this.btf.name(id);
      if (name.startsWith(prefix)) yield name;
    }
  }
}

/** Notes of an ELF note section: the GNU build id (type 3), or undefined. */
export function buildIdOf(notes: Uint8Array): Uint8Array | undefined {
  const v = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameSize = v.getUint32(at, true);
    const size = v.getUint32(at + 4, true);
    const type = v.getUint32(at + 8, true);
    const name = at + 12;
    const data = name + ((nameSize + 3) & ~3);
    if (data + size > notes.length) return undefined;
    if (
      type === 3 &&
      nameSize === 4 &&
      notes[name] === 0x47 &&
      notes[name + 1] === 0x4e &&
      notes[name + 2] === 0x55
    )
      return notes.subarray(data, data + size);
    at = data + ((size + 3) & ~3);
  }
  return undefined;
}

/** 32 bytes that identify a BTF object: its build id, or else two hashes over all of it; always with its length. */
export function keyOf(bytes: Uint8Array, notes: Uint8Array | undefined): Uint8Array {
  const key = new Uint8Array(32);
  const view = new DataView(key.buffer);
  view.setUint32(28, bytes.length, true);
  const id = notes && buildIdOf(notes);
  if (id) {
    key.set(id.subarray(0, 24));
    return key;
  }
  let a = 0x811c9dc5;
  let b = 0x9747b28c;
  for (const byte of bytes) {
    a = Math.imul(a ^ byte, 0x01000193);
    b = Math.imul(b, 31) + byte;
  }
  view.setUint32(0, a >>> 0, true);
  view.setUint32(4, b >>> 0, true);
  view.setUint32(24, 0xffff_ffff, true);
  return key;
}

function readIfAny(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "EACCES" || code === "EPERM") return undefined;
    throw error;
  }
}

/** Whether words are an index of exactly this object. */
function fits(words: Uint32Array, btfLength: number, key: Uint8Array, firstId: number): boolean {
  if (words.length < Header.words || words[Header.magic] !== magic || words[Header.version] !== indexVersion)
    return false;
  const w = (i: number) => words[i] ?? 0;
  const total =
    Header.words +
    w(Header.types) +
    w(Header.nameBuckets) +
    1 +
    w(Header.names) +
    w(Header.enumBuckets) +
    1 +
    2 * w(Header.enumerators);
  if (total !== words.length || w(Header.btfLength) !== btfLength || w(Header.firstId) !== firstId)
    return false;
  return new Uint32Array(key.buffer, key.byteOffset, 8).every((word, i) => word === w(Header.key + i));
}

/** A directory that only we write: created 0755; refused (false) if somebody else owns or may write it. */
export function ownDirectory(directory: string): boolean {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const info = statSync(directory);
  return info.uid === (process.geteuid?.() ?? 0) && (info.mode & 0o022) === 0;
}

/** Writes a file so that a reader sees the old one, or all of the new one. @throws Error from node:fs */
export function writeByRename(path: string, bytes: Uint8Array): void {
  const temporary = `${path}.${process.pid}`;
  const fd = openSync(temporary, "w", 0o644);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    fsyncSync(fd);
  } catch (error) {
    unlinkSync(temporary);
    throw error;
  } finally {
    closeSync(fd);
  }
  renameSync(temporary, path);
}

export interface OpenedIndex {
  readonly indexed: IndexedBtf;
  /** How it came about: from disk, or built, and then why it is not on disk if it is not. */
  readonly origin: "disk" | "built";
  readonly notSaved?: string;
}

/**
 * Opens the BTF of vmlinux or of a module together with its index in `directory`. Both stay mapped as long as the process lives.
 * @param btfFile the BTF; default the kernel's own. @throws Error (ENOENT) where the kernel has no BTF; BtfError
 */
export function openIndexed(
  module: string,
  directory: string | undefined,
  options: { readonly base?: Btf; readonly btfFile?: string; readonly notesFile?: string } = {},
): OpenedIndex {
  const file = new FileBytes(options.btfFile ?? join(btfDirectory, module));
  readHeader(file.bytes);
  const notesFile =
    options.notesFile ??
    (module === "vmlinux" ? "/sys/kernel/notes" : `/sys/module/${module}/notes/.note.gnu.build-id`);
  const key = keyOf(file.bytes, readIfAny(notesFile));
  const firstId = options.base?.endId ?? 1;
  let notSaved: string | undefined = "no directory for it";
  let path: string | undefined;
  if (directory !== undefined) {
    try {
      if (ownDirectory(directory)) path = join(directory, `${module.replace(/[^\w.-]/g, "_")}.btfindex`);
      else notSaved = `${directory} is not ours alone`;
    } catch (error) {
      notSaved = (error as Error).message;
    }
  }
  if (path !== undefined) {
    const saved = openSaved(path);
    const words = saved && wordsOf(saved.bytes);
    if (words && fits(words, file.bytes.length, key, firstId))
      return { indexed: new IndexedBtf(module, file.bytes, words, options.base), origin: "disk" };
    saved?.[Symbol.dispose]();
  }
  const words = buildIndex(file.bytes, key, options.base);
  if (path !== undefined) {
    try {
      writeByRename(path, new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
      notSaved = undefined;
    } catch (error) {
      notSaved = (error as Error).message;
    }
  }
  const indexed = new IndexedBtf(module, file.bytes, words, options.base);
  return notSaved === undefined ? { indexed, origin: "built" } : { indexed, origin: "built", notSaved };
}

function openSaved(path: string): FileBytes | undefined {
  try {
    return new FileBytes(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

const wordsOf = (bytes: Uint8Array): Uint32Array | undefined =>
  bytes.length % 4 === 0 && bytes.byteOffset % 4 === 0
    ? new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2)
    : undefined;
