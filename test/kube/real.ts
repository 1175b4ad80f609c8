// kube: a real control plane for tests: etcd and kube-apiserver from KUBEBUILDER_ASSETS or the cache that make assets fills,
// the way the lab starts them, as children of the test.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type KubeClient, loadKubeConfig } from "../../src/kube/index.ts";
import { findAssets, lastWords, planReal, untilReal } from "../../src/lab/real.ts";

export { findAssets };

export interface RealControlPlane extends AsyncDisposable {
  readonly kubeconfig: string;
  readonly client: KubeClient;
  readonly kubectl: string;
  /** Where etcd and everything else of it keep their data. */
  readonly directory: string;
  /** kill -9 of both. */
  stop(): Promise<void>;
  /** Both again, on what is in the directory by now. */
  restart(): Promise<void>;
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
  const begin = (): ChildProcess[] =>
    plane.programs.map(({ name, command: [program, ...args] }): ChildProcess => {
      const log = openSync(join(directory, `${name}.log`), "a");
      const child = spawn(program!, args, { stdio: ["ignore", log, log] });
      closeSync(log);
      return child;
    });
  let children = begin();
  const kubeconfig = join(directory, "kubeconfig");
  writeFileSync(kubeconfig, plane.kubeconfig, { mode: 0o600 });
  const connected = await loadKubeConfig({ kubeconfig });
  const stop = async (): Promise<void> => {
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
  };
  const close = async (): Promise<void> => {
    await connected.client[Symbol.asyncDispose]();
    await stop();
    rmSync(directory, { recursive: true, force: true });
  };
  const dead = (): string | undefined =>
    plane.programs.find((_, i) => children[i]!.exitCode !== null || children[i]!.signalCode !== null)?.name;
  try {
    await untilReal(connected.client, "ready", dead);
  } catch (error) {
    const words = lastWords(join(directory, `${dead() ?? "apiserver"}.log`));
    await close();
    throw new Error(`${(error as Error).message}:\n${words}`, { cause: error });
  }
  return {
    kubeconfig,
    client: connected.client,
    directory,
    stop,
    async restart() {
      children = begin();
      await untilReal(connected.client, "ready", dead);
    },
    kubectl: existsSync(join(assets, "kubectl")) ? join(assets, "kubectl") : "kubectl",
    [Symbol.asyncDispose]: close,
  };
}
