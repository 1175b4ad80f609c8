// fleet: print(@m) inside probes: what nodes print as their n-th round at one site is one answer, merged when all have sent it.
import type { MapData, NodeChunk, ResultSchema } from "../results/types.ts";
import { type MergeMaps, mergeOne, type Part } from "./merge.ts";

export type Round = Extract<NodeChunk, { readonly kind: "round" }>;

export interface RoundMergerOptions {
  readonly schema: ResultSchema;
  readonly merge: MergeMaps;
  /** Every source that may send rounds. */
  readonly sources: Iterable<string>;
  /** Rounds that may wait; the oldest goes out incomplete when there are more. */
  readonly maxPending: number;
  readonly emit: (round: Round) => void;
}

/**
 * Waits for every live source. A source sends the rounds of one site in order, so one that is past an ordinal will not send it
 * any more (its kernel lost the record) and is not waited for.
 */
export class RoundMerger {
  /** Rounds that came after theirs had gone out; they are in no answer. */
  late = 0;
  /** Rounds that went out without some live source. */
  incomplete = 0;
  readonly #options: RoundMergerOptions;
  readonly #live: Set<string>;
  /** site -> ordinal -> what has come, both in order of arrival. */
  readonly #pending = new Map<number, Map<number, Map<string, MapData>>>();
  /** site -> source -> highest ordinal. */
  readonly #reached = new Map<number, Map<string, number>>();
  /** site -> highest ordinal that has gone out. */
  readonly #emitted = new Map<number, number>();
  #count = 0;

  constructor(options: RoundMergerOptions) {
    this.#options = options;
    this.#live = new Set(options.sources);
  }

  add(source: string, { site, ordinal, map }: Round): void {
    if (ordinal <= (this.#emitted.get(site) ?? -1)) {
      this.late += 1;
      return;
    }
    const rounds = getOr(this.#pending, site, () => new Map<number, Map<string, MapData>>());
    if (!rounds.has(ordinal)) this.#count += 1;
    getOr(rounds, ordinal, () => new Map<string, MapData>()).set(source, map);
    const reached = getOr(this.#reached, site, () => new Map<string, number>());
    reached.set(source, Math.max(ordinal, reached.get(source) ?? -1));
    this.#settle(site);
    while (this.#count > this.#options.maxPending) {
      this.incomplete += 1;
      this.#emitNext(this.#fullest());
    }
  }

  /** The source will send nothing more: it has finished, or is gone. */
  leave(source: string): void {
    if (!this.#live.delete(source)) return;
    for (const site of [...this.#pending.keys()]) this.#settle(site);
  }

  /** Lets everything that waits go out as it is. */
  flush(): void {
    for (const site of [...this.#pending.keys()].sort((a, b) => a - b)) while (this.#emitNext(site));
  }

  #settle(site: number): void {
    const rounds = this.#pending.get(site);
    const reached = this.#reached.get(site);
    if (!rounds || !reached) return;
    let common = Number.POSITIVE_INFINITY;
    for (const source of this.#live) common = Math.min(common, reached.get(source) ?? -1);
    while (rounds.size > 0 && Math.min(...rounds.keys()) <= common) this.#emitNext(site);
  }

  #fullest(): number {
    let site = -1;
    for (const [each, rounds] of this.#pending)
      if (site < 0 || rounds.size > this.#pending.get(site)!.size) site = each;
    return site;
  }

  #emitNext(site: number): boolean {
    const rounds = this.#pending.get(site);
    if (!rounds || rounds.size === 0) return false;
    const ordinal = Math.min(...rounds.keys());
    const parts = [...rounds.get(ordinal)!]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([source, map]): Part => ({ source, maps: [map] }));
    rounds.delete(ordinal);
    if (rounds.size === 0) this.#pending.delete(site);
    this.#count -= 1;
    this.#emitted.set(site, ordinal);
    const { merge, schema } = this.#options;
    const name = schema.rounds.find((r) => r.site === site)?.map ?? parts[0]!.maps[0]!.name;
    const map = mergeOne(merge, schema, name, parts);
    if (map) this.#options.emit({ kind: "round", site, ordinal, map });
    return true;
  }
}

function getOr<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
