// trace: what printing alone cannot do: cat() reads a file, system() runs a command.
import { closeSync, constants, openSync, readSync } from "node:fs";
import type { DecodedRecord, NodeChunk } from "../results/types.ts";
import { say } from "./messages.ts";

type Line = Extract<DecodedRecord, { kind: "line" }>;

/** Bytes of a command's output. */
const systemLimit = 1 << 20;
const systemTimeoutMs = 30_000;

/** What a line may do, and how far. */
export interface Permissions {
  readonly unsafe: boolean;
  /** Bytes that cat() prints of a file. */
  readonly catBytes: number;
}

function readStart(path: string, limit: number): string {
  const fd = openSync(path, constants.O_RDONLY);
  try {
    const bytes = Buffer.alloc(limit);
    let length = 0;
    while (length < limit) {
      const n = readSync(fd, bytes, length, limit - length, null);
      if (n === 0) break;
      length += n;
    }
    return bytes.toString("utf8", 0, length);
  } finally {
    closeSync(fd);
  }
}

/** The chunks that a line becomes. Commands run only where unsafe functions are allowed; the compiler refuses them elsewhere. */
export function carryOut(line: Line, { unsafe, catBytes }: Permissions): NodeChunk[] {
  const { type, text } = line;
  if (type === "cat") {
    try {
      return [{ kind: "line", type, text: readStart(text, catBytes) }];
    } catch (error) {
      // Nothing is what the file gave: bpftrace says both.
      return [
        { kind: "line", type: "error", text: `${say.cannotRead(text, (error as Error).message)}\n` },
        { kind: "line", type, text: "" },
      ];
    }
  }
  if (type === "system") {
    if (!unsafe)
      return [
        { kind: "line", type: "error", text: `${say.commandFailed(text, "unsafe functions are off")}\n` },
      ];
    // Loaded when it is needed: it costs a start more than all of tracing.
    const { spawnSync } = process.getBuiltinModule("node:child_process");
    const done = spawnSync("/bin/sh", ["-c", text], {
      encoding: "utf8",
      maxBuffer: systemLimit,
      timeout: systemTimeoutMs,
      stdio: ["ignore", "pipe", "inherit"],
    });
    return [{ kind: "line", type, text: done.stdout ?? "" }];
  }
  return [line];
}
