// fleet: how agents learn where their cluster's hub is: a ConfigMap that the hub writes and that they read by name.
import { createHash } from "node:crypto";
import { type KubernetesObject, systemNamespace } from "../api/index.ts";
import {
  backoff,
  builtinKinds,
  type Clock,
  describeError,
  isNotFound,
  jitter,
  type KubeApi,
  microTimestamp,
  type Random,
  type Resource,
  sleep,
} from "../kube/index.ts";
import { type HubEndpoint, hubConfigMap, type Log } from "./protocol.ts";

interface ConfigMap extends KubernetesObject {
  readonly kind: "ConfigMap";
  readonly data?: Readonly<Record<string, string>>;
}

/** v1 ConfigMap, as far as the hub writes and agents read one. */
export const configMaps: Resource<ConfigMap> = {
  group: "",
  version: "v1",
  kind: "ConfigMap",
  plural: "configmaps",
  namespaced: true,
};

/** Writes where the hub is into the ConfigMap that agents read. A hub that starts later takes it over. */
async function publish(api: KubeApi, { address, socket, ca }: HubEndpoint): Promise<void> {
  const data = { ...(address ? { address } : {}), ...(socket ? { socket } : {}), "ca.crt": ca };
  const object = { apiVersion: "v1", kind: "ConfigMap" as const, metadata: { name: hubConfigMap }, data };
  await api.patch(configMaps, hubConfigMap, "apply", object, {
    namespace: systemNamespace,
    fieldManager: "waggle-hub",
    force: true,
  });
}

/**
 * Where this cluster's hub is, for agents: `discover` of joinHub. Undefined while no hub has started.
 * @throws ApiError, TransportError
 */
export async function discoverHub(api: Pick<KubeApi, "get">): Promise<HubEndpoint | undefined> {
  try {
    const { data } = await api.get(configMaps, hubConfigMap, { namespace: systemNamespace });
    const ca = data?.["ca.crt"];
    if (!ca) return undefined;
    return {
      ca,
      ...(data["address"] && { address: data["address"] }),
      ...(data["socket"] && { socket: data["socket"] }),
    };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** A hub that goes away says so, unless another one has taken over; a replica that stands by then publishes itself. */
export async function withdraw(api: KubeApi, { ca }: HubEndpoint): Promise<void> {
  const found = await api.get(configMaps, hubConfigMap, { namespace: systemNamespace, timeoutMs: 1_000 });
  if (found.data?.["ca.crt"] !== ca) return;
  const { resourceVersion } = found.metadata;
  const body = { metadata: { resourceVersion }, data: { "ca.crt": null, address: null, socket: null } };
  await api.patch(configMaps, hubConfigMap, "merge", body, {
    namespace: systemNamespace,
    fieldManager: "waggle-hub",
    timeoutMs: 1_000,
    retries: 0,
  });
}

/** How often a hub looks at who is published, and says that it lives where that is itself. */
const lookMs = 5_000;
/** A published hub that has not said for so long that it lives is replaced by one that stands by. */
export const hubLeaseMs = 20_000;
const requestMs = 5_000;

export interface Publication {
  readonly client: KubeApi;
  readonly endpoint: HubEndpoint;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** True: agents and callers are sent here. False: to another hub, which started later. Called on change. */
  readonly onActive: (active: boolean) => void;
}

/** Names a hub in the Lease: its certificate authority is made anew with each hub. */
const holderOf = ({ ca }: HubEndpoint): string => createHash("sha256").update(ca).digest("hex").slice(0, 16);

/** The active hub says that it lives. Nobody else writes this Lease, so nothing is compared. */
const renewLease = (api: KubeApi, endpoint: HubEndpoint, clock: Clock): Promise<unknown> =>
  api.patch(
    builtinKinds.Lease,
    hubConfigMap,
    "apply",
    {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: hubConfigMap },
      spec: {
        holderIdentity: holderOf(endpoint),
        leaseDurationSeconds: hubLeaseMs / 1000,
        renewTime: microTimestamp(clock.now()),
      },
    },
    { namespace: systemNamespace, fieldManager: "waggle-hub", force: true, timeoutMs: requestMs },
  );

/** What a hub that stands by has last seen of the Lease, and when by its own clock: clocks of others are not trusted. */
interface Seen {
  readonly mark: string;
  readonly at: number;
}

async function lookAtLease(
  api: KubeApi,
  published: HubEndpoint,
  before: Seen | undefined,
  clock: Clock,
): Promise<Seen> {
  let mark = published.ca;
  try {
    const limit = { namespace: systemNamespace, timeoutMs: requestMs };
    const { spec } = await api.get(builtinKinds.Lease, hubConfigMap, limit);
    mark += `${spec?.holderIdentity} ${spec?.renewTime}`;
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  return before?.mark === mark ? before : { mark, at: clock.monotonic() };
}

/**
 * Publishes, and again where nobody is published. A hub that starts later takes over: of the replicas of an operator, the
 * youngest is the hub, and when it goes, one of the others. One that is killed says nothing more in its Lease: after
 * {@link hubLeaseMs} another takes over. Ends with the signal. Never rejects.
 */
export async function keepPublished(publication: Publication, signal: AbortSignal): Promise<void> {
  const { client, endpoint, clock, random, log, onActive } = publication;
  const pause = backoff(250, lookMs * 2, random);
  let published = false;
  let active = false;
  let seen: Seen | undefined;
  while (!signal.aborted) {
    try {
      const found = published ? await discoverHub(client) : undefined;
      const other = found !== undefined && found.ca !== endpoint.ca ? found : undefined;
      seen = other && (await lookAtLease(client, other, seen, clock));
      const silent = seen !== undefined && clock.monotonic() - seen.at >= hubLeaseMs;
      if (silent) log.warn({ silentMs: hubLeaseMs }, "the cluster's hub is silent; this one takes over");
      if (!found || silent) await publish(client, endpoint);
      published = true;
      const now = other === undefined || silent;
      if (now !== active && !signal.aborted) onActive(now);
      active = now;
      if (now) await renewLease(client, endpoint, clock);
      pause.reset();
      await sleep(clock, jitter(lookMs, 0.2, random), signal);
    } catch (error) {
      log.warn({ error: describeError(error) }, "agents cannot be told where the hub is");
      await sleep(clock, pause.next(), signal);
    }
  }
}
