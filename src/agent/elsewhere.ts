// agent: what other nodes announce, asked only when it matters: a drain, or a proof that fails.
import type { NodeNetwork } from "../api/index.ts";
import { type Clock, describeError, type KubeApi, kinds } from "../kube/index.ts";
import type { Snapshot } from "../plan/index.ts";
import type { ElsewherePort, Log } from "./ports.ts";

/** Prefixes that some other node announces, not draining, and not known to be down. */
export function announcedElsewhere(
  networks: readonly NodeNetwork[],
  node: string,
  nodes: Snapshot["nodes"],
): ReadonlySet<string> {
  const down = new Set(
    nodes
      .filter((n) => n.status?.conditions?.some((c) => c.type === "Ready" && c.status !== "True"))
      .map((n) => n.metadata.name),
  );
  const there = new Set(nodes.map((n) => n.metadata.name));
  const out = new Set<string>();
  for (const { metadata, status } of networks) {
    const { name } = metadata;
    if (name === node || down.has(name) || !there.has(name)) continue;
    if ((status?.drain?.phase ?? "None") !== "None") continue;
    // A speaker that nobody hears announces nothing.
    if (!status?.sessions?.some((s) => s.state === "Established")) continue;
    for (const { prefix, state } of status.announced ?? []) if (state === "Announced") out.add(prefix);
  }
  return out;
}

/** Least time between two questions, ms. */
const spacingMs = 300;

/** Lists NodeNetworks while somebody wants to know. */
export class Elsewhere implements ElsewherePort {
  readonly #api: KubeApi;
  readonly #clock: Clock;
  readonly #log: Log;
  #answer: { readonly networks: readonly NodeNetwork[]; readonly askedAt: number } | undefined;
  #memo: { readonly key: readonly unknown[]; readonly prefixes: ReadonlySet<string> } | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking = false;

  constructor(api: KubeApi, clock: Clock, log: Log) {
    this.#api = api;
    this.#clock = clock;
    this.#log = log;
  }

  get(
    node: string,
    nodes: Snapshot["nodes"],
    since: number,
    everyMs: number,
    onChange: () => void,
  ): ReadonlySet<string> | undefined {
    const now = this.#clock.now();
    const good = this.#answer && this.#answer.askedAt >= since ? this.#answer : undefined;
    const due = this.#askedAt + (good ? everyMs : spacingMs);
    if (!this.#asking && now >= since && now >= due) void this.#ask(onChange);
    if (!good) return undefined;
    const key = [good.networks, node, nodes];
    if (!this.#memo?.key.every((k, i) => k === key[i]))
      this.#memo = { key, prefixes: announcedElsewhere(good.networks, node, nodes) };
    return this.#memo!.prefixes;
  }

  forget(): void {
    this.#answer = undefined;
    this.#memo = undefined;
  }

  async #ask(onChange: () => void): Promise<void> {
    this.#asking = true;
    this.#askedAt = this.#clock.now();
    try {
      const { items } = await this.#api.list(kinds.NodeNetwork, { retries: 0, timeoutMs: 5_000 });
      this.#answer = { networks: items, askedAt: this.#askedAt };
    } catch (error) {
      this.#answer = undefined;
      this.#log.warn({ error: describeError(error) }, "other nodes' announcements cannot be read");
    }
    this.#asking = false;
    onChange();
  }
}
