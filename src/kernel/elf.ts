// kernel: ELF files: symbols, the file offsets that uprobes want, USDT notes. 64-bit little-endian, read by need.
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";

/** A symbol of .symtab or .dynsym. */
export interface ElfSymbol {
  readonly name: string;
  /** Virtual address. */
  readonly address: bigint;
  readonly size: bigint;
  readonly kind: "function" | "object" | "other";
}

/** One USDT probe (`stapsdt` note). */
export interface UsdtProbe {
  readonly provider: string;
  readonly name: string;
  /** Virtual address of the nop, corrected for prelink. */
  readonly address: bigint;
  /** Virtual address of the semaphore; 0 if there is none. */
  readonly semaphore: bigint;
  /** `-4@%edi 8@-16(%rbp)`. */
  readonly arguments: string;
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly address: bigint;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly entrySize: number;
}

interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: bigint;
  readonly address: bigint;
  readonly fileSize: bigint;
}

const SHT_SYMTAB = 2;
const SHT_DYNSYM = 11;
const SHT_NOTE = 7;
const PT_LOAD = 1;
const PF_X = 1;
const STT_OBJECT = 1;
const STT_FUNC = 2;
const STT_GNU_IFUNC = 10;

/** Sections beyond this are not read: no symbol table that people trace is larger. */
const largestSection = 512 * 1024 * 1024;

export class ElfError extends Error {
  constructor(path: string, message: string) {
    super(`${path}: ${message}`);
    this.name = "ElfError";
  }
}

/** Whether a path is a file that {@link ElfFile} can open; what cannot be read is none. */
export function isElfFile(path: string): boolean {
  try {
    using _ = new ElfFile(path);
    return true;
  } catch {
    return false;
  }
}

/** An open ELF file. */
export class ElfFile implements Disposable {
  readonly path: string;
  /** ET_EXEC: addresses are absolute; otherwise relative to where it is loaded. */
  readonly fixed: boolean;
  readonly #fd: number;
  readonly #fileSize: number;
  readonly #segments: readonly Segment[];
  readonly #sections: readonly Section[];
  #symbols: readonly ElfSymbol[] | undefined;
  #closed = false;

  /** @throws Error from node:fs; ElfError for anything but 64-bit little-endian ELF */
  constructor(path: string) {
    this.path = path;
    this.#fd = openSync(path, constants.O_RDONLY);
    try {
      this.#fileSize = fstatSync(this.#fd).size;
      const header = this.#read(0, 64);
      if (header.length < 64 || header.readUInt32BE(0) !== 0x7f454c46)
        throw new ElfError(path, "not an ELF file");
      if (header[4] !== 2 || header[5] !== 1) throw new ElfError(path, "not a 64-bit little-endian ELF file");
      this.fixed = header.readUInt16LE(16) === 2;
      this.#segments = this.#readSegments(header);
      this.#sections = this.#readSections(header);
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  #read(offset: number, length: number): Buffer {
    const wanted = Math.max(0, Math.min(length, this.#fileSize - offset));
    if (wanted > largestSection) throw new ElfError(this.path, `a section of ${wanted} bytes is too large`);
    const bytes = Buffer.alloc(wanted);
    let done = 0;
    while (done < wanted) {
      const n = readSync(this.#fd, bytes, done, wanted - done, offset + done);
      if (n === 0) break;
      done += n;
    }
    return bytes.subarray(0, done);
  }

  #readSegments(header: Buffer): Segment[] {
    const size = header.readUInt16LE(54);
    const count = header.readUInt16LE(56);
    if (size < 56) return [];
    const table = this.#read(Number(header.readBigUInt64LE(32)), size * count);
    return Array.from({ length: Math.floor(table.length / size) }, (_, i) => ({
      type: table.readUInt32LE(i * size),
      flags: table.readUInt32LE(i * size + 4),
      offset: table.readBigUInt64LE(i * size + 8),
      address: table.readBigUInt64LE(i * size + 16),
      fileSize: table.readBigUInt64LE(i * size + 32),
    }));
  }

  #readSections(header: Buffer): Section[] {
    const size = header.readUInt16LE(58);
    const count = header.readUInt16LE(60);
    const at = Number(header.readBigUInt64LE(40));
    if (size < 64 || at === 0) return [];
    const table = this.#read(at, size * count);
    const raw = Array.from({ length: Math.floor(table.length / size) }, (_, i) => ({
      nameAt: table.readUInt32LE(i * size),
      type: table.readUInt32LE(i * size + 4),
      address: table.readBigUInt64LE(i * size + 16),
      offset: Number(table.readBigUInt64LE(i * size + 24)),
      size: Number(table.readBigUInt64LE(i * size + 32)),
      link: table.readUInt32LE(i * size + 40),
      entrySize: Number(table.readBigUInt64LE(i * size + 56)),
    }));
    const strings = raw[header.readUInt16LE(62)];
    const names = strings ? this.#read(strings.offset, strings.size) : Buffer.alloc(0);
    return raw.map(({ nameAt, ...section }) => ({ ...section, name: stringAt(names, nameAt) }));
  }

  /** All named symbols with an address, .symtab before .dynsym. Read once. */
  symbols(): readonly ElfSymbol[] {
    if (this.#symbols) return this.#symbols;
    const found: ElfSymbol[] = [];
    for (const type of [SHT_SYMTAB, SHT_DYNSYM]) {
      for (const section of this.#sections.filter((s) => s.type === type)) {
        const stringSection = this.#sections[section.link];
        if (!stringSection || section.entrySize < 24) continue;
        const table = this.#read(section.offset, section.size);
        const names = this.#read(stringSection.offset, stringSection.size);
        for (let at = 0; at + 24 <= table.length; at += section.entrySize) {
          const address = table.readBigUInt64LE(at + 8);
          // Section 0: the symbol is another file's.
          if (address === 0n || table.readUInt16LE(at + 6) === 0) continue;
          const name = stringAt(names, table.readUInt32LE(at));
          if (name === "") continue;
          const kind = (table[at + 4] ?? 0) & 0xf;
          found.push({
            name,
            address,
            size: table.readBigUInt64LE(at + 16),
            kind:
              kind === STT_FUNC || kind === STT_GNU_IFUNC
                ? "function"
                : kind === STT_OBJECT
                  ? "object"
                  : "other",
          });
        }
      }
    }
    this.#symbols = found;
    return found;
  }

  /** Offset in the file of a virtual address; undefined if no loaded segment holds it. */
  fileOffset(address: bigint): bigint | undefined {
    for (const s of this.#segments)
      if (s.type === PT_LOAD && address >= s.address && address < s.address + s.fileSize)
        return address - s.address + s.offset;
    return undefined;
  }

  /** Virtual address of an offset in the file, in an executable segment. */
  addressOf(offset: bigint): bigint | undefined {
    for (const s of this.#segments)
      if (
        s.type === PT_LOAD &&
        (s.flags & PF_X) !== 0 &&
        offset >= s.offset &&
        offset < s.offset + s.fileSize
      )
        return offset - s.offset + s.address;
    return undefined;
  }

  /** The USDT probes, in the order of the notes (https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation). */
  usdtProbes(): readonly UsdtProbe[] {
    const base = this.#sections.find((s) => s.name === ".stapsdt.base")?.address ?? 0n;
    return this.#sections
      .filter((s) => s.type === SHT_NOTE && s.name === ".note.stapsdt")
      .flatMap((s) => parseUsdtNotes(this.#read(s.offset, s.size), base));
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
  }
}

function stringAt(table: Buffer, offset: number): string {
  if (offset >= table.length) return "";
  const end = table.indexOf(0, offset);
  return table.toString("utf8", offset, end < 0 ? table.length : end);
}

/** Notes of type 3 by "stapsdt": {u64 address; u64 base; u64 semaphore; provider\0; name\0; arguments\0}. */
export function parseUsdtNotes(notes: Buffer, base: bigint): UsdtProbe[] {
  const found: UsdtProbe[] = [];
  for (let at = 0; at + 12 <= notes.length; ) {
    const nameSize = notes.readUInt32LE(at);
    const size = notes.readUInt32LE(at + 4);
    const type = notes.readUInt32LE(at + 8);
    const data = at + 12 + ((nameSize + 3) & ~3);
    const end = data + size;
    if (end > notes.length) break;
    if (type === 3 && stringAt(notes, at + 12) === "stapsdt" && size >= 24) {
      const moved = base === 0n ? 0n : base - notes.readBigUInt64LE(data + 8);
      const semaphore = notes.readBigUInt64LE(data + 16);
      const [provider = "", name = "", args = ""] = notes.toString("utf8", data + 24, end).split("\0");
      found.push({
        provider,
        name,
        address: notes.readBigUInt64LE(data) + moved,
        semaphore: semaphore === 0n ? 0n : semaphore + moved,
        arguments: args,
      });
    }
    at = data + ((size + 3) & ~3);
  }
  return found;
}
