// import: communities of other products as ours.

import type { Attributes } from "./build.ts";
import type { Said } from "./messages.ts";
import { says } from "./messages.ts";

export interface CommunityLists {
  readonly standard: readonly string[];
  readonly large: readonly string[];
}

/** Names that Cilium knows (RFC 1997, 7999, 8326, 9494 and IANA's registry). */
const wellKnown: Readonly<Record<string, string>> = {
  internet: "0:0",
  "planned-shut": "graceful-shutdown",
  "accept-own": "65535:1",
  "route-filter-translated-v4": "65535:2",
  "route-filter-v4": "65535:3",
  "route-filter-translated-v6": "65535:4",
  "route-filter-v6": "65535:5",
  "llgr-stale": "65535:6",
  "no-llgr": "65535:7",
  blackhole: "blackhole",
  "no-export": "no-export",
  "no-advertise": "no-advertise",
  "no-export-subconfed": "no-export-subconfed",
  "no-peer": "65535:65284",
};

export const wellKnownCommunity = (name: string): string | Said => wellKnown[name] ?? says.wellKnown(name);

const numbers = (text: string, count: number, most: number): readonly number[] | undefined => {
  const parts = text.split(":");
  const values = parts.map(Number);
  return parts.length === count && parts.every((p, i) => /^\d{1,10}$/.test(p) && values[i]! <= most)
    ? values
    : undefined;
};

/** "65001:100" or one number of 32 bits. */
export function standardCommunity(text: string): string | Said {
  const one = numbers(text, 1, 0xffff_ffff)?.[0];
  if (one !== undefined) return `${Math.floor(one / 65_536)}:${one % 65_536}`;
  return numbers(text, 2, 0xffff)?.join(":") ?? says.community(text);
}

export const largeCommunity = (text: string): string | Said =>
  numbers(text, 3, 0xffff_ffff)?.join(":") ?? says.community(text);

export const attributesOf = (c: CommunityLists, localPreference: number | undefined): Attributes => ({
  ...(localPreference !== undefined && { localPreference }),
  ...((c.standard.length > 0 || c.large.length > 0) && {
    communities: {
      ...(c.standard.length > 0 && { standard: c.standard }),
      ...(c.large.length > 0 && { large: c.large }),
    },
  }),
});
