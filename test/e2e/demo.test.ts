// e2e: must-show 1: the demo tells its six steps, works twice in a row, and leaves nothing when it is interrupted anywhere.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { down } from "../../src/lab/down.ts";
import { labCgroup, labPins } from "../../src/lab/host.ts";
import { waggle } from "../../src/lab/launcher.ts";
import { labNamespaces } from "../../src/lab/network.ts";
import { frrDirectory, stateDirectory } from "../../src/lab/state.ts";
import { labName, missingForLab } from "./support.ts";

const missing = missingForLab();
const headings = [
  "1. Lab up.",
  "2. Allocate.",
  "3. Prove, announce.",
  "4. Learn.",
  "5. Ask.",
  "6. Withdraw.",
];

interface Interruption {
  /** SIGINT is sent so long after this was printed. */
  readonly at: string;
  readonly afterMs: number;
}

/** Runs the demo. */
function demo(
  lab: string,
  flags: readonly string[] = [],
  interruption?: Interruption,
): Promise<{ code: number | null; out: string }> {
  const [program, ...args] = waggle("lab", "demo", "--name", lab, ...flags);
  return new Promise((resolve) => {
    const child = spawn(program!, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let interrupted = false;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        out += chunk;
        if (interruption && !interrupted && out.includes(interruption.at)) {
          interrupted = true;
          setTimeout(() => child.kill("SIGINT"), interruption.afterMs);
        }
      });
    child.once("close", (code) => resolve({ code, out }));
  });
}

const directories = (lab: string): readonly string[] => [stateDirectory(lab), frrDirectory(lab)];

/** Processes whose command line names a directory of the lab's. */
const processesOfLab = (lab: string): string[] =>
  readdirSync("/proc")
    .filter((d) => /^\d+$/.test(d))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return directories(lab).some((d) => line.includes(`${d}/`)) ? [line] : [];
      } catch {
        return [];
      }
    });

/** Everything of a lab that may be left on the machine. */
function traces(lab: string): string[] {
  return [
    ...labNamespaces(lab),
    ...(existsSync(labCgroup(lab)) ? [labCgroup(lab)] : []),
    ...(existsSync(labPins(lab)) ? [labPins(lab)] : []),
    ...directories(lab).filter((d) => existsSync(d)),
    ...processesOfLab(lab),
    ...readFileSync("/proc/mounts", "utf8")
      .split("\n")
      .filter((line) => line.includes(`wgl-${lab}-`)),
  ];
}

describe.skipIf(missing)(`the demo${missing ? ` (skipped: needs ${missing})` : ""}`, () => {
  const lab = labName("demo");
  afterAll(async () => {
    await down(lab);
  });

  it.each([1, 2])(
    "run %i: six steps, ok, in under a minute, and nothing is left",
    async () => {
      const { code, out } = await demo(lab);
      expect(code, out).toBe(0);
      for (const heading of headings) expect(out).toContain(heading);
      expect(out).toMatch(/birdc show route[\s\S]*10\.101\.0\.\d+\/32[\s\S]*unicast/);
      expect(out).toMatch(/@\[dc[12]-node\d, dc[12], (10|fd)\S+\]: \d+/);
      expect(out).toContain("4/4 nodes");
      const seconds = Number(out.match(/demo: ok in ([\d.]+) s\s*$/)?.[1]);
      console.log(`demo: ${seconds} s`);
      expect(seconds).toBeGreaterThan(5);
      expect(traces(lab)).toEqual([]);
    },
    150_000,
  );

  it.each(headings)(
    "Ctrl-C at «%s» leaves nothing",
    async (heading) => {
      const { code, out } = await demo(lab, [], { at: heading, afterMs: 700 });
      expect(code, out).toBe(130);
      expect(traces(lab)).toEqual([]);
    },
    120_000,
  );

  const other = { kubernetes: "real", router: "frr" } as const;
  const lacks = missingForLab(other);
  it.skipIf(lacks).each(headings.slice(0, 2))(
    `Ctrl-C at «%s» with real API servers and routers of FRR leaves nothing${lacks ? ` (skipped: needs ${lacks})` : ""}`,
    async (heading) => {
      const flags = ["--kubernetes", other.kubernetes, "--router", other.router, "--tors", "2"];
      const { code, out } = await demo(lab, flags, { at: heading, afterMs: 3_000 });
      expect(code, out).toBe(130);
      expect(traces(lab)).toEqual([]);
    },
    180_000,
  );
});
