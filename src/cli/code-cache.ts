// cli: where V8's compiled code may be kept between starts.
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";

/**
 * Directory for the code of the program that lies in `program` (which ends in a slash). Whoever can write there runs code as us, so:
 * beside the program where that is ours to write, else a directory of this user; for root never one below a HOME that may be
 * somebody else's.
 */
export function codeCacheDirectory(program: string): string {
  try {
    accessSync(program, constants.W_OK);
    return `${program}compile-cache`;
  } catch {
    // A read-only installation.
    if (process.getuid?.() === 0) return "/var/cache/waggle/compile-cache";
    return `${process.env["XDG_CACHE_HOME"] || `${homedir()}/.cache`}/waggle/compile-cache`;
  }
}

/** What an older Node.js is told; undefined for one that can run us. */
export function runtimeProblem(): string | undefined {
  if (Number.parseInt(process.versions.node, 10) >= 26) return undefined;
  return `waggle: needs Node.js 26 or newer, found ${process.versions.node} (${process.execPath}); in a checkout, make deps fetches one\n`;
}
