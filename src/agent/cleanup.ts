// agent: `waggle agent cleanup`: removes exactly what is ours on a node: attachments, pins, kernel routes, device, files.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { Datapath } from "../datapath/index.ts";
import { removeConflist } from "./conflist-file.ts";
import { readIfThere, removeEmpty, removeIfThere } from "./files.ts";
import { namesFile } from "./names.ts";
import { removeKernelRoutes } from "./node-datapath.ts";
import { passwordDirectories } from "./options.ts";
import { progressFile, snapshotFile } from "./store.ts";

export interface CleanupOptions {
  readonly node: string;
  readonly bpffs: string;
  readonly stateDir: string;
  readonly cniConfDir: string;
  readonly passwordDir: string | undefined;
}

export interface CleanupReport {
  /** A line for each kind of thing that there was. */
  readonly removed: readonly string[];
}

/** Removes files of ours; the directory goes where nothing else is in it. */
function removeState(directory: string): readonly string[] {
  const gone: string[] = [];
  for (const name of [snapshotFile, progressFile, namesFile]) {
    const path = join(directory, name);
    if (readIfThere(path) !== undefined) gone.push(path);
    removeIfThere(path);
    removeIfThere(`${path}.new`);
  }
  removeEmpty(directory);
  return gone;
}

/**
 * The agent and the speaker of the node must have ended. Routes go first, then programs, then files.
 * @throws Error where the bpffs is missing, KernelError
 */
export function cleanupNode(options: CleanupOptions): CleanupReport {
  const removed: string[] = [];
  const routes = removeKernelRoutes();
  if (routes > 0) removed.push(`${routes} kernel routes`);
  const pins = Datapath.cleanup({ bpffs: options.bpffs, node: options.node });
  if (pins > 0) removed.push(`${pins} attachments, pins and devices`);
  if (removeConflist(options.cniConfDir)) removed.push(`CNI configuration in ${options.cniConfDir}`);
  for (const directory of passwordDirectories(options)) rmSync(directory, { recursive: true, force: true });
  removed.push(...removeState(options.stateDir));
  return { removed };
}
