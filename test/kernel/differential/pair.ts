// differential tests: the same program under bpftrace 0.17 and under Waggle.
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { buildSync } from "esbuild";
import type { Case } from "./cases/case.ts";
import { writeWorkload } from "./workload.ts";

const root = join(import.meta.dirname, "../../..");
const directory = join(root, "build/differential");
/** Longest that one program may run. */
const limitMs = 60_000;

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Version of the bpftrace on this machine, or undefined. */
export function bpftraceVersion(): string | undefined {
  const { stdout, status } = spawnSync("bpftrace", ["--version"], { encoding: "utf8" });
  return status === 0 ? /v(\S+)/.exec(stdout)?.[1] : undefined;
}

/** A bundle of the sources as they are: starts faster than the sources, and is never an old one. */
export function buildWaggle(): string {
  mkdirSync(directory, { recursive: true });
  const outfile = join(directory, "waggle.js");
  buildSync({
    absWorkingDir: root,
    entryPoints: [join(import.meta.dirname, "main.ts")],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node26",
    external: ["koffi"],
    banner: { js: 'import{createRequire as $r}from"node:module";const require=$r(import.meta.url);' },
    logLevel: "error",
  });
  return outfile;
}

export const removeBuild = (): void => rmSync(directory, { recursive: true, force: true });

function run(command: string, args: readonly string[]): Promise<Ran> {
  const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
  const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"], timeout: limitMs });
  const text = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (t: string) => (text.out += t));
  child.stderr.setEncoding("utf8").on("data", (t: string) => (text.err += t));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, ...text }));
  });
}

let made = 0;

/** Both runs of a case, at the same time on different workloads of the same name. */
export async function runBoth(waggle: string, test: Case, json = false): Promise<readonly [Ran, Ran]> {
  const one = async (side: "bpftrace" | "waggle"): Promise<Ran> => {
    const place = join(directory, `${side}-${made++}`);
    const command: string[] = [];
    // The name of the process is that of its file: different ones keep runs at the same time apart.
    const name = `w${side[0]}_${String(made).padStart(4, "0")}`;
    if (test.workload) {
      mkdirSync(place, { recursive: true });
      writeWorkload(join(place, name), test.workload);
      command.push("-c", join(place, name));
    }
    const program = test.program
      .replaceAll("WORKNAME", name)
      .replaceAll("WORKLOAD", join(place, name))
      .replaceAll("WORK", name.slice(0, 3));
    const args = [
      ...(json ? ["-f", "json"] : []),
      ...(test.flags ?? []),
      ...command,
      "-e",
      program,
      ...(test.arguments ?? []),
    ];
    const ran =
      side === "bpftrace"
        ? await run("bpftrace", args)
        : await run(process.execPath, [waggle, "--compat", "0.17", ...args]);
    const clean = (text: string): string =>
      (test.same ?? ((t) => t))(text.replaceAll(join(place, name), "WORKLOAD").replaceAll(name, "WORKNAME"));
    return { code: ran.code, out: clean(ran.out), err: clean(ran.err) };
  };
  return Promise.all([one("bpftrace"), one("waggle")]);
}
