// kube: the front door: a kubeconfig becomes a client, with the heavy parts loaded only when this is called.
import { KubeClient, type KubeClientOptions } from "./client.ts";
import type { KubeConfigOptions } from "./config.ts";

export interface ConnectedCluster {
  readonly client: KubeClient;
  /** Name of the kubeconfig's context. */
  readonly context: string;
  readonly server: string;
  /** Namespace of the context, or `default`. */
  readonly namespace: string;
  /** Paths of the kubeconfig, or `in-cluster`. */
  readonly source: string;
}

/**
 * A client for a cluster over one keep-alive pool. Nothing is sent yet. Dispose the client to close its connections.
 * @throws TransportError when there is no configuration, or it cannot be read
 */
export async function loadKubeConfig(
  options: KubeConfigOptions = {},
  client: KubeClientOptions = {},
): Promise<ConnectedCluster> {
  const { openCluster } = await import("./config.ts");
  const transport = await openCluster(options);
  return {
    client: new KubeClient(transport, client),
    context: transport.context,
    server: transport.server,
    namespace: transport.namespace,
    source: transport.source,
  };
}
