// cli: the quick start of `waggle trace --local`: one file of code and what V8 made of all of it, functions that run for the first time
// included, which Node's own compile cache leaves out. It is CommonJS, as that starts 3 ms sooner.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { Script } from "node:vm";
import { codeCacheDirectory, runtimeProblem } from "./code-cache.ts";

/** Name of the file of code beside this one, put in by the build; it has a hash of the code in it. */
declare const WAGGLE_LOCAL_CODE: string;

function readIfAny(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    // Not there yet, or not for us to read: the code is compiled from its text.
    return undefined;
  }
}

/** Keeps what is compiled now for the next start. */
function keep(script: Script, path: string): void {
  try {
    mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true, mode: 0o755 });
    const unfinished = `${path}.${process.pid}`;
    try {
      writeFileSync(unfinished, script.createCachedData(), { mode: 0o644, flag: "wx" });
      renameSync(unfinished, path);
    } finally {
      rmSync(unfinished, { force: true });
    }
  } catch {
    // Nowhere to keep it: the next start is as slow as this one.
  }
}

async function start(args: readonly string[]): Promise<number> {
  const program = `${__dirname}/`;
  const file = `${program}${WAGGLE_LOCAL_CODE}`;
  const source = readFileSync(file, "latin1");
  const cache = `${codeCacheDirectory(program)}/${WAGGLE_LOCAL_CODE}.${process.versions.v8}-${process.arch}`;
  const cachedData = readIfAny(cache);
  const script = new Script(`(function(exports,require,__filename){${source}\n})`, {
    filename: file,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
  // V8 has taken what it needs; a megabyte would stay until the next collection.
  if (cachedData?.buffer instanceof ArrayBuffer) cachedData.buffer.transfer(0);
  const code = {} as typeof import("./local-code.ts");
  script.runInThisContext()(code, require, file);
  if (!code.isLocal(args)) {
    // Not for us after all: a word of the script looked like an option.
    await import(`${program}waggle.js`);
    return Number(process.exitCode ?? 0);
  }
  if (cachedData === undefined || script.cachedDataRejected)
    process.on("exit", () => {
      // What has not met the kernel lacks half of what the next start needs.
      if (!code.hasAttached()) return;
      code.exercise();
      keep(script, cache);
    });
  return code.localMain(args.slice(args.indexOf("trace") + 1));
}

const problem = runtimeProblem();
if (problem === undefined)
  void start(process.argv.slice(2)).then((code) => {
    process.exitCode = code;
  });
else {
  process.stderr.write(problem);
  process.exitCode = 1;
}
