// lab: one cluster's control plane: the embedded API server, its base objects, identities of agents, manifests, EndpointSlices.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, parseAllDocuments, stringify } from "yaml";
import type { KubernetesObject } from "../api/index.ts";
import { type KubeClient, kinds, loadKubeConfig, type Resource } from "../kube/index.ts";
import { installation } from "./launcher.ts";
import { familiesOf } from "./routing.ts";
import type { PodRecord } from "./state.ts";
import { type Addresses, type LabNode, textsOf } from "./topology.ts";

const known: ReadonlyMap<string, Resource> = new Map(
  (Object.values(kinds) as Resource[]).map((r) => [`${r.group}/${r.version} ${r.kind}`, r]),
);

interface DiscoveryList {
  readonly resources: readonly {
    readonly name: string;
    readonly kind: string;
    readonly namespaced: boolean;
  }[];
}

/** How the API server serves a kind: known beforehand, else it is asked. @throws Error when it does not serve it */
async function resourceOf(client: KubeClient, object: KubernetesObject): Promise<Resource> {
  const [version, group = ""] = object.apiVersion.split("/").reverse() as [string, string?];
  const found = known.get(`${group}/${version} ${object.kind}`);
  if (found) return found;
  const path = group ? `/apis/${group}/${version}` : `/api/${version}`;
  const list = (await client.raw({ method: "GET", path })) as DiscoveryList;
  const served = list.resources.find((r) => r.kind === object.kind && !r.name.includes("/"));
  if (!served) throw new Error(`the API server does not serve ${object.kind} of ${object.apiVersion}`);
  const { name: plural, kind, namespaced } = served;
  return { group, version, kind, plural, namespaced };
}

/** The objects of a YAML stream. @throws Error with the place of the first mistake */
export function readManifests(text: string): KubernetesObject[] {
  const out: KubernetesObject[] = [];
  for (const document of parseAllDocuments(text)) {
    const mistake = document.errors[0];
    if (mistake) throw new Error(mistake.message);
    const object = document.toJS() as KubernetesObject | null;
    if (object) out.push(object);
  }
  return out;
}

/** Server-side apply of objects in their order, as `kubectl apply --server-side` would. */
export async function applyObjects(client: KubeClient, objects: readonly KubernetesObject[]): Promise<void> {
  for (const object of objects) {
    await client.patch(await resourceOf(client, object), object.metadata.name, "apply", object, {
      ...(object.metadata.namespace ? { namespace: object.metadata.namespace } : {}),
      fieldManager: "waggle-lab",
      force: true,
    });
  }
}

/** A client of the administrator of one cluster. */
export const adminClient = async (kubeconfig: string, socket: string | undefined): Promise<KubeClient> =>
  (await loadKubeConfig({ kubeconfig, ...(socket && { socket }) }, { name: "waggle-lab" })).client;

/** Namespace, ServiceAccounts and roles of Waggle. */
export const applyBase = (client: KubeClient): Promise<void> =>
  applyObjects(client, readManifests(readFileSync(join(installation(), "deploy/base.yaml"), "utf8")));

/** Registers a node, as its kubelet would. */
export async function registerNode(client: KubeClient, node: LabNode): Promise<void> {
  await applyObjects(client, [
    {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: node.name, labels: { "kubernetes.io/hostname": node.name } },
    },
  ]);
  await client.patchStatus(
    kinds.Node,
    node.name,
    {
      addresses: [
        ...textsOf(node.address).map((address) => ({ type: "InternalIP", address })),
        { type: "Hostname", address: node.name },
      ],
      conditions: [{ type: "Ready", status: "True", reason: "LabNode", message: "a network namespace" }],
    },
    { fieldManager: "waggle-lab" },
  );
}

interface TokenRequestReply {
  readonly status: { readonly token: string };
}

/** A ServiceAccount's token, bound to a node where one is given: what a kubelet projects into a pod. */
async function token(
  client: KubeClient,
  account: string,
  audience: string | undefined,
  node?: string,
): Promise<string> {
  const nodeObject = node ? await client.get(kinds.Node, node) : undefined;
  const reply = (await client.raw({
    method: "POST",
    path: `/api/v1/namespaces/waggle-system/serviceaccounts/${account}/token`,
    body: {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: {
        ...(audience ? { audiences: [audience] } : {}),
        expirationSeconds: 86_400,
        ...(nodeObject
          ? {
              boundObjectRef: { apiVersion: "v1", kind: "Node", name: node, uid: nodeObject.metadata.uid },
            }
          : {}),
      },
    },
  })) as TokenRequestReply;
  return reply.status.token;
}

interface KubeconfigFile {
  clusters: unknown[];
  contexts: { name: string; context: { cluster: string; user: string } }[];
  users: { name: string; user: Record<string, unknown> }[];
  "current-context": string;
}

/** Writes a kubeconfig like the administrator's, with a ServiceAccount's token instead. */
async function writeAccountKubeconfig(
  admin: string,
  path: string,
  account: string,
  accountToken: string,
): Promise<void> {
  const config = parse(readFileSync(admin, "utf8")) as KubeconfigFile;
  const context = config.contexts.find((c) => c.name === config["current-context"])!;
  const out = {
    ...config,
    contexts: [{ ...context, context: { ...context.context, user: account } }],
    users: [{ name: account, user: { token: accountToken } }],
  };
  writeFileSync(path, stringify(out), { mode: 0o600 });
}

export interface AgentIdentity {
  readonly kubeconfig: string;
  readonly hubToken: string;
}

/** Files with which an agent is itself and nobody else: kubeconfig and hub token, both bound to its node. */
export async function agentIdentity(
  client: KubeClient,
  admin: string,
  directory: string,
  node: string,
): Promise<AgentIdentity> {
  const kubeconfig = join(directory, "agent.kubeconfig");
  const hubToken = join(directory, "hub.token");
  await writeAccountKubeconfig(
    admin,
    kubeconfig,
    "waggle-agent",
    await token(client, "waggle-agent", undefined, node),
  );
  writeFileSync(hubToken, await token(client, "waggle-agent", "waggle-hub", node), { mode: 0o600 });
  return { kubeconfig, hubToken };
}

/** The operator's kubeconfig. */
export async function operatorIdentity(
  client: KubeClient,
  admin: string,
  directory: string,
): Promise<string> {
  const path = join(directory, "operator.kubeconfig");
  await writeAccountKubeconfig(
    admin,
    path,
    "waggle-operator",
    await token(client, "waggle-operator", undefined),
  );
  return path;
}

const addressTypes = { ipv4: "IPv4", ipv6: "IPv6" } as const;

/** What kube-controller-manager would make of a Service's pods: one slice for each address family. */
export function endpointSlices(
  service: string,
  pods: readonly PodRecord[],
  port: number,
): KubernetesObject[] {
  const has = (pod: PodRecord): Addresses => addressesByFamily(pod.addresses);
  const families = new Set(pods.flatMap((pod) => familiesOf(has(pod))));
  return [...families].sort().map(
    (family) =>
      ({
        apiVersion: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        metadata: {
          name: `${service}-${family}`,
          namespace: "default",
          labels: { "kubernetes.io/service-name": service },
        },
        addressType: addressTypes[family],
        endpoints: pods.flatMap((pod) => {
          const address = has(pod)[family];
          return address === undefined
            ? []
            : {
                addresses: [address],
                nodeName: pod.node,
                conditions: { ready: true, serving: true, terminating: false },
              };
        }),
        ports: [{ name: "http", port, protocol: "TCP" }],
      }) as KubernetesObject,
  );
}

/** The first address of each family. */
export function addressesByFamily(addresses: readonly string[]): Addresses {
  const ipv4 = addresses.find((a) => !a.includes(":"));
  const ipv6 = addresses.find((a) => a.includes(":"));
  return { ...(ipv4 && { ipv4 }), ...(ipv6 && { ipv6 }) };
}

/** Shows a pod to the API server as its kubelet would: bound to its node, running, ready, with its addresses. */
export async function registerPod(client: KubeClient, pod: PodRecord): Promise<void> {
  const { name, namespace, app, node, addresses } = pod;
  const container = { name: "web", image: "waggle.dev/lab" };
  const now = new Date().toISOString();
  const object = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels: { app } },
    spec: { nodeName: node, containers: [container], automountServiceAccountToken: false },
  } as KubernetesObject;
  await applyObjects(client, [object]);
  await client.patchStatus(
    await resourceOf(client, object),
    name,
    {
      phase: "Running",
      podIP: addresses[0],
      podIPs: addresses.map((ip) => ({ ip })),
      startTime: now,
      conditions: ["Initialized", "ContainersReady", "Ready", "PodScheduled"].map((type) => ({
        type,
        status: "True",
        lastTransitionTime: now,
      })),
      containerStatuses: [
        {
          ...container,
          imageID: container.image,
          ready: true,
          restartCount: 0,
          state: { running: { startedAt: now } },
        },
      ],
    },
    { fieldManager: "waggle-lab", namespace },
  );
}
