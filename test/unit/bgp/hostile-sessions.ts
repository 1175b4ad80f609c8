// test/unit/bgp: hostile cases that are not about an UPDATE's contents: headers, OPENs, messages at the wrong time, refreshes, streams.
import { writeCapabilities } from "../../../src/bgp/wire/capabilities.ts";
import {
  type Case,
  type Context,
  capabilities,
  context,
  type Expected,
  list,
  type OpenOptions,
  openMessage,
  raw,
} from "./hostile-cases.ts";

export const sessions: Case[] = [];

function add(
  name: string,
  expected: Expected,
  more: Pick<Case, "hello" | "confirm" | "messages" | "bytewise"> & { readonly open?: OpenOptions },
): void {
  for (const kind of ["external", "internal"] as const)
    sessions.push({
      name: `${name}, ${kind}`,
      kind,
      expected: list(expected),
      focus: 4,
      ...more,
      context: (index) => context(kind, more.open, index),
    });
}

const keepalive = raw(4, []);
const good = (c: Context): Uint8Array => openMessage({ asn: c.asn, routerId: c.routerId });
const update = (c: Context): Uint8Array => c.update(c.base, c.prefix4);
const refresh = (...body: number[]): Uint8Array => raw(5, body);
const withMarker = (m: Uint8Array, at: number): Uint8Array => {
  const out = Uint8Array.from(m);
  out[at] = 0xfe;
  return out;
};
const withLength = (m: Uint8Array, length: number): Uint8Array => {
  const out = Uint8Array.from(m);
  out[16] = length >> 8;
  out[17] = length & 255;
  return out;
};

// Headers.
for (const at of [0, 7, 15]) {
  add(`marker wrong at octet ${at} of an OPEN`, "reset 1/1", { hello: (c) => [withMarker(good(c), at)] });
  add(`marker wrong at octet ${at} of a KEEPALIVE`, "reset 1/1", {
    messages: () => [withMarker(keepalive, at)],
  });
  add(`marker wrong at octet ${at} of an UPDATE`, "reset 1/1", {
    messages: (c) => [withMarker(update(c), at)],
  });
}
for (const length of [0, 1, 18, 4097, 5000, 65535]) {
  add(`length ${length} of an UPDATE`, "reset 1/2", { messages: (c) => [withLength(update(c), length)] });
  add(`length ${length} of a KEEPALIVE`, "reset 1/2", { messages: () => [withLength(keepalive, length)] });
}
for (const length of [0, 18, 19, 28, 4097])
  add(`length ${length} of an OPEN`, "reset 1/2", { hello: (c) => [withLength(good(c), length)] });
add("KEEPALIVE of 20 octets", "reset 1/2", { messages: () => [raw(4, [0])] });
add("KEEPALIVE of 4096 octets", "reset 1/2", { messages: () => [raw(4, new Array<number>(4077).fill(0))] });
for (const length of [19, 20, 22])
  add(`UPDATE of ${length} octets`, "reset 1/2", {
    messages: () => [raw(2, new Array<number>(length - 19).fill(0))],
  });
for (const length of [19, 20])
  add(`NOTIFICATION of ${length} octets`, ["reset 1/2", "closed"], {
    messages: () => [raw(3, new Array<number>(length - 19).fill(6))],
  });
for (const type of [0, 6, 7, 128, 255]) {
  add(`message type ${type} in place of an OPEN`, "reset 1/3", { hello: () => [raw(type, [])] });
  add(`message type ${type}`, "reset 1/3", { messages: () => [raw(type, [0, 0, 0, 0])] });
}

// Messages at the wrong time (RFC 6608).
add("KEEPALIVE in place of an OPEN", "reset 5/1", { hello: () => [keepalive] });
add("UPDATE in place of an OPEN", "reset 5/1", { hello: () => [raw(2, [0, 0, 0, 0])] });
add("ROUTE-REFRESH in place of an OPEN", "reset 5/1", { hello: () => [refresh(0, 1, 0, 1)] });
add("NOTIFICATION in place of an OPEN", "closed", { hello: () => [raw(3, [6, 2])] });
add("UPDATE in OpenConfirm", "reset 5/2", { confirm: () => [raw(2, [0, 0, 0, 0])] });
add("ROUTE-REFRESH in OpenConfirm", "reset 5/2", { confirm: () => [refresh(0, 1, 0, 1)] });
add("OPEN in OpenConfirm", ["reset 5/2", "reset 6/7"], { confirm: (c) => [good(c)] });
add("NOTIFICATION in OpenConfirm", "closed", { confirm: () => [raw(3, [6, 2])] });
add("OPEN in Established", ["reset 5/3", "reset 6/7"], { messages: (c) => [good(c)] });
for (const [code, subcode] of [
  [1, 1],
  [3, 1],
  [6, 2],
  [6, 9],
  [0, 0],
  [255, 255],
] as const)
  add(`NOTIFICATION ${code}/${subcode} in Established`, "closed", {
    messages: () => [raw(3, [code, subcode])],
  });
add("NOTIFICATION with a malformed shutdown communication", "closed", {
  messages: () => [raw(3, [6, 2, 200, 1])],
});

// OPEN.
const u16 = (n: number): number[] => [n >> 8, n & 255];
interface Fields {
  readonly version?: number;
  readonly asn?: number;
  readonly hold?: number;
  readonly id?: readonly number[];
  readonly parameters?: readonly number[];
  /** In place of the one octet of length that fits. */
  readonly length?: readonly number[];
}
const open = (c: Context, f: Fields): Uint8Array => {
  const value = writeCapabilities(capabilities({ asn: c.asn }));
  const parameters = f.parameters ?? [2, value.length, ...value];
  const id = f.id ?? [11, 0, c.routerId >> 8, c.routerId & 255].map((n) => n & 255);
  const head = [f.version ?? 4, ...u16(f.asn ?? c.asn), ...u16(f.hold ?? 90), ...id];
  return raw(1, [...head, ...(f.length ?? [parameters.length]), ...parameters]);
};
const hello = (f: Fields | ((c: Context) => Fields)) => (c: Context) => [
  open(c, typeof f === "function" ? f(c) : f),
];
const up = "kept";
for (const version of [0, 1, 3, 5, 255])
  add(`OPEN version ${version}`, "reset 2/1", { hello: hello({ version }) });
const as4 = (asn: number): number[] => [65, 4, ...u16(asn >>> 16), ...u16(asn & 0xffff)];
const capability = (...bytes: readonly number[]): Fields => ({ parameters: [2, bytes.length, ...bytes] });
const families = [1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1];
add("OPEN AS 0", "reset 2/2", { hello: hello({ asn: 0, ...capability(...families) }) });
add("OPEN AS 0 in the field only (RFC 7607)", "reset 2/2", { hello: hello({ asn: 0 }) });
add("OPEN AS 0 in the capability (RFC 7607)", "reset 2/2", {
  hello: hello(capability(...families, ...as4(0))),
});
add("OPEN AS of somebody else", "reset 2/2", { hello: hello({ asn: 65009, ...capability(...families) }) });
add("OPEN AS of somebody else in the capability", "reset 2/2", {
  hello: hello(capability(...families, ...as4(70000))),
});
add("OPEN AS_TRANS with the AS in the capability", up, {
  hello: hello((c) => ({ asn: 23456, ...capability(...families, ...as4(c.asn)) })),
});
add("OPEN AS_TRANS without the capability", "reset 2/2", {
  hello: hello({ asn: 23456, ...capability(...families) }),
});
for (const hold of [1, 2]) add(`OPEN hold time ${hold}`, "reset 2/6", { hello: hello({ hold }) });
// A machine that is held up for three seconds may see the shortest one expire.
for (const hold of [0, 3, 65535])
  add(`OPEN hold time ${hold}`, hold === 3 ? [up, "reset 4/0"] : up, { hello: hello({ hold }) });
add("OPEN BGP identifier 0.0.0.0", "reset 2/3", { hello: hello({ id: [0, 0, 0, 0] }) });
add("OPEN unknown optional parameter", "reset 2/4", { hello: hello({ parameters: [9, 1, 0] }) });
add("OPEN authentication parameter", ["reset 2/4", "reset 2/5"], { hello: hello({ parameters: [1, 1, 0] }) });
add("OPEN parameter length short of the message", "reset 2/0", {
  hello: hello((c) => ({ length: [2], parameters: [2, 8, 1, 4, 0, 1, 0, 1, c.as4 ? 2 : 2, 0] })),
});
add("OPEN parameter length over the message", ["reset 2/0", "reset 1/2"], {
  hello: hello({ length: [200], parameters: [2, 0] }),
});
add("OPEN parameter that runs over the parameters", "reset 2/0", {
  hello: hello({ parameters: [2, 20, 1, 4, 0, 1, 0, 1] }),
});
add("OPEN parameter of one octet", "reset 2/0", { hello: hello({ parameters: [2] }) });
add("OPEN capability that runs over its parameter", "reset 2/0", {
  hello: hello(capability(1, 9, 0, 1, 0, 1)),
});
add("OPEN capability of one octet", "reset 2/0", { hello: hello(capability(1)) });
for (const [name, bytes] of [
  ["multiprotocol of 3 octets", [1, 3, 0, 1, 0]],
  ["multiprotocol of 5 octets", [1, 5, 0, 1, 0, 1, 0]],
  ["4-octet AS of 3 octets", [65, 3, 0, 0, 1]],
  ["graceful restart of 1 octet", [64, 1, 0]],
  ["graceful restart of 5 octets", [64, 5, 0, 9, 0, 1, 1]],
] as const)
  add(`OPEN capability ${name}`, ["reset 2/0", "reset 2/7", up], {
    hello: hello((c) => capability(...bytes, ...families, ...(bytes[0] === 65 ? [] : as4(c.asn)))),
  });
for (const [name, bytes] of [
  ["route refresh of 1 octet", [2, 1, 0]],
  ["extended next hop of 5 octets", [5, 5, 0, 1, 0, 1, 0]],
  ["extended next hop of nothing", [5, 0]],
  ["extended messages of 2 octets", [6, 2, 0, 0]],
  ["role of nothing", [9, 0]],
  ["role of 2 octets", [9, 2, 0, 0]],
  ["ADD-PATH of 3 octets", [69, 3, 0, 1, 1]],
  ["enhanced refresh of 1 octet", [70, 1, 0]],
  ["long-lived graceful restart of 6 octets", [71, 6, 0, 1, 1, 0, 0, 0]],
  ["FQDN whose name runs over the end", [73, 3, 200, 65, 66]],
] as const)
  add(`OPEN capability ${name}`, ["reset 2/0", up], {
    hello: hello((c) => capability(...bytes, ...families, ...as4(c.asn))),
  });
for (const [name, bytes] of [
  ["a role nobody has", [9, 1, 200]],
  ["two roles, where none is configured", [9, 1, 0, 9, 1, 4]],
  ["ADD-PATH with a mode that is none (RFC 7911 4)", [69, 8, 0, 1, 1, 0, 0, 2, 1, 7]],
  ["graceful restart of no family", [64, 2, 0, 9]],
  ["multiprotocol of a family nobody knows", [1, 4, 255, 255, 9, 255]],
] as const)
  add(`OPEN capability: ${name}`, up, {
    hello: hello((c) => capability(...bytes, ...families, ...as4(c.asn))),
  });
add("OPEN unknown capability", up, {
  hello: hello((c) => capability(...families, 200, 3, 1, 2, 3, ...as4(c.asn))),
});
add("OPEN empty capability parameter", up, {
  hello: hello((c) => ({ parameters: [2, 0, 2, 18, ...families, ...as4(c.asn)] })),
});
add("OPEN each capability in a parameter of its own", up, {
  hello: hello((c) => ({ parameters: [2, 12, ...families, 2, 6, ...as4(c.asn)] })),
});
add("OPEN the same capability many times", up, {
  hello: hello((c) => capability(...families, ...families, ...families, ...as4(c.asn), ...as4(c.asn))),
});
add("OPEN without a family of ours", ["reset 2/7", "reset 2/8"], {
  hello: hello((c) => capability(1, 4, 0, 25, 0, 70, ...as4(c.asn))),
});
const wide = (c: Context, first: number, total = 0): Fields => {
  const inner = [...families, ...as4(c.asn)];
  const parameter = [2, ...u16(inner.length), ...inner];
  return { length: [first, 255, ...u16(parameter.length + total)], parameters: parameter };
};
add("OPEN with extended parameters (RFC 9072)", up, { hello: hello((c) => wide(c, 255)) });
add("OPEN with extended parameters behind another short length (RFC 9072 2)", up, {
  hello: hello((c) => wide(c, 22)),
});
add("OPEN with extended parameters that lie", "reset 2/0", { hello: hello((c) => wide(c, 255, 9)) });
add("OPEN with 2000 octets of capabilities (RFC 9072)", up, {
  hello: hello((c) => {
    const inner = [
      ...families,
      ...as4(c.asn),
      ...Array.from({ length: 100 }, () => [201, 18, ...new Array<number>(18).fill(7)]).flat(),
    ];
    const parameter = [2, ...u16(inner.length), ...inner];
    return { length: [255, 255, ...u16(parameter.length)], parameters: parameter };
  }),
});

// ROUTE-REFRESH.
const enhanced = { open: { enhancedRefresh: true } };
add("ROUTE-REFRESH", up, { messages: () => [refresh(0, 1, 0, 1)] });
for (const [afi, safi] of [
  [1, 2],
  [9, 9],
  [0, 0],
  [65535, 255],
] as const)
  add(`ROUTE-REFRESH of family ${afi}/${safi}, which was not negotiated`, up, {
    messages: () => [refresh(...u16(afi), 0, safi)],
  });
for (const subtype of [3, 77, 255])
  add(`ROUTE-REFRESH subtype ${subtype}`, up, { ...enhanced, messages: () => [refresh(0, 1, subtype, 1)] });
add("BoRR and EoRR without routes between them", "withdraw", {
  ...enhanced,
  messages: () => [refresh(0, 1, 1, 1), refresh(0, 1, 2, 1)],
});
add("EoRR without BoRR", up, { ...enhanced, messages: () => [refresh(0, 1, 2, 1)] });
add("BoRR and EoRR where RFC 7313 was not negotiated", up, {
  messages: () => [refresh(0, 1, 1, 1), refresh(0, 1, 2, 1)],
});
for (const length of [0, 1, 3, 5, 20]) {
  const body = [0, 1, 1, 1, ...new Array<number>(16).fill(0)].slice(0, length);
  add(`ROUTE-REFRESH of ${length} octets, RFC 7313`, ["reset 7/1", ...(length < 4 ? ["reset 1/2"] : [])], {
    ...enhanced,
    messages: () => [refresh(...body)],
  });
  add(`ROUTE-REFRESH of ${length} octets`, ["reset 1/2", "reset 7/1"], {
    messages: () => [refresh(...body)],
  });
}

// Streams.
add("an UPDATE in single octets", "used", { bytewise: true, messages: (c) => [update(c)] });
add("many messages in one segment", "used", {
  messages: (c) => [
    keepalive,
    keepalive,
    c.update([], [], c.prefix4),
    update(c),
    keepalive,
    c.update([], [], c.prefix4),
    update(c),
  ],
});
const large = (c: Context): Uint8Array => {
  const more = [0xd0, 99, 0x13, 0x88, ...new Array<number>(5000).fill(1)];
  return c.update([...c.base, more], c.prefix4);
};
add("a message of more than 4096 octets where that was negotiated (RFC 8654)", ["used", "withdraw"], {
  open: { extendedMessages: true },
  messages: (c) => [large(c)],
});
add("a message of more than 4096 octets where that was not negotiated", "reset 1/2", {
  messages: (c) => [large(c)],
});
