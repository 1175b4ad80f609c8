// agent: pods' addresses that this node's blocks do not explain, as host-local's own store has them.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { IPPool, NodeNetwork } from "../api/index.ts";
import { fillOf, parsePool } from "../ipam/index.ts";
import {
  AddressError,
  contains,
  formatPrefix,
  hostPrefix,
  maskTo,
  type Prefix,
  parseAddress,
  parsePrefix,
} from "../net/address.ts";
import { networkName } from "../plan/index.ts";

/** Blocks that a status stores. */
const mostBlocks = 1024;

/** Names of files in host-local's store that are addresses; it has others for locks and the last one given out. */
export function hostLocalAddresses(dataDir: string): readonly Prefix[] {
  let names: readonly string[];
  try {
    names = readdirSync(join(dataDir, networkName));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names.flatMap((name) => {
    try {
      return [hostPrefix(parseAddress(name))];
    } catch (error) {
      if (error instanceof AddressError) return [];
      throw error;
    }
  });
}

/** The blocks, as the pools cut them, of addresses that no block of this node holds. In order. */
export function blocksInUse(
  addresses: readonly Prefix[],
  network: NodeNetwork | undefined,
  pools: readonly IPPool[],
): readonly { readonly prefix: string }[] {
  if (addresses.length === 0 || !network) return [];
  const own = (network.spec.podBlocks ?? []).map((b) => parsePrefix(b.prefix));
  const parsed = pools.map((p) => parsePool(p).pool).filter((p) => p.purpose === "Pods");
  const out = new Set<string>();
  for (const address of addresses) {
    if (own.some((b) => contains(b, address))) continue;
    const pool = parsed.find((p) => p.blocks.some((b) => contains(b, address)));
    if (pool) out.add(formatPrefix(maskTo(address, pool.unit[address.family])));
  }
  return [...out]
    .sort()
    .slice(0, mostBlocks)
    .map((prefix) => ({ prefix }));
}

/** How full the node's own blocks are, by addresses of its pods. `before` as it was reported last. */
export function fillsOf(
  addresses: readonly Prefix[],
  network: NodeNetwork | undefined,
): NonNullable<NodeNetwork["status"]>["podBlocks"] {
  const before = new Map(network?.status?.podBlocks?.map((b) => [b.prefix, b.fill]));
  return network?.spec.podBlocks?.map(({ prefix }) => {
    const block = parsePrefix(prefix);
    const used = addresses.filter((a) => contains(block, a)).length;
    return { prefix, fill: fillOf(block, used, before.get(prefix)) };
  });
}
