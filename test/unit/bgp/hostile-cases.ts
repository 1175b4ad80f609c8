// test/unit/bgp: what a hostile case is, and how its messages are put together: octets only, nothing of the code under test but OPEN's codec.
import type { Capabilities } from "../../../src/bgp/wire/capabilities.ts";
import { encodeOpen } from "../../../src/bgp/wire/open.ts";

export type Attribute = readonly number[];
export type Kind = "external" | "internal";

/** How the neighbour of a case opens. */
export interface OpenOptions {
  readonly asn?: number;
  readonly routerId?: number;
  readonly as4?: boolean;
  readonly families?: readonly (1 | 2)[];
  readonly holdSeconds?: number;
  readonly enhancedRefresh?: boolean;
  readonly extendedMessages?: boolean;
}

export interface Case {
  readonly name: string;
  readonly kind: Kind;
  /** Outcomes that the RFCs allow. */
  readonly expected: readonly string[];
  readonly open?: OpenOptions;
  /** In place of a well-formed OPEN. */
  readonly hello?: ((c: Context) => Uint8Array[]) | undefined;
  /** In answer to the speaker's OPEN; a KEEPALIVE where it is not given. */
  readonly confirm?: ((c: Context) => Uint8Array[]) | undefined;
  /** Once the session is up. */
  readonly messages?: ((c: Context) => Uint8Array[]) | undefined;
  /** The family whose route is judged. */
  readonly focus: 4 | 6;
  /** Only where the neighbour is on a link of its own: on the loopback interface every next hop is as good. */
  readonly link?: boolean;
  /** Every octet in a segment of its own. */
  readonly bytewise?: boolean;
  /** Attributes that the observer must and must not see: code, flags and value, or absent. */
  readonly seen?: readonly { readonly code: number; readonly is?: Attribute }[];
  readonly context: (index: number) => Context;
}

const u16 = (n: number): number[] => [(n >> 8) & 255, n & 255];
const u32 = (n: number): number[] => [...u16(n >>> 16), ...u16(n & 0xffff)];

/** An attribute with its length as it should be; extended where the flags say so or 255 is not enough. */
export const attr = (flags: number, code: number, value: readonly number[]): Attribute =>
  flags & 0x10 || value.length > 255
    ? [flags | 0x10, code, ...u16(value.length), ...value]
    : [flags, code, value.length, ...value];

export const sequence = (asns: readonly number[], asBytes: 2 | 4 = 4): number[] => [
  2,
  asns.length,
  ...asns.flatMap((n) => (asBytes === 4 ? u32(n) : u16(n))),
];

export interface Context {
  readonly kind: Kind;
  readonly asn: number;
  readonly routerId: number;
  readonly as4: boolean;
  /** ORIGIN, AS_PATH, NEXT_HOP and what else a good route of the neighbour has. */
  readonly base: readonly Attribute[];
  /** AS_PATH that ends with `last`. */
  path(last: number): Attribute;
  readonly hop4: readonly number[];
  readonly hop6: readonly number[];
  readonly prefix4: readonly number[];
  readonly second4: readonly number[];
  readonly sentinel4: readonly number[];
  readonly prefix6: readonly number[];
  reach6(nlri: readonly number[], hop?: readonly number[]): Attribute;
  update(
    attributes: readonly Attribute[],
    nlri: readonly number[],
    withdrawn?: readonly number[],
  ): Uint8Array;
}

/** A whole message; `length` where the header is to lie. */
export function raw(type: number, body: readonly number[], length = body.length + 19): Uint8Array {
  return Uint8Array.from([...new Array<number>(16).fill(255), ...u16(length), type, ...body]);
}

export const updateMessage = (
  attributes: readonly Attribute[],
  nlri: readonly number[],
  withdrawn: readonly number[] = [],
): Uint8Array => {
  const flat = attributes.flat();
  return raw(2, [...u16(withdrawn.length), ...withdrawn, ...u16(flat.length), ...flat, ...nlri]);
};

export function context(kind: Kind, open: OpenOptions | undefined, index: number): Context {
  const as4 = open?.as4 !== false;
  const asn = kind === "external" ? 65001 : 65000;
  const id = index + 1;
  const at = [id >> 8, id & 255];
  const hop4 = [10, 97, ...at];
  const hop6 = [0xfd, 0x97, ...new Array<number>(12).fill(0), ...at];
  const path = (last: number): Attribute =>
    attr(0x40, 2, sequence(kind === "external" ? [asn, last] : [last], as4 ? 4 : 2));
  return {
    kind,
    asn,
    routerId: 0x0b000000 + id,
    as4,
    path,
    base: [
      attr(0x40, 1, [0]),
      path(64701),
      attr(0x40, 3, hop4),
      ...(kind === "internal" ? [attr(0x40, 5, [0, 0, 0, 100])] : []),
    ],
    hop4,
    hop6,
    prefix4: [24, 20, ...at],
    second4: [24, 21, ...at],
    sentinel4: [24, 22, ...at],
    prefix6: [48, 0x20, 1, 0x0d, 0xb8, ...at],
    reach6: (nlri, hop = hop6) => attr(0x80, 14, [0, 2, 1, hop.length, ...hop, 0, ...nlri]),
    update: updateMessage,
  };
}

/** An OPEN as it should be. */
export const openMessage = (o: OpenOptions): Uint8Array =>
  encodeOpen({
    asn: o.asn ?? 0,
    holdSeconds: o.holdSeconds ?? 90,
    routerId: o.routerId ?? 1,
    capabilities: capabilities(o),
  });

export const capabilities = (o: OpenOptions): Capabilities => ({
  families: (o.families ?? [1, 2]).map((afi) => ({ afi, safi: 1 })),
  routeRefresh: true,
  ...(o.enhancedRefresh ? { enhancedRouteRefresh: true as const } : {}),
  ...(o.extendedMessages ? { extendedMessages: true as const } : {}),
  ...(o.as4 === false ? {} : { as4: o.asn ?? 0 }),
});

export const without = (base: readonly Attribute[], ...codes: readonly number[]): readonly Attribute[] =>
  base.filter((a) => !codes.includes(a[1]!));

/** The base with attributes in place of those of the same code, or added. */
export const replaced = (base: readonly Attribute[], ...by: readonly Attribute[]): readonly Attribute[] => [
  ...base.filter((a) => !by.some((b) => b[1] === a[1])),
  ...by,
];

export interface AddOptions {
  readonly open?: OpenOptions;
  readonly focus?: 4 | 6;
  readonly bytewise?: boolean;
  readonly link?: boolean;
  readonly seen?: Case["seen"];
  readonly kinds?: readonly Kind[];
}
export type Expected = string | readonly string[];
export const list = (e: Expected): readonly string[] => (typeof e === "string" ? [e] : e);

/** Adds a case for external and internal neighbours to a list; `internal` is for where the two differ. */
export const adder =
  (into: Case[]) =>
  (
    name: string,
    external: Expected,
    messages: (c: Context) => Uint8Array[],
    options: AddOptions & { readonly internal?: Expected } = {},
  ): void => {
    for (const kind of options.kinds ?? (["external", "internal"] as const))
      into.push({
        name: `${name}, ${kind}`,
        kind,
        expected: list(kind === "internal" ? (options.internal ?? external) : external),
        messages,
        focus: options.focus ?? 4,
        ...(options.open ? { open: options.open } : {}),
        ...(options.bytewise ? { bytewise: true } : {}),
        ...(options.link ? { link: true } : {}),
        ...(options.seen ? { seen: options.seen } : {}),
        context: (index) => context(kind, options.open, index),
      });
  };

/** One UPDATE of the prefix with attributes in place of the base's. */
export const with4 =
  (...by: readonly Attribute[]) =>
  (c: Context): Uint8Array[] => [c.update(replaced(c.base, ...by), c.prefix4)];

/** 1, 2, 3 … */
export const ones = (n: number): number[] => Array.from({ length: n }, (_, i) => 1 + i);
