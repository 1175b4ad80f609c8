// A program made with client-go (test/assets/client-go) against the embedded API server and a real one: a typed informer, the
// dynamic client and its informer on a kind of ours, apply, and two candidates for one Lease.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { findAssets } from "../../src/lab/real.ts";
import { planes } from "./fleet-plane.ts";

const program = join(findAssets() ?? "", "client-go");

const pool = {
  apiVersion: "waggle.dev/v1alpha1",
  kind: "IPPool",
  metadata: { name: "made-in-go" },
  spec: { purpose: "LoadBalancers", blocks: ["10.77.0.0/24"], serviceSelector: {} },
};

const expected = {
  informerSynced: true,
  staleUpdateConflicts: true,
  informer: ["added from-go", "updated from-go", "deleted from-go"],
  notFound: true,
  dynamicSynced: true,
  managers: ["Apply go", "Update client-go"],
  selected: 1,
  dynamic: ["added made-in-go", "updated made-in-go", "updated made-in-go", "deleted made-in-go"],
  elections: ["one leads", "two leads"],
};

for (const { name, skipped, start } of planes)
  it.skipIf(skipped || !existsSync(program))(
    `client-go finds what it needs on ${name}${skipped || !existsSync(program) ? " (skipped: needs make assets)" : ""}`,
    async () => {
      await using plane = await start("go");
      const run = promisify(execFile);
      const { stdout } = await run(program, [plane.kubeconfig, JSON.stringify(pool)], { timeout: 150_000 });
      const report = JSON.parse(stdout) as Record<string, unknown>;
      expect({ ...report, managers: (report["managers"] as string[]).sort() }).toEqual(expected);
    },
    180_000,
  );
