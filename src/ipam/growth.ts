// ipam: how many blocks a node has: another when all are nearly full, one less when one is empty and there is room without it.
import type { NodeNetwork } from "../api/index.ts";
import type { Family, Prefix } from "../net/address.ts";
import { bitsOf } from "../net/address.ts";

/** A word, not a number: it changes seldom, so that pods that come and go write nothing. */
export type Fill = NonNullable<NonNullable<NodeNetwork["status"]>["podBlocks"]>[number]["fill"];

/** A block is nearly full from here on, in hundredths, and stays so until it is below `thinned`. */
const crowded = 80;
const thinned = 70;
/** Below this there is room for the pods of a block that goes, in hundredths. */
const roomy = 50;

/** Addresses that pods can have of a block: host-local keeps the network's, the gateway's and, in IPv4, the last one. */
export function podAddressesOf(block: Prefix): number {
  const size = 2 ** Math.min(30, bitsOf(block.family) - block.length);
  return Math.max(1, size - (block.family === 4 ? 3 : 2));
}

/** How full a block is with so many pods' addresses in use. `before` keeps the word from changing back and forth. */
export function fillOf(block: Prefix, used: number, before: Fill | undefined): Fill {
  if (used === 0) return "Empty";
  const percent = (used * 100) / podAddressesOf(block);
  if (percent >= (before === "NearlyFull" ? thinned : crowded)) return "NearlyFull";
  return percent < roomy ? "Roomy" : "Busy";
}

/** A block of a node as its claim, its view and its agent have it. */
export interface NodeBlock {
  /** Canonical text. */
  readonly prefix: string;
  readonly family: Family;
  /** In the view: pods may get addresses from it. */
  readonly shown: boolean;
  /** As the agent reports; undefined: it has not said. */
  readonly fill: Fill | undefined;
  /** The agent reports pods in it though the view does not show it. */
  readonly inUse: boolean;
}

/** Whether a node needs another block of this family: it has none, or its agent says that all of them are nearly full. */
export const needsBlock = (blocks: readonly NodeBlock[], family: Family): boolean =>
  blocks.filter((b) => b.family === family).every((b) => b.shown && b.fill === "NearlyFull");

/** What the view is to show of these: what it shows, what pods are in, and one more where that is needed. */
export function blocksToShow(blocks: readonly NodeBlock[]): readonly NodeBlock[] {
  const out = blocks.filter((b) => b.shown || b.inUse);
  for (const family of [4, 6] as const) {
    const more = blocks.find((b) => b.family === family && !b.shown && !b.inUse);
    if (more && needsBlock(out, family)) out.push(more);
  }
  return out;
}

/** A block that the node can do without: it is empty, and another of its family has plenty of room. The last one of these. */
export function spareBlock(blocks: readonly NodeBlock[], family: Family): NodeBlock | undefined {
  const own = blocks.filter((b) => b.family === family && b.shown);
  if (own.some((b) => b.fill === undefined)) return undefined;
  const spare = own.filter((b) => b.fill === "Empty").at(-1);
  const room = own.some((b) => b !== spare && (b.fill === "Empty" || b.fill === "Roomy"));
  return spare && room ? spare : undefined;
}
