// test: a simulated cluster around operators: objects as users and kubelets make them, agents, processes that die.
import type {
  ClusterNetwork,
  ClusterPeering,
  IPAllocation,
  IPPool,
  IPReservation,
  Node,
  NodeNetwork,
  Service,
} from "../../../src/api/index.ts";
import { kinds } from "../../../src/kube/resource.ts";
import type { Log } from "../../../src/operator/context.ts";
import { Operator } from "../../../src/operator/operator.ts";
import { SimulatedApi } from "../kube/simulated-api.ts";
import { seeded, VirtualClock } from "../kube/virtual-clock.ts";

export const apiVersion = "waggle.dev/v1alpha1" as const;

export const network = (mode: "Observe" | "Allocate" | "Announce" = "Announce"): ClusterNetwork => ({
  apiVersion,
  kind: "ClusterNetwork",
  metadata: { name: "default" },
  spec: {
    clusterName: "dc1",
    clusterID: 1,
    withdrawGuardPercent: 30,
    servicesWithoutClass: "WithVIPs",
    drainSeconds: 2,
    nodes: [
      {
        nodeSelector: {},
        mode,
        owns: ["Pods", "VIPs", "Routes"],
        localASN: 64601,
        routerIDSource: "NodeAddress",
        interfaces: ["eth0"],
      },
    ],
  },
});

export const vips = (
  name: string,
  blocks: readonly string[],
  more: Partial<IPPool["spec"]> = {},
): IPPool => ({
  apiVersion,
  kind: "IPPool",
  metadata: { name },
  spec: {
    purpose: "LoadBalancers",
    blocks,
    serviceSelector: {},
    priority: 100,
    cooldownSeconds: 10,
    disabled: false,
    ...more,
  },
});

export const pods = (
  name: string,
  blocks: readonly string[],
  more: Partial<IPPool["spec"]> = {},
): IPPool => ({
  apiVersion,
  kind: "IPPool",
  metadata: { name },
  spec: {
    purpose: "Pods",
    blocks,
    blockSize: { ipv4: 26, ipv6: 122 },
    nodeSelector: {},
    priority: 100,
    cooldownSeconds: 10,
    disabled: false,
    ...more,
  },
});

export const node = (name: string, address: string): Node => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, labels: { "kubernetes.io/hostname": name } },
  status: { addresses: [{ type: "InternalIP", address }] },
});

export const service = (
  name: string,
  spec: Partial<Service["spec"]> = {},
  metadata: Partial<Service["metadata"]> = {},
): Service => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name, namespace: "shop", ...metadata },
  spec: {
    type: "LoadBalancer",
    loadBalancerClass: "waggle.dev/bgp",
    ipFamilies: ["IPv4"],
    ipFamilyPolicy: "SingleStack",
    ...spec,
  },
});

export const reservation = (name: string, address: string, serviceName: string): IPReservation => ({
  apiVersion,
  kind: "IPReservation",
  metadata: { name, namespace: "shop" },
  spec: { address, serviceName },
});

export const peering = (name: string, prefixes: readonly string[]): ClusterPeering => ({
  apiVersion,
  kind: "ClusterPeering",
  metadata: { name },
  spec: {
    clusterName: name,
    clusterID: 2,
    prefixes,
    peerSelector: {},
    take: { kinds: ["Pods", "VIPs"], fib: true },
  },
});

export const ingress = (s: Service | undefined): readonly string[] =>
  (s?.status?.loadBalancer?.ingress ?? []).map((i) => i.ip ?? "");

/** One operator process. */
export interface Process {
  readonly name: string;
  readonly operator: Operator;
  readonly death: AbortController;
}

export class World {
  readonly clock = new VirtualClock();
  readonly random: () => number;
  readonly api: SimulatedApi;
  readonly processes: Process[] = [];
  readonly lines: string[] = [];
  #born = 0;

  constructor(seed: number, latencyMs = 10) {
    this.random = seeded(seed);
    this.api = new SimulatedApi({ clock: this.clock, random: this.random, latencyMs });
  }

  readonly #log = (who: string): Log => {
    const line = (members: object, message: string): void => {
      this.lines.push(`${this.clock.monotonic()} ${who} ${message} ${JSON.stringify(members)}`);
      if (this.lines.length > 2_000) this.lines.splice(0, 1_000);
    };
    return { debug: line, info: line, warn: line, error: line };
  };

  /** Starts an operator process. With a Lease of its own it leads whoever else does. */
  start(ownLease = false): Process {
    const name = `operator-${++this.#born}`;
    const death = new AbortController();
    const operator = new Operator({
      api: this.api.client(name, death.signal),
      identity: name,
      namespace: ownLease ? name : "waggle-system",
      clock: this.clock,
      random: this.random,
      log: this.#log(name),
    }).start();
    const process = { name, operator, death };
    this.processes.push(process);
    return process;
  }

  /** kill -9: what is under way is never answered. */
  kill(process: Process): void {
    process.death.abort();
    this.processes.splice(this.processes.indexOf(process), 1);
  }

  async settle(ms = 3_000): Promise<void> {
    await this.clock.advance(ms);
  }

  service(name: string, namespace = "shop"): Service | undefined {
    return this.api.read(kinds.Service, name, namespace);
  }
  pool(name: string): IPPool | undefined {
    return this.api.read(kinds.IPPool, name);
  }
  view(name: string): NodeNetwork | undefined {
    return this.api.read(kinds.NodeNetwork, name);
  }
  claims(): readonly IPAllocation[] {
    return [...this.api.all(kinds.IPAllocation)].sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  }
  /** `prefix phase owner` of every claim. */
  claimLines(): readonly string[] {
    return this.claims().map(
      (c) => `${c.spec.prefix} ${c.status?.phase ?? "-"} ${c.spec.owner.kind}/${c.spec.owner.name}`,
    );
  }
  condition(
    object:
      | {
          readonly status?: {
            readonly conditions?: readonly { type: string; status: string; reason: string }[];
          };
        }
      | undefined,
    type: string,
  ): string {
    const c = object?.status?.conditions?.find((each) => each.type === type);
    return c ? `${c.status} ${c.reason}` : "absent";
  }

  /** What an agent reports as announced. */
  announce(name: string, prefixes: readonly string[]): void {
    const view = this.view(name);
    if (!view) throw new Error(`no NodeNetwork ${name}`);
    this.api.put(kinds.NodeNetwork, {
      ...view,
      status: {
        ...view.status,
        announced: prefixes.map((prefix) => ({ prefix, state: "Announced" as const })),
      },
    });
  }
}

/** A cluster with a ClusterNetwork, two nodes, a pool of each purpose, and one operator that serves. */
export async function cluster(seed = 1, latencyMs = 10): Promise<World> {
  const world = new World(seed, latencyMs);
  world.api.put(kinds.ClusterNetwork, network());
  world.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/16", "fd10:1::/48"]));
  world.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24", "fd20:1::/112"]));
  world.api.put(kinds.Node, node("n1", "172.30.1.11"));
  world.api.put(kinds.Node, node("n2", "172.30.1.12"));
  world.start();
  await world.settle();
  return world;
}
