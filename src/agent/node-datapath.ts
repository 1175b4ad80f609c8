// agent: the node's real datapath behind the loop's interface. It opens when it is first needed, and again after a failure:
// a node without a BPF file system reports that, instead of having no agent.
import { setImmediate } from "node:timers/promises";
import {
  Datapath,
  type DatapathOptions,
  type DesiredDatapath,
  type DesiredKernelRoute,
  type DesiredRoutes,
  KernelRoutes,
  mapDirectoryOf,
  type ProofResult,
  type ProofTarget,
} from "../datapath/index.ts";
import { formatAddress, formatPrefix } from "../net/address.ts";
import type { DatapathPort, KernelRoutesPort, Log } from "./ports.ts";

/** Targets that are proven without a pause. */
const provedAtOnce = 32;

export class NodeDatapath implements DatapathPort {
  readonly #options: DatapathOptions;
  readonly #log: Log;
  #open: Datapath | undefined;

  constructor(options: DatapathOptions, log: Log) {
    this.#options = options;
    this.#log = log;
  }

  get layout(): string {
    return this.#open?.layout ?? "";
  }

  /** Where the maps are pinned, or will be: a node on which nothing is to be programmed has none. @throws Error */
  get mapDirectory(): string {
    return this.#open?.mapDirectory ?? mapDirectoryOf(this.#options);
  }

  /** @throws Error where the bpffs or the object is missing, KernelError, VerifierError */
  open(): Datapath {
    if (!this.#open) {
      this.#open = Datapath.open(this.#options);
      const { layout, notes } = this.#open;
      this.#log.info({ layout, notes }, "datapath loaded");
    }
    return this.#open;
  }

  async sync(desired: DesiredDatapath) {
    return this.open().sync(desired);
  }
  /** In pieces: sessions, acknowledgements and signals get their turn in between. */
  async prove(targets: readonly ProofTarget[]) {
    const out: ProofResult[] = [];
    for (let i = 0; i < targets.length; i += provedAtOnce) {
      if (i > 0) await setImmediate();
      out.push(...this.open().prove(targets.slice(i, i + provedAtOnce)));
    }
    return out;
  }
  async inspect() {
    return this.open().inspect();
  }
  async repair() {
    return this.open().repair();
  }
  async followPods() {
    return this.open().followPods();
  }
  async readRoutes() {
    return this.open().readRoutes();
  }
  async syncRoutes(desired: DesiredRoutes) {
    return this.open().syncRoutes(desired);
  }
  close(): void {
    this.#open?.[Symbol.dispose]();
    this.#open = undefined;
  }
}

/** Our kernel routes behind the loop's interface; the netlink socket opens when it is first needed. */
export class NodeKernelRoutes implements KernelRoutesPort {
  #open: KernelRoutes | undefined;

  async sync(routes: readonly DesiredKernelRoute[], prune: boolean) {
    this.#open ??= new KernelRoutes();
    return this.#open.sync(prune ? routes : [...routes, ...this.#others(this.#open, routes)]);
  }

  close(): void {
    this.#open?.[Symbol.dispose]();
    this.#open = undefined;
  }

  /** Routes of ours that are in the kernel and not wanted, as if they were. */
  #others(open: KernelRoutes, routes: readonly DesiredKernelRoute[]): readonly DesiredKernelRoute[] {
    const wanted = new Set(routes.map((r) => r.prefix));
    return open.list().flatMap((route) => {
      const prefix = formatPrefix(route.prefix);
      const nextHops = route.nextHops.flatMap((hop) =>
        hop.gateway ? [{ address: formatAddress(hop.gateway) }] : [],
      );
      return wanted.has(prefix) || nextHops.length === 0 ? [] : [{ prefix, nextHops }];
    });
  }
}

/** Removes all kernel routes of ours in this network namespace. How many there were. */
export function removeKernelRoutes(): number {
  using routes = new KernelRoutes();
  return routes.flush();
}
