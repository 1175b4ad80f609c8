// import: everything that other rooms import from here.
import { importCilium } from "./cilium.ts";
import { importFrrK8s } from "./frr-k8s.ts";
import { importMetalLB } from "./metallb.ts";
import type { Dialect, Imported, ImportOptions, Source } from "./types.ts";

export * from "./types.ts";

const importers = { cilium: importCilium, metallb: importMetalLB, "frr-k8s": importFrrK8s } as const;

/** Manifests of another product as ours. Pure; what cannot be converted is among the findings with its place. */
export const importManifests = (
  dialect: Dialect,
  sources: readonly Source[],
  options: ImportOptions,
): Imported => importers[dialect](sources, options);
