// test: rules about addresses that hold after every single write in a simulated cluster, whatever happens.
import type { IPAllocation, IPPool, KubernetesObject, NodeNetwork, Service } from "../../../src/api/index.ts";
import {
  type Fill,
  sharingKeyOf as keyOf,
  overlapOf,
  parsePool,
  sharingObstacle,
} from "../../../src/ipam/index.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { formatPrefix, hostPrefix, overlaps, parseAddress, parsePrefix } from "../../../src/net/address.ts";
import { storedAccepted } from "../../../src/operator/pool-book.ts";
import { ingress, type World } from "./world.ts";

const bound = new Set(["Bound", "Releasing", "Cooling"]);
export const host = (ip: string): string => formatPrefix(hostPrefix(parseAddress(ip)));

/** Whom a prefix is announced for: one, or Services that share it. */
export const usersIn = (text: string | undefined): readonly string[] => text?.split(",") ?? [];

const together = (claim: IPAllocation | undefined, ...uids: readonly (string | undefined)[]): boolean =>
  uids.every((uid) => claim?.status?.sharing?.users.some((u) => u.uid === uid));

/** Rules that hold after every write, and what has been seen so far. */
export class Rules {
  readonly broken: string[] = [];
  /** Most Services that have had one address, and most blocks of a node. */
  sharedAtMost = 0;
  blocksAtMost = 0;
  readonly #w: World;
  /** Address of each family that a Service has shown, by UID. */
  readonly #shown = new Map<string, Map<string, string>>();
  /** Blocks that the view of a Node shows, by the Node's UID. */
  readonly #blocks = new Map<string, ReadonlySet<string>>();
  /** Phase of each claim, by UID. */
  readonly #phases = new Map<string, string>();
  /** What agents really announce, by node, and for whom; reports of it come later. */
  readonly announcing = new Map<string, ReadonlyMap<string, string>>();

  /** Blocks that pods of a node have addresses from, or had, by node. */
  readonly pods = new Map<string, Map<string, Fill>>();

  /** The Node that an agent took itself for when it was last heard. */
  readonly nodeUIDs = new Map<string, string>();
  #restoredAt = Number.NEGATIVE_INFINITY;

  constructor(world: World) {
    this.#w = world;
    world.api.onWrite = (kind, type, object) => this.#check(kind, type, object);
  }

  /** The store is as it was at an earlier point; what was shown and is known to nobody any more may come out differently. */
  restored(): void {
    this.#restoredAt = this.#w.clock.monotonic();
    this.#phases.clear();
    for (const c of this.#w.api.all(kinds.IPAllocation))
      if (c.status?.phase) this.#phases.set(c.metadata.uid ?? "", c.status.phase);
    const services = this.#w.api.all(kinds.Service);
    for (const [uid, seen] of this.#shown) {
      const service = services.find((s) => s.metadata.uid === uid);
      const user = `Service shop/${service?.metadata.name}`;
      for (const [family, ip] of seen) {
        const announced = [...this.announcing.values()].some((of) =>
          usersIn(of.get(host(ip))).includes(user),
        );
        if (!announced && !ingress(service).includes(ip)) seen.delete(family);
      }
    }
    this.#blocks.clear();
  }

  /** A machine whose Node has gone since, and come back or not, cannot be waited for. */
  #isCounted(name: string): boolean {
    const uid = this.#w.api.read(kinds.Node, name)?.metadata.uid;
    return uid !== undefined && uid === this.nodeUIDs.get(name);
  }

  #fail(text: string): void {
    this.broken.push(`${this.#w.clock.monotonic()} ${text}`);
  }

  #check(kind: string, type: string, object: KubernetesObject): void {
    if (kind === "IPAllocation") this.#claim(type, object as IPAllocation);
    if (kind === "Service" && type !== "DELETED") this.#service(object as Service);
    if (kind === "NodeNetwork" && type !== "DELETED") this.#view(object as NodeNetwork);
    if (kind === "IPPool") this.#pools();
  }

  #claim(type: string, claim: IPAllocation): void {
    const mine = parsePrefix(claim.spec.prefix);
    const phase = claim.status?.phase;
    // What was quarantined may go back to whom it is in use for; that it goes to nobody else is seen when that is Bound.
    if (type === "DELETED" && claim.spec.owner.uid === "unknown") return;
    if (type === "DELETED" || phase === "Cooling") this.#podsIn(claim);
    if (type === "DELETED") {
      if (phase === "Bound") this.#fail(`claim ${claim.spec.prefix} was deleted while Bound`);
      if (phase !== undefined && this.#inUse(claim))
        this.#fail(`claim ${claim.spec.prefix} was deleted while in use`);
      if (phase !== undefined && phase !== "Cooling")
        this.#fail(`claim ${claim.spec.prefix} was deleted ${phase}`);
      // A machine whose Node is gone cannot be waited for; all others must have let go.
      for (const [name, prefixes] of this.announcing)
        if (phase !== undefined && prefixes.has(claim.spec.prefix) && this.#isCounted(name))
          this.#fail(`claim ${claim.spec.prefix} was given up while ${name} announces it`);
      return;
    }
    if (phase === undefined) return;
    const before = this.#phases.get(claim.metadata.uid ?? "");
    this.#phases.set(claim.metadata.uid ?? "", phase);
    // Two who lead at once may disagree for a moment; the owner takes a claim back that it shows. It must not go further.
    if (phase === "Cooling" && before === "Releasing" && this.#inUse(claim))
      this.#fail(`claim ${claim.spec.prefix} of ${claim.spec.owner.name} was released while it is in use`);
    if (phase === "Bound" && before === undefined) this.#wire(claim);
    this.#clash(claim);
    const pool = this.#w.pool(claim.spec.pool);
    let inPool = 0;
    for (const other of this.#w.api.all(kinds.IPAllocation)) {
      if (!bound.has(other.status?.phase ?? "")) continue;
      if (other.spec.pool === claim.spec.pool) inPool += 1;
      if (other.metadata.name !== claim.metadata.name && overlaps(parsePrefix(other.spec.prefix), mine))
        this.#fail(`claims ${claim.spec.prefix} and ${other.spec.prefix} overlap`);
    }
    const quota = pool?.spec.quota;
    // What was lost by a restore and is in use is claimed again whatever the quota.
    if (
      quota !== undefined &&
      this.#w.api.epoch === 0 &&
      type === "MODIFIED" &&
      phase === "Bound" &&
      inPool > quota
    )
      this.#fail(`pool ${claim.spec.pool} has ${inPool} claims, its quota is ${quota}`);
  }

  /** A block that a node's pods are in is not given away, but that their Node is gone, or was when it was decided. */
  #podsIn({ spec: { prefix, owner } }: IPAllocation): void {
    for (const [name, fills] of this.pods)
      if ((fills.get(prefix) ?? "Empty") !== "Empty" && owner.name === name && this.#isCounted(name))
        this.#fail(`${prefix} is given away though pods of ${name} are in it`);
  }

  /** What begins to be somebody's must not be announced for somebody else. */
  #wire({ spec: { owner, prefix } }: IPAllocation): void {
    for (const [name, prefixes] of this.announcing) {
      const user = prefixes.get(prefix);
      if (user === undefined || !this.#isCounted(name)) continue;
      const users = usersIn(user);
      const mine =
        owner.kind === "IPReservation"
          ? users.some((u) => u.startsWith(`Service ${owner.namespace}/`))
          : users.includes(`${owner.kind} ${owner.namespace ? `${owner.namespace}/` : ""}${owner.name}`);
      if (!mine)
        this.#fail(
          `${prefix} is given to ${owner.kind} ${owner.name} while ${name} announces it for ${user}`,
        );
    }
  }

  /** Of those that are recorded to share an address no two have one port, or different keys of traffic. */
  #clash({ spec: { prefix }, status }: IPAllocation): void {
    const users = status?.sharing?.users ?? [];
    this.sharedAtMost = Math.max(this.sharedAtMost, users.length);
    for (const [i, user] of users.entries()) {
      const why = sharingObstacle(user, users.slice(0, i));
      if (why !== undefined) this.#fail(`${prefix} is shared by ${user.name} though ${why}`);
    }
  }

  /** Whether the claim's own owner is there and shows it. */
  #inUse({ spec: { owner, prefix }, status }: IPAllocation): boolean {
    for (const u of status?.sharing?.users ?? []) {
      const s = this.#w.api.read(kinds.Service, u.name, u.namespace);
      if (s?.metadata.uid === u.uid && ingress(s).some((ip) => host(ip) === prefix)) return true;
    }
    if (owner.kind === "Node")
      return (
        this.#w.api.read(kinds.Node, owner.name)?.metadata.uid === owner.uid &&
        this.#w.view(owner.name)?.spec.podBlocks?.some((b) => b.prefix === prefix) === true
      );
    const shown = this.#w.api
      .all(kinds.Service)
      .filter(
        (s) => s.metadata.namespace === owner.namespace && ingress(s).some((ip) => host(ip) === prefix),
      );
    return shown.some((s) => owner.kind === "IPReservation" || s.metadata.uid === owner.uid);
  }

  #service(changed: Service): void {
    const uid = changed.metadata.uid ?? "";
    const ips = ingress(changed);
    const seen = this.#shown.get(uid) ?? new Map<string, string>();
    this.#shown.set(uid, seen);
    for (const ip of ips) {
      const family = ip.includes(":") ? "6" : "4";
      const before = seen.get(family);
      if (before !== undefined && before !== ip)
        this.#fail(`Service ${changed.metadata.name} moved from ${before} to ${ip}`);
      seen.set(family, ip);
      const claim = this.#w.api.all(kinds.IPAllocation).find((c) => c.spec.prefix === host(ip));
      const restoring = this.#w.clock.monotonic() - this.#restoredAt < 60_000;
      for (const other of this.#w.api.all(kinds.Service))
        if (
          other.metadata.uid !== uid &&
          ingress(other).includes(ip) &&
          !together(claim, uid, other.metadata.uid) &&
          !(restoring && keyOf(changed) !== undefined && keyOf(changed) === keyOf(other))
        )
          this.#fail(`Services ${changed.metadata.name} and ${other.metadata.name} both show ${ip}`);
      const mine =
        claim?.spec.owner.uid === uid ||
        together(claim, uid) ||
        (claim?.spec.owner.kind === "IPReservation" &&
          claim.spec.owner.namespace === changed.metadata.namespace);
      const going = mine && claim?.status?.phase === "Releasing";
      // Who has not heard of a restore shows what was claimed before it; whoever finds that claims it again.
      const lost = claim === undefined && this.#w.clock.monotonic() - this.#restoredAt < 60_000;
      if (claim?.status?.phase !== "Bound" && !going && !lost)
        this.#fail(
          `Service ${changed.metadata.name} shows ${ip}, whose claim is ${claim?.status?.phase ?? "absent"}`,
        );
    }
  }

  #view(view: NodeNetwork): void {
    const owner = view.metadata.ownerReferences?.[0]?.uid ?? "";
    const before = this.#blocks.get(owner) ?? new Set<string>();
    const now = new Set((view.spec.podBlocks ?? []).map((b) => b.prefix));
    this.#blocks.set(owner, now);
    this.blocksAtMost = Math.max(this.blocksAtMost, now.size);
    const node = this.#w.api.read(kinds.Node, view.metadata.name);
    // A block that is the node's goes only when its agent has said that no pod is in it.
    for (const prefix of before) {
      if (now.has(prefix) || node?.metadata.uid !== owner || !this.#isOwn(owner, prefix)) continue;
      const fill = view.status?.podBlocks?.find((b) => b.prefix === prefix)?.fill;
      if (fill !== "Empty") this.#fail(`node ${view.metadata.name} lost ${prefix}, which is ${fill}`);
    }
    for (const prefix of now)
      for (const other of this.#w.api.all(kinds.NodeNetwork))
        if (
          other.metadata.name !== view.metadata.name &&
          this.#w.api.read(kinds.Node, other.metadata.name) &&
          node &&
          other.spec.podBlocks?.some((b) => overlaps(parsePrefix(b.prefix), parsePrefix(prefix)))
        )
          this.#fail(`nodes ${view.metadata.name} and ${other.metadata.name} share ${prefix}`);
  }

  #isOwn(owner: string, prefix: string): boolean {
    return this.#w.api
      .all(kinds.IPAllocation)
      .some((c) => c.spec.prefix === prefix && c.spec.owner.uid === owner && c.status?.phase === "Bound");
  }

  #pools(): void {
    const accepted = this.#w.api.all(kinds.IPPool).filter((p: IPPool) => storedAccepted(p) === true);
    for (const a of accepted)
      for (const b of accepted)
        if (
          a.metadata.name < b.metadata.name &&
          overlapOf(parsePool(a).pool.blocks, parsePool(b).pool.blocks, "")
        )
          this.#fail(`pools ${a.metadata.name} and ${b.metadata.name} are both accepted`);
  }
}
