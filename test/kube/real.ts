// kube: a real control plane for tests: etcd and kube-apiserver from KUBEBUILDER_ASSETS or the cache that make assets fills.
import { type ChildProcess, spawn } from "node:child_process";
import { generateKeyPairSync, randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { type KubeClient, loadKubeConfig } from "../../src/kube/index.ts";

/** Directory with kube-apiserver and etcd; undefined where there is none. */
export function findAssets(): string | undefined {
  const named = process.env.KUBEBUILDER_ASSETS;
  if (named && existsSync(join(named, "kube-apiserver"))) return named;
  const cache =
    process.env.WAGGLE_ASSETS ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "waggle/assets");
  if (!existsSync(cache)) return undefined;
  return readdirSync(cache)
    .map((d) => join(cache, d))
    .find((d) => existsSync(join(d, "kube-apiserver")) && existsSync(join(d, "etcd")));
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });

export interface RealControlPlane extends AsyncDisposable {
  readonly kubeconfig: string;
  readonly client: KubeClient;
  readonly kubectl: string;
}

/** Starts both on loopback; ready when /readyz says so. @throws Error with the server's last words after 60 s */
export async function startReal(assets: string): Promise<RealControlPlane> {
  const directory = mkdtempSync(join(tmpdir(), "waggle-real-"));
  const children: ChildProcess[] = [];
  const begin = (name: string, args: string[]): void => {
    const log = openSync(join(directory, `${name}.log`), "a");
    children.push(spawn(join(assets, name), args, { stdio: ["ignore", log, log] }));
  };
  const [client, peer, secure] = [await freePort(), await freePort(), await freePort()];
  begin("etcd", [
    ...["--data-dir", join(directory, "etcd"), "--listen-client-urls", `http://127.0.0.1:${client}`],
    ...[
      "--advertise-client-urls",
      `http://127.0.0.1:${client}`,
      "--listen-peer-urls",
      `http://127.0.0.1:${peer}`,
    ],
    ...[
      "--initial-advertise-peer-urls",
      `http://127.0.0.1:${peer}`,
      "--initial-cluster",
      `default=http://127.0.0.1:${peer}`,
    ],
  ]);
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(join(directory, "sa.key"), privateKey.export({ type: "pkcs1", format: "pem" }), {
    mode: 0o600,
  });
  writeFileSync(join(directory, "sa.pub"), publicKey.export({ type: "spki", format: "pem" }));
  const token = randomBytes(16).toString("hex");
  writeFileSync(join(directory, "tokens.csv"), `${token},admin,admin,"system:masters"\n`, { mode: 0o600 });
  mkdirSync(join(directory, "certs"));
  begin("kube-apiserver", [
    ...[`--etcd-servers=http://127.0.0.1:${client}`, "--bind-address=127.0.0.1", `--secure-port=${secure}`],
    ...[`--cert-dir=${join(directory, "certs")}`, `--token-auth-file=${join(directory, "tokens.csv")}`],
    ...[
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${join(directory, "sa.pub")}`,
    ],
    ...[`--service-account-signing-key-file=${join(directory, "sa.key")}`, "--authorization-mode=RBAC"],
    // Nothing makes the default ServiceAccounts without a controller manager.
    ...["--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range=10.250.0.0/24,fd50::/112"],
  ]);
  const kubeconfig = join(directory, "kubeconfig");
  writeFileSync(
    kubeconfig,
    stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [
        {
          name: "real",
          cluster: { server: `https://127.0.0.1:${secure}`, "insecure-skip-tls-verify": true },
        },
      ],
      users: [{ name: "admin", user: { token } }],
      contexts: [{ name: "real", context: { cluster: "real", user: "admin" } }],
      "current-context": "real",
    }),
    { mode: 0o600 },
  );
  const connected = await loadKubeConfig({ kubeconfig });
  const close = async (): Promise<void> => {
    await connected.client[Symbol.asyncDispose]();
    await Promise.all(
      children.toReversed().map(
        (child) =>
          new Promise<void>((resolve) => {
            if (child.exitCode !== null) return resolve();
            child.once("exit", () => resolve());
            child.kill("SIGKILL");
          }),
      ),
    );
    rmSync(directory, { recursive: true, force: true });
  };
  const end = performance.now() + 60_000;
  for (;;) {
    try {
      await connected.client.raw({ method: "GET", path: "/readyz", retries: 0, timeoutMs: 2_000 });
      break;
    } catch {
      if (performance.now() > end) {
        const words = readFileSync(join(directory, "kube-apiserver.log"), "utf8")
          .split("\n")
          .slice(-5)
          .join("\n");
        await close();
        throw new Error(`kube-apiserver did not get ready within 60 s: ${words}`);
      }
      await new Promise((r) => setTimeout(r, 250));
    }
  }
  return {
    kubeconfig,
    client: connected.client,
    kubectl: existsSync(join(assets, "kubectl")) ? join(assets, "kubectl") : "kubectl",
    [Symbol.asyncDispose]: close,
  };
}
