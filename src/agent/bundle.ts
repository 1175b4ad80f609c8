// agent: what a support bundle holds of one cluster: objects, statuses, Events, logs and what the plans say, with the caller's rights.
import type { KubernetesObject } from "../api/index.ts";
import { systemNamespace } from "../api/index.ts";
import {
  builtinKinds,
  describeError,
  isNotFound,
  type KubeClient,
  kinds,
  type Resource,
} from "../kube/index.ts";
import { hearings } from "../plan/index.ts";
import { foretold, liveNode, nodesOf, readCluster } from "./live.ts";
import { type Redact, redactObject, redactor } from "./redact.ts";

/** One file. */
export interface BundleFile {
  readonly path: string;
  readonly text: string;
}

export interface ClusterBundle {
  readonly files: readonly BundleFile[];
  /** What could not be had, and why. */
  readonly missing: readonly { readonly what: string; readonly why: string }[];
  /** Blackens this cluster's secrets in other texts. */
  readonly redact: Redact;
}

/** The end of a log that is taken, bytes. */
export const logBytes = 4 * 1024 * 1024;
/** Containers whose logs are taken. */
const logLimit = 200;

const listed: readonly Resource[] = [
  kinds.ClusterNetwork,
  kinds.NodeNetwork,
  kinds.IPPool,
  kinds.IPAllocation,
  kinds.IPReservation,
  kinds.BGPPeer,
  kinds.BGPPolicy,
  kinds.BGPAdvertisement,
  kinds.ClusterPeering,
  kinds.Trace,
  kinds.Node,
  kinds.Service,
  kinds.EndpointSlice,
  builtinKinds.CustomResourceDefinition,
];

/** Only what is Waggle's of kinds that many use. */
const ours: Readonly<Record<string, (o: KubernetesObject) => boolean>> = {
  CustomResourceDefinition: (o) => o.metadata.name.endsWith(".waggle.dev"),
};

/** Schemas are long and come with the version. */
const shorten = (o: KubernetesObject): unknown => {
  if (o.kind !== "CustomResourceDefinition") return o;
  const crd = o as KubernetesObject & { spec: { versions: readonly { name: string }[] }; status?: unknown };
  return { metadata: crd.metadata, versions: crd.spec.versions.map((v) => v.name), status: crd.status };
};

interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec?: { readonly containers?: readonly { readonly name: string }[] };
}

type Missing = ClusterBundle["missing"][number];

/** Passwords of BGP sessions, as far as the caller may read them: to be blackened, never to be written. */
async function passwordsOf(client: KubeClient, missing: Missing[]): Promise<readonly string[]> {
  const out: string[] = [];
  // Whoever may not read them has hardly put them anywhere; what does stand somewhere is left to the patterns.
  const told = (error: unknown): void =>
    void missing.push({ what: "passwords to be blackened by value", why: describeError(error) });
  try {
    const { items } = await client.list(kinds.BGPPeer);
    for (const name of new Set(items.flatMap((p) => p.spec.passwordSecretName ?? [])))
      try {
        const secret = await client.get(kinds.Secret, name, { namespace: systemNamespace, retries: 0 });
        for (const v of Object.values(secret.data ?? {})) out.push(Buffer.from(v, "base64").toString());
      } catch (error) {
        if (!isNotFound(error)) told(error);
      }
  } catch (error) {
    told(error);
  }
  return out;
}

/** Gathers everything; what fails is named and keeps nothing else back. `now` in unix ms. */
export async function clusterBundle(client: KubeClient, now: number): Promise<ClusterBundle> {
  const files: BundleFile[] = [];
  const missing: Missing[] = [];
  const redact = redactor(await passwordsOf(client, missing));
  const json = (path: string, value: unknown): void =>
    void files.push({
      path: `${path}.json`,
      text: `${JSON.stringify(redactObject(value, redact), (_, v: unknown) => (typeof v === "bigint" ? String(v) : v), 2)}\n`,
    });
  const attempt = async (what: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      missing.push({ what, why: redact(describeError(error)) });
    }
  };
  const raw = (path: string): Promise<unknown> => client.raw({ method: "GET", path, retries: 0 });
  const inSystem = `/namespaces/${systemNamespace}`;

  await attempt("version", async () => json("version", await raw("/version")));
  for (const resource of listed)
    await attempt(resource.plural, async () => {
      const { items } = await client.list(resource);
      json(`objects/${resource.plural}`, items.filter(ours[resource.kind] ?? (() => true)).map(shorten));
    });
  await attempt("events", async () => {
    const { items } = await client.list(kinds.Event);
    const about = items.filter(
      (e) =>
        e.metadata.namespace === systemNamespace ||
        e.regarding?.apiVersion?.startsWith("waggle.dev/") ||
        e.reportingController?.startsWith("waggle.dev/"),
    );
    json("objects/events", about);
  });
  await attempt("leases", async () =>
    json("objects/leases", (await client.list(kinds.Lease, { namespace: systemNamespace })).items),
  );
  for (const [path, name] of [
    [`/apis/apps/v1${inSystem}/deployments`, "deployments"],
    [`/apis/apps/v1${inSystem}/daemonsets`, "daemonsets"],
  ] as const)
    await attempt(name, async () => json(`objects/${name}`, await raw(path)));
  await attempt("pods", async () => {
    const list = (await raw(`/api/v1${inSystem}/pods`)) as { readonly items?: readonly Pod[] };
    json("objects/pods", list);
    const containers = (list.items ?? []).flatMap((p) =>
      (p.spec?.containers ?? []).map((c) => ({ pod: p.metadata.name, container: c.name })),
    );
    for (const { pod, container } of containers.slice(0, logLimit))
      await attempt(`log of ${pod}/${container}`, async () => {
        const path = `/api/v1${inSystem}/pods/${encodeURIComponent(pod)}/log`;
        const text = await raw(
          `${path}?container=${encodeURIComponent(container)}&limitBytes=${logBytes}&timestamps=true`,
        );
        const lines = typeof text === "string" ? text : JSON.stringify(text);
        files.push({ path: `logs/${pod}-${container}.log`, text: redact(lines) });
      });
  });
  await attempt("plans", async () => {
    const live = await readCluster(client);
    for (const name of nodesOf(live, undefined)) {
      const node = liveNode(live, name, now);
      const { announcements, problems, paused, held, hash, mode, owns, speaker } = foretold(node);
      const heard = hearings(speaker, node.facts.localAddress);
      json(`plans/${name}`, { mode, owns, hash, problems, paused, held, announcements, hearings: heard });
    }
  });
  return { files, missing, redact };
}
