// plan: reading fields of our kinds. What is wrong is collected with its path, never thrown.
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

/** Well-known communities by name (RFC 1997, RFC 7999, RFC 8326). */
const wellKnown: Readonly<Record<string, number>> = {
  "no-export": 0xffff_ff01,
  "no-advertise": 0xffff_ff02,
  "no-export-subconfed": 0xffff_ff03,
  "graceful-shutdown": gracefulShutdown,
  blackhole: 0xffff_029a,
};

interface CommunityLists {
  readonly standard?: readonly string[];
  readonly large?: readonly string[];
}

export interface Communities {
  readonly standard: readonly number[];
  readonly large: readonly LargeCommunity[];
}

/** Both lists of a `communities` field. */
export function communitiesAt(lists: CommunityLists | undefined, path: string, into: Faults): Communities {
  const standard: number[] = [];
  const large: LargeCommunity[] = [];
  for (const [i, text] of (lists?.standard ?? []).entries()) {
    const parts = text.split(":").map(Number);
    const known = wellKnown[text];
    if (known !== undefined) standard.push(known);
    else if (parts.length === 2 && parts.every((n) => Number.isInteger(n) && n >= 0 && n <= 0xffff))
      standard.push(parts[0]! * 65_536 + parts[1]!);
    else into.add(`${path}.standard[${i}]`, faults.community());
  }
  for (const [i, text] of (lists?.large ?? []).entries()) {
    const parts = text.split(":").map(Number);
    if (parts.length === 3 && parts.every((n) => Number.isInteger(n) && n >= 0 && n <= 0xffff_ffff))
      large.push({ global: parts[0]!, local1: parts[1]!, local2: parts[2]! });
    else into.add(`${path}.large[${i}]`, faults.largeCommunity());
  }
  return { standard, large };
}
