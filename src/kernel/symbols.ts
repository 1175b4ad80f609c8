// kernel: names for addresses: the kernel's own from /proc/kallsyms, those of processes from their maps and ELF files.
import { existsSync, readFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { ElfFile, type ElfSymbol } from "./elf.ts";

/** A symbol that covers an address, and how far into it the address lies. */
export interface SymbolAt {
  readonly name: string;
  readonly offset: bigint;
  /** Kernel module, or the file that the code came from. */
  readonly module?: string;
}

/** The kernel's symbols, read on first use (some tens of milliseconds). Addresses are 0 for those who may not see them. */
export class KernelSymbols {
  readonly #read: () => Buffer;
  #addresses: BigUint64Array | undefined;
  #lines = new Uint32Array();
  #text: Buffer = Buffer.alloc(0);

  constructor(read: () => Buffer = () => readFileSync("/proc/kallsyms")) {
    this.#read = read;
  }

  #load(): BigUint64Array {
    if (this.#addresses) return this.#addresses;
    const text = this.#read();
    const addresses: bigint[] = [];
    const lines: number[] = [];
    for (let at = 0; at + 19 < text.length; ) {
      const end = text.indexOf(10, at);
      const address = BigInt(`0x${text.toString("latin1", at, at + 16)}`);
      if (address !== 0n) {
        addresses.push(address);
        lines.push(at);
      }
      if (end < 0) break;
      at = end + 1;
    }
    const order = Uint32Array.from(addresses.keys());
    // Modules and the kernel itself come one after the other, each in order: sorting is nearly free.
    order.sort((a, b) => {
      const x = addresses[a] ?? 0n;
      const y = addresses[b] ?? 0n;
      return x < y ? -1 : x > y ? 1 : a - b;
    });
    this.#text = text;
    this.#lines = Uint32Array.from(order, (i) => lines[i] ?? 0);
    this.#addresses = BigUint64Array.from(order, (i) => addresses[i] ?? 0n);
    return this.#addresses;
  }

  #line(at: number): { readonly type: string; readonly name: string; readonly module?: string } {
    const end = this.#text.indexOf(10, at);
    const line = this.#text.toString("latin1", at + 17, end < 0 ? this.#text.length : end);
    const tab = line.indexOf("\t");
    const name = tab < 0 ? line.slice(2) : line.slice(2, tab);
    return { type: line[0] ?? "", name, ...(tab < 0 ? {} : { module: line.slice(tab + 2, -1) }) };
  }

  /** The function or object that covers an address; undefined outside of all. */
  at(address: bigint): SymbolAt | undefined {
    const addresses = this.#load();
    let low = 0;
    let high = addresses.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((addresses[middle] ?? 0n) <= address) low = middle + 1;
      else high = middle;
    }
    if (low === 0 || (low === addresses.length && address - (addresses[low - 1] ?? 0n) > 0x10_0000n))
      return undefined;
    // The first of several names at one address, as /proc/kallsyms orders them.
    let first = low - 1;
    while (first > 0 && addresses[first - 1] === addresses[low - 1]) first--;
    const { name, module } = this.#line(this.#lines[first] ?? 0);
    const offset = address - (addresses[first] ?? 0n);
    return module === undefined ? { name, offset } : { name, offset, module };
  }

  /** Address of the first symbol of that name. */
  address(name: string): bigint | undefined {
    const addresses = this.#load();
    const wanted = Buffer.from(` ${name}`, "latin1");
    for (let at = this.#text.indexOf(wanted); at >= 0; at = this.#text.indexOf(wanted, at + 1)) {
      const after = this.#text[at + wanted.length];
      if (after !== 10 && after !== 9 && after !== undefined) continue;
      const start = this.#text.lastIndexOf(10, at) + 1;
      // " name" may also be the type letter's blank of a longer line: the name begins 19 bytes into its line.
      if (at - start !== 18) continue;
      const address = BigInt(`0x${this.#text.toString("latin1", start, start + 16)}`);
      return address === 0n || addresses.length === 0 ? undefined : address;
    }
    return undefined;
  }

  /** Names of the functions (types t, T, w and W), in order of addresses. */
  *functions(): Generator<string> {
    this.#load();
    for (const at of this.#lines) {
      const { type, name } = this.#line(at);
      if ("tTwW".includes(type)) yield name;
    }
  }
}

interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  readonly offset: bigint;
  readonly path: string;
}

/** Executable mappings of the text of /proc/PID/maps. */
export function executableMappings(text: string): Mapping[] {
  const found: Mapping[] = [];
  for (const line of text.split("\n")) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) ..x. ([0-9a-f]+) \S+ \d+\s+(\/.*)$/.exec(line);
    if (match)
      found.push({
        start: BigInt(`0x${match[1]}`),
        end: BigInt(`0x${match[2]}`),
        offset: BigInt(`0x${match[3]}`),
        path: match[4] ?? "",
      });
  }
  return found;
}

/** Functions of one file, in order of addresses. */
class FileSymbols {
  readonly #sorted: readonly ElfSymbol[];
  readonly #file: ElfFile;

  constructor(path: string) {
    this.#file = new ElfFile(path);
    this.#sorted = this.#file
      .symbols()
      .filter((s) => s.kind === "function")
      .sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0));
    this.#file[Symbol.dispose]();
  }

  at(fileOffset: bigint): SymbolAt | undefined {
    const address = this.#file.addressOf(fileOffset);
    if (address === undefined) return undefined;
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#sorted[middle]?.address ?? 0n) <= address) low = middle + 1;
      else high = middle;
    }
    const symbol = this.#sorted[low - 1];
    if (!symbol) return undefined;
    const offset = address - symbol.address;
    return symbol.size > 0n && offset >= symbol.size ? undefined : { name: symbol.name, offset };
  }
}

/** Files and processes that are remembered; the oldest go first. */
const cacheLimit = 64;

/** Keeps a map at its limit by dropping what was put in first. */
function remember<K, V>(map: Map<K, V>, key: K, value: V): V {
  if (map.size >= cacheLimit) for (const oldest of map.keys()) if (map.delete(oldest)) break;
  map.set(key, value);
  return value;
}

/** Symbols of processes. What cannot be read (the process is gone) is remembered as unknown for the moment. */
export class UserSymbols {
  readonly #files = new Map<string, FileSymbols | undefined>();
  readonly #processes = new Map<number, readonly Mapping[]>();

  /** The function of a process that covers an address. */
  at(pid: number, address: bigint): SymbolAt | undefined {
    const mapping = this.#mappings(pid).find((m) => address >= m.start && address < m.end);
    if (!mapping) return undefined;
    const symbol = this.#file(pid, mapping.path)?.at(address - mapping.start + mapping.offset);
    return symbol && { ...symbol, module: mapping.path };
  }

  #mappings(pid: number): readonly Mapping[] {
    const known = this.#processes.get(pid);
    if (known) return known;
    let mappings: readonly Mapping[] = [];
    try {
      mappings = executableMappings(readFileSync(`/proc/${pid}/maps`, "utf8"));
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code !== "ENOENT" && code !== "ESRCH" && code !== "EACCES") throw error;
    }
    return remember(this.#processes, pid, mappings);
  }

  #file(pid: number, path: string): FileSymbols | undefined {
    if (this.#files.has(path)) return this.#files.get(path);
    // A process in a container has its files under its own root.
    const inside = `/proc/${pid}/root${path}`;
    let symbols: FileSymbols | undefined;
    try {
      symbols = new FileSymbols(existsSync(inside) ? inside : path);
    } catch {
      // Deleted, not ELF, not ours to read: its addresses stay numbers.
      symbols = undefined;
    }
    return remember(this.#files, path, symbols);
  }
}

/** Libraries of /etc/ld.so.cache (glibc's new format): soname -> path, the first of a name wins. */
export function parseLibraryCache(bytes: Buffer): Map<string, string> {
  const found = new Map<string, string>();
  const magic = "glibc-ld.so.cache1.1";
  const start = bytes.indexOf(magic);
  if (start < 0) return found;
  const count = bytes.readUInt32LE(start + magic.length);
  const text = (offset: number) => {
    const end = bytes.indexOf(0, start + offset);
    return bytes.toString("utf8", start + offset, end);
  };
  for (let i = 0; i < count; i++) {
    const entry = start + 48 + 24 * i;
    if (entry + 24 > bytes.length) break;
    const name = text(bytes.readUInt32LE(entry + 4));
    if (!found.has(name)) found.set(name, text(bytes.readUInt32LE(entry + 8)));
  }
  return found;
}

/**
 * The file that a uprobe means: a path as it is, a name by PATH, or else a library ("libc", "libssl.so.3") by the dynamic
 * linker's cache. undefined if there is none.
 */
export function findBinary(name: string, path = process.env.PATH ?? ""): string | undefined {
  if (name.includes("/")) {
    const full = resolve(name);
    return existsSync(full) ? full : undefined;
  }
  for (const directory of path.split(delimiter)) {
    if (directory !== "" && existsSync(join(directory, name))) return join(directory, name);
  }
  if (!existsSync("/etc/ld.so.cache")) return undefined;
  const libraries = parseLibraryCache(readFileSync("/etc/ld.so.cache"));
  const exact = libraries.get(name);
  if (exact !== undefined) return exact;
  for (const [soname, file] of libraries) if (soname.startsWith(`${name}.so`)) return file;
  return undefined;
}
