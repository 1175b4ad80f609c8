// agent: the CNI configuration on disk. Ours is written beside nobody else's: a foreign one is told, never overwritten.
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Conflist, conflistFile, networkName } from "../plan/index.ts";
import { readIfThere, removeIfThere, writeByRename } from "./files.ts";

export type CniState =
  | { readonly state: "Written"; readonly path: string }
  | { readonly state: "Foreign"; readonly owner: string }
  | { readonly state: "Waits" }
  | { readonly state: "NotOwned" };

const configuration = /\.(conflist|conf|json)$/;

/** A configuration in the directory that is not ours: its file and the network that it names. */
function foreign(directory: string): string | undefined {
  for (const name of readdirSync(directory).sort()) {
    if (!configuration.test(name)) continue;
    let network: unknown;
    try {
      network = (JSON.parse(readFileSync(join(directory, name), "utf8")) as { name?: unknown }).name;
    } catch {
      // Not JSON, or gone in between: whose it is cannot be said, so it is not ours.
      return name;
    }
    if (name === conflistFile && network === networkName) continue;
    return typeof network === "string" ? `${name} (network ${network})` : name;
  }
  return undefined;
}

/**
 * Brings the file in line with the plan. `owns`: the ClusterNetwork gives Pods to Waggle.
 * @throws Error when the directory cannot be read or written
 */
export function syncConflist(directory: string, owns: boolean, wanted: Conflist | undefined): CniState {
  if (!owns) return { state: "NotOwned" };
  mkdirSync(directory, { recursive: true });
  const owner = foreign(directory);
  if (owner !== undefined) return { state: "Foreign", owner };
  // Without a block nothing is written, and what is there stays: pods that run keep their addresses.
  if (!wanted) return { state: "Waits" };
  const path = join(directory, conflistFile);
  const text = `${JSON.stringify(wanted, null, 2)}\n`;
  if (readIfThere(path) !== text) writeByRename(path, text);
  return { state: "Written", path };
}

/** Removes the file if it is ours. Whether there was one. */
export function removeConflist(directory: string): boolean {
  const path = join(directory, conflistFile);
  const text = readIfThere(path);
  if (text === undefined) return false;
  try {
    if ((JSON.parse(text) as { name?: unknown }).name !== networkName) return false;
  } catch {
    return false;
  }
  removeIfThere(path);
  return true;
}
