// fleet: how agents learn where their cluster's hub is: a ConfigMap that the hub writes and that they read by name.
import { type KubernetesObject, systemNamespace } from "../api/index.ts";
import {
  backoff,
  type Clock,
  describeError,
  isNotFound,
  type KubeApi,
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

/** How soon a hub notices that another one has taken over. */
const lookMs = 5_000;

export interface Publication {
  readonly client: KubeApi;
  readonly endpoint: HubEndpoint;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** True: agents and callers are sent here. False: to another hub, which started later. Called on change. */
  readonly onActive: (active: boolean) => void;
}

/**
 * Publishes, and again where nobody is published. A hub that starts later takes over: of the replicas of an operator, the
 * youngest is the hub, and when it goes, one of the others; one that is killed comes back and is the youngest again. Ends with
 * the signal. Never rejects.
 */
export async function keepPublished(publication: Publication, signal: AbortSignal): Promise<void> {
  const { client, endpoint, clock, random, log, onActive } = publication;
  const pause = backoff(250, lookMs * 2, random);
  let published = false;
  let active = false;
  while (!signal.aborted) {
    try {
      const found = published ? await discoverHub(client) : undefined;
      if (!found) await publish(client, endpoint);
      published = true;
      const now = found === undefined || found.ca === endpoint.ca;
      if (now !== active && !signal.aborted) onActive(now);
      active = now;
      pause.reset();
      await sleep(clock, lookMs, signal);
    } catch (error) {
      log.warn({ error: describeError(error) }, "agents cannot be told where the hub is");
      await sleep(clock, pause.next(), signal);
    }
  }
}
