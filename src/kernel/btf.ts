// kernel: BTF, the kernel's type information, read in place: typed arrays over the raw bytes, no object per type.
import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { hasCode, mmap, munmap, viewOf } from "./ffi.ts";

/** BTF_KIND_* (include/uapi/linux/btf.h). */
export const BtfKind = {
  INT: 1,
  PTR: 2,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FWD: 7,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
  FUNC: 12,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  FLOAT: 16,
  DECL_TAG: 17,
  TYPE_TAG: 18,
  ENUM64: 19,
} as const;

/** Bytes after the common struct btf_type: fixed ones and ones per element of vlen. Index: the kind. */
const fixedTail = [0, 4, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 4, 0, 0];
const elementTail = [0, 0, 0, 0, 12, 12, 8, 0, 0, 0, 0, 0, 0, 8, 0, 12, 0, 0, 0, 12];

const BTF_MAGIC = 0xeb9f;

/** Where the kernel shows its BTF: vmlinux and one file a module. */
export const btfDirectory = "/sys/kernel/btf";

/** A member of a struct or union. Offsets and widths in bits; width 0: not a bitfield. */
export interface BtfMember {
  readonly name: string;
  readonly typeId: number;
  readonly bitOffset: number;
  readonly bitWidth: number;
}

export interface BtfParameter {
  readonly name: string;
  readonly typeId: number;
}

/** Bytes of a file, mapped if the kernel lets us. Not to be touched after dispose. */
export class FileBytes implements Disposable {
  readonly bytes: Uint8Array;
  #mapped: bigint | undefined;

  /** @throws Error (ENOENT) from node:fs */
  constructor(path: string) {
    const fd = openSync(path, constants.O_RDONLY);
    try {
      const { size } = fstatSync(fd);
      const mapped = size > 0 ? tryMap(fd, size) : undefined;
      this.#mapped = mapped;
      this.bytes = mapped === undefined ? readFileSync(fd) : new Uint8Array(viewOf(mapped, size));
    } finally {
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    if (this.#mapped === undefined) return;
    const address = this.#mapped;
    this.#mapped = undefined;
    munmap(address, this.bytes.length);
  }
}

const PROT_READ = 1;
const MAP_PRIVATE = 2;

function tryMap(fd: number, size: number): bigint | undefined {
  try {
    return mmap(size, PROT_READ, MAP_PRIVATE, fd);
  } catch (error) {
    // sysfs had no mmap for BTF before 6.16: the caller reads instead.
    if (hasCode(error, "ENODEV", "EACCES", "EINVAL", "ENOSYS")) return undefined;
    throw error;
  }
}

/** What parses badly. */
export class BtfError extends Error {
  constructor(message: string) {
    super(`BTF: ${message}`);
    this.name = "BtfError";
  }
}

/** The header (struct btf_header), offsets from the start of the file. @throws BtfError */
export function readHeader(bytes: Uint8Array): {
  readonly types: number;
  readonly typesEnd: number;
  readonly strings: number;
  readonly stringsEnd: number;
} {
  if (bytes.length < 24) throw new BtfError("shorter than its header");
  const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = v.getUint16(0, true);
  if (magic !== BTF_MAGIC) throw new BtfError(`magic 0x${magic.toString(16)}, little-endian 0xeb9f expected`);
  const header = v.getUint32(4, true);
  const types = header + v.getUint32(8, true);
  const typesEnd = types + v.getUint32(12, true);
  const strings = header + v.getUint32(16, true);
  const stringsEnd = strings + v.getUint32(20, true);
  if (types % 4 !== 0 || typesEnd > bytes.length || stringsEnd > bytes.length || strings >= stringsEnd)
    throw new BtfError("sections lie outside of the file");
  return { types, typesEnd, strings, stringsEnd };
}

/** Byte offset of each type, in order of ids. One pass over the types. @throws BtfError */
export function scanOffsets(bytes: Uint8Array): Uint32Array {
  const { types, typesEnd } = readHeader(bytes);
  const words = wordsOf(bytes);
  let capacity = Math.max(64, Math.ceil((typesEnd - types) / 16));
  let offsets = new Uint32Array(capacity);
  let count = 0;
  for (let at = types; at < typesEnd; ) {
    const info = words[(at >> 2) + 1] ?? 0;
    const kind = (info >>> 24) & 0x1f;
    const fixed = fixedTail[kind];
    if (kind === 0 || fixed === undefined) throw new BtfError(`unknown kind ${kind} at byte ${at}`);
    if (count === capacity) {
      capacity *= 2;
      const larger = new Uint32Array(capacity);
      larger.set(offsets);
      offsets = larger;
    }
    offsets[count++] = at;
    at += 12 + fixed + (elementTail[kind] ?? 0) * (info & 0xffff);
    if (at > typesEnd) throw new BtfError("the last type is cut off");
  }
  return offsets.slice(0, count);
}

/** 32-bit words over bytes; copied where they are not aligned. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
}

/**
 * One BTF object. Type ids are the kernel's: 0 is void; those of a module start where vmlinux's end, and its type ids and
 * strings below that mean vmlinux's.
 */
export class Btf {
  readonly bytes: Uint8Array;
  readonly base: Btf | undefined;
  /** "" for vmlinux, else the module's name. */
  readonly label: string;
  /** First id that is described here: 1, or one past the base's last. */
  readonly firstId: number;
  /** One past the last id. */
  readonly endId: number;
  readonly #words: Uint32Array;
  readonly #offsets: Uint32Array;
  readonly #buffer: Buffer;
  readonly #strings: number;
  readonly #firstString: number;
  readonly #stringsLength: number;

  /** `offsets` as {@link scanOffsets} gives them, if they are at hand. @throws BtfError */
  constructor(
    bytes: Uint8Array,
    options: { readonly base?: Btf; readonly offsets?: Uint32Array; readonly label?: string } = {},
  ) {
    const { strings, stringsEnd } = readHeader(bytes);
    this.bytes = bytes;
    this.base = options.base;
    this.label = options.label ?? "";
    this.#words = wordsOf(bytes);
    this.#offsets = options.offsets ?? scanOffsets(bytes);
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#strings = strings;
    this.#stringsLength = stringsEnd - strings;
    this.firstId = options.base?.endId ?? 1;
    this.endId = this.firstId + this.#offsets.length;
    this.#firstString = options.base ? options.base.#firstString + options.base.#stringsLength : 0;
  }

  #ownerOf(id: number): Btf {
    if (id >= this.firstId && id < this.endId) return this;
    if (this.base && id > 0 && id < this.firstId) return this.base.#ownerOf(id);
    throw new BtfError(`no type ${id}`);
  }

  #at(id: number): number {
    return (this.#offsets[id - this.firstId] ?? 0) >> 2;
  }

  /** The object that describes an id: itself or its base. */
  owner(id: number): Btf {
    return this.#ownerOf(id);
  }

  /** One of {@link BtfKind}; 0 for void. @throws BtfError for an id that does not exist */
  kind(id: number): number {
    if (id === 0) return 0;
    const o = this.#ownerOf(id);
    return ((o.#words[o.#at(id) + 1] ?? 0) >>> 24) & 0x1f;
  }

  #info(id: number): number {
    return this.#words[this.#at(id) + 1] ?? 0;
  }

  #vlen(id: number): number {
    return this.#info(id) & 0xffff;
  }

  /** "" for anonymous types and void. */
  name(id: number): string {
    if (id === 0) return "";
    const o = this.#ownerOf(id);
    return o.string(o.#words[o.#at(id)] ?? 0);
  }

  /** Offset of a type's name in the strings of its owner's numbering. */
  nameOffset(id: number): number {
    const o = this.#ownerOf(id);
    return o.#words[o.#at(id)] ?? 0;
  }

  /** A string by its offset. @throws BtfError */
  string(offset: number): string {
    if (offset === 0) return "";
    const [owner, start] = this.#locate(offset);
    const end = owner.#buffer.indexOf(0, start);
    return owner.#buffer.toString("latin1", start, end < 0 ? owner.#buffer.length : end);
  }

  #locate(offset: number): readonly [owner: Btf, byte: number] {
    if (offset < this.#firstString && this.base) return this.base.#locate(offset);
    const local = offset - this.#firstString;
    if (local >= this.#stringsLength) throw new BtfError(`no string at ${offset}`);
    return [this, this.#strings + local];
  }

  /** FNV-1a of a string, 32 bits: what the index is keyed by. */
  hashString(offset: number): number {
    const [owner, start] = this.#locate(offset);
    const bytes = owner.bytes;
    let hash = 0x811c9dc5;
    for (let i = start; ; i++) {
      const byte = bytes[i];
      if (byte === 0 || byte === undefined) return hash >>> 0;
      hash = Math.imul(hash ^ byte, 0x01000193);
    }
  }

  /** Size in bytes of an integer, struct, union, enum or float as it is written in the type. */
  ownSize(id: number): number {
    const o = this.#ownerOf(id);
    return o.#words[o.#at(id) + 2] ?? 0;
  }

  /** The type that a pointer, typedef, modifier, function, variable or tag refers to. */
  target(id: number): number {
    return this.ownSize(id);
  }

  /** Strips typedefs, const, volatile, restrict and type tags. */
  resolve(id: number): number {
    let at = id;
    for (let hops = 0; hops < 64; hops++) {
      switch (this.kind(at)) {
        case BtfKind.TYPEDEF:
        case BtfKind.CONST:
        case BtfKind.VOLATILE:
        case BtfKind.RESTRICT:
        case BtfKind.TYPE_TAG:
          at = this.target(at);
          break;
        default:
          return at;
      }
    }
    throw new BtfError(`type ${id} refers to itself`);
  }

  /** Size in bytes of any type that has one; 0 for void, functions and forward declarations. */
  size(id: number): number {
    const at = this.resolve(id);
    switch (this.kind(at)) {
      case BtfKind.INT:
      case BtfKind.STRUCT:
      case BtfKind.UNION:
      case BtfKind.ENUM:
      case BtfKind.ENUM64:
      case BtfKind.FLOAT:
        return this.ownSize(at);
      case BtfKind.PTR:
        return 8;
      case BtfKind.ARRAY: {
        const { elementId, length } = this.array(at);
        return this.size(elementId) * length;
      }
      default:
        return 0;
    }
  }

  /** Encoding of an INT. `bits` may be less than 8 times the size. */
  integer(id: number): {
    readonly signed: boolean;
    readonly char: boolean;
    readonly bool: boolean;
    readonly bits: number;
  } {
    const o = this.#ownerOf(id);
    const word = o.#words[o.#at(id) + 3] ?? 0;
    return {
      signed: (word & 0x0100_0000) !== 0,
      char: (word & 0x0200_0000) !== 0,
      bool: (word & 0x0400_0000) !== 0,
      bits: word & 0xff,
    };
  }

  array(id: number): { readonly elementId: number; readonly length: number } {
    const o = this.#ownerOf(id);
    const at = o.#at(id);
    return { elementId: o.#words[at + 3] ?? 0, length: o.#words[at + 5] ?? 0 };
  }

  members(id: number): BtfMember[] {
    const o = this.#ownerOf(id);
    const at = o.#at(id) + 3;
    const packed = o.#info(id) >>> 31 === 1;
    return Array.from({ length: o.#vlen(id) }, (_, i) => {
      const offset = o.#words[at + i * 3 + 2] ?? 0;
      return {
        name: o.string(o.#words[at + i * 3] ?? 0),
        typeId: o.#words[at + i * 3 + 1] ?? 0,
        bitOffset: packed ? offset & 0xff_ffff : offset,
        bitWidth: packed ? offset >>> 24 : 0,
      };
    });
  }

  /** Number of enumerators, members or parameters. */
  elements(id: number): number {
    return this.#ownerOf(id).#vlen(id);
  }

  /** Whether an enum's values are signed. */
  enumSigned(id: number): boolean {
    return this.#ownerOf(id).#info(id) >>> 31 === 1;
  }

  /** String offset of enumerator `index`. */
  enumeratorName(id: number, index: number): number {
    const o = this.#ownerOf(id);
    return o.#words[o.#at(id) + 3 + index * (o.kind(id) === BtfKind.ENUM64 ? 3 : 2)] ?? 0;
  }

  enumeratorValue(id: number, index: number): bigint {
    const o = this.#ownerOf(id);
    const signed = this.enumSigned(id);
    if (o.kind(id) === BtfKind.ENUM64) {
      const at = o.#at(id) + 3 + index * 3;
      const value = BigInt(o.#words[at + 1] ?? 0) | (BigInt(o.#words[at + 2] ?? 0) << 32n);
      return signed ? BigInt.asIntN(64, value) : value;
    }
    const value = o.#words[o.#at(id) + 3 + index * 2 + 1] ?? 0;
    return BigInt(signed ? value | 0 : value);
  }

  enumerators(id: number): { readonly name: string; readonly value: bigint }[] {
    const owner = this.#ownerOf(id);
    return Array.from({ length: this.elements(id) }, (_, i) => ({
      name: owner.string(this.enumeratorName(id, i)),
      value: this.enumeratorValue(id, i),
    }));
  }

  /** Parameters of a FUNC_PROTO; a variadic one ends in {name: "", typeId: 0}. */
  parameters(id: number): BtfParameter[] {
    const o = this.#ownerOf(id);
    const at = o.#at(id) + 3;
    return Array.from({ length: o.#vlen(id) }, (_, i) => ({
      name: o.string(o.#words[at + i * 2] ?? 0),
      typeId: o.#words[at + i * 2 + 1] ?? 0,
    }));
  }
}

/** Modules whose BTF the kernel shows, without vmlinux; empty where there is none. */
export function btfModules(): readonly string[] {
  try {
    return readdirSync(btfDirectory).filter((name) => name !== "vmlinux");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
