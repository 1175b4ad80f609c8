// trace: what turns the numbers that programs leave behind into names, on the node that they belong to.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupId, cgroupRoot } from "../kernel/cgroup.ts";
import { type KernelSymbols, type SymbolAt, UserSymbols } from "../kernel/symbols.ts";
import type { Resolvers } from "../results/types.ts";
import type { CompiledScript } from "../script/types.ts";
import { bootClock, taiClock, wallClock } from "./clock.ts";
import type { LoadedScript } from "./load.ts";
import type { Names } from "./names.ts";

const shown = (symbol: SymbolAt | undefined, offset: boolean): string | undefined =>
  symbol && (offset ? `${symbol.name}+${symbol.offset}` : symbol.name);

/** Names of users by id, from the text of /etc/passwd. */
export function userNames(passwd: string): Map<number, string> {
  const names = new Map<number, string>();
  for (const line of passwd.split("\n")) {
    const [name, , id] = line.split(":");
    if (name && id && !names.has(Number(id))) names.set(Number(id), name);
  }
  return names;
}

/** Most directories that are looked at for one id. */
const mostCgroups = 20_000;

/** Path of a cgroup below the root, as its processes see it ("/" is the root itself); undefined if there is no such id. */
function cgroupPath(id: bigint): string | undefined {
  const root = cgroupRoot();
  if (root === undefined) return undefined;
  const queue = [root];
  for (const directory of queue) {
    if (cgroupId(directory) === id) return directory.slice(root.length) || "/";
    if (queue.length >= mostCgroups) continue;
    for (const entry of readdirSync(directory, { withFileTypes: true }))
      if (entry.isDirectory()) queue.push(join(directory, entry.name));
  }
  return undefined;
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

const wholeSeconds = (ns: bigint): bigint => BigInt(Math.round(Number(ns) / 1e9)) * 1_000_000_000n;

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
  const cgroups = new Map<bigint, string | undefined>();
  return {
    name: (dictionary, id) => names.name(dictionary, id),
    kernelSymbol: (address, offset) => shown(symbols.at(address), offset),
    userSymbol: (pid, address, offset) => shown(processes.at(pid, address), offset),
    userModule: (pid, address) => processes.at(pid, address)?.module,
    userName: (uid) => {
      users ??= userNames(readFileSync("/etc/passwd", "utf8"));
      return users.get(uid);
    },
    cgroupPath: (id) => {
      if (!cgroups.has(id)) cgroups.set(id, cgroupPath(id));
      return cgroups.get(id);
    },
    stack: (id) => stackFrames(loaded, id),
    now: wallClock,
    bootOffset: () => wallClock() - bootClock(),
    // A whole number of seconds, but for the time between the two readings.
    taiOffset: () => wholeSeconds(wallClock() - taiClock()),
    probe: (index) => script.attach[index]?.text,
  };
}
