// test/unit/bgp: the hostile cases about where attributes and routes begin and end: lengths, NLRI, multiprotocol, mixtures.
import {
  type Attribute,
  adder,
  attr,
  type Case,
  type Context,
  ones,
  raw,
  replaced,
  sequence,
  with4,
  without,
} from "./hostile-cases.ts";

const used = "used";
const withdraw = "withdraw";
const kept = "kept";
/** Any UPDATE error that ends the session. */
const resets = ["reset 3/1", "reset 3/5", "reset 3/9", "reset 3/10"];

export const routes: Case[] = [];
const add = adder(routes);

// The frame of the attributes.
for (const [name, rest] of [
  ["one octet", [0x80]],
  ["two octets", [0x80, 4]],
  ["three octets with the extended length bit", [0x90, 4, 0]],
] as const)
  add(`${name} left over at the end of the attributes`, withdraw, (c) => [
    c.update([...c.base, rest], c.prefix4),
  ]);
add("no attributes at all", withdraw, (c) => [c.update([], c.prefix4)]);
add("attributes in reverse order", used, (c) => [c.update([...c.base].reverse(), c.prefix4)]);
add("NLRI is found by the total length, whatever an attribute says", withdraw, (c) => [
  c.update([...c.base, [0x40, 6, 3]], [...c.prefix4, ...c.second4]),
]);
add("two errors: the stronger counts", withdraw, with4(attr(0x40, 6, [0]), attr(0x80, 4, [1])));
add("an error and no route in sight", "reset 3/1", (c) => [c.update([attr(0x40, 1, [3])], [])]);
add("a discard and no route in sight", kept, (c) => [c.update([attr(0x40, 1, [0]), attr(0x40, 6, [0])], [])]);
add("an error beside a withdrawal only", ["reset 3/1"], (c) => [
  c.update([attr(0x40, 1, [3])], [], c.second4),
]);
add("an error beside a withdrawal and routes", withdraw, (c) => [
  c.update(replaced(c.base, attr(0x40, 1, [3])), c.prefix4, c.second4),
]);
add("attributes and no route", kept, (c) => [c.update(c.base, [])]);
add("a withdrawal of what was never there", kept, (c) => [c.update([], [], [24, 99, 9, 9])]);
add("a withdrawal", withdraw, (c) => [c.update([], [], c.prefix4)]);
add("a withdrawal and the same route", used, (c) => [c.update(c.base, c.prefix4, c.prefix4)]);
add("the same route twice in one message", used, (c) => [c.update(c.base, [...c.prefix4, ...c.prefix4])]);
add("an empty UPDATE", kept, () => [raw(2, [0, 0, 0, 0])]);
add("500 withdrawals", kept, (c) => [
  c.update([], [], Array.from({ length: 500 }, (_, i) => [24, 99, i >> 8, i & 255]).flat()),
]);

// NLRI and lengths.
for (const bits of [33, 34, 64, 128, 129, 255])
  add(`NLRI of ${bits} bits`, "reset 3/10", (c) => [c.update(c.base, [bits, ...ones((bits + 7) >> 3)])]);
add("NLRI truncated", "reset 3/10", (c) => [c.update(c.base, [24, 198, 51])]);
add("NLRI of one octet", "reset 3/10", (c) => [c.update(c.base, [...c.prefix4, 24])]);
add("withdrawn routes of 33 bits", ["reset 3/10", "reset 3/1"], (c) => [
  c.update(c.base, c.prefix4, [33, ...ones(5)]),
]);
add("withdrawn routes truncated", ["reset 3/10", "reset 3/1"], (c) => [
  c.update(c.base, c.prefix4, [24, 1, 2]),
]);
add("withdrawn length runs over the message", "reset 3/1", () => [raw(2, [0, 9, 0, 0])]);
add("attribute length runs over the message", "reset 3/1", () => [raw(2, [0, 0, 0, 9])]);
add("attribute length runs over the message by one", "reset 3/1", (c) => {
  const flat = c.base.flat();
  return [raw(2, [0, 0, 0, flat.length + 1, ...flat])];
});
add("bits beyond the length are ignored", used, (c) => [
  c.update(c.base, [23, 20, c.prefix4[2]!, c.prefix4[3]! | 1, ...c.prefix4]),
]);
add("a default route", used, (c) => [c.update(c.base, [0, ...c.prefix4])]);
for (const [name, nlri] of [
  ["127.0.0.0/8", [8, 127]],
  ["multicast", [4, 224]],
  ["broadcast", [32, 255, 255, 255, 255]],
  ["0.1.2.0/24", [24, 0, 1, 2]],
] as const)
  add(`a prefix that is no host's is left out, the rest used: ${name}`, used, (c) => [
    c.update(c.base, [...nlri, ...c.prefix4]),
  ]);

// Multiprotocol.
const six = { focus: 6 } as const;
const base6 = (c: Context): readonly Attribute[] => without(c.base, 3);
const mp = (c: Context, value: readonly number[], flags = 0x80, code = 14): Uint8Array[] => [
  c.update([...base6(c), attr(flags, code, value)], []),
];
add("MP_REACH_NLRI", used, (c) => [c.update([...base6(c), c.reach6(c.prefix6)], [])], six);
add("MP_REACH_NLRI first", used, (c) => [c.update([c.reach6(c.prefix6), ...base6(c)], [])], six);
add(
  "MP_REACH_NLRI with the extended length bit",
  used,
  (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, ...c.prefix6], 0x90),
  six,
);
add(
  "MP_REACH_NLRI with a reserved octet that is not 0",
  used,
  (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 7, ...c.prefix6]),
  six,
);
add(
  "MP_REACH_NLRI with global and link-local next hop",
  used,
  (c) => mp(c, [0, 2, 1, 32, ...c.hop6, 0xfe, 0x80, ...new Array<number>(13).fill(0), 1, 0, ...c.prefix6]),
  six,
);
for (const flags of [0x00, 0x40, 0xc0])
  add(
    `MP_REACH_NLRI with flags ${flags.toString(16)}`,
    withdraw,
    (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, ...c.prefix6], flags),
    six,
  );
for (const flags of [0x00, 0x40, 0xc0])
  add(
    `MP_UNREACH_NLRI with flags ${flags.toString(16)}`,
    [withdraw, "reset 3/1", "reset 3/4"],
    (c) => [c.update([attr(flags, 15, [0, 2, 1, ...c.prefix6])], [])],
    six,
  );
for (const length of [0, 1, 3, 5, 8, 12, 15, 17, 24, 31, 33, 48, 255])
  add(
    `MP_REACH_NLRI with a next hop of ${length} octets`,
    resets,
    (c) => mp(c, [0, 2, 1, length, ...ones(length), 0, ...c.prefix6]),
    six,
  );
add(
  "MP_REACH_NLRI with a next hop that runs over the end",
  resets,
  (c) => mp(c, [0, 2, 1, 200, ...c.hop6, 0, ...c.prefix6]),
  six,
);
for (const length of [0, 1, 2, 3, 4])
  add(`MP_REACH_NLRI of ${length} octets`, resets, (c) => mp(c, [0, 2, 1, 16].slice(0, length)), six);
for (const length of [0, 1, 2])
  add(`MP_UNREACH_NLRI of ${length} octets`, resets, (c) => mp(c, [0, 2, 1].slice(0, length), 0x80, 15), six);
for (const bits of [129, 200, 255])
  add(
    `MP_REACH_NLRI with NLRI of ${bits} bits`,
    resets,
    (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, bits, ...ones((bits + 7) >> 3)]),
    six,
  );
add("MP_REACH_NLRI with truncated NLRI", resets, (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, 64, 0x20, 1]), six);
add(
  "MP_UNREACH_NLRI with NLRI of 129 bits",
  resets,
  (c) => mp(c, [0, 2, 1, 129, ...ones(17)], 0x80, 15),
  six,
);
add("MP_UNREACH_NLRI with truncated NLRI", resets, (c) => mp(c, [0, 2, 1, 64, 0x20, 1], 0x80, 15), six);
add(
  "MP_REACH_NLRI twice",
  "reset 3/1",
  (c) => [c.update([...base6(c), c.reach6(c.prefix6), c.reach6(c.prefix6)], [])],
  six,
);
add(
  "MP_UNREACH_NLRI twice",
  "reset 3/1",
  (c) => {
    const a = attr(0x80, 15, [0, 2, 1, ...c.prefix6]);
    return [c.update([a, a], [])];
  },
  six,
);
add("MP_UNREACH_NLRI", withdraw, (c) => [c.update([attr(0x80, 15, [0, 2, 1, ...c.prefix6])], [])], six);
add(
  "MP_UNREACH_NLRI beside attributes",
  withdraw,
  (c) => [c.update([...c.base, attr(0x80, 15, [0, 2, 1, ...c.prefix6])], c.prefix4)],
  six,
);
add("MP_UNREACH_NLRI for IPv4 unicast", withdraw, (c) => [
  c.update([attr(0x80, 15, [0, 1, 1, ...c.prefix4])], []),
]);
add("MP_REACH_NLRI for IPv4 unicast", used, (c) => mp(c, [0, 1, 1, 4, ...c.hop4, 0, ...c.prefix4]));
add(
  "both families in one message",
  used,
  (c) => [c.update([...c.base, c.reach6(c.prefix6)], c.prefix4)],
  six,
);
add(
  "both families in one message with an error",
  withdraw,
  (c) => [c.update([...replaced(c.base, attr(0x40, 1, [9])), c.reach6(c.prefix6)], c.prefix4)],
  six,
);
add("both families in one message with an error, judged by IPv4", withdraw, (c) => [
  c.update([...replaced(c.base, attr(0x40, 1, [9])), c.reach6(c.prefix6)], c.prefix4),
]);
add(
  "reach and unreach of one prefix",
  [used, withdraw],
  (c) => [c.update([...base6(c), c.reach6(c.prefix6), attr(0x80, 15, [0, 2, 1, ...c.prefix6])], [])],
  six,
);
add("an error in an IPv6 route leaves the IPv4 one alone", kept, (c) => [
  c.update([...replaced(base6(c), attr(0x40, 1, [9])), c.reach6(c.prefix6)], []),
]);
add(
  "MP_REACH_NLRI without ORIGIN",
  withdraw,
  (c) => [c.update([...without(base6(c), 1), c.reach6(c.prefix6)], [])],
  six,
);
add(
  "MP_REACH_NLRI without AS_PATH",
  withdraw,
  (c) => [c.update([...without(base6(c), 2), c.reach6(c.prefix6)], [])],
  six,
);
add(
  "MP_REACH_NLRI with a next hop that is not on the link",
  withdraw,
  (c) => [c.update([...base6(c), c.reach6(c.prefix6, [0x20, 1, 0x0d, 0xb8, ...ones(12)])], [])],
  { ...six, internal: used, link: true },
);
add(
  "MP_REACH_NLRI with our own address as next hop",
  withdraw,
  (c) => [
    c.update(
      [...base6(c), c.reach6(c.prefix6, [0xfd, 0x97, ...new Array<number>(12).fill(0), 0xff, 0xff])],
      [],
    ),
  ],
  six,
);
add("AS_PATH that begins with another AS", [withdraw, used], with4(attr(0x40, 2, sequence([65009, 64701]))), {
  kinds: ["external"],
});
add("AS_PATH empty from an external neighbour", [withdraw, used], with4(attr(0x40, 2, [])), {
  kinds: ["external"],
});
add(
  "MP_REACH_NLRI beside a malformed NEXT_HOP",
  [used, withdraw],
  (c) => [c.update([...base6(c), attr(0x40, 3, [1, 2, 3]), c.reach6(c.prefix6)], [])],
  six,
);
add(
  "MP_REACH_NLRI beside a NEXT_HOP of 0.0.0.0",
  used,
  (c) => [c.update([...base6(c), attr(0x40, 3, [0, 0, 0, 0]), c.reach6(c.prefix6)], [])],
  six,
);
for (const [name, nlri] of [
  ["0.0.0.0/1", [1, 0]],
  ["240.0.0.0/8", [8, 240]],
  ["192.0.2.0/24", [24, 192, 0, 2]],
  ["169.254.0.0/16", [16, 169, 254]],
  ["0.0.0.0/8", [8, 0]],
] as const)
  add(`a route to ${name}`, used, (c) => [c.update(c.base, [...nlri, ...c.prefix4])]);
add("MP_REACH_NLRI beside NEXT_HOP", used, (c) => [c.update([...c.base, c.reach6(c.prefix6)], [])], six);
add("IPv4 routes without NEXT_HOP beside MP_REACH_NLRI", withdraw, (c) => [
  c.update([...base6(c), c.reach6(c.prefix6)], c.prefix4),
]);
add("MP_REACH_NLRI without NLRI", kept, (c) => [c.update([...base6(c), c.reach6([])], [])], six);
add(
  "an error beside MP_REACH_NLRI without NLRI",
  "reset 3/1",
  (c) => [c.update([...replaced(base6(c), attr(0x40, 1, [9])), c.reach6([])], [])],
  six,
);
add("End-of-RIB of IPv6", kept, () => [raw(2, [0, 0, 0, 6, 0x80, 15, 3, 0, 2, 1])], six);
for (const [name, hop] of [
  ["::", new Array<number>(16).fill(0)],
  ["::1", [...new Array<number>(15).fill(0), 1]],
  ["multicast", [0xff, 2, ...new Array<number>(13).fill(0), 1]],
] as const)
  add(
    `MP_REACH_NLRI with next hop ${name}`,
    withdraw,
    (c) => [c.update([...base6(c), c.reach6(c.prefix6, hop)], [])],
    six,
  );
for (const [afi, safi] of [
  [1, 2],
  [2, 128],
  [25, 70],
  [16388, 71],
  [0, 0],
  [9, 9],
] as const) {
  const family = [afi >> 8, afi & 255, safi];
  add(`routes of family ${afi}/${safi}, which was not negotiated`, kept, (c) =>
    mp(c, [...family, 4, ...c.hop4, 0, 1, 2, 3]),
  );
  add(`withdrawals of family ${afi}/${safi}, which was not negotiated`, kept, (c) =>
    mp(c, [...family, 1, 2, 3], 0x80, 15),
  );
}
add(
  "IPv6 routes where only IPv4 was negotiated",
  kept,
  (c) => [c.update([...base6(c), c.reach6(c.prefix6)], [])],
  {
    open: { families: [1] },
  },
);
add(
  "malformed IPv6 routes where only IPv4 was negotiated",
  [kept, ...resets],
  (c) => mp(c, [0, 2, 1, 16, ...c.hop6, 0, 129, ...ones(17)]),
  {
    open: { families: [1] },
  },
);
for (const [name, nlri] of [
  ["fe80::/64", [64, 0xfe, 0x80, 0, 0, 0, 0, 0, 0]],
  ["multicast", [16, 0xff, 2]],
  ["::1", [128, ...new Array<number>(15).fill(0), 1]],
] as const)
  add(
    `an IPv6 prefix that is no host's is left out, the rest used: ${name}`,
    used,
    (c) => [c.update([...base6(c), c.reach6([...nlri, ...c.prefix6])], [])],
    six,
  );
