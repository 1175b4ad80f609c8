// The chart on a real kube-apiserver: each object passes its validation, and the admission policy keeps an agent to its own node.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { kinds } from "../../src/kube/index.ts";
import { findAssets } from "../../src/lab/real.ts";
import { vips } from "../unit/operator/world.ts";
import { addNode, kubeconfigWith, type Plane, planes, tokenOf } from "./fleet-plane.ts";

async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error("not within 30 s");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const helm = join(findAssets() ?? "", "helm");
const chart = "deploy/chart";
const plane = planes.find((p) => p.name.startsWith("a real"))!;
const skipped = plane.skipped || !existsSync(helm);

describe.skipIf(skipped)(
  `the chart on a real API server${skipped ? " (skipped: needs make assets)" : ""}`,
  () => {
    const directory = mkdtempSync(join(tmpdir(), "waggle-chart-"));
    let real: Plane;
    const kubectl = (kubeconfig: string, input: string | undefined, ...args: string[]): string =>
      execFileSync("kubectl", ["--kubeconfig", kubeconfig, ...args], {
        encoding: "utf8",
        stdio: "pipe",
        ...(input !== undefined && { input }),
      });

    beforeAll(async () => {
      real = await plane.start("chart");
    }, 120_000);
    afterAll(async () => {
      await real?.[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    }, 30_000);

    it("every object passes a server-side dry run", () => {
      const rendered = execFileSync(
        helm,
        [
          ...["template", "waggle", chart, "--namespace", "waggle-system", "--kube-version", "1.34.0"],
          ...["--api-versions", "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"],
          ...["--set", `image.digest=sha256:${"0".repeat(64)}`],
          ...["--set", "metrics.tlsSecretName=certificates", "--set", "dashboard.enabled=true"],
        ],
        { encoding: "utf8" },
      );
      const out = kubectl(
        real.kubeconfig,
        rendered,
        "apply",
        "--dry-run=server",
        "--server-side",
        "--force-conflicts",
        "-f",
        "-",
      );
      for (const name of [
        "deployment.apps/waggle-operator",
        "daemonset.apps/waggle-agent",
        "daemonset.apps/waggle-speaker",
        "poddisruptionbudget.policy/waggle-operator",
        "validatingadmissionpolicy.admissionregistration.k8s.io/waggle-agent-own-node",
        "validatingadmissionpolicy.admissionregistration.k8s.io/waggle-pool-in-use",
      ])
        expect(out).toContain(`${name} serverside-applied (server dry run)`);
    }, 60_000);

    it("a pool in use is not deleted, and who asks is told by whom it is used", async () => {
      kubectl(real.kubeconfig, readFileSync(join(chart, "files/admission.yaml"), "utf8"), "apply", "-f", "-");
      for (const name of ["full", "probe"]) {
        await real.client.create(kinds.IPPool, vips(name, [`10.${name === "full" ? 1 : 2}.0.0/24`]));
        const inUse = [{ prefix: "10.1.0.0/30", users: "Service shop/web" }];
        await real.client.patchStatus(kinds.IPPool, name, { inUse });
      }
      const remove = (name: string) => real.client.delete(kinds.IPPool, name).then(() => "deleted", String);
      // The API server takes a moment to follow its policies.
      await waitFor(async () => {
        const pool = await real.client.get(kinds.IPPool, "probe").catch(() => undefined);
        if (!pool) await real.client.create(kinds.IPPool, vips("probe", ["10.2.0.0/24"]));
        await real.client.patchStatus(kinds.IPPool, "probe", {
          inUse: [{ prefix: "10.2.0.0/30", users: "Service shop/web" }],
        });
        return (await remove("probe")).includes("is in use");
      });
      expect(await remove("full")).toContain("IPPool full is in use: 10.1.0.0/30 by Service shop/web");
      await real.client.patchStatus(kinds.IPPool, "full", { inUse: [] });
      expect(await remove("full")).toBe("deleted");
    }, 60_000);

    it("an agent writes the status of its own NodeNetwork, and of no other", async () => {
      for (const node of ["n1", "n2"]) {
        await addNode(real.client, node);
        await real.client.create(kinds.NodeNetwork, {
          apiVersion: "waggle.dev/v1alpha1",
          kind: "NodeNetwork",
          metadata: { name: node },
          spec: {},
        });
      }
      kubectl(real.kubeconfig, readFileSync(join(chart, "files/admission.yaml"), "utf8"), "apply", "-f", "-");
      const as = async (name: string, node?: string): Promise<string> => {
        const file = join(directory, `${name}.yaml`);
        const token = await tokenOf(real.client, "waggle-agent", undefined, node);
        writeFileSync(file, kubeconfigWith(real.kubeconfig, name, token));
        return file;
      };
      const [own, free] = [await as("own", "n1"), await as("free")];
      const write = (kubeconfig: string, node: string): string => {
        const patch = JSON.stringify({ status: { agent: { version: `at ${performance.now()}` } } });
        const args = ["patch", "nodenetwork", node, "--subresource=status", "--type=merge", "-p", patch];
        const { stdout, stderr } = spawnSync("kubectl", ["--kubeconfig", kubeconfig, ...args], {
          encoding: "utf8",
        });
        return stdout + stderr;
      };
      // The API server takes a moment to follow its policies.
      const deadline = performance.now() + 30_000;
      let refused = "";
      while (!refused.includes("own node only") && performance.now() < deadline) {
        refused = write(own, "n2");
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      expect(refused).toContain("the agent of node n1 may write the NodeNetwork of its own node only");
      expect(write(own, "n1")).toContain("nodenetwork.waggle.dev/n1 patched");
      expect(write(free, "n1")).toContain("token is not bound to a node");
      // Others, such as the operator, are not concerned.
      expect(write(real.kubeconfig, "n2")).toContain("nodenetwork.waggle.dev/n2 patched");
    }, 90_000);
  },
);
