// script, lowering: addresses, and the network words that look them up in the route maps which BGP filled.
// An address is looked up once, whatever is asked about it. Without the maps, or where no route is known, everything is 0: "unknown".

import { HELPER } from "../ir/helpers.ts";
import type { Address, Val } from "../ir/ir.ts";
import { sizeOf } from "../layout.ts";
import type { TExpr, TExprOf } from "../typed.ts";
import { copyFrom, place, toMemory } from "./memory.ts";
import { loadFrom, value } from "./scalars.ts";
import { at, cached, type Lowering, type Place, plus, when, zero } from "./state.ts";

const AF_INET = 2n;
const AF_INET6 = 10n;

/** ::ffff:0:0/96 before an IPv4 address, as it lies in memory: the third word of 16 bytes. */
const MAPPED = 0xffff0000n;

/** struct route_attributes in bpf/routes.h: byte offsets of what the words ask for. */
const ATTRIBUTE = { cluster: 0, asn: 4, peer: 8, next_hop: 16, community: 32 } as const;
/** Value of the `routes` map: {u32 routeId; u8 length; u8 pad[3]}. */
const ROUTE_LENGTH = 4;

/** Writes 16 bytes: the address, IPv4 as v4-mapped. `to` is 4-aligned. */
function mapped(l: Lowering, e: TExpr, to: Address): void {
  const { b } = l;
  if (e.type.kind === "inet" || e.type.kind === "prefix") {
    const from = toMemory(l, e);
    for (let i = 0; i < 16; i += 4) b.store(plus(to, i), 4, b.load(plus(from, 4 + i), 4));
    return;
  }
  const size = sizeOf(e.type);
  if (e.type.kind === "int") {
    four(l, to, value(l, e));
    return;
  }
  const from = place(l, e);
  if (size === 16) {
    copyFrom(l, from, to, 16);
    return;
  }
  if (size === 4) {
    four(l, to, loadFrom(l, from, { kind: "int", size: 4, signed: false }));
    return;
  }
  // A socket address: the family says where the address is.
  const copyOfIt = at(b.frame(28));
  copyFrom(l, from, copyOfIt, Math.min(28, size));
  const family = b.load(copyOfIt, 2);
  zero(l, to, 16);
  when(
    l,
    "eq",
    family,
    AF_INET,
    () => four(l, to, b.load(plus(copyOfIt, 4), 4)),
    () =>
      when(l, "eq", family, AF_INET6, () => {
        for (let i = 0; i < 16; i += 4) b.store(plus(to, i), 4, b.load(plus(copyOfIt, 8 + i), 4));
      }),
  );
}

function four(l: Lowering, to: Address, word: Val): void {
  const { b } = l;
  b.store(to, 4, 0n);
  b.store(plus(to, 4), 4, 0n);
  b.store(plus(to, 8), 4, BigInt.asIntN(32, MAPPED));
  b.store(plus(to, 12), 4, word);
}

/** Whether an expression always gives the same while a program runs, as fields of a tracepoint do; then it has a name for caching. */
function stableName(e: TExpr): string | undefined {
  if (e.op === "context") return "args";
  if (e.op === "context_word") return `word${e.offset}`;
  if (e.op === "field" && !e.field.bits) {
    const base = stableName(e.base);
    return base === undefined ? undefined : `${base}.${e.field.offset}:${e.field.dataLoc ?? ""}`;
  }
  return undefined;
}

interface Route {
  /** 16 bytes of the address that was looked up. */
  readonly address: Address;
  readonly id: Val;
  readonly length: Val;
}

const routes = new WeakMap<Lowering, Map<string, Route>>();

/** Looks an address up: route id and prefix length, 0 and 0 if unknown. */
function route(l: Lowering, e: TExpr): Route {
  const { b } = l;
  const name = stableName(e);
  const known = routes.get(l) ?? new Map<string, Route>();
  routes.set(l, known);
  if (name !== undefined && l.caches.some((c) => c.has(`route:${name}`))) {
    const before = known.get(name);
    if (before) return before;
  }
  const slot = at(name === undefined ? b.frame(24) : b.pinned(24));
  b.store(slot, 4, 128n);
  mapped(l, e, plus(slot, 4));
  const [id, length] = [b.reg(), b.reg()];
  b.set(id, 0n);
  b.set(length, 0n);
  if (l.options.network) {
    const found = b.call(HELPER.map_lookup_elem, [b.map("routes"), b.address(slot)]);
    when(l, "ne", found, 0n, () => {
      b.set(id, b.load(at(found), 4));
      b.set(length, b.load(at(found, ROUTE_LENGTH), 1));
      // ::/0 and its like cover the mapped range too; they are no routes for IPv4.
      when(l, "lt", length, 96n, () => when(l, "ne", v4(l, plus(slot, 4)), 0n, () => b.set(id, 0n)));
    });
  }
  const result = { address: plus(slot, 4), id, length };
  if (name !== undefined) {
    known.set(name, result);
    cached(l, `route:${name}`, () => id);
  }
  return result;
}

/** Calls `found` with the attributes of the route, if it is known. */
function attributes(l: Lowering, r: Route, found: (cell: number) => void): void {
  if (!l.options.network) return;
  const { b } = l;
  when(l, "ne", r.id, 0n, () => {
    const key = at(b.frame(4));
    b.store(key, 4, r.id);
    const cell = b.call(HELPER.map_lookup_elem, [b.map("route_attributes"), b.address(key)]);
    when(l, "ne", cell, 0n, () => found(cell));
  });
}

/** cluster, peer, asn, community: a word of the route's attributes. */
export function routeWord(l: Lowering, e: TExprOf<"call">): Val {
  const { b } = l;
  const [address] = e.args;
  const word = e.data?.word;
  if (!address || (word !== "cluster" && word !== "peer" && word !== "asn" && word !== "community"))
    return 0n;
  const r = route(l, address);
  const result = b.reg();
  b.set(result, 0n);
  attributes(l, r, (cell) => b.set(result, b.load(at(cell, ATTRIBUTE[word]), 4)));
  return result;
}

/** prefix and nexthop: 20 bytes. */
export function routeInto(l: Lowering, e: TExprOf<"call">, to: Address): void {
  const { b } = l;
  const [address] = e.args;
  if (!address) return;
  const r = route(l, address);
  zero(l, to, 20);
  if (e.data?.word === "nexthop") {
    attributes(l, r, (cell) => {
      for (let i = 0; i < 16; i += 4)
        b.store(plus(to, 4 + i), 4, b.load(at(cell, ATTRIBUTE.next_hop + i), 4));
      setFamily(l, to);
    });
    return;
  }
  when(l, "ne", r.id, 0n, () => {
    const isV4 = v4(l, r.address);
    // The map's length counts from the start of the 128 bits; IPv4 is shown from its own first bit.
    const [family, shown] = [b.reg(), b.reg()];
    b.set(family, 6n);
    b.set(shown, r.length);
    when(l, "ne", isV4, 0n, () => {
      b.set(family, 4n);
      b.set(shown, b.alu("sub", r.length, 96n));
    });
    b.store(to, 1, family);
    b.store(plus(to, 1), 1, shown);
    mask(l, r.address, plus(to, 4), r.length);
  });
}

/** Copies 16 bytes with all bits after the first `bits` cleared. */
function mask(l: Lowering, from: Address, to: Address, bits: Val): void {
  const { b } = l;
  for (let i = 0; i < 16; i += 4) {
    // Number of bits of this word that stay: bits - 8i, between 0 and 32.
    const keep = b.reg();
    b.set(keep, 0n);
    when(l, "sgt", bits, BigInt(8 * i), () => {
      b.set(keep, b.alu("sub", bits, BigInt(8 * i)));
      when(l, "gt", keep, 32n, () => b.set(keep, 32n));
    });
    // 2^32 - 2^(32 - keep), in network order.
    const ones = b.alu("lsh", 0xffff_ffffn, b.alu("and", b.alu("sub", 32n, keep), 63n));
    const word = b.load(plus(from, i), 4);
    b.store(plus(to, i), 4, b.alu("and", word, b.swap(ones, 32)));
  }
}

/** 1 if the 16 bytes are a v4-mapped address. */
function v4(l: Lowering, address: Address): Val {
  const { b } = l;
  const result = b.reg();
  b.set(result, 0n);
  when(l, "eq", b.load(plus(address, 8), 4), MAPPED, () =>
    when(l, "eq", b.alu("or", b.load(address, 4), b.load(plus(address, 4), 4)), 0n, () => b.set(result, 1n)),
  );
  return result;
}

/** Family and full length of the 16 bytes at to + 4. */
function setFamily(l: Lowering, to: Address): void {
  const { b } = l;
  when(
    l,
    "ne",
    v4(l, plus(to, 4)),
    0n,
    () => {
      b.store(to, 1, 4n);
      b.store(plus(to, 1), 1, 32n);
    },
    () => {
      b.store(to, 1, 6n);
      b.store(plus(to, 1), 1, 128n);
    },
  );
}

/** ntop(address) and ntop(family, address): the family is that of the bytes, or the one given at run time. */
export function addressInto(l: Lowering, address: TExpr, family: TExpr | undefined, to: Address): void {
  const { b } = l;
  b.store(to, 4, 0n);
  if (address.type.kind === "inet" || address.type.kind === "prefix") {
    copyFrom(l, { space: "bpf", address: toMemory(l, address) } satisfies Place, to, 20);
    return;
  }
  const size = sizeOf(address.type);
  const isV4 = size === 4 || address.type.kind === "int";
  if (!family) {
    mapped(l, address, plus(to, 4));
    if (size === 28) {
      setFamily(l, to);
      return;
    }
    b.store(to, 1, isV4 ? 4n : 6n);
    b.store(plus(to, 1), 1, isV4 ? 32n : 128n);
    return;
  }
  const which = value(l, family);
  if (isV4) mapped(l, address, plus(to, 4));
  else {
    const bytes = at(b.frame(16));
    copyFrom(l, place(l, address), bytes, 16);
    when(
      l,
      "eq",
      which,
      AF_INET,
      () => four(l, plus(to, 4), b.load(bytes, 4)),
      () => {
        for (let i = 0; i < 16; i += 4) b.store(plus(to, 4 + i), 4, b.load(plus(bytes, i), 4));
      },
    );
  }
  when(
    l,
    "eq",
    which,
    AF_INET,
    () => {
      b.store(to, 1, 4n);
      b.store(plus(to, 1), 1, 32n);
    },
    () => {
      b.store(to, 1, 6n);
      b.store(plus(to, 1), 1, 128n);
    },
  );
}
