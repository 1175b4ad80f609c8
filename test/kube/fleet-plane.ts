// kube: control planes for tests of the fleet: the embedded API server, and the real one where it was made; each with our kinds,
// accounts and nodes.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { startApiServer } from "../../src/apiserver/index.ts";
import { readManifests } from "../../src/apiserver/manifests.ts";
import { type KubeClient, kinds, loadKubeConfig } from "../../src/kube/index.ts";
import { findAssets, startReal } from "./real.ts";

export interface Plane extends AsyncDisposable {
  readonly kubeconfig: string;
  readonly client: KubeClient;
}

/** Our kinds, accounts and their rights. */
export async function prepare(client: KubeClient, kubeconfig: string): Promise<void> {
  for (const path of ["crds", "deploy/base.yaml"])
    execFileSync("kubectl", ["--kubeconfig", kubeconfig, "apply", "-f", path], { stdio: "pipe" });
  execFileSync(
    "kubectl",
    ["--kubeconfig", kubeconfig, "wait", "--for=condition=Established", "crd", "--all"],
    {
      stdio: "pipe",
    },
  );
  await client.list(kinds.Trace);
}

export const planes: readonly {
  readonly name: string;
  readonly skipped: boolean;
  readonly start: (cluster: string) => Promise<Plane>;
}[] = [
  {
    name: "the embedded API server",
    skipped: false,
    async start(cluster) {
      const server = await startApiServer({
        clusterName: cluster,
        manifests: [...readManifests("crds"), ...readManifests("deploy")],
      });
      const directory = mkdtempSync(join(tmpdir(), "waggle-fleet-"));
      const kubeconfig = join(directory, "kubeconfig");
      writeFileSync(kubeconfig, server.adminKubeconfig(), { mode: 0o600 });
      const { client } = await loadKubeConfig({ kubeconfig });
      return {
        kubeconfig,
        client,
        async [Symbol.asyncDispose]() {
          await client[Symbol.asyncDispose]();
          await server.close();
          rmSync(directory, { recursive: true });
        },
      };
    },
  },
  {
    name: `a real kube-apiserver${findAssets() ? "" : " (skipped: needs make assets)"}`,
    skipped: findAssets() === undefined,
    async start() {
      const real = await startReal(findAssets()!);
      await prepare(real.client, real.kubeconfig);
      return real;
    },
  },
];

export async function addNode(client: KubeClient, node: string): Promise<void> {
  await client.create(kinds.Node, {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: node, labels: { "kubernetes.io/hostname": node } },
  });
}

/** A token as a kubelet projects it: for an account, an audience, and bound to a node where one is named. */
export async function tokenOf(
  client: KubeClient,
  account: string,
  audience: string | undefined,
  node?: string,
): Promise<string> {
  const uid = node === undefined ? undefined : (await client.get(kinds.Node, node)).metadata.uid;
  const reply = (await client.raw({
    method: "POST",
    path: `/api/v1/namespaces/waggle-system/serviceaccounts/${account}/token`,
    body: {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: {
        ...(audience ? { audiences: [audience] } : {}),
        expirationSeconds: 3600,
        ...(node ? { boundObjectRef: { apiVersion: "v1", kind: "Node", name: node, uid } } : {}),
      },
    },
  })) as { readonly status: { readonly token: string } };
  return reply.status.token;
}

/** A kubeconfig like another with a context of the given name, for whoever has the token; without one, for the same user. */
export function kubeconfigWith(kubeconfig: string, context: string, token?: string): string {
  const config = parse(execFileSync("cat", [kubeconfig], { encoding: "utf8" })) as {
    clusters: { name: string; cluster: object }[];
    users: { name: string; user: object }[];
  };
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: context, cluster: config.clusters[0]!.cluster }],
    users: [{ name: context, user: token === undefined ? config.users[0]!.user : { token } }],
    contexts: [{ name: context, context: { cluster: context, user: context } }],
    "current-context": context,
  });
}
