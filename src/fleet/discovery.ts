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

/** Looked for this often: somebody may have deleted it. */
const lookMs = 30_000;

/** Publishes, and again where the ConfigMap has gone; another hub's is left alone. Ends with the signal. Never rejects. */
export async function keepPublished(
  client: KubeApi,
  endpoint: HubEndpoint,
  { clock, random, log }: { readonly clock: Clock; readonly random: Random; readonly log: Log },
  signal: AbortSignal,
): Promise<void> {
  const pause = backoff(250, lookMs, random);
  let first = true;
  while (!signal.aborted) {
    try {
      if (first || (await discoverHub(client)) === undefined) await publish(client, endpoint);
      first = false;
      pause.reset();
      await sleep(clock, lookMs, signal);
    } catch (error) {
      log.warn({ error: describeError(error) }, "agents cannot be told where the hub is");
      await sleep(clock, pause.next(), signal);
    }
  }
}
