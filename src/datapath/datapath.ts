// datapath: the datapath of one node: brought to a desired state, kept there, handed over between builds, removed.
import { hasFeature } from "../kernel/features.ts";
import { KernelError } from "../kernel/ffi.ts";
import { type InterfaceInfo, listInterfaces } from "../kernel/interfaces.ts";
import type { BpfMap } from "../kernel/maps.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import type { BpfProgram } from "../kernel/programs.ts";
import { type CounterName, counterNames, encodeSettings, u32, viewOf } from "./codec.ts";
import {
  addNewConnections,
  type Connection,
  copyConnections,
  kernelSeconds,
  listConnections,
  sweepConnections,
} from "./connections.ts";
import { type DesiredEntries, encodeDesired, ServiceCache } from "./desired.ts";
import {
  type Attacher,
  ClsactAttacher,
  type Hook,
  hookName,
  type ProgramName,
  TcxAttacher,
} from "./hooks.ts";
import { inspectHooks, inspectTunnel } from "./inspect.ts";
import { loadDatapath, type OldConnections } from "./loader.ts";
import { MapGauge, MapTable } from "./map-table.ts";
import { interfaceMissing } from "./messages.ts";
import { assertBpffs, type PinTree, pinTrees, removeEmptyDirectories } from "./pins.ts";
import { hooksFor } from "./places.ts";
import { prove } from "./prove.ts";
import { RouteMaps } from "./route-maps.ts";
import { defaultTunnelPort, ensureTunnel, removeTunnel } from "./tunnel.ts";
import type {
  DatapathOptions,
  DesiredDatapath,
  DesiredRoutes,
  Finding,
  FlowCounters,
  MapUsage,
  ProofResult,
  ProofTarget,
  Refusal,
  RepairResult,
  RouteSyncResult,
  SyncResult,
} from "./types.ts";

/** MTU where the fabric has no interface to tell it. */
const defaultMtu = 1500;
const mssOverhead = { ipv4: 40, ipv6: 60 } as const;
/** Ethernet, VXLAN, UDP and IPv4: what the device itself takes off. */
const deviceOverhead = 50;

interface Step {
  readonly changed: number;
  readonly refused: readonly Refusal[];
}

/**
 * The datapath of one node, in the network namespace in which it was opened. Closing it leaves everything in force: what
 * is attached is pinned.
 */
export class Datapath implements Disposable {
  /** Twelve hex digits: the layout of the maps that are in use. */
  readonly layout: string;
  /** Where the maps are pinned, `routes` and `route_attributes` among them. */
  readonly mapDirectory: string;
  /** What could not be carried over from another layout. */
  readonly notes: readonly string[];
  readonly #tunnelPort: number;
  readonly #netlink: NetlinkSocket;
  readonly #attacher: Attacher;
  readonly #maps: ReadonlyMap<string, BpfMap>;
  readonly #programs: ReadonlyMap<ProgramName, BpfProgram>;
  readonly #tables: Readonly<Record<"services" | "vips" | "localPrefixes" | "settings", MapTable>>;
  readonly #routes: RouteMaps;
  readonly #connections: MapGauge;
  readonly #cache = new ServiceCache();
  #old: readonly PinTree[];
  #oldConnections: OldConnections | undefined;
  #desired: DesiredDatapath | undefined;

  private constructor(options: DatapathOptions) {
    const loaded = loadDatapath(options);
    this.#tunnelPort = options.tunnelPort ?? defaultTunnelPort;
    this.#netlink = new NetlinkSocket();
    this.layout = loaded.tree.layout;
    this.mapDirectory = loaded.tree.directory;
    this.notes = loaded.notes;
    this.#maps = loaded.maps;
    this.#programs = loaded.programs;
    this.#old = loaded.old;
    this.#oldConnections = loaded.oldConnections;
    const tcx = (options.attach ?? (hasFeature("tcx") ? "tcx" : "clsact")) === "tcx";
    this.#attacher = tcx
      ? new TcxAttacher(loaded.tree)
      : new ClsactAttacher(this.#netlink, () => this.#interfaces().map((i) => i.index));
    const table = (name: string) => new MapTable(name, this.#map(name));
    this.#tables = {
      services: table("services"),
      vips: table("vips"),
      localPrefixes: table("local_prefixes"),
      settings: table("settings"),
    };
    this.#connections = new MapGauge("connections", this.#map("connections"));
    this.#routes = new RouteMaps(this.#map("routes"), this.#map("route_attributes"), this.#map("flows"));
  }

  /**
   * Loads the programs and takes over what an earlier process left. Changes nothing that is in force before the first
   * {@link sync}.
   * @throws Error where the bpffs or the object is missing, KernelError, VerifierError
   */
  static open(options: DatapathOptions): Datapath {
    return new Datapath(options);
  }

  #map(name: string): BpfMap {
    const map = this.#maps.get(name);
    if (!map) throw new Error(`the object has no map named ${name}`);
    return map;
  }

  #program(name: ProgramName): BpfProgram {
    const program = this.#programs.get(name);
    if (!program) throw new Error(`the object has no program named ${name}`);
    return program;
  }

  #interfaces(): InterfaceInfo[] {
    return listInterfaces(this.#netlink);
  }

  /**
   * Brings everything to the desired state, in an order in which no packet meets half of it: what is added is written
   * before it can be reached, what goes is made unreachable first.
   * @throws AddressError for malformed addresses, KernelError for what the kernel refuses as a whole
   */
  sync(desired: DesiredDatapath): SyncResult {
    const entries = encodeDesired(desired, this.#cache);
    const { services, vips, localPrefixes } = this.#tables;
    const refused: Refusal[] = [...entries.refused];
    let changed = 0;
    const take = (step: Step): number => {
      changed += step.changed;
      refused.push(...step.refused);
      return step.changed;
    };
    take(this.#syncTunnel(desired, entries));
    const servicesChanged = take(services.write(entries.services));
    take(localPrefixes.write(entries.localPrefixes));
    take(vips.write(entries.vips));
    const interfaces = this.#interfaces();
    const hooks = hooksFor(this.#netlink, interfaces, desired);
    for (const name of desired.interfaces)
      if (!interfaces.some((i) => i.name === name))
        refused.push({ subject: name, reason: interfaceMissing(name) });
    take(this.#attachAll(hooks));
    changed += vips.prune();
    const servicesRemoved = services.prune();
    changed += servicesRemoved + localPrefixes.prune();
    changed += this.#attacher.detachOthers(hooks);
    if (desired.services.length === 0) changed += removeTunnel(this.#netlink);
    if (servicesChanged + servicesRemoved > 0) sweepConnections(this.#map("connections"), services.wanted);
    this.#desired = desired;
    return { generation: desired.generation, maps: this.usage(), changed, refused };
  }

  #syncTunnel(desired: DesiredDatapath, entries: DesiredEntries): Step {
    const fabric = this.#interfaces().filter((i) => desired.interfaces.includes(i.name));
    const mtu = fabric.length > 0 ? Math.min(...fabric.map((i) => i.mtu)) : defaultMtu;
    const inner = mtu - entries.tunnelOverhead;
    const tunnel =
      desired.services.length > 0
        ? ensureTunnel(this.#netlink, this.#tunnelPort, mtu - deviceOverhead)
        : { interfaceIndex: 0, changed: 0, refused: [] };
    // Also without backends elsewhere: what other nodes send to ours comes through the tunnel.
    const clamp = desired.services.length > 0;
    const value = encodeSettings({
      tunnelInterface: tunnel.interfaceIndex,
      mssIPv4: clamp ? inner - mssOverhead.ipv4 : 0,
      mssIPv6: clamp ? inner - mssOverhead.ipv6 : 0,
    });
    const written = this.#tables.settings.write([{ subject: "settings", key: u32(0), value }]);
    return { changed: tunnel.changed + written.changed, refused: [...tunnel.refused, ...written.refused] };
  }

  #attach(hooks: readonly Hook[]): Step {
    const refused: Refusal[] = [];
    let changed = 0;
    for (const hook of hooks)
      try {
        if (this.#attacher.attach(hook, this.#program(hook.program), this.#old)) changed++;
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        refused.push({ subject: hookName(hook), reason: error.message });
      }
    return { changed, refused };
  }

  #attachAll(hooks: readonly Hook[]): Step {
    const old = this.#oldConnections;
    const step = old ? this.#move(hooks, old) : this.#attach(hooks);
    if (step.refused.length === 0) {
      for (const tree of this.#old) tree.remove();
      this.#old = [];
    }
    return step;
  }

  /**
   * From a layout with another connection table. While the programs move one by one, an answer must find its connection
   * in whichever table it was noted: so both ways out run for that time.
   */
  #move(hooks: readonly Hook[], old: OldConnections): Step {
    const egress = hooks.filter((h) => h.direction === "egress");
    const table = this.#map("connections");
    using overlaps = new DisposableStack();
    // A hook takes no program twice: the other way out stands in, which translates alike.
    const standIn = (hook: Hook) => (hook.program === "pod_egress" ? "fabric_egress" : "pod_egress");
    for (const hook of egress) overlaps.use(this.#attacher.overlap(hook, this.#program(standIn(hook))));
    const started = kernelSeconds() - 1;
    if (old.fresh) copyConnections(old.map, table, old.convert);
    else addNewConnections(old.map, table, old.convert, 0);
    const ways = this.#attach(hooks.filter((h) => h.direction === "ingress"));
    addNewConnections(old.map, table, old.convert, started);
    const out = this.#attach(egress);
    old.map[Symbol.dispose]();
    this.#oldConnections = undefined;
    return { changed: ways.changed + out.changed, refused: [...ways.refused, ...out.refused] };
  }

  /** Attaches to interfaces of pods that came since the last sync. Cheap; for a tick or a link notification. */
  followPods(): number {
    if (!this.#desired) return 0;
    const hooks = this.#hooks();
    const pods = hooks.filter((h) => h.program === "pod_egress");
    return this.#attach(pods).changed + this.#attacher.detachOthers(hooks);
  }

  /** How full each map is. */
  usage(): MapUsage[] {
    return [
      ...Object.values(this.#tables).map((t) => t.usage()),
      // Never refused: in a full table the longest idle connection makes room.
      this.#connections.usage(0),
      ...this.#routes.usage(this.counters()),
    ];
  }

  #hooks(): Hook[] {
    return this.#desired ? hooksFor(this.#netlink, this.#interfaces(), this.#desired) : [];
  }

  /** Sends synthetic packets through the programs that are attached. */
  prove(targets: readonly ProofTarget[]): ProofResult[] {
    return prove(targets, {
      desired: this.#desired,
      services: this.#tables.services,
      interfaces: this.#interfaces(),
      hooks: this.#hooks(),
      attacher: this.#attacher,
    });
  }

  /** Looks for what is not as the last sync left it. Reads every map: some milliseconds where they are full. */
  inspect(): Finding[] {
    const desired = this.#desired;
    if (!desired) return [];
    const interfaces = this.#interfaces();
    return [
      ...inspectHooks(desired, interfaces, this.#hooks(), this.#attacher, this.#programs),
      ...inspectTunnel(desired, interfaces, this.#tunnelPort),
      ...Object.values(this.#tables).flatMap((table) => table.inspect()),
      ...this.#routes.inspect(),
    ];
  }

  /** Mends what {@link inspect} finds, where it is ours. */
  repair(): RepairResult {
    const desired = this.#desired;
    const before = this.inspect();
    if (!desired || !before.some((f) => f.repairable)) return { repaired: [], left: before };
    this.sync(desired);
    for (const table of Object.values(this.#tables)) table.repair();
    this.#routes.repair();
    const left = this.inspect();
    const remaining = new Set(left.map((f) => `${f.kind} ${f.subject}`));
    return { repaired: before.filter((f) => !remaining.has(`${f.kind} ${f.subject}`)), left };
  }

  /** Writes attributes, then the prefixes that point to them, then takes away what is no longer wanted. */
  syncRoutes(desired: DesiredRoutes): RouteSyncResult {
    return this.#routes.sync(desired, this.counters());
  }

  /** What the route maps hold: after a start, what the process before us left. */
  readRoutes(): DesiredRoutes {
    return this.#routes.read();
  }

  flowCounters(): FlowCounters {
    return this.#routes.flows(this.counters());
  }

  /** What the programs counted since their maps were made, over all CPUs. */
  counters(): Readonly<Record<CounterName, bigint>> {
    const map = this.#map("counters");
    const sum = (index: number): bigint => {
      const values = viewOf(map.lookup(u32(index)) ?? new Uint8Array());
      let total = 0n;
      for (let at = 0; at + 8 <= values.byteLength; at += 8) total += values.getBigUint64(at, true);
      return total;
    };
    return Object.fromEntries(counterNames.map((name, i) => [name, sum(i)])) as Record<CounterName, bigint>;
  }

  /** The connection table, for people. */
  connections(limit?: number): Connection[] {
    return listConnections(this.#map("connections"), limit);
  }

  /** Lets go of descriptors. What is in force stays in force. */
  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
    this.#oldConnections?.map[Symbol.dispose]();
    for (const map of this.#maps.values()) map[Symbol.dispose]();
    for (const program of this.#programs.values()) program[Symbol.dispose]();
  }

  /**
   * Removes exactly what is ours on this node: attachments, pins of every layout, the tunnel device. Kernel routes are
   * KernelRoutes.flush. Returns how many things there were.
   */
  static cleanup(options: Pick<DatapathOptions, "bpffs" | "node">): number {
    assertBpffs(options.bpffs);
    using netlink = new NetlinkSocket();
    const indexes = () => listInterfaces(netlink).map((i) => i.index);
    let removed = new ClsactAttacher(netlink, indexes).detachOthers([]);
    for (const tree of pinTrees(options.bpffs, options.node)) {
      removed += tree.links().length + 1;
      tree.remove();
    }
    removeEmptyDirectories(options.bpffs, options.node);
    return removed + removeTunnel(netlink);
  }
}
