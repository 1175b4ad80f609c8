// The same kubectl commands on the embedded API server and on a real one: same output, same exit codes.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type RunningApiServer, startApiServer } from "../../src/apiserver/index.ts";
import { applying, customKinds } from "./apiserver-battery.ts";
import { access, builtinKinds } from "./apiserver-battery-builtin.ts";
import { moreBuiltin } from "./apiserver-battery-defaults.ts";
import { moreCustom } from "./apiserver-battery-more.ts";
import { comparable, findKubectls, type Result, runStep, type Step, tooOld } from "./apiserver-steps.ts";
import { findAssets, type RealControlPlane, startReal } from "./real.ts";

const assets = findAssets();
const [newest, oldest] = findKubectls();
/** All groups with the newest kubectl; with the oldest those that differ most between versions, all where it is asked for. */
const kubectls = [
  { kubectl: newest, groups: (_: string) => true },
  { kubectl: oldest, groups: (g: string) => process.env["WAGGLE_BATTERY"] === "full" || g === "applying" },
];

/** Some parts of a real control plane follow a moment later (RBAC, discovery, garbage collection): reads are tried again. */
const isRead = (step: Step): boolean => /^(get|describe|auth|explain|wait|diff)\b/.test(step.args);
const tries = 6;
const pauseMs = 400;

for (const { kubectl, groups: wanted } of kubectls)
  describe.skipIf(!assets || !kubectl)(
    `embedded against real, kubectl 1.${kubectl?.minor ?? "? (skipped: needs make assets and two kubectl)"}`,
    () => {
      const dir = mkdtempSync(join(tmpdir(), "waggle-differential-"));
      const kubeconfig = join(dir, "embedded.yaml");
      let embedded: RunningApiServer;
      let real: RealControlPlane;
      let controllers: ChildProcess;

      beforeAll(async () => {
        for (const home of ["real", "embedded"]) mkdirSync(join(dir, home));
        embedded = await startApiServer({ clusterName: "embedded" });
        writeFileSync(kubeconfig, embedded.adminKubeconfig(), { mode: 0o600 });
        real = await startReal(assets!);
        const names = ["namespace", "garbage-collector", "serviceaccount", "clusterrole-aggregation"];
        controllers = spawn(
          join(assets!, "kube-controller-manager"),
          [
            ...["--kubeconfig", real.kubeconfig, "--leader-elect=false", "--secure-port=0"],
            `--controllers=${names.map((n) => `${n}-controller`).join(",")}`,
          ],
          { stdio: "ignore" },
        );
        // The default accounts tell that the controllers are at work.
        const ready: Step = { args: "wait --for=create serviceaccount/default -n default --timeout=20s" };
        await runStep(ready, kubectl!.path, real.kubeconfig, join(dir, "real"));
      }, 120_000);

      afterAll(async () => {
        controllers?.kill("SIGKILL");
        await embedded?.close();
        await real?.[Symbol.asyncDispose]();
        rmSync(dir, { recursive: true, force: true });
      });

      const both = (step: Step): Promise<[Result, Result]> =>
        Promise.all([
          runStep(step, kubectl!.path, real.kubeconfig, join(dir, "real")),
          runStep(step, kubectl!.path, kubeconfig, join(dir, "embedded")),
        ]);
      const shown = (step: Step, result: Result): object => ({
        code: result.code,
        out: comparable(step, result.out),
        err: comparable(step, result.err),
      });

      const groups = {
        "custom kinds": customKinds,
        applying,
        "built-in kinds": builtinKinds,
        access,
        "defaults and managers": moreBuiltin,
        "custom kinds, further": moreCustom,
      } as const;
      for (const [group, steps] of Object.entries(groups).filter(([g]) => wanted(g)))
        describe(group, () => {
          steps.forEach((step, i) => {
            test.skipIf((step.since ?? 0) > kubectl!.minor)(
              `${i}: kubectl ${step.args.replaceAll("\u0001", " ")}${tooOld(step, kubectl!.minor)}`,
              async () => {
                let [theirs, ours] = await both(step);
                if (step.differs) return;
                for (let n = 1; n < tries && isRead(step); n++) {
                  if (JSON.stringify(shown(step, theirs)) === JSON.stringify(shown(step, ours))) break;
                  await new Promise((r) => setTimeout(r, pauseMs));
                  [theirs, ours] = await both(step);
                }
                expect(shown(step, ours)).toEqual(shown(step, theirs));
              },
            );
          });
        });
    },
  );
