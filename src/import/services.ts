// import: addresses that Services show or ask for, kept for them before another controller may move them.
import type { IPReservation, Service } from "../api/index.ts";
import { sharerOf, sharingKeyOf, sharingObstacle } from "../ipam/index.ts";
import { AddressError, formatAddress, parseAddress, toInteger } from "../net/address.ts";
import { nameOf, poolLabel, reservationObject } from "./build.ts";
import { says } from "./messages.ts";
import { holds, type Range } from "./ranges.ts";
import type { Findings } from "./reader.ts";
import type { Source } from "./types.ts";

/** Annotations of one product, by what they mean. */
export interface ServiceAnnotations {
  readonly addresses: readonly string[];
  readonly pool: readonly string[];
  readonly sharing: readonly string[];
}

const isService = (s: Source): boolean => s.object.kind === "Service" && s.object.apiVersion === "v1";

const keyOf = ({ metadata }: Service): string => `${metadata.namespace ?? "default"}/${metadata.name}`;

/** One IPReservation for each address that a Service shows, or else asks for, inside the pools that have been converted. */
export function reservationsOf(
  sources: readonly Source[],
  pools: readonly Range[],
  annotations: ServiceAnnotations,
  findings: Findings,
): readonly IPReservation[] {
  const owner = new Map<string, Service>();
  const out: IPReservation[] = [];
  for (const source of sources.filter(isService)) {
    const service = source.object as Service;
    if (service.spec.type !== "LoadBalancer") continue;
    const say = (path: string, said: ReturnType<typeof says.pinned>): void =>
      findings.add(source, path, said);
    const className = service.spec.loadBalancerClass;
    if (className !== undefined && className !== "waggle.dev/bgp")
      say("spec.loadBalancerClass", says.className(className));
    const given = service.metadata.annotations ?? {};
    const has = (names: readonly string[]): readonly string[] => names.filter((n) => given[n] !== undefined);
    for (const name of has(annotations.addresses)) say(`metadata.annotations[${name}]`, says.requested(name));
    for (const name of has(annotations.pool))
      say(`metadata.annotations[${name}]`, says.poolRequest(name, `${poolLabel}=${nameOf(given[name]!)}`));
    for (const name of has(annotations.sharing)) say(`metadata.annotations[${name}]`, says.sharingKey(name));
    const shown = (service.status?.loadBalancer?.ingress ?? []).flatMap((i, n) =>
      i.ip ? [{ text: i.ip, path: `status.loadBalancer.ingress[${n}].ip` }] : [],
    );
    const asked = has(annotations.addresses).flatMap((name) =>
      given[name]!.split(",").map((text) => ({ text: text.trim(), path: `metadata.annotations[${name}]` })),
    );
    const legacy = (service.spec as { loadBalancerIP?: string }).loadBalancerIP;
    if (legacy) asked.push({ text: legacy, path: "spec.loadBalancerIP" });
    for (const { text, path } of shown.length > 0 ? shown : asked) {
      const address = read(text);
      if (typeof address === "string") {
        say(path, says.address(address));
        continue;
      }
      const canonical = formatAddress(address);
      const other = owner.get(canonical);
      const key = keyOf(service);
      if (other !== undefined && keyOf(other) !== key) {
        const why = apart(service, other);
        const who = `Service/${keyOf(other)}`;
        say(path, why === undefined ? says.sharedTogether(canonical, who) : says.shared(canonical, who, why));
      } else if (!holds(pools, address.family, toInteger(address))) say(path, says.outside(canonical));
      else if (other === undefined) {
        owner.set(canonical, service);
        const { namespace = "default", name } = service.metadata;
        const reserved = nameOf(name, canonical.replaceAll(/[.:]+/g, "-"));
        out.push(reservationObject(namespace, reserved, canonical, name));
        say(path, says.pinned(canonical));
      }
    }
  }
  return out;
}

/** Why two Services that show one address cannot have it together. */
function apart(one: Service, other: Service): string | undefined {
  const key = sharingKeyOf(one);
  if (key === undefined || key !== sharingKeyOf(other)) return says.noSharingKey();
  return sharingObstacle({ ...sharerOf(one), uid: keyOf(one) }, [{ ...sharerOf(other), uid: keyOf(other) }]);
}

function read(text: string) {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof AddressError) return error.message;
    throw error;
  }
}
