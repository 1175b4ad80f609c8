// operator: which Services are ours, and what a Service asks for.
import { loadBalancerClass, type Service } from "../api/index.ts";
import type { Family, Prefix } from "../net/address.ts";
import { type Caches, clusterNetworkOf } from "./context.ts";
import { type Say, serviceSays } from "./messages.ts";
import { tryHost } from "./pool-book.ts";

/** Comma list of addresses that a Service asks for. */
export const addressesAnnotation = "waggle.dev/addresses";

/** `not now`: Waggle may serve it, but no rule of the ClusterNetwork says so at present; it stays as it is. */
export type Ownership = "ours" | "not now" | "not ours";

/** Whether Waggle gives this Service its addresses. */
export function ownershipOf(service: Service, caches: Caches): Ownership {
  const wanted = service.spec.loadBalancerClass;
  if (service.spec.type !== "LoadBalancer") return "not ours";
  if (wanted !== undefined && wanted !== loadBalancerClass) return "not ours";
  const spec = clusterNetworkOf(caches)?.spec;
  const always = wanted !== undefined || spec?.servicesWithoutClass === "Always";
  const may = spec?.nodes.some((r) => r.mode !== "Observe" && (always || r.owns.includes("VIPs")));
  return may ? "ours" : "not now";
}

export interface Wish {
  readonly families: readonly Family[];
  /** Both families or nothing. */
  readonly all: boolean;
  readonly requested: ReadonlyMap<Family, Prefix>;
}

/** What a Service asks for, or why that cannot be meant. */
export function wishOf(
  service: Service,
  hasPool: (family: Family) => boolean,
): { readonly wish: Wish } | { readonly invalid: Say } {
  const { ipFamilies, ipFamilyPolicy } = service.spec;
  const dual = ipFamilyPolicy === "PreferDualStack" || ipFamilyPolicy === "RequireDualStack";
  let families: Family[] = (ipFamilies ?? []).map((f) => (f === "IPv6" ? 6 : 4));
  // The API server fills ipFamilies in; where none has, IPv4 comes first and a single-stack Service gets what there is.
  if (families.length === 0) families = dual ? [4, 6] : hasPool(4) || !hasPool(6) ? [4] : [6];
  else if (dual && families.length === 1) families.push(families[0] === 4 ? 6 : 4);
  const requested = new Map<Family, Prefix>();
  for (const part of (service.metadata.annotations?.[addressesAnnotation] ?? "").split(",")) {
    const text = part.trim();
    if (text === "") continue;
    const prefix = tryHost(text);
    const wrong = !prefix
      ? `${JSON.stringify(text)} is not an address`
      : requested.has(prefix.family)
        ? serviceSays.moreThanOne(prefix.family)
        : families.includes(prefix.family)
          ? undefined
          : serviceSays.notAsked(text);
    if (!prefix || wrong !== undefined) return { invalid: serviceSays.requestInvalid(wrong ?? text) };
    requested.set(prefix.family, prefix);
  }
  return { wish: { families, all: ipFamilyPolicy === "RequireDualStack", requested } };
}
