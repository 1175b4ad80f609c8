// datapath: learned routes in the node's own table: ours by protocol number, never in anybody's way.
import { listAddresses, listInterfaces } from "../kernel/interfaces.ts";
import { NetlinkSocket } from "../kernel/netlink.ts";
import {
  deleteRoutes,
  type KernelRoute,
  listRoutes,
  mainTable,
  type NextHop,
  writeRoutes,
} from "../kernel/routes.ts";
import {
  type Address,
  contains,
  formatAddress,
  formatPrefix,
  maskTo,
  overlaps,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../net/address.ts";
import {
  routeConnected,
  routeDefault,
  routeForeign,
  routeNoHops,
  routeNoInterface,
  routeProtected,
  routeTooMany,
} from "./messages.ts";
import { routeMetric, routeProtocol } from "./protocol.ts";
import { type DesiredKernelRoute, type KernelRoutesResult, limits } from "./types.ts";

type Wanted = Pick<KernelRoute, "prefix" | "nextHops" | "protocol" | "metric">;

const hopText = (hop: NextHop): string =>
  `${hop.gateway ? formatAddress(hop.gateway) : ""}%${hop.interfaceIndex}`;

/** Whether a route in the kernel is what was wanted; an interface that was not asked for may be any. */
function sameHops(wanted: readonly NextHop[], found: readonly NextHop[]): boolean {
  if (wanted.length !== found.length) return false;
  const left = found.slice();
  return wanted.every((hop) => {
    const at = left.findIndex((other) =>
      hop.interfaceIndex === 0
        ? hopText({ ...other, interfaceIndex: 0 }) === hopText(hop)
        : hopText(other) === hopText(hop),
    );
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

/** Our routes in the network namespace in which this was opened. */
export class KernelRoutes implements Disposable {
  readonly #netlink: NetlinkSocket;
  readonly #protected: readonly Address[];

  /** `options.protected`: addresses that no route of ours may cover. @throws KernelError, AddressError */
  constructor(options: { readonly protected?: readonly string[] } = {}) {
    this.#netlink = new NetlinkSocket();
    this.#protected = (options.protected ?? []).map(parseAddress);
  }

  /** Makes our routes these and no others. @throws AddressError for malformed text, KernelError if netlink itself fails */
  sync(desired: readonly DesiredKernelRoute[]): KernelRoutesResult {
    const refused: { prefix: string; reason: string }[] = [];
    const all = listRoutes(this.#netlink);
    const foreign = new Map(
      all.filter((r) => r.protocol !== routeProtocol).map((r) => [formatPrefix(r.prefix), r.protocol]),
    );
    const ours = new Map(
      all
        .filter((r) => r.protocol === routeProtocol && r.metric === routeMetric)
        .map((r) => [formatPrefix(r.prefix), r]),
    );
    const guard = this.#guard();
    const indexes = new Map(listInterfaces(this.#netlink).map((i) => [i.name, i.index]));
    const wanted = new Map<string, Wanted>();
    for (const route of desired) {
      const prefix = parsePrefix(route.prefix);
      const name = formatPrefix(prefix);
      const other = foreign.get(name);
      const missing = route.nextHops.find((h) => h.interface !== undefined && !indexes.has(h.interface));
      const reason =
        guard(prefix) ??
        (other !== undefined ? routeForeign(other) : undefined) ??
        (route.nextHops.length === 0 ? routeNoHops : undefined) ??
        (missing ? routeNoInterface(missing.interface ?? "") : undefined) ??
        (wanted.size >= limits.routes ? routeTooMany(limits.routes) : undefined);
      if (reason !== undefined) {
        refused.push({ prefix: route.prefix, reason });
        continue;
      }
      const nextHops = route.nextHops.map((hop) => ({
        gateway: parseAddress(hop.address),
        interfaceIndex: hop.interface === undefined ? 0 : indexes.get(hop.interface)!,
      }));
      wanted.set(name, { prefix, nextHops, protocol: routeProtocol, metric: routeMetric });
    }
    const due = [...wanted].filter(([name, route]) => {
      const known = ours.get(name);
      return !known || !sameHops(route.nextHops, known.nextHops);
    });
    const errors = writeRoutes(
      this.#netlink,
      due.map(([, route]) => route),
    );
    let failed = 0;
    for (const [i, [name]] of due.entries()) {
      const error = errors[i];
      if (!error) continue;
      failed++;
      refused.push({ prefix: name, reason: error.message });
    }
    const stale = [...ours].filter(([name]) => !wanted.has(name)).map(([, route]) => route);
    this.#remove(stale);
    return { installed: wanted.size - failed, changed: due.length - failed + stale.length, refused };
  }

  /** Why a prefix must not go into the table. */
  #guard(): (prefix: Prefix) => string | undefined {
    const connected = listAddresses(this.#netlink).map((a) => maskTo(a.address, a.prefixLength));
    return (prefix) => {
      if (prefix.length === 0) return routeDefault;
      const subnet = connected.find((c) => overlaps(c, prefix));
      if (subnet) return routeConnected(formatPrefix(subnet));
      const address = this.#protected.find((a) => contains(prefix, a));
      return address && routeProtected(formatAddress(address));
    };
  }

  #remove(routes: readonly KernelRoute[]): void {
    // Gone already, with its interface: that is what was wanted.
    for (const error of deleteRoutes(this.#netlink, routes)) if (error && error.code !== "ESRCH") throw error;
  }

  /** Our routes as the kernel has them. */
  list(): KernelRoute[] {
    return listRoutes(this.#netlink, { protocol: routeProtocol }).filter((r) => r.table === mainTable);
  }

  /** Removes all of our routes. Returns how many. */
  flush(): number {
    const ours = this.list();
    this.#remove(ours);
    return ours.length;
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }
}
