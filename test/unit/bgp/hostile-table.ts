// test/unit/bgp: the hostile cases: every attribute with every mistake, by RFC 4271, 4760, 5065, 6608, 6793, 7313, 7606, 7607, 8092, 8654, 9072, 9774.
import {
  type Attribute,
  adder,
  attr,
  type Case,
  type Context,
  context,
  type Expected,
  ones,
  replaced,
  sequence,
  with4,
  without,
} from "./hostile-cases.ts";

const used = "used";
const withdraw = "withdraw";

export const table: Case[] = [];

const add = adder(table);

interface Known {
  readonly code: number;
  readonly name: string;
  readonly flags: number;
  readonly value: (c: Context) => readonly number[];
  /** Lengths that are as they should be, among 0..40. */
  readonly fits: (length: number, c: Context) => boolean;
  readonly wrong: typeof used | typeof withdraw;
  /** From an external neighbour it is discarded whatever it looks like. */
  readonly internalOnly?: true;
  readonly notWithAs4?: true;
}
const n32 = [0, 0, 0, 9];
const multiple = (size: number) => (length: number) => length > 0 && length % size === 0;
const exactly = (size: number) => (length: number) => length === size;

const known: readonly Known[] = [
  { code: 1, name: "ORIGIN", flags: 0x40, value: () => [0], fits: exactly(1), wrong: withdraw },
  {
    code: 2,
    name: "AS_PATH",
    flags: 0x40,
    value: (c) => c.path(64701).slice(3),
    fits: () => true,
    wrong: withdraw,
  },
  { code: 3, name: "NEXT_HOP", flags: 0x40, value: (c) => c.hop4, fits: exactly(4), wrong: withdraw },
  { code: 4, name: "MULTI_EXIT_DISC", flags: 0x80, value: () => n32, fits: exactly(4), wrong: withdraw },
  {
    code: 5,
    name: "LOCAL_PREF",
    flags: 0x40,
    value: () => n32,
    fits: exactly(4),
    wrong: withdraw,
    internalOnly: true,
  },
  { code: 6, name: "ATOMIC_AGGREGATE", flags: 0x40, value: () => [], fits: exactly(0), wrong: used },
  {
    code: 7,
    name: "AGGREGATOR",
    flags: 0xc0,
    value: (c) => (c.as4 ? [0, 0, 0xfd, 0xe9, 1, 2, 3, 4] : [0xfd, 0xe9, 1, 2, 3, 4]),
    fits: (n, c) => n === (c.as4 ? 8 : 6),
    wrong: used,
  },
  { code: 8, name: "COMMUNITIES", flags: 0xc0, value: () => n32, fits: multiple(4), wrong: withdraw },
  {
    code: 9,
    name: "ORIGINATOR_ID",
    flags: 0x80,
    value: () => n32,
    fits: exactly(4),
    wrong: withdraw,
    internalOnly: true,
  },
  {
    code: 10,
    name: "CLUSTER_LIST",
    flags: 0x80,
    value: () => n32,
    fits: multiple(4),
    wrong: withdraw,
    internalOnly: true,
  },
  {
    code: 16,
    name: "EXTENDED_COMMUNITIES",
    flags: 0xc0,
    value: () => [0, 2, 0, 1, 0, 0, 0, 9],
    fits: multiple(8),
    wrong: withdraw,
  },
  {
    code: 32,
    name: "LARGE_COMMUNITY",
    flags: 0xc0,
    value: () => ones(12),
    fits: multiple(12),
    wrong: withdraw,
  },
  {
    code: 25,
    name: "IPV6_EXTENDED_COMMUNITIES (RFC 7606 7.15)",
    flags: 0xc0,
    value: () => ones(20),
    fits: multiple(20),
    wrong: withdraw,
  },
  {
    code: 35,
    name: "ONLY_TO_CUSTOMER (RFC 9234 5)",
    flags: 0xc0,
    value: () => n32,
    fits: exactly(4),
    wrong: withdraw,
  },
];

for (const k of known) {
  for (const flags of [0x00, 0x40, 0x80, 0xc0])
    for (const extra of [0x00, 0x10, 0x20, 0x0f, 0x3f]) {
      const right = flags === k.flags;
      // What an external neighbour must not send may be looked at before it is thrown away, or not.
      const external = right ? used : k.internalOnly ? [withdraw, used] : withdraw;
      add(
        `${k.name} with flags ${(flags | extra).toString(16)}`,
        external,
        (c) => with4(attr(flags | extra, k.code, k.value(c)))(c),
        {
          internal: right ? used : withdraw,
        },
      );
    }
  if (k.code !== 2)
    for (const length of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16, 20, 24, 255, 256, 300])
      for (const as4 of k.code === 7 ? [true, false] : [true]) {
        const c0 = context("internal", { as4 }, 0);
        const value = (c: Context): readonly number[] =>
          k.fits(length, c) && length === k.value(c).length ? k.value(c) : ones(length).map((n) => n & 0x3f);
        const fits = k.fits(length, c0);
        add(
          `${k.name} of ${length} octets${as4 ? "" : " on a 2-octet session"}`,
          fits || k.internalOnly ? used : k.wrong,
          (c) => with4(attr(k.flags, k.code, value(c)))(c),
          {
            internal: fits ? used : k.wrong,
            open: { as4 },
          },
        );
      }
  // The attribute runs over the end of the attributes, last and alone.
  for (const over of [1, 200])
    add(`${k.name} runs over the end by ${over}`, withdraw, (c) => {
      const value = k.value(c);
      return [
        c.update([...without(c.base, k.code), [k.flags, k.code, value.length + over, ...value]], c.prefix4),
      ];
    });
  if ([1, 2, 3].includes(k.code) || k.code === 5)
    add(
      `${k.name} missing`,
      k.code === 5 ? used : withdraw,
      (c) => [c.update(without(c.base, k.code), c.prefix4)],
      {
        internal: k.code === 5 ? [withdraw, used] : withdraw,
      },
    );
  // A second one is discarded, however it looks.
  const again = (c: Context, second: Attribute): Uint8Array[] => [
    c.update([...replaced(c.base, attr(k.flags, k.code, k.value(c))), second], c.prefix4),
  ];
  add(`${k.name} twice`, used, (c) => again(c, attr(k.flags, k.code, k.value(c))));
  add(`${k.name} again, malformed`, used, (c) => again(c, attr(k.flags, k.code, ones(7))));
}

for (const origin of [0, 1, 2, 3, 4, 127, 255])
  add(`ORIGIN ${origin}`, origin <= 2 ? used : withdraw, with4(attr(0x40, 1, [origin])));

// AS_PATH, as the neighbour's AS in front and a tail.
const tail = (c: Context, more: readonly number[]): Attribute => {
  const head = c.kind === "external" ? sequence([c.asn], c.as4 ? 4 : 2) : [];
  return attr(0x40, 2, [...head, ...more]);
};
for (const as4 of [true, false]) {
  const n = as4 ? 4 : 2;
  const session = as4 ? "" : " on a 2-octet session";
  const asNumber = as4 ? [0, 0, 0xfc, 0xbd] : [0xfc, 0xbd];
  const zero = new Array<number>(n).fill(0);
  const paths: readonly [string, Expected, readonly number[]][] = [
    ["a sequence of one", used, [2, 1, ...asNumber]],
    ["a sequence of 255", used, [2, 255, ...new Array<number[]>(255).fill(asNumber).flat()]],
    ["two sequences", used, [2, 1, ...asNumber, 2, 1, ...asNumber]],
    ["a set (RFC 9774)", [withdraw, used], [1, 1, ...asNumber]],
    ["segment type 0", withdraw, [0, 1, ...asNumber]],
    ["segment type 5", withdraw, [5, 1, ...asNumber]],
    ["segment type 255", withdraw, [255, 1, ...asNumber]],
    ["a confederation sequence (RFC 5065)", withdraw, [3, 1, ...asNumber]],
    ["a confederation set (RFC 5065)", withdraw, [4, 1, ...asNumber]],
    ["an empty sequence", withdraw, [2, 0]],
    ["an empty set", withdraw, [1, 0]],
    ["an empty segment after a good one", withdraw, [2, 1, ...asNumber, 2, 0]],
    ["a segment that runs over the end", withdraw, [2, 2, ...asNumber]],
    ["a segment of 255 that runs over the end", withdraw, [2, 255, ...asNumber]],
    ["one octet left over", withdraw, [2, 1, ...asNumber, 2]],
    ["half an AS number", withdraw, [2, 1, ...asNumber.slice(0, n - 1)]],
    ["AS 0 (RFC 7607)", withdraw, [2, 1, ...zero]],
    ["AS 0 in the middle (RFC 7607)", withdraw, [2, 3, ...asNumber, ...zero, ...asNumber]],
    ["AS 0 in a set (RFC 7607)", withdraw, [1, 1, ...zero]],
  ];
  for (const [name, expected, more] of paths)
    add(`AS_PATH with ${name}${session}`, expected, (c) => with4(tail(c, more))(c), { open: { as4 } });
}
add(
  "AS_PATH of 4-octet numbers on a 2-octet session",
  withdraw,
  (c) => with4(attr(0x40, 2, sequence([c.asn, 64701])))(c),
  {
    open: { as4: false },
  },
);
add("AS_PATH of 2-octet numbers on a 4-octet session", withdraw, (c) =>
  with4(attr(0x40, 2, sequence([c.asn, 64701, 64702], 2)))(c),
);
add("AS_PATH empty", used, with4(attr(0x40, 2, [])), { kinds: ["internal"] });
add("AS_PATH with our own AS", withdraw, (c) => with4(tail(c, sequence([65000])))(c));

// NEXT_HOP.
const hops: readonly [string, Expected, readonly number[]][] = [
  ["0.0.0.0", withdraw, [0, 0, 0, 0]],
  ["0.1.2.3", withdraw, [0, 1, 2, 3]],
  ["127.0.0.1", withdraw, [127, 0, 0, 1]],
  ["multicast", withdraw, [224, 0, 0, 1]],
  ["class E", withdraw, [240, 0, 0, 1]],
  ["broadcast", withdraw, [255, 255, 255, 255]],
];
for (const [name, expected, hop] of hops) add(`NEXT_HOP ${name}`, expected, with4(attr(0x40, 3, hop)));

add("NEXT_HOP is our own address", withdraw, with4(attr(0x40, 3, [10, 97, 255, 1])));
add("NEXT_HOP is somebody else's on the link", used, with4(attr(0x40, 3, [10, 97, 254, 77])));
add("NEXT_HOP is not on the link (RFC 4271 5.1.3)", withdraw, with4(attr(0x40, 3, [192, 0, 2, 77])), {
  internal: used,
  link: true,
});

// AGGREGATOR, AS4_*.
const aggregator2 = (asn: number): number[] => [asn >> 8, asn & 255, 9, 9, 9, 9];
add("AGGREGATOR AS 0 (RFC 7607)", used, with4(attr(0xc0, 7, [0, 0, 0, 0, 1, 1, 1, 1])), {
  seen: [{ code: 7 }],
});
add("AGGREGATOR AS 0 on a 2-octet session (RFC 7607)", used, with4(attr(0xc0, 7, aggregator2(0))), {
  open: { as4: false },
  seen: [{ code: 7 }],
});
const as4Path = sequence([400_000]);
add("AS4_PATH on a 4-octet session", used, with4(attr(0xc0, 17, as4Path)), { seen: [{ code: 17 }] });
add("AS4_AGGREGATOR on a 4-octet session", used, with4(attr(0xc0, 18, ones(8))), { seen: [{ code: 18 }] });
for (const [name, value] of [
  ["empty segment", [2, 0]],
  ["overrun", [2, 2, 0, 6, 26, 128]],
  ["segment type 9", [9, 1, 0, 6, 26, 128]],
  ["AS 0 (RFC 7607)", [2, 1, 0, 0, 0, 0]],
  ["odd length", [2, 1, 0, 6, 26]],
  ["one octet", [2]],
] as const)
  add(`AS4_PATH malformed: ${name}`, used, with4(attr(0xc0, 17, value)), { open: { as4: false } });
add(
  "AS4_PATH with a confederation segment (RFC 6793 6)",
  used,
  with4(attr(0xc0, 17, [3, 1, 0, 0, 0, 9, ...as4Path])),
  {
    open: { as4: false },
  },
);
for (const length of [0, 4, 6, 7, 9])
  add(
    `AS4_AGGREGATOR of ${length} octets`,
    used,
    with4(attr(0xc0, 7, aggregator2(23456)), attr(0xc0, 18, ones(length))),
    {
      open: { as4: false },
    },
  );
add(
  "AS4_AGGREGATOR AS 0 (RFC 7607)",
  used,
  with4(attr(0xc0, 7, aggregator2(23456)), attr(0xc0, 18, [0, 0, 0, 0, 1, 1, 1, 1])),
  { open: { as4: false } },
);
add(
  "AGGREGATOR and AS4_AGGREGATOR that disagree: AS4_* do not count",
  used,
  (c) =>
    with4(
      attr(0x40, 2, sequence(c.kind === "external" ? [c.asn, 23456] : [23456], 2)),
      attr(0xc0, 7, aggregator2(64999)),
      attr(0xc0, 17, as4Path),
      attr(0xc0, 18, ones(8)),
    )(c),
  { open: { as4: false }, seen: [{ code: 7, is: [0xc0, 7, 8, 0, 0, 0xfd, 0xe7, 9, 9, 9, 9] }] },
);
for (const code of [17, 18])
  for (const flags of [0x00, 0x40, 0x80])
    add(
      `AS4 attribute ${code} with flags ${flags.toString(16)}`,
      [withdraw, used],
      with4(attr(flags, code, code === 17 ? as4Path : ones(8))),
      {
        open: { as4: false },
      },
    );

// What nobody knows, and what others know: PMSI tunnel, tunnel encapsulation, AIGP, prefix SID.
for (const code of [0, 11, 12, 13, 22, 23, 26, 40, 99, 128, 200, 254, 255])
  for (const flags of [0x00, 0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0])
    for (const long of code === 99 || code === 254 ? [0, 0x10] : [0]) {
      const optional = (flags & 0x80) !== 0;
      const transitive = (flags & 0x40) !== 0;
      add(
        `unknown attribute ${code} with flags ${(flags | long).toString(16)}`,
        optional ? used : [withdraw, "reset 3/2"],
        with4(attr(flags | long, code, [1, 2, 3])),
        optional ? { seen: [transitive ? { code, is: [0xe0, code, 3, 1, 2, 3] } : { code }] } : {},
      );
    }
for (const length of [0, 1, 255, 256, 1000])
  add(
    `unknown optional transitive of ${length} octets`,
    used,
    with4(
      attr(
        0xc0,
        99,
        ones(length).map((n) => n & 255),
      ),
    ),
  );
add(
  "unknown optional transitive twice: the first counts",
  used,
  (c) => [c.update([...c.base, attr(0xc0, 99, [1]), attr(0xc0, 99, [2])], c.prefix4)],
  { seen: [{ code: 99, is: [0xe0, 99, 1, 1] }] },
);
add("partial bit of COMMUNITIES stays", used, with4(attr(0xe0, 8, n32)), {
  seen: [{ code: 8, is: [0xe0, 8, 4, ...n32] }],
});
add("COMMUNITIES with the extended length bit", used, with4(attr(0xd0, 8, n32)), {
  seen: [{ code: 8, is: [0xc0, 8, 4, ...n32] }],
});
add(
  "LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST do not get out",
  used,
  with4(attr(0x40, 5, n32), attr(0x80, 9, n32), attr(0x80, 10, n32)),
  {
    seen: [{ code: 5 }, { code: 9 }, { code: 10 }],
  },
);
add("MULTI_EXIT_DISC does not get out", used, with4(attr(0x80, 4, n32)), { seen: [{ code: 4 }] });
for (const [name, community] of [
  ["NO_EXPORT", [255, 255, 255, 1]],
  ["NO_ADVERTISE", [255, 255, 255, 2]],
] as const)
  add(`${name} is obeyed`, withdraw, with4(attr(0xc0, 8, community)));
add(
  "large communities twice are told once (RFC 8092 5)",
  used,
  with4(attr(0xc0, 32, [...ones(12), ...ones(12)])),
  {
    seen: [{ code: 32, is: [0xc0, 32, 12, ...ones(12)] }],
  },
);
