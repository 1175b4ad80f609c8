// kube: what other rooms use of this one. Loading it loads neither @kubernetes/client-node nor an HTTP client.
export * from "./api.ts";
export * from "./builtin.ts";
export { KubeClient, type KubeClientOptions } from "./client.ts";
export * from "./clock.ts";
export * from "./conditions.ts";
export type { ClusterTransport, KubeConfigOptions } from "./config.ts";
export * from "./controller.ts";
export * from "./errors.ts";
export { EventRecorder, type EventRecorderOptions } from "./events.ts";
export { ClusterIdentity, clusterUID, OtherClusterError } from "./identity.ts";
export * from "./informer.ts";
export { LeaseElector, type LeaseElectorOptions } from "./leader.ts";
export { type ConnectedCluster, loadKubeConfig } from "./load.ts";
export { Reflector, type ReflectorOptions, type ReflectorState, type Store } from "./reflector.ts";
export * from "./resource.ts";
export { requestToken } from "./tokens.ts";
export type { HttpRequest, HttpResponse, Transport } from "./transport.ts";
export { WorkQueue, type WorkQueueOptions } from "./workqueue.ts";
