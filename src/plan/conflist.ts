// plan: the CNI network configuration list of a node: ptp with host-local, addresses from the node's own blocks.
import type { Prefix } from "../net/address.ts";
import { prefixText } from "./text.ts";
import type { Conflist } from "./types.ts";

export interface ConflistOptions {
  readonly podBlocks: readonly Prefix[];
  /** Directory of host-local's own state. */
  readonly dataDir: string;
  /** In bytes; absent leaves the kernel's default. */
  readonly mtu?: number;
}

/** Name of the network in the list and in host-local's state. */
export const networkName = "waggle";
/** File name; the number makes it the first that a runtime finds. */
export const conflistFile = "10-waggle.conflist";

/** Undefined without blocks: pods have to wait rather than get addresses that are nobody's. One address of each family. */
export function conflistFor(options: ConflistOptions): Conflist | undefined {
  const families = ([4, 6] as const)
    .map((family) => options.podBlocks.filter((b) => b.family === family))
    .filter((blocks) => blocks.length > 0);
  if (families.length === 0) return undefined;
  return {
    cniVersion: "1.0.0",
    name: networkName,
    plugins: [
      {
        type: "ptp",
        ipMasq: false,
        ...(options.mtu !== undefined && { mtu: options.mtu }),
        ipam: {
          type: "host-local",
          dataDir: options.dataDir,
          ranges: families.map((blocks) => blocks.map((b) => ({ subnet: prefixText(b) }))),
          routes: families.map((blocks) => ({ dst: blocks[0]!.family === 4 ? "0.0.0.0/0" : "::/0" })),
        },
      },
    ],
  };
}
