// import: advertisements that overlap. Others unite what all of them say; of ours the first by name decides. So each
// combination that can occur is written out, the more specific first.
import type { BGPAdvertisement, LabelSelector } from "../api/index.ts";
import { type Attributes, advertisementObject, type Item, nameOf } from "./build.ts";
import { intersect } from "./selectors.ts";

/** What one statement of another product announces to whom: all alternatives with the same attributes. */
export interface Entry {
  readonly name: string;
  /** Any of. */
  readonly nodes: readonly LabelSelector[];
  /** Names of neighbours. */
  readonly peers: readonly string[];
  /** Any of. */
  readonly items: readonly Omit<Item, "attributes">[];
  readonly attributes: Attributes;
}

/** One alternative, or what several have in common. */
interface Cell {
  /** Indexes of entries. */
  readonly from: readonly number[];
  readonly nodes: LabelSelector;
  readonly peers: readonly string[];
  readonly item: Omit<Item, "attributes">;
}

/** Combinations that are written at most. */
const cellsMax = 256;

const common = <T>(a: readonly T[], b: readonly T[]): readonly T[] => a.filter((v) => b.includes(v));

function meet(a: Cell, b: Cell): Cell | undefined {
  const nodes = intersect(a.nodes, b.nodes);
  const peers = common(a.peers, b.peers);
  if (!nodes || peers.length === 0 || a.item.type !== b.item.type) return undefined;
  const services =
    a.item.serviceSelector && b.item.serviceSelector
      ? intersect(a.item.serviceSelector, b.item.serviceSelector)
      : undefined;
  if (a.item.serviceSelector && !services) return undefined;
  const pools = a.item.pools && b.item.pools && common(a.item.pools, b.item.pools);
  const addresses = a.item.addresses && b.item.addresses && common(a.item.addresses, b.item.addresses);
  if (pools?.length === 0 || addresses?.length === 0) return undefined;
  return {
    from: [...new Set([...a.from, ...b.from])].sort((x, y) => x - y),
    nodes,
    peers,
    item: {
      ...a.item,
      ...(services && { serviceSelector: services }),
      ...(pools && { pools }),
      ...(addresses && { addresses }),
    },
  };
}

const keyOf = (c: Cell): string => JSON.stringify([c.nodes, [...c.peers].sort(), c.item]);
const same = (a: Attributes, b: Attributes): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Communities of all, each once. */
export function unite(list: readonly Attributes[]): Attributes {
  const all = (kind: "standard" | "large"): readonly string[] => [
    ...new Set(list.flatMap((a) => a.communities?.[kind] ?? [])),
  ];
  const standard = all("standard");
  const large = all("large");
  const preferences = list.flatMap((a) => a.localPreference ?? []);
  return {
    ...(preferences.length > 0 && { localPreference: Math.max(...preferences) }),
    ...((standard.length > 0 || large.length > 0) && {
      communities: { ...(standard.length > 0 && { standard }), ...(large.length > 0 && { large }) },
    }),
  };
}

export interface Resolved {
  readonly objects: readonly BGPAdvertisement[];
  /** Indexes of entries that meet and say different things. */
  readonly met: readonly (readonly number[])[];
  /** More combinations than are written. */
  readonly tooMany: boolean;
}

/** The entries as BGPAdvertisements, in the order of whose names the first that fits says the same as all that fit. */
export function resolve(prefix: string, entries: readonly Entry[]): Resolved {
  const single = entries.flatMap((e, i) =>
    e.nodes.flatMap((nodes) => e.items.map((item): Cell => ({ from: [i], nodes, peers: e.peers, item }))),
  );
  const layers: Cell[][] = [single];
  const seen = new Map<string, Cell>();
  let tooMany = false;
  for (let layer = single; layer.length > 0 && !tooMany; ) {
    const next: Cell[] = [];
    for (const a of layer)
      for (const b of single) {
        if (a.from.includes(b.from[0]!) || a.from.at(-1)! > b.from[0]!) continue;
        if (a.from.every((i) => same(entries[i]!.attributes, entries[b.from[0]!]!.attributes))) continue;
        const both = meet(a, b);
        if (!both) continue;
        const key = `${both.from.join()} ${keyOf(both)}`;
        if (seen.has(key)) continue;
        seen.set(key, both);
        next.push(both);
        if (seen.size > cellsMax) tooMany = true;
      }
    layers.push(next);
    layer = next;
  }
  const ordered = layers.slice(0, 16).reverse().flat();
  const met = [...new Set(ordered.filter((c) => c.from.length > 1).map((c) => c.from.join()))].map((t) =>
    t.split(",").map(Number),
  );
  const objects: BGPAdvertisement[] = [];
  const groups = new Map<string, Cell[]>();
  for (const cell of ordered) {
    const key = JSON.stringify([cell.from, cell.nodes, [...cell.peers].sort()]);
    groups.set(key, [...(groups.get(key) ?? []), cell]);
  }
  const width = String(groups.size).length;
  for (const cells of groups.values()) {
    const [first] = cells;
    const attributes = unite(first!.from.map((i) => entries[i]!.attributes));
    const advertise = cells.map(({ item }) => ({
      ...item,
      ...(Object.keys(attributes).length > 0 && { attributes }),
    }));
    const number = String(objects.length + 1).padStart(width, "0");
    for (let i = 0; i < advertise.length; i += 16)
      objects.push(
        advertisementObject(
          nameOf(
            prefix,
            number,
            ...(i > 0 ? [String(i / 16)] : []),
            ...first!.from.map((f) => entries[f]!.name),
          ),
          first!.nodes,
          first!.peers,
          advertise.slice(i, i + 16),
        ),
      );
  }
  return { objects, met, tooMany };
}
