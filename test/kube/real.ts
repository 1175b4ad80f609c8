// kube: a real control plane for tests: etcd and kube-apiserver from KUBEBUILDER_ASSETS or the cache that make assets fills,
// the way the lab starts them, as children of the test.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type KubeClient, loadKubeConfig } from "../../src/kube/index.ts";
import { findAssets, planReal, realReadyMs, untilReal } from "../../src/lab/real.ts";

export { findAssets };

export interface RealControlPlane extends AsyncDisposable {
  readonly kubeconfig: string;
  readonly client: KubeClient;
  readonly kubectl: string;
}

/** Starts both on loopback; ready when /readyz says so. @throws Error with the server's last words when it does not */
export async function startReal(assets: string): Promise<RealControlPlane> {
  const directory = mkdtempSync(join(tmpdir(), "waggle-real-"));
  const plane = await planReal({
    assets,
    directory,
    name: "real",
    controllerManager: false,
    serviceRanges: ["10.250.0.0/24", "fd50::/112"],
  });
  const children = plane.programs.map(({ name, command: [program, ...args] }): ChildProcess => {
    const log = openSync(join(directory, `${name}.log`), "a");
    return spawn(program!, args, { stdio: ["ignore", log, log] });
  });
  const kubeconfig = join(directory, "kubeconfig");
  writeFileSync(kubeconfig, plane.kubeconfig, { mode: 0o600 });
  const connected = await loadKubeConfig({ kubeconfig });
  const close = async (): Promise<void> => {
    await connected.client[Symbol.asyncDispose]();
    await Promise.all(
      children.toReversed().map(
        (child) =>
          new Promise<void>((resolve) => {
            if (child.exitCode !== null || child.signalCode !== null) return resolve();
            child.once("exit", () => resolve());
            child.kill("SIGKILL");
          }),
      ),
    );
    rmSync(directory, { recursive: true, force: true });
  };
  if (!(await untilReal(connected.client, false))) {
    const log = readFileSync(join(directory, "apiserver.log"), "utf8");
    await close();
    throw new Error(
      `kube-apiserver did not get ready within ${realReadyMs / 1000} s: ${log.split("\n").slice(-5).join("\n")}`,
    );
  }
  return {
    kubeconfig,
    client: connected.client,
    kubectl: existsSync(join(assets, "kubectl")) ? join(assets, "kubectl") : "kubectl",
    [Symbol.asyncDispose]: close,
  };
}
