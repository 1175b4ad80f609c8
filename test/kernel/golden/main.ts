// golden tests: a process that runs many command lines one after the other, each as `waggle trace --local` runs it, and tells what each printed.
import { fstatSync, readFileSync, readSync, writeSync } from "node:fs";
import { localMain } from "../../../src/cli/local.ts";

interface Line {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What came into a file that this process prints to since `from`. */
function since(fd: number, from: number): string {
  const bytes = Buffer.alloc(fstatSync(fd).size - from);
  return bytes.toString("utf8", 0, readSync(fd, bytes, 0, bytes.length, from));
}

// Standard output and standard error are files, open for reading as well; answers go to the fourth descriptor.
const lines = JSON.parse(readFileSync(0, "utf8")) as readonly Line[];
for (const { args, env = {} } of lines) {
  const before = [fstatSync(1).size, fstatSync(2).size] as const;
  const was = Object.keys(env).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, env);
  const at = performance.now();
  let code = 1;
  try {
    code = await localMain(["--local", ...args]);
  } catch (error) {
    writeSync(2, `${(error as Error).stack}\n`);
  }
  for (const [name, value] of was)
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  const ms = performance.now() - at;
  writeSync(3, `${JSON.stringify({ code, out: since(1, before[0]), err: since(2, before[1]), ms })}\n`);
}
process.exit(0);
