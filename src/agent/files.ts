// agent: files that other processes read or that must survive a crash: written whole, by rename.
import { chmodSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Writes a file so that a reader, or a crash, sees the old or the new content and nothing between. */
export function writeByRename(path: string, text: string, mode = 0o644): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.new`;
  writeFileSync(temporary, text, { mode });
  // The mode above counts only where the file did not exist.
  chmodSync(temporary, mode);
  renameSync(temporary, path);
}

/** The text of a file; undefined where there is none. Any other failure is thrown. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export const removeIfThere = (path: string): void => rmSync(path, { force: true });

/** Removes a directory in which there is nothing. */
export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    // Not there, or somebody's files are in it.
    if (!["ENOENT", "ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}
