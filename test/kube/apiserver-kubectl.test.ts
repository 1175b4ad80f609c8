// The embedded API server under kubectl: each command of the battery with its output and exit code.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningApiServer, startApiServer } from "../../src/apiserver/index.ts";
import { access, applying, builtinKinds, customKinds, type Step } from "./apiserver-battery.ts";

interface Kubectl {
  readonly path: string;
  readonly minor: number;
}

/** kubectl, by $KUBECTL or on the path; where versioned ones (kubectl.1.33) lie beside it, the newest and the oldest. */
function findKubectls(): Kubectl[] {
  const candidates = [
    process.env["KUBECTL"],
    ...(process.env["PATH"] ?? "").split(delimiter).map((d) => join(d, "kubectl")),
  ];
  const found = candidates.find((path) => path !== undefined && existsSync(path));
  if (!found) return [];
  const dir = dirname(realpathSync(found));
  const versioned = readdirSync(dir)
    .map((name) => /^kubectl\.1\.(\d+)$/.exec(name)?.[1])
    .filter((minor) => minor !== undefined)
    .map((minor) => ({ path: join(dir, `kubectl.1.${minor}`), minor: Number(minor) }))
    .sort((a, b) => a.minor - b.minor);
  const [oldest] = versioned;
  const newest = versioned.at(-1);
  if (!oldest || !newest || process.env["KUBECTL"]) return [{ path: found, minor: 99 }];
  return oldest === newest ? [newest] : [newest, oldest];
}

const kubectls = findKubectls();

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const normalise = (text: string): string =>
  text
    .replace(/\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z/g, "TIME")
    .replace(/( {2,})\d+s(?= *$| {2,})/gm, "$1AGE");

/** Tables are padded to their widest cell, so an age of two digits moves what follows: columns are told apart by two spaces. */
const columns = (text: string): string => text.replace(/ {2,}/g, "  ").replace(/ +$/gm, "");

function check(actual: string, expected: string | RegExp): void {
  if (typeof expected === "string") expect(columns(normalise(actual))).toBe(columns(expected));
  else expect(normalise(actual)).toMatch(expected);
}

describe.skipIf(kubectls.length === 0)("kubectl (skipped: needs kubectl)", () => {
  describe.each(kubectls)("$path", ({ path, minor }) => {
    let server: RunningApiServer;
    const dir = mkdtempSync(join(tmpdir(), "waggle-kubectl-"));
    const kubeconfig = join(dir, "kubeconfig");

    const run = (step: Step): Promise<Result> =>
      new Promise((resolve) => {
        const args = (step.args.includes("\u0001") ? step.args.split("\u0001") : step.args.split(" ")).map(
          (a) => a.replace("{widget.yaml}", new URL("./apiserver-widget.yaml", import.meta.url).pathname),
        );
        const child = execFile(
          path,
          args,
          {
            env: { PATH: process.env["PATH"], HOME: dir, KUBECONFIG: kubeconfig, ...step.env },
            timeout: 25_000,
          },
          (error, out, err) => {
            const code = error ? (typeof error.code === "number" ? error.code : 255) : 0;
            resolve({ code, out, err });
          },
        );
        child.stdin?.end(typeof step.stdin === "object" ? JSON.stringify(step.stdin) : (step.stdin ?? ""));
      });

    beforeAll(async () => {
      server = await startApiServer({ clusterName: "battery" });
      writeFileSync(kubeconfig, server.adminKubeconfig(), { mode: 0o600 });
    });
    afterAll(async () => {
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    });

    const groups = { "custom kinds": customKinds, applying, "built-in kinds": builtinKinds, access } as const;
    for (const [group, steps] of Object.entries(groups))
      describe(group, () => {
        for (const step of steps)
          test.skipIf((step.since ?? 0) > minor)(
            `kubectl ${step.args.replaceAll("\u0001", " ")}`,
            async () => {
              const result = await run(step);
              expect({ code: result.code, err: result.code === (step.code ?? 0) ? "" : result.err }).toEqual({
                code: step.code ?? 0,
                err: "",
              });
              if (step.out !== undefined) check(result.out, step.out);
              if (step.err !== undefined) check(result.err, step.err);
            },
          );
      });
  });
});
