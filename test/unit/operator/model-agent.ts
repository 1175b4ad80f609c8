// test: an agent as far as addresses go: it beats, announces what is Bound for a living owner, says so later, and withdraws the
// same way; cut off it goes on announcing; where the API server's data went back it keeps what it has for a while.

import type { Fill } from "../../../src/ipam/index.ts";
import { sameJson } from "../../../src/kube/conditions.ts";
import { TransportError } from "../../../src/kube/errors.ts";
import { Heartbeat } from "../../../src/kube/heartbeat.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { host, type Rules, usersIn } from "./model-rules.ts";
import { ingress, type World } from "./world.ts";

/** How long an agent keeps what is in force after it noticed that the data went back, ms. */
const keptMs = 90_000;

const fillWords: readonly Fill[] = ["Empty", "Empty", "Roomy", "Busy", "NearlyFull", "NearlyFull"];

/** Agents of a cluster by node; a machine's agent lives on when its Node goes. */
export class Agents {
  /** Nodes that reach the API server no more, until monotonic ms. */
  readonly cutOff = new Map<string, number>();
  /** No pod comes or goes any more. */
  calm = false;
  readonly #w: World;
  readonly #rules: Rules;
  readonly #running = new Set<string>();
  /** Store restores that an agent has noticed, and until when it keeps what it has. */
  readonly #noticed = new Map<string, { readonly epoch: number; readonly until: number }>();
  /** Blocks in a node's CNI configuration, and the generation of the view from which it was made. */
  readonly #configured = new Map<string, ReadonlySet<string>>();
  readonly #seenGeneration = new Map<string, number | undefined>();
  /** The newest version that an agent has seen. */
  readonly #seen = new Map<string, bigint>();

  constructor(world: World, rules: Rules) {
    this.#w = world;
    this.#rules = rules;
  }

  isCutOff(name: string): boolean {
    return (this.cutOff.get(name) ?? 0) > this.#w.clock.monotonic();
  }

  run(name: string): void {
    if (this.#running.has(name)) return;
    this.#running.add(name);
    const { clock, api, random } = this.#w;
    new Heartbeat({
      api: api.client(`agent-${name}`),
      namespace: "waggle-system",
      name: `waggle-agent-${name}`,
      kind: "agent",
      holder: name,
      clock,
      random,
      settle: async () => this.#settle(name),
      seen: () => this.#seen.get(name),
      onRewound: () => this.#seen.delete(name),
      onError: () => undefined,
    }).start();
    const step = (): void => {
      if (!this.isCutOff(name)) this.#step(name);
      clock.after(200 + random() * 2_000, step);
    };
    clock.after(random() * 1_000, step);
  }

  /** What is in use is in the API server's object now. */
  #settle(name: string): boolean {
    if (this.isCutOff(name)) throw new TransportError("connect", "cut off");
    if (!this.#w.view(name)) return false;
    this.#report(name, new Map([...(this.#rules.announcing.get(name) ?? [])]));
    return true;
  }

  #step(name: string): void {
    const w = this.#w;
    const { announcing } = this.#rules;
    const noticed = this.#noticed.get(name) ?? { epoch: 0, until: 0 };
    if (noticed.epoch !== w.api.epoch)
      this.#noticed.set(name, { epoch: w.api.epoch, until: w.clock.monotonic() + keptMs });
    const kept = (this.#noticed.get(name)?.until ?? 0) > w.clock.monotonic();
    if (!kept) this.#seen.set(name, BigInt(w.api.version));
    const node = w.api.read(kinds.Node, name);
    if (!node && !kept) {
      announcing.delete(name);
      return;
    }
    if (node && !kept) this.#rules.nodeUIDs.set(name, node.metadata.uid ?? "");
    const before = announcing.get(name) ?? new Map<string, string>();
    const now = new Map<string, string>();
    if (kept) for (const [prefix, user] of before) now.set(prefix, user);
    else
      for (const { status, spec } of w.api.all(kinds.IPAllocation)) {
        if (status?.phase !== "Bound") continue;
        const { owner, prefix } = spec;
        const shown = w.api.all(kinds.Service).filter((s) => ingress(s).some((ip) => host(ip) === prefix));
        if (owner.kind === "Node" && owner.uid === node?.metadata.uid) now.set(prefix, `Node ${name}`);
        if (owner.kind !== "Node" && shown.length > 0)
          now.set(prefix, shown.map((s) => `Service shop/${s.metadata.name}`).join());
      }
    if (!w.view(name)) return;
    this.#movePods(name);
    // Reported before it is done, and withdrawn before that is reported.
    this.#report(name, new Map([...before, ...now]));
    announcing.set(name, now);
    w.clock.after(w.random() * 3_000, () => {
      if (!this.isCutOff(name)) this.#report(name, announcing.get(name) ?? new Map());
    });
  }

  /**
   * Pods come and go: they come only into blocks of the view as the agent has it in the CNI configuration, but for one that is
   * being made just when a block leaves it.
   */
  #movePods(name: string): void {
    const w = this.#w;
    const fills = this.#rules.pods.get(name) ?? new Map<string, Fill>();
    this.#rules.pods.set(name, fills);
    const configured = this.#configured.get(name) ?? new Set<string>();
    for (const prefix of this.calm ? [] : configured)
      if (w.random() < 0.15) fills.set(prefix, fillWords[Math.floor(w.random() * fillWords.length)]!);
    // Pods of an earlier Node of this name end as well, in time.
    for (const [prefix, fill] of fills)
      if (fill !== "Empty" && (this.calm ? !configured.has(prefix) : w.random() < 0.05))
        fills.set(prefix, "Empty");
    // No block is spared any more, or one after the other would still be on its way when all is looked at.
    if (this.calm)
      for (const prefix of configured)
        if ((fills.get(prefix) ?? "Empty") === "Empty") fills.set(prefix, "Busy");
    this.#configured.set(name, new Set((w.view(name)?.spec.podBlocks ?? []).map((b) => b.prefix)));
    this.#seenGeneration.set(name, w.view(name)?.metadata.generation);
  }

  #report(name: string, uses: ReadonlyMap<string, string>): void {
    const view = this.#w.view(name);
    if (!view) return;
    const announced = [...uses]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([prefix, user]) => {
        const [service, ...sharedBy] = usersIn(user).flatMap((u) =>
          u.startsWith("Service ") ? [u.slice("Service ".length)] : [],
        );
        return {
          prefix,
          state: "Announced" as const,
          ...(service && { service }),
          ...(sharedBy.length > 0 && { sharedBy }),
        };
      });
    const fills = this.#rules.pods.get(name) ?? new Map<string, Fill>();
    const shown = new Set((view.spec.podBlocks ?? []).map((b) => b.prefix));
    const podBlocks = [...shown].map((prefix) => ({ prefix, fill: fills.get(prefix) ?? ("Empty" as const) }));
    const inUse = [...fills].flatMap(([prefix, fill]) =>
      fill !== "Empty" && !shown.has(prefix) ? [{ prefix }] : [],
    );
    const observedGeneration = this.#seenGeneration.get(name) ?? 0;
    const next = { announced, podBlocks, inUse, observedGeneration };
    const { status } = view;
    if (
      sameJson([status?.announced, status?.podBlocks, status?.inUse], [announced, podBlocks, inUse]) &&
      status?.observedGeneration === observedGeneration
    )
      return;
    const agent = { version: "0", startedAt: "2026-01-01T00:00:00Z", layout: "", snapshot: "Fresh" as const };
    this.#w.api.put(kinds.NodeNetwork, { ...view, status: { ...view.status, agent, ...next } });
  }
}
