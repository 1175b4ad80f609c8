// results: raw bytes of a type to values that can leave the node: ids become names, addresses become symbols.
import { sizeOf, tupleLayout } from "../script/layout.ts";
import type { OutputPlan, Type } from "../script/types.ts";
import { integerValue, readInteger, readText } from "./bytes.ts";
import { errorText } from "./errno.ts";
import { inetText, macText, UNKNOWN } from "./inet.ts";
import { strftime } from "./strftime.ts";
import { systemCallName } from "./syscalls.ts";
import type { Resolvers, Value } from "./types.ts";

export interface Decoding {
  readonly plan: Pick<OutputPlan, "enums" | "old" | "structures" | "trailer">;
  readonly resolvers: Resolvers;
  /** Decodes the key of a map. */
  readonly key?: true;
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** The value of `type` at an offset. */
export function decodeValue(d: Decoding, type: Type, bytes: Uint8Array, offset: number): Value {
  const { resolvers } = d;
  switch (type.kind) {
    case "none":
      return 0;
    case "int": {
      // 0.17 takes a sign out of the highest bit of a key, whatever its type.
      const signed = type.signed || (type.size === 8 && d.key === true && d.plan.old === true);
      return integerValue(readInteger(bytes, offset, type.size, signed));
    }
    case "bool":
      return readInteger(bytes, offset, 1, false) !== 0n;
    case "enum": {
      const value = readInteger(bytes, offset, type.size, type.signed);
      return { symbol: d.plan.enums[type.name]?.[String(value)] ?? String(value), number: String(value) };
    }
    case "pointer": {
      const value = readInteger(bytes, offset, 8, false);
      return { symbol: hex(value), number: String(value) };
    }
    case "string":
      return stringText(d, type, bytes, offset);
    case "inet":
      return inetText(bytes, offset, false);
    case "prefix":
      return inetText(bytes, offset, true);
    case "name": {
      const id = Number(readInteger(bytes, offset, 4, false));
      return resolvers.name(type.dictionary, id) ?? UNKNOWN;
    }
    case "community": {
      const value = Number(readInteger(bytes, offset, 4, false));
      return value === 0 ? UNKNOWN : `${value >>> 16}:${value & 0xffff}`;
    }
    case "symbol": {
      const address = readInteger(bytes, offset, 8, false);
      const name = type.user
        ? resolvers.userSymbol(Number(readInteger(bytes, offset + 8, 8, false)), address, false)
        : resolvers.kernelSymbol(address, false);
      return name ?? (address === 0n ? "0" : hex(address));
    }
    case "timestamp": {
      const ns = readInteger(bytes, offset, 8, false);
      return strftime(type.format, type.clock === "boot" ? ns + resolvers.bootOffset() : ns);
    }
    case "username": {
      const uid = Number(readInteger(bytes, offset, 4, false));
      return resolvers.userName(uid) ?? String(uid);
    }
    case "mac":
      return macText(bytes, offset);
    case "cgroup_path": {
      const id = readInteger(bytes, offset, 8, false);
      return resolvers.cgroupPath?.(id) ?? String(id);
    }
    case "errno":
      return errorText(Number(readInteger(bytes, offset, 8, true)));
    case "syscall":
      return systemCallName(Number(readInteger(bytes, offset, 8, true)));
    case "stack":
      return stackText(d, type, bytes, offset);
    case "tuple": {
      const { offsets } = tupleLayout(type.items);
      const items = type.items.map((item, i) => decodeValue(d, item, bytes, offset + (offsets[i] ?? 0)));
      return type.names ? { record: items.map((v, i) => [type.names?.[i] ?? "", v] as const) } : items;
    }
    case "array": {
      const size = sizeOf(type.of);
      return {
        array: Array.from({ length: type.length }, (_, i) =>
          decodeValue(d, type.of, bytes, offset + i * size),
        ),
      };
    }
    case "buffer": {
      const length = Math.min(type.size, Number(readInteger(bytes, offset, 4, false)));
      const content = bytes.subarray(offset + 4, offset + 4 + length);
      return { buffer: [...content], text: bufferText(content, "r") };
    }
    case "struct":
      return structure(d, type, bytes, offset);
  }
}

function stringText(
  d: Decoding,
  type: Extract<Type, { kind: "string" }>,
  bytes: Uint8Array,
  offset: number,
): string {
  const end = bytes.subarray(offset, offset + type.size).indexOf(0);
  const text = readText(bytes, offset, type.size);
  return type.cut && (end < 0 || end === type.size - 1) ? text + (d.plan.trailer ?? "") : text;
}

/** A structure by its fields; anonymous members' fields are the structure's own. */
function structure(
  d: Decoding,
  type: Extract<Type, { kind: "struct" }>,
  bytes: Uint8Array,
  offset: number,
): Value {
  const fields = (name: string, base: number): (readonly [string, Value])[] =>
    (d.plan.structures?.[name]?.fields ?? []).flatMap((f) => {
      const at = base + f.offset;
      if (f.name === "" && f.type.kind === "struct") return fields(f.type.name, at);
      if (f.bits) {
        const { offset: low, width } = f.bits;
        const raw = readInteger(bytes, at, Math.min(8, Math.ceil((low + width) / 8)), false) >> BigInt(low);
        const signed = f.type.kind === "int" && f.type.signed;
        const value = signed ? BigInt.asIntN(width, raw) : BigInt.asUintN(width, raw);
        return [[f.name, integerValue(value)] as const];
      }
      return [[f.name, decodeValue(d, fieldType(f.type), bytes, at)] as const];
    });
  return { record: fields(type.name, offset) };
}

/** Arrays of char are strings. */
const fieldType = (type: Type): Type =>
  type.kind === "array" && type.of.kind === "int" && type.of.size === 1 && type.of.signed
    ? { kind: "string", size: type.length }
    : type;

/** Frames one a line, indented by eight (0.17: by four in keys), between line breaks, as bpftrace prints stacks. */
function stackText(
  d: Decoding,
  type: Extract<Type, { kind: "stack" }>,
  bytes: Uint8Array,
  offset: number,
): string {
  const size = Number(readInteger(bytes, offset, 8, true));
  const pid = Number(readInteger(bytes, offset + 8, 8, false));
  const frames = Array.from({ length: Math.max(0, Math.min(type.limit, size >> 3)) }, (_, i) =>
    readInteger(bytes, offset + 16 + 8 * i, 8, false),
  );
  const indent = d.key && d.plan.old ? "    " : "        ";
  const lines = frames.map((address) => {
    const raw = address.toString(16);
    if (type.mode === "raw") return raw;
    const name = type.user
      ? d.resolvers.userSymbol(pid, address, true)
      : d.resolvers.kernelSymbol(address, true);
    if (type.mode !== "perf") return `${indent}${name ?? hex(address)}`;
    const module = type.user && ` (${(name && d.resolvers.userModule?.(pid, address)) || "[unknown]"})`;
    return `\t${raw} ${name ?? hex(address)}${module || ""}`;
  });
  return `\n${lines.map((l) => `${l}\n`).join("")}`;
}

/** A buffer: printable bytes as they are and others as \xNN ("r"), all as \xNN ("rx"), or all as hex pairs with spaces ("rh"). */
export function bufferText(bytes: Uint8Array, how: "r" | "rx" | "rh"): string {
  const pair = (b: number): string => b.toString(16).padStart(2, "0");
  if (how === "rh") return [...bytes].map(pair).join(" ");
  return [...bytes]
    .map((b) => (how === "r" && b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : `\\x${pair(b)}`))
    .join("");
}
