// e2e: must-show 1: the demo tells its six steps, works twice in a row, and leaves nothing when it is interrupted anywhere.
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { down } from "../../src/lab/down.ts";
import { labCgroup, labPins } from "../../src/lab/host.ts";
import { waggle } from "../../src/lab/launcher.ts";
import { labNamespaces } from "../../src/lab/network.ts";
import { stateDirectory } from "../../src/lab/state.ts";
import { missingForLab } from "./support.ts";

const missing = missingForLab();
const headings = [
  "1. Lab up.",
  "2. Allocate.",
  "3. Prove, announce.",
  "4. Learn.",
  "5. Ask.",
  "6. Withdraw.",
];

/** Runs the demo; `interruptAt` sends SIGINT shortly after that heading. */
function demo(lab: string, interruptAt?: string): Promise<{ code: number | null; out: string }> {
  const [program, ...args] = waggle("lab", "demo", "--name", lab);
  return new Promise((resolve) => {
    const child = spawn(program!, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let interrupted = false;
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        out += chunk;
        if (interruptAt && !interrupted && out.includes(interruptAt)) {
          interrupted = true;
          setTimeout(() => child.kill("SIGINT"), 700);
        }
      });
    child.once("close", (code) => resolve({ code, out }));
  });
}

/** Processes whose command line names the lab's directory. */
const processesOfLab = (lab: string): string[] =>
  readdirSync("/proc")
    .filter((d) => /^\d+$/.test(d))
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return line.includes(`${stateDirectory(lab)}/`) ? [line] : [];
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
    ...(existsSync(stateDirectory(lab)) ? [stateDirectory(lab)] : []),
    ...processesOfLab(lab),
    ...readFileSync("/proc/mounts", "utf8")
      .split("\n")
      .filter((line) => line.includes(`wgl-${lab}-`)),
  ];
}

describe.skipIf(missing)(`the demo${missing ? ` (skipped: needs ${missing})` : ""}`, () => {
  const lab = "demotest";
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
      const { code, out } = await demo(lab, heading);
      expect(code, out).toBe(130);
      expect(traces(lab)).toEqual([]);
    },
    120_000,
  );
});
