// operator: what agents have in use and the API server knows nothing of, as after a restore from a backup: given back to its
// owner where that is there, else kept from everybody by a claim that is on its way out from the beginning.
import { isPaused, type NodeNetwork, type Service } from "../api/index.ts";
import { describePrefix, type Pool } from "../ipam/index.ts";
import { isNotFound, kinds, type Result } from "../kube/index.ts";
import { claimName, contains, formatPrefix, maskTo, overlaps, type Prefix } from "../net/address.ts";
import { claimOnce } from "./allocate.ts";
import { type Owner, prefixOf, unknownUID } from "./claim.ts";
import {
  clusterNetworkOf,
  indexes,
  ingressOf,
  type OperatorContext,
  type Use,
  usersOf,
  usesOf,
} from "./context.ts";
import { eventNotes } from "./messages.ts";
import { nodeOwner, ruleFor } from "./nodes.ts";
import { tryHost, tryPrefix } from "./pool-book.ts";
import { ownershipOf, wishOf } from "./service-wish.ts";
import { serviceOwner } from "./services.ts";

interface Place {
  readonly pool: Pool;
  /** What the pool would give out there. */
  readonly prefix: Prefix;
}

export class Quarantine {
  readonly #c: OperatorContext;

  constructor(context: OperatorContext) {
    this.#c = context;
  }

  /**
   * Who else has a prefix in use by what the agents report, live where the cache says so. The claim of an address follows its
   * use only where the API server has lost what it knew.
   * @throws ApiError, TransportError
   */
  readonly usedElsewhere = async (owner: Owner, prefix: string): Promise<string | undefined> => {
    const { api, caches } = this.#c;
    for (const cached of caches.networks.cache.byIndex(indexes.announced, prefix)) {
      const { name } = cached.metadata;
      if (!caches.nodes.cache.has(name) || !this.#isElsewhere(cached, owner, prefix)) continue;
      try {
        const live = await api.get(kinds.NodeNetwork, name);
        const use = this.#isElsewhere(live, owner, prefix);
        if (use) return `${use.service ? `Service ${use.service}` : "pods"} on ${name}, which reports it`;
      } catch (error) {
        if (!isNotFound(error)) throw error;
      }
    }
    return undefined;
  };

  #isElsewhere(network: NodeNetwork, owner: Owner, prefix: string): Use | undefined {
    return usesOf(network).find((use) => {
      if (use.prefix !== prefix) return false;
      if (owner.kind === "Node") return network.metadata.name !== owner.name || use.service !== undefined;
      // A reservation is for one Service, and for those that had its address before it was made.
      const users = usersOf(use);
      if (owner.kind === "IPReservation") return !users.some((u) => u.split("/")[0] === owner.namespace);
      return !users.includes(`${owner.namespace}/${owner.name}`);
    });
  }

  /** Everything that any node reports, before anything new is given out. @throws ApiError, TransportError: begin again */
  async all(): Promise<void> {
    const { items } = await this.#c.api.list(kinds.NodeNetwork);
    for (const network of items) await this.#settle(network);
  }

  /** By the name of a NodeNetwork. */
  readonly reconcile = async (name: string): Promise<Result | undefined> => {
    const cached = this.#c.caches.networks.cache.get(name);
    if (!cached || !usesOf(cached).some((use) => this.#unclaimed(use))) return undefined;
    try {
      await this.#settle(await this.#c.api.get(kinds.NodeNetwork, name));
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    return undefined;
  };

  async #settle(network: NodeNetwork): Promise<void> {
    // A machine whose Node is gone is not waited for.
    const { name } = network.metadata;
    if (!(await this.#nodeExists(name))) return;
    for (const use of usesOf(network)) {
      const place = this.#unclaimed(use);
      if (!place || (await this.#c.claims.read(claimName(place.prefix)))) continue;
      if (await this.#giveBack(network, use, place)) continue;
      await this.#quarantine(network, use, place);
    }
  }

  /** Where a pool gave it out, if nothing that is known claims it. */
  #unclaimed({ prefix: text }: Use): Place | undefined {
    const prefix = tryPrefix(text);
    if (!prefix) return undefined;
    const { pools, claims } = this.#c;
    const view = [...pools.views.values()].find(
      ({ pool, faults }) =>
        faults.length === 0 &&
        prefix.length >= pool.unit[prefix.family] &&
        pool.blocks.some((b) => contains(b, prefix)),
    );
    if (!view) return undefined;
    const place = { pool: view.pool, prefix: maskTo(prefix, view.pool.unit[prefix.family]) };
    return claims.taken.overlapping(place.prefix).length > 0 ? undefined : place;
  }

  /** To the Service or Node for which it is in use, if that is there and has no other. */
  async #giveBack(network: NodeNetwork, use: Use, place: Place): Promise<boolean> {
    let owner: Owner | undefined;
    if (place.pool.purpose !== "LoadBalancers") owner = await this.#node(network, place);
    else for (const key of usersOf(use)) owner ??= await this.#service(key, place);
    if (!owner) return false;
    const outcome = await claimOnce(this.#c, owner, place.pool, place.prefix, true);
    return outcome.ok;
  }

  async #service(key: string, { prefix }: Place): Promise<Owner | undefined> {
    const { api, caches, claims, pools } = this.#c;
    const [namespace = "", name = ""] = key.split("/");
    let service: Service;
    try {
      service = await api.get(kinds.Service, name, { namespace });
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
    if (isPaused(service) || ownershipOf(service, caches) !== "ours") return undefined;
    const has =
      ingressOf(service).some((ip) => tryHost(ip)?.family === prefix.family) ||
      claims.usedBy(service.metadata.uid).some((c) => prefixOf(c).family === prefix.family);
    const parsed = wishOf(service, () => true);
    if (has || "invalid" in parsed || !parsed.wish.families.includes(prefix.family)) return undefined;
    const requested = parsed.wish.requested.get(prefix.family);
    if (requested && formatPrefix(requested) !== formatPrefix(prefix)) return undefined;
    const others = pools.space(key).kept.some((k) => overlaps(k.prefix, prefix));
    return others ? undefined : serviceOwner(service);
  }

  async #node(network: NodeNetwork, { prefix }: Place): Promise<Owner | undefined> {
    const { api, caches, claims } = this.#c;
    const node = await api.get(kinds.Node, network.metadata.name);
    const rule = ruleFor(clusterNetworkOf(caches), node);
    if (!rule || rule.mode === "Observe" || isPaused(node)) return undefined;
    const has =
      claims.ofOwner(node.metadata.uid).some((c) => prefixOf(c).family === prefix.family) ||
      network.spec.podBlocks?.some((b) => tryPrefix(b.prefix)?.family === prefix.family);
    return has ? undefined : nodeOwner(node);
  }

  async #quarantine(network: NodeNetwork, { service }: Use, { pool, prefix }: Place): Promise<void> {
    const { claims, events, log } = this.#c;
    const { name } = network.metadata;
    const [namespace = "", serviceName = ""] = service?.split("/") ?? [];
    const owner: Owner = service
      ? { kind: "Service", namespace, name: serviceName, uid: unknownUID }
      : { kind: "Node", name, uid: unknownUID };
    const claim = await claims.quarantine(owner, pool.name, prefix, name);
    if (!claim) return;
    log.warn({ prefix: formatPrefix(prefix), node: name, service }, "in use and unknown: quarantined");
    events.record(network, {
      type: "Warning",
      reason: "AddressQuarantined",
      action: "Quarantine",
      note: eventNotes.quarantined(describePrefix(prefix), service),
    });
  }

  async #nodeExists(name: string): Promise<boolean> {
    try {
      await this.#c.api.get(kinds.Node, name);
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }
}
