// bgp/policy: communities as people write them: exact, with `*` for a part, or as a regular expression between slashes.
import type { LargeCommunity, PathAttributes } from "../wire/attributes.ts";
import { Pattern, PatternError } from "./regex.ts";

export type CommunityKind = "standard" | "large" | "extended";
export const communityKinds = ["standard", "large", "extended"] as const;

/** Which communities of one kind are meant: "65001:100", "65001:*", "*", "/^65001:1..$/". */
export interface CommunityPattern {
  readonly kind: CommunityKind;
  readonly pattern: string;
}

const wellKnown: Readonly<Record<string, number>> = {
  "graceful-shutdown": 0xffff0000,
  "accept-own": 0xffff0001,
  "llgr-stale": 0xffff0006,
  "no-llgr": 0xffff0007,
  blackhole: 0xffff029a,
  "no-export": 0xffffff01,
  "no-advertise": 0xffffff02,
  "no-export-subconfed": 0xffffff03,
  "no-peer": 0xffffff04,
};

/** Whether a text is a pattern and not one community. */
export const isPattern = (text: string): boolean => text.includes("*") || text.startsWith("/");

/** "65001:100" or a well-known name. @throws PatternError */
export function standardOf(text: string): number {
  const known = wellKnown[text.toLowerCase()];
  if (known !== undefined) return known;
  const [high, low] = numbersOf(text, 2, 0xffff);
  return ((high! << 16) | low!) >>> 0;
}

/** "65001:1:2". @throws PatternError */
export function largeOf(text: string): LargeCommunity {
  const [global, local1, local2] = numbersOf(text, 3, 0xffffffff);
  return [global!, local1!, local2!];
}

function numbersOf(text: string, count: number, max: number): number[] {
  const parts = text.split(":");
  const values = parts.map(Number);
  if (parts.length !== count || parts.some((p, i) => !/^\d{1,10}$/.test(p) || values[i]! > max))
    throw new PatternError(`${JSON.stringify(text)} is not a community of ${count} numbers up to ${max}`);
  return values;
}

export const standardText = (c: number): string => `${c >>> 16}:${c & 0xffff}`;
export const largeText = (c: LargeCommunity): string => c.join(":");

/** Octets of one extended community (RFC 4360). */
const EXTENDED_BYTES = 8;
const subtypes = { rt: 2, soo: 3 } as const;

/** An extended community: "rt:65001:100", "soo:10.0.0.1:100", or 16 hexadecimal digits after 0x. @throws PatternError */
export function extendedOf(text: string): Uint8Array {
  const hex = /^0x([0-9a-f]{16})$/i.exec(text)?.[1];
  if (hex !== undefined)
    return Uint8Array.from({ length: EXTENDED_BYTES }, (_, i) =>
      Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16),
    );
  const [, kind, admin, value] = /^(rt|soo):([\d.]+):(\d{1,10})$/.exec(text) ?? [];
  if (kind === undefined || admin === undefined) throw notExtended(text);
  const out = new Uint8Array(EXTENDED_BYTES);
  out[1] = subtypes[kind as keyof typeof subtypes];
  const view = new DataView(out.buffer);
  const number = Number(value);
  const octets = admin.split(".").map(Number);
  const address =
    octets.length === 4 && octets.every((o, i) => o <= 255 && admin.split(".")[i] === String(o));
  const asn = Number(admin);
  if (address) {
    out[0] = 1;
    out.set(octets, 2);
  } else if (/^\d{1,10}$/.test(admin) && asn <= 0xffffffff) {
    out[0] = asn > 0xffff ? 2 : 0;
    if (asn > 0xffff) view.setUint32(2, asn);
    else view.setUint16(2, asn);
  } else throw notExtended(text);
  if (number > (out[0] === 0 ? 0xffffffff : 0xffff)) throw notExtended(text);
  if (out[0] === 0) view.setUint32(4, number);
  else view.setUint16(6, number);
  return out;
}

const notExtended = (text: string): PatternError =>
  new PatternError(
    `${JSON.stringify(text)} is not an extended community such as rt:65001:100, soo:10.0.0.1:100 or 0x4300000000000001`,
  );

/** The extended community at `at`. */
export function extendedText(b: Uint8Array, at: number): string {
  const type = b[at]!;
  const name = b[at + 1] === subtypes.rt ? "rt" : b[at + 1] === subtypes.soo ? "soo" : undefined;
  const view = new DataView(b.buffer, b.byteOffset + at, EXTENDED_BYTES);
  if (name !== undefined && type === 0) return `${name}:${view.getUint16(2)}:${view.getUint32(4)}`;
  if (name !== undefined && type === 1)
    return `${name}:${b.subarray(at + 2, at + 6).join(".")}:${view.getUint16(6)}`;
  if (name !== undefined && type === 2) return `${name}:${view.getUint32(2)}:${view.getUint16(6)}`;
  return `0x${[...b.subarray(at, at + EXTENDED_BYTES)].map((o) => o.toString(16).padStart(2, "0")).join("")}`;
}

/** All extended communities of a set. */
export function extendedTexts(list: Uint8Array | undefined): string[] {
  const out: string[] = [];
  for (let at = 0; list && at + EXTENDED_BYTES <= list.length; at += EXTENDED_BYTES)
    out.push(extendedText(list, at));
  return out;
}

/** Which communities a pattern means. */
export type CommunityTest =
  | { readonly kind: "standard"; readonly test: (c: number) => boolean }
  | { readonly kind: "large"; readonly test: (c: LargeCommunity) => boolean }
  | { readonly kind: "extended"; readonly test: (text: string) => boolean };

/** @throws PatternError */
export function compileCommunity({ kind, pattern }: CommunityPattern): CommunityTest {
  const all = pattern === "*";
  const regex = regexOf(pattern);
  if (kind === "standard") {
    if (all) return { kind, test: () => true };
    if (regex) return { kind, test: (c) => regex.test(standardText(c)) };
    if (!pattern.includes("*")) {
      const wanted = standardOf(pattern);
      return { kind, test: (c) => c === wanted };
    }
    const [high, low] = partsOf(pattern, 2, 0xffff);
    return { kind, test: (c) => isOr(high, c >>> 16) && isOr(low, c & 0xffff) };
  }
  if (kind === "large") {
    if (all) return { kind, test: () => true };
    if (regex) return { kind, test: (c) => regex.test(largeText(c)) };
    const [a, b, c] = partsOf(pattern, 3, 0xffffffff);
    return { kind, test: (x) => isOr(a, x[0]) && isOr(b, x[1]) && isOr(c, x[2]) };
  }
  if (all) return { kind, test: () => true };
  if (regex) return { kind, test: (text) => regex.test(text) };
  if (!pattern.includes("*")) {
    const wanted = extendedText(extendedOf(pattern), 0);
    return { kind, test: (text) => text === wanted };
  }
  const parts = pattern.split(":");
  if (parts.length !== 3 || !(parts[0]! in subtypes)) throw notExtended(pattern);
  // Whatever stands beside the star must make a community of itself.
  extendedOf(parts.map((p) => (p === "*" ? "1" : p)).join(":"));
  return {
    kind,
    test: (text) => {
      const found = text.split(":");
      return found.length === 3 && parts.every((p, i) => p === "*" || p === found[i]);
    },
  };
}

/** The regular expression between slashes; undefined where it is none. @throws PatternError */
function regexOf(pattern: string): Pattern | undefined {
  if (!pattern.startsWith("/")) return undefined;
  if (pattern.length < 3 || !pattern.endsWith("/"))
    throw new PatternError(`${JSON.stringify(pattern)} begins with a slash and does not end with one`);
  return new Pattern(pattern.slice(1, -1));
}

const isOr = (wanted: number | undefined, value: number): boolean => wanted === undefined || wanted === value;

/** The numbers of a pattern; undefined for `*`. */
function partsOf(pattern: string, count: number, max: number): (number | undefined)[] {
  const parts = pattern.split(":");
  const whole = numbersOf(parts.map((p) => (p === "*" ? "0" : p)).join(":"), count, max);
  return whole.map((n, i) => (parts[i] === "*" ? undefined : n));
}

/** Whether a set has a community that is meant. */
export function hasCommunity(a: PathAttributes, t: CommunityTest): boolean {
  if (t.kind === "standard") return a.communities?.some(t.test) ?? false;
  if (t.kind === "large") return a.large?.some(t.test) ?? false;
  return extendedTexts(a.extendedCommunities).some(t.test);
}
