// The embedded API server under kubectl: each command of the battery with its output and exit code.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningApiServer, startApiServer } from "../../src/apiserver/index.ts";
import { applying, customKinds } from "./apiserver-battery.ts";
import { access, builtinKinds } from "./apiserver-battery-builtin.ts";
import { columns, findKubectls, normalise, runStep, tooOld } from "./apiserver-steps.ts";

const kubectls = findKubectls();

function check(actual: string, expected: string | RegExp): void {
  if (typeof expected === "string") expect(columns(normalise(actual))).toBe(columns(expected));
  else expect(normalise(actual)).toMatch(expected);
}

describe.skipIf(kubectls.length === 0)("kubectl (skipped: needs kubectl)", () => {
  describe.each(kubectls)("$path", ({ path, minor }) => {
    let server: RunningApiServer;
    const dir = mkdtempSync(join(tmpdir(), "waggle-kubectl-"));
    const kubeconfig = join(dir, "kubeconfig");

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
            `kubectl ${step.args.replaceAll("\u0001", " ")}${tooOld(step, minor)}`,
            async () => {
              const result = await runStep(step, path, kubeconfig, dir);
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
