// datapath: everything that other rooms import from here.
export { Datapath } from "./datapath.ts";
export { KernelRoutes } from "./kernel-routes.ts";
export { mapDirectoryOf } from "./loader.ts";
export { nodeDirectory } from "./pins.ts";
export { routeMetric, routeProtocol } from "./protocol.ts";
export { defaultTunnelPort, tunnelDevice } from "./tunnel.ts";
export * from "./types.ts";
