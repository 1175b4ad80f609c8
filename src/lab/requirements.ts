// lab: what a lab needs of the machine that it does not always have.
import { accessSync } from "node:fs";
import { findAssets, missingAssets } from "./real.ts";
import type { RouterKind } from "./routing.ts";
import type { LabOptions } from "./state.ts";

/** Where Debian's package has FRR's daemons. */
export const frrDaemons = "/usr/lib/frr";

/** Why routers of this kind cannot run here; empty where they can. */
export function missingRouter(kind: RouterKind): string {
  const need: readonly string[] =
    kind === "bird" ? ["/usr/sbin/bird"] : [`${frrDaemons}/zebra`, `${frrDaemons}/bgpd`, "/usr/bin/vtysh"];
  for (const path of need)
    try {
      accessSync(path);
    } catch {
      return kind === "bird"
        ? "BIRD 2 (apt-get install bird2)"
        : "FRR (apt-get install --no-install-recommends frr)";
    }
  return "";
}

/** Why a lab of these options cannot run here; empty where it can. */
export const missingFor = (options: Pick<LabOptions, "router" | "kubernetes">): string =>
  missingRouter(options.router ?? "bird") ||
  (options.kubernetes === "real" && !findAssets("plane") ? missingAssets : "");
