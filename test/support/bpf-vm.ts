// test: a small eBPF machine, so that what scripts compute is tested without a kernel. Memory is regions; an address is region << 32 | offset.
// It checks what the kernel's verifier would: bounds, alignment of the stack, reads of bytes that were never written.
import type { CompiledMap, CompiledScript, ExternalMap } from "../../src/script/types.ts";

const U64 = (1n << 64n) - 1n;
const u64 = (v: bigint): bigint => v & U64;
const s64 = (v: bigint): bigint => BigInt.asIntN(64, v);

interface Region {
  readonly bytes: Uint8Array;
  /** Stack: which bytes were written. */
  readonly written?: Uint8Array;
}

export interface VmMap {
  readonly type: CompiledMap["type"] | "lpm_trie";
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  /** By hex of the key; one region per CPU for per-CPU maps, else one. */
  readonly entries: Map<string, { readonly key: Uint8Array; readonly regions: readonly number[] }>;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export interface VmOptions {
  readonly cpus?: number;
  readonly pid?: number;
  readonly tid?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly comm?: string;
  readonly cgroup?: bigint;
  readonly external?: Partial<
    Record<ExternalMap, readonly (readonly [key: Uint8Array, value: Uint8Array])[]>
  >;
}

export class VmError extends Error {}

const EXTERNAL: Readonly<Record<ExternalMap, { type: VmMap["type"]; keySize: number; valueSize: number }>> = {
  routes: { type: "lpm_trie", keySize: 20, valueSize: 8 },
  route_attributes: { type: "hash", keySize: 4, valueSize: 48 },
  owner_netns: { type: "hash", keySize: 8, valueSize: 12 },
  owner_cgroup: { type: "hash", keySize: 8, valueSize: 12 },
};

/** One loaded script: maps live as long as it does. */
export class Vm {
  readonly #script: CompiledScript;
  readonly #regions = new Map<number, Region>();
  #next = 1;
  readonly maps: readonly VmMap[];
  readonly external: Readonly<Record<ExternalMap, VmMap>>;
  readonly ring: Uint8Array[] = [];
  readonly cpus: number;
  cpu = 0;
  pid: number;
  tid: number;
  uid: number;
  gid: number;
  comm: string;
  cgroup: bigint;
  now = 1_000_000_000n;
  task = 0n;
  /** Makes the ring refuse records. */
  ringFull = false;
  executed = 0;

  constructor(script: CompiledScript, options: VmOptions = {}) {
    this.#script = script;
    this.cpus = options.cpus ?? 2;
    this.pid = options.pid ?? 100;
    this.tid = options.tid ?? 101;
    this.uid = options.uid ?? 1000;
    this.gid = options.gid ?? 2000;
    this.comm = options.comm ?? "test";
    this.cgroup = options.cgroup ?? 7n;
    this.maps = script.maps.map((m) => this.#createMap(m.type, m.keySize, m.valueSize, m.maxEntries));
    const make = (name: ExternalMap): VmMap => {
      const { type, keySize, valueSize } = EXTERNAL[name];
      const map = this.#createMap(type, keySize, valueSize, 1024);
      for (const [key, value] of options.external?.[name] ?? []) this.update(map, key, value);
      return map;
    };
    this.external = {
      routes: make("routes"),
      route_attributes: make("route_attributes"),
      owner_netns: make("owner_netns"),
      owner_cgroup: make("owner_cgroup"),
    };
    if (script.output.gate >= 0) this.setGate(true);
  }

  setGate(open: boolean): void {
    const map = this.maps[this.#script.output.gate];
    const entry = map?.entries.get("00000000");
    const region = entry && this.#regions.get(entry.regions[0] ?? 0);
    if (region) region.bytes[0] = open ? 1 : 0;
  }

  #region(size: number, written = false): number {
    const id = this.#next++;
    this.#regions.set(id, {
      bytes: new Uint8Array(size),
      ...(written ? { written: new Uint8Array(size) } : {}),
    });
    return id;
  }

  /** Puts bytes somewhere in memory; the address can be read by probe_read. */
  place(bytes: Uint8Array): bigint {
    const id = this.#region(bytes.length);
    this.#regions.get(id)?.bytes.set(bytes);
    return BigInt(id) << 32n;
  }

  #createMap(type: VmMap["type"], keySize: number, valueSize: number, maxEntries: number): VmMap {
    const map: VmMap = { type, keySize, valueSize, maxEntries, entries: new Map() };
    if (type === "array" || type === "percpu_array")
      for (let i = 0; i < maxEntries; i++) {
        const key = new Uint8Array(Uint32Array.of(i).buffer);
        this.#insert(map, key);
      }
    return map;
  }

  #insert(map: VmMap, key: Uint8Array): readonly number[] {
    const perCpu = map.type.includes("percpu");
    const regions = Array.from({ length: perCpu ? this.cpus : 1 }, () => this.#region(map.valueSize));
    map.entries.set(hex(key), { key: key.slice(), regions });
    return regions;
  }

  /** Entries as the tracer would read them. */
  read(index: number): { key: Uint8Array; values: Uint8Array[] }[] {
    return [...(this.maps[index]?.entries.values() ?? [])].map((e) => ({
      key: e.key,
      values: e.regions.map((r) => this.#regions.get(r)?.bytes ?? new Uint8Array()),
    }));
  }

  #find(map: VmMap, key: Uint8Array): readonly number[] | undefined {
    if (map.type !== "lpm_trie") return map.entries.get(hex(key))?.regions;
    let best: { bits: number; regions: readonly number[] } | undefined;
    for (const e of map.entries.values()) {
      const bits = new DataView(e.key.buffer, e.key.byteOffset).getUint32(0, true);
      const same = Array.from({ length: bits }, (_, i) => i).every(
        (i) => (((e.key[4 + (i >> 3)] ?? 0) ^ (key[4 + (i >> 3)] ?? 0)) & (0x80 >> (i & 7))) === 0,
      );
      if (same && (!best || bits > best.bits)) best = { bits, regions: e.regions };
    }
    return best?.regions;
  }

  update(map: VmMap, key: Uint8Array, value: Uint8Array): number {
    let regions = this.#find(map, key);
    if (map.type === "lpm_trie") regions = map.entries.get(hex(key))?.regions;
    if (!regions) {
      if (map.type.includes("array") || map.entries.size >= map.maxEntries) return -7;
      regions = this.#insert(map, key);
    }
    const region = regions[map.type.includes("percpu") ? this.cpu : 0] ?? 0;
    this.#regions.get(region)?.bytes.set(value);
    return 0;
  }

  #at(address: bigint, size: number, what: string): { region: Region; offset: number } {
    const region = this.#regions.get(Number(address >> 32n));
    const offset = Number(address & 0xffff_ffffn);
    if (!region || offset + size > region.bytes.length)
      throw new VmError(`${what} of ${size} bytes at ${address.toString(16)} is out of bounds`);
    return { region, offset };
  }

  #readBytes(address: bigint, size: number): Uint8Array {
    const { region, offset } = this.#at(address, size, "read");
    if (region.written)
      for (let i = 0; i < size; i++)
        if (!region.written[offset + i])
          throw new VmError(`read of stack that was never written, byte ${512 - offset - i} below the frame`);
    return region.bytes.slice(offset, offset + size);
  }

  #writeBytes(address: bigint, bytes: Uint8Array): void {
    const { region, offset } = this.#at(address, bytes.length, "write");
    region.bytes.set(bytes, offset);
    region.written?.fill(1, offset, offset + bytes.length);
  }

  /** A probe_read: what cannot be read is a negative result and a cleared target. */
  #probeRead(to: bigint, size: number, from: bigint): bigint {
    const region = this.#regions.get(Number(from >> 32n));
    const offset = Number(from & 0xffff_ffffn);
    if (!region || offset + size > region.bytes.length) {
      this.#writeBytes(to, new Uint8Array(size));
      return -14n;
    }
    this.#writeBytes(to, region.bytes.slice(offset, offset + size));
    return 0n;
  }

  #probeReadString(to: bigint, size: number, from: bigint): bigint {
    const region = this.#regions.get(Number(from >> 32n));
    const offset = Number(from & 0xffff_ffffn);
    if (!region || offset >= region.bytes.length) {
      this.#writeBytes(to, new Uint8Array(size));
      return -14n;
    }
    const out: number[] = [];
    while (out.length < size - 1) {
      const b = region.bytes[offset + out.length] ?? 0;
      if (b === 0) break;
      out.push(b);
    }
    out.push(0);
    // The kernel defines no byte after the end; the verifier takes all as written.
    this.#writeBytes(
      to,
      Uint8Array.from({ length: size }, (_, i) => out[i] ?? 0xaa),
    );
    return BigInt(out.length);
  }

  #map(handle: bigint): VmMap {
    const external = ["routes", "route_attributes", "owner_netns", "owner_cgroup"] as const;
    const index = Number(handle & 0xffffn);
    const name = external[index - 0x8000];
    const map = name ? this.external[name] : this.maps[index];
    if (!map || handle >> 32n !== 0xffff_0000n) throw new VmError(`${handle.toString(16)} is no map`);
    return map;
  }

  #call(helper: number, r: bigint[]): bigint {
    const [, a = 0n, b = 0n, c = 0n, ,] = r;
    const size = Number(b);
    switch (helper) {
      case 1: {
        const map = this.#map(a);
        const regions = this.#find(map, this.#readBytes(b, map.keySize));
        const region = regions?.[map.type.includes("percpu") ? this.cpu : 0];
        return region === undefined ? 0n : BigInt(region) << 32n;
      }
      case 2: {
        const map = this.#map(a);
        return BigInt(this.update(map, this.#readBytes(b, map.keySize), this.#readBytes(c, map.valueSize)));
      }
      case 3: {
        const map = this.#map(a);
        return map.entries.delete(hex(this.#readBytes(b, map.keySize))) ? 0n : -2n;
      }
      case 6:
        return 0n;
      case 5:
      case 125:
      case 208:
        return (this.now += 1000n);
      case 7:
        return 4n;
      case 8:
        return BigInt(this.cpu);
      case 14:
        return (BigInt(this.pid) << 32n) | BigInt(this.tid);
      case 15:
        return (BigInt(this.gid) << 32n) | BigInt(this.uid);
      case 16: {
        const text = new Uint8Array(size);
        text.set(new TextEncoder().encode(this.comm).slice(0, size - 1));
        this.#writeBytes(a, text);
        return 0n;
      }
      case 35:
      case 158:
        return this.task;
      case 42:
        return 0n;
      case 80:
        return this.cgroup;
      case 112:
      case 113:
        return this.#probeRead(a, size, c);
      case 114:
      case 115:
        return this.#probeReadString(a, size, c);
      case 118:
        return 1234n;
      case 131: {
        if (this.ringFull) return 0n;
        return BigInt(this.#region(size)) << 32n;
      }
      case 132: {
        const region = this.#regions.get(Number(a >> 32n));
        if (region) this.ring.push(region.bytes.slice());
        return 0n;
      }
      case 67: {
        this.#writeBytes(b, new Uint8Array(Number(c)));
        return 0n;
      }
      case 181: {
        let turns = 0n;
        while (turns < a) if (this.#callback(b, [turns++, c]) !== 0n) break;
        return turns;
      }
      case 164: {
        const map = this.#map(a);
        let calls = 0n;
        for (const e of [...map.entries.values()]) {
          const region = e.regions[map.type.includes("percpu") ? this.cpu : 0] ?? 0;
          calls++;
          if (this.#callback(b, [a, this.place(e.key), BigInt(region) << 32n, c]) !== 0n) break;
        }
        return calls;
      }
      case 195: {
        const map = this.#map(a);
        const region = this.#find(map, this.#readBytes(b, map.keySize))?.[Number(c)];
        return region === undefined ? 0n : BigInt(region) << 32n;
      }
      default:
        throw new VmError(`helper ${helper}`);
    }
  }

  #program = 0;

  /** Calls the function at an address of the running program's code. */
  #callback(address: bigint, args: readonly bigint[]): bigint {
    if (address >> 32n !== 0xffff_1000n) throw new VmError(`${address.toString(16)} is no function`);
    return this.#execute(this.#program, Number(address & 0xffff_ffffn), args);
  }

  /** Runs a program on a context; its return value. */
  run(index: number, context: Uint8Array = new Uint8Array(512)): bigint {
    this.#program = index;
    return this.#execute(index, 0, [this.place(context)]);
  }

  #execute(index: number, start: number, args: readonly bigint[]): bigint {
    const program = this.#script.programs[index];
    if (!program) throw new VmError(`no program ${index}`);
    const { code } = program;
    const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
    const relocations = new Map(program.relocations.map((x) => [x.instruction, x]));
    const r: bigint[] = Array.from({ length: 11 }, () => 0n);
    for (const [i, a] of args.entries()) r[i + 1] = a;
    const stack = this.#region(512, true);
    r[10] = (BigInt(stack) << 32n) + 512n;
    let pc = start;
    for (let fuel = 2_000_000; fuel > 0; fuel--) {
      this.executed++;
      const op = view.getUint8(pc * 8);
      const dst = view.getUint8(pc * 8 + 1) & 15;
      const src = view.getUint8(pc * 8 + 1) >> 4;
      const off = view.getInt16(pc * 8 + 2, true);
      const imm = view.getInt32(pc * 8 + 4, true);
      const at = pc++;
      const kind = op & 7;
      const operand = op & 8 ? (r[src] ?? 0n) : BigInt(imm);
      if (op === 0x18) {
        const high = view.getInt32(pc * 8 + 4, true);
        pc++;
        const relocation = relocations.get(at);
        if (src === 4) r[dst] = (0xffff_1000n << 32n) | BigInt(pc + imm - 1);
        else if (!relocation) r[dst] = u64((BigInt(high) << 32n) | BigInt.asUintN(32, BigInt(imm)));
        else if (relocation.value) {
          const region = this.maps[Number(relocation.map)]?.entries.get("00000000")?.regions[0] ?? 0;
          r[dst] = (BigInt(region) << 32n) + BigInt(high);
        } else {
          const external = ["routes", "route_attributes", "owner_netns", "owner_cgroup"];
          const n =
            typeof relocation.map === "number" ? relocation.map : 0x8000 + external.indexOf(relocation.map);
          r[dst] = (0xffff_0000n << 32n) | BigInt(n);
        }
        continue;
      }
      const size = { 16: 1, 8: 2, 0: 4, 24: 8 }[op & 0x18] ?? 8;
      switch (kind) {
        case 7:
        case 4: {
          const wide = kind === 7;
          const x = r[dst] ?? 0n;
          const code = op & 0xf0;
          if (code === 0xd0) {
            const low = x & ((1n << BigInt(imm)) - 1n);
            let swapped = 0n;
            for (let i = 0; i < imm; i += 8) swapped = (swapped << 8n) | ((low >> BigInt(i)) & 255n);
            r[dst] = swapped;
            break;
          }
          const y = wide ? u64(operand) : BigInt.asUintN(32, operand);
          const value = alu(code, wide ? x : BigInt.asUintN(32, x), y);
          r[dst] = wide ? u64(value) : BigInt.asUintN(32, value);
          break;
        }
        case 1: {
          const address = u64((r[src] ?? 0n) + BigInt(off));
          if (Number(address >> 32n) === stack && Number(address & 0xffffn) % size !== 0)
            throw new VmError("misaligned stack read");
          const bytes = this.#readBytes(address, size);
          r[dst] = [...bytes].reduceRight((v, b) => (v << 8n) | BigInt(b), 0n);
          break;
        }
        case 2:
        case 3: {
          const address = u64((r[dst] ?? 0n) + BigInt(off));
          if (Number(address >> 32n) === stack && Number(address & 0xffffn) % size !== 0)
            throw new VmError("misaligned stack write");
          let value = u64(kind === 2 ? BigInt(imm) : (r[src] ?? 0n));
          if ((op & 0xe0) === 0xc0) {
            const bytes = this.#readBytes(address, size);
            value = u64(value + [...bytes].reduceRight((v, b) => (v << 8n) | BigInt(b), 0n));
          }
          this.#writeBytes(
            address,
            Uint8Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 255n)),
          );
          break;
        }
        case 5: {
          const code = op & 0xf0;
          if (code === 0x90) return r[0] ?? 0n;
          if (code === 0x80) {
            r[0] = u64(this.#call(imm, r));
            // What a helper may clobber is clobbered.
            for (let i = 1; i <= 5; i++) r[i] = 0xdead_0000_0000_0000n + BigInt(i);
            break;
          }
          if (code === 0 || jumps(code, r[dst] ?? 0n, u64(operand))) pc += off;
          break;
        }
        default:
          throw new VmError(`opcode ${op.toString(16)}`);
      }
    }
    throw new VmError("the program does not end");
  }
}

function alu(code: number, x: bigint, y: bigint): bigint {
  switch (code) {
    case 0x00:
      return x + y;
    case 0x10:
      return x - y;
    case 0x20:
      return x * y;
    case 0x30:
      return y === 0n ? 0n : x / y;
    case 0x40:
      return x | y;
    case 0x50:
      return x & y;
    case 0x60:
      return x << (y & 63n);
    case 0x70:
      return x >> (y & 63n);
    case 0x80:
      return -x;
    case 0x90:
      return y === 0n ? x : x % y;
    case 0xa0:
      return x ^ y;
    case 0xb0:
      return y;
    case 0xc0:
      return s64(x) >> (y & 63n);
    default:
      throw new VmError(`alu ${code}`);
  }
}

function jumps(code: number, x: bigint, y: bigint): boolean {
  const [a, b] = [s64(x), s64(y)];
  switch (code) {
    case 0x10:
      return x === y;
    case 0x20:
      return x > y;
    case 0x30:
      return x >= y;
    case 0x40:
      return (x & y) !== 0n;
    case 0x50:
      return x !== y;
    case 0x60:
      return a > b;
    case 0x70:
      return a >= b;
    case 0xa0:
      return x < y;
    case 0xb0:
      return x <= y;
    case 0xc0:
      return a < b;
    case 0xd0:
      return a <= b;
    default:
      throw new VmError(`jump ${code}`);
  }
}
