// trace: what turns the numbers that programs leave behind into names, on the node that they belong to.
import { readFileSync } from "node:fs";
import { type KernelSymbols, type SymbolAt, UserSymbols } from "../kernel/symbols.ts";
import type { Resolvers } from "../results/types.ts";
import type { CompiledScript } from "../script/types.ts";
import { bootClock, wallClock } from "./clock.ts";
import type { LoadedScript } from "./load.ts";
import type { Names } from "./names.ts";

const shown = (symbol: SymbolAt | undefined): string | undefined =>
  symbol && (symbol.offset === 0n ? symbol.name : `${symbol.name}+${symbol.offset}`);

/** Names of users by id, from the text of /etc/passwd. */
export function userNames(passwd: string): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of passwd.split("\n")) {
    const [name, , id] = line.split(":");
    if (name && id && !names.has(Number(id))) names.set(Number(id), name);
  }
  return names;
}

/** Bytes of a frame in a stack_trace map. */
const frameSize = 8;

/** Frames of a stack id, innermost first, from the script's stack map of that kind. */
function stackFrames(loaded: LoadedScript, id: bigint): readonly bigint[] | undefined {
  // bpf_get_stackid() returns a negative errno for a stack that it could not take.
  if (BigInt.asIntN(64, id) < 0n) return undefined;
  const index = loaded.script.maps.findIndex((map) => map.type === "stack_trace");
  if (index < 0) return undefined;
  const value = loaded.map(index).lookup(new Uint8Array(Uint32Array.of(Number(id)).buffer));
  if (!value) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const frames: bigint[] = [];
  for (let at = 0; at + frameSize <= value.length; at += frameSize) {
    const frame = view.getBigUint64(at, true);
    if (frame === 0n) break;
    frames.push(frame);
  }
  return frames;
}

export interface ResolverOptions {
  readonly loaded: LoadedScript;
  readonly names: Names;
  readonly symbols: KernelSymbols;
}

/** Resolvers over this kernel, its processes and one loaded script. */
export function createResolvers({ loaded, names, symbols }: ResolverOptions): Resolvers {
  const processes = new UserSymbols();
  const script: CompiledScript = loaded.script;
  let users: Map<number, string> | undefined;
  return {
    name: (dictionary, id) => names.name(dictionary, id),
    kernelSymbol: (address) => shown(symbols.at(address)),
    userSymbol: (pid, address) => shown(processes.at(pid, address)),
    userName: (uid) => {
      users ??= userNames(readFileSync("/etc/passwd", "utf8"));
      return users.get(uid);
    },
    stack: (id) => stackFrames(loaded, id),
    now: wallClock,
    bootOffset: () => wallClock() - bootClock(),
    probe: (index) => script.attach[index]?.text,
  };
}
