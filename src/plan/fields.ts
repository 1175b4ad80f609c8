// plan: reading fields of our kinds. What is wrong is collected with its path, never thrown.
import {
  type CommunityKind,
  type CommunityPattern,
  communityKinds,
  compileCommunity,
  extendedOf,
  isPattern,
  largeOf,
  standardOf,
} from "../bgp/policy/communities.ts";
import { PatternError } from "../bgp/policy/regex.ts";
import { type Address, AddressError, type Prefix } from "../net/address.ts";
import type { LargeCommunity } from "../routes/index.ts";
import { faults } from "./messages.ts";
import { toAddress, toPrefix } from "./text.ts";

/** A field that is wrong. */
export interface Fault {
  readonly path: string;
  readonly message: string;
}

/** Collects faults of one object. */
export interface Faults {
  readonly list: Fault[];
  add(path: string, message: string): void;
}

export function collectFaults(): Faults {
  const list: Fault[] = [];
  return { list, add: (path, message) => void list.push({ path, message }) };
}

/** An address or a fault. */
export function addressAt(text: string, path: string, into: Faults): Address | undefined {
  try {
    return toAddress(text);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    into.add(path, faults.address(error.message));
    return undefined;
  }
}

/** A prefix or a fault. */
export function prefixAt(text: string, path: string, into: Faults): Prefix | undefined {
  try {
    return toPrefix(text);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    into.add(path, faults.address(error.message));
    return undefined;
  }
}

/** A prefix from an object that Waggle itself wrote; undefined where it is none. */
export function tryPrefix(text: string): Prefix | undefined {
  const ignored = collectFaults();
  return prefixAt(text, "", ignored);
}

/** An address from a status or a foreign object; undefined where it is none. */
export function tryAddress(text: string): Address | undefined {
  const ignored = collectFaults();
  return addressAt(text, "", ignored);
}

/** RFC 8326. */
export const gracefulShutdown = 0xffff_0000;

type CommunityLists = { readonly [K in CommunityKind]?: readonly string[] };

export interface Communities {
  readonly standard: readonly number[];
  readonly large: readonly LargeCommunity[];
  /** As text. */
  readonly extended: readonly string[];
}

/** Reads the communities of one list; each that is none is a fault. */
function listAt<T>(
  list: readonly string[] | undefined,
  path: string,
  into: Faults,
  read: (text: string) => T,
): T[] {
  return (list ?? []).flatMap((text, i) => {
    try {
      return [read(text)];
    } catch (error) {
      if (!(error instanceof PatternError)) throw error;
      into.add(`${path}[${i}]`, faults.community(error.message));
      return [];
    }
  });
}

const large = (text: string): LargeCommunity => {
  const [global, local1, local2] = largeOf(text);
  return { global, local1, local2 };
};

/** The lists of a `communities` field. */
export function communitiesAt(lists: CommunityLists | undefined, path: string, into: Faults): Communities {
  return {
    standard: listAt(lists?.standard, `${path}.standard`, into, standardOf),
    large: listAt(lists?.large, `${path}.large`, into, large),
    extended: listAt(lists?.extended, `${path}.extended`, into, (text) => {
      extendedOf(text);
      return text;
    }),
  };
}

/** The lists of a field of patterns: single communities are patterns, too. */
export function patternsAt(
  lists: CommunityLists | undefined,
  path: string,
  into: Faults,
): readonly CommunityPattern[] {
  return communityKinds.flatMap((kind) =>
    listAt(lists?.[kind], `${path}.${kind}`, into, (pattern) => {
      compileCommunity({ kind, pattern });
      return { kind, pattern };
    }),
  );
}

/** The same with the standard and large communities that are meant exactly apart from patterns. */
export function wantedAt(
  lists: CommunityLists | undefined,
  path: string,
  into: Faults,
): Omit<Communities, "extended"> & { readonly patterns: readonly CommunityPattern[] } {
  const all = patternsAt(lists, path, into);
  const exact = (kind: CommunityKind) =>
    all.flatMap((p) => (p.kind === kind && !isPattern(p.pattern) ? [p.pattern] : []));
  return {
    standard: exact("standard").map(standardOf),
    large: exact("large").map(large),
    patterns: all.filter((p) => p.kind === "extended" || isPattern(p.pattern)),
  };
}
