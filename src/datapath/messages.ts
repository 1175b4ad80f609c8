// datapath: every sentence that it says to people.
import type { ForeignProgram } from "./hooks.ts";

export const notBpffs = (path: string, exists: boolean): string =>
  exists
    ? `${path} is not a BPF file system; mount one there: mount -t bpf bpf ${path}`
    : `${path} does not exist; make it and mount a BPF file system there: mount -t bpf bpf ${path}`;

export const interfaceMissing = (name: string): string => `there is no interface named ${name}`;

export const foreignAhead = (program: ForeignProgram, hook: string): string =>
  `program ${program.name || "without a name"} (id ${program.id}) runs ahead of ours on ${hook}; it may redirect or drop what ours should see`;

export const linkMissing = (hook: string): string => `our program is not attached to ${hook}`;
export const linkDetached = (hook: string): string => `our link was detached from ${hook}`;
export const programChanged = (hook: string): string => `another program was put under our link on ${hook}`;

export const entryMissing = (map: string, subject: string): string => `map ${map} has lost ${subject}`;
export const entryChanged = (map: string, subject: string): string =>
  `map ${map} has another value for ${subject} than we wrote`;
export const entryExtra = (map: string, count: number): string =>
  `map ${map} has ${count} ${count === 1 ? "entry" : "entries"} that we did not write`;

export const tunnelMissing = (device: string): string =>
  `tunnel device ${device} is gone; packets for backends on other nodes are dropped`;
export const tunnelDown = (device: string): string => `tunnel device ${device} is down`;
export const tunnelForeign = (device: string): string =>
  `an interface named ${device} exists and is not a VXLAN device of ours`;
export const tunnelFailed = (device: string, port: number, reason: string): string =>
  `tunnel device ${device} on UDP port ${port} could not be made: ${reason}`;

export const tunnelSysctl = (name: string, value: string, reason: string): string =>
  `net.${name} could not be set to ${value}: ${reason}`;

export const tooManyServices = (limit: number): string =>
  `the datapath holds ${limit} services; raise the limit or remove some`;
export const tooManyBackends = (count: number, limit: number): string =>
  `${count} backends, of which the datapath takes ${limit}`;
export const mapFull = (map: string): string => `map ${map} is full`;
export const noNodeAddress = (backends: readonly string[]): string =>
  `no address of the node of ${backends.slice(0, 3).join(", ")}${backends.length > 3 ? " and others" : ""} that this node could send to; their share of connections fails`;
export const familyMismatch = (address: string): string =>
  `backend ${address} is of another family than the VIP`;

export const proofNoInterfaces = "no fabric interface is configured, so nothing can enter";
export const proofNoServices = "no service of this address is in the desired state";
export const proofNotEntry = "this node is not an entry for the address";
export const proofNoBackends = (service: string): string => `${service}: no backend is ready`;
export const proofNotLoaded = "the datapath has not been programmed yet";
export const proofNotLocal = "it is not among this node's pod blocks";
export const proofVerdict = (hook: string, what: string, wanted: string, got: string): string =>
  `${hook}: ${what} came out as ${got}, expected ${wanted}`;
export const proofBytes = (hook: string, what: string, offset: number): string =>
  `${hook}: ${what} was rewritten wrongly, first at byte ${offset}`;
export const proofDone = (packets: number, hooks: readonly string[]): string =>
  `${packets} synthetic ${packets === 1 ? "packet" : "packets"} through ${hooks.join(", ")}`;

export const routeDefault = "it is a default route";
export const routeConnected = (subnet: string): string => `it overlaps the connected subnet ${subnet}`;
export const routeProtected = (address: string): string =>
  `it covers ${address}, which must stay reachable as it is`;
export const routeForeign = (protocol: number): string =>
  `a route of protocol ${protocol} has the same prefix; it stays`;
export const routeNoHops = "it has no next hop";
export const routeTooMany = (limit: number): string => `more than ${limit} routes`;
export const routeNoInterface = (name: string): string =>
  `next hop by interface ${name}, which does not exist`;

export const layoutUnmovable = (map: string): string =>
  `the keys of map ${map} changed between layouts; what it held is lost`;
