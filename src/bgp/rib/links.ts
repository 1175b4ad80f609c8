// bgp/rib: next hops that an external neighbour on our own link may name: the neighbour's own address, or another one on the link (RFC 4271 5.1.3).
import { contains, fromBytes, type Prefix } from "../../net/address.ts";
import { addressBytes } from "../wire/constants.ts";
import { type Found, findNextHop, nextHopHash } from "../wire/scan.ts";
import type { AttributeTable } from "./attributes.ts";

const found: Found = { start: 0, end: 0 };

export class Links {
  readonly #prefixes: readonly Prefix[];
  /** See nextHopHash: of the neighbour's own address, which is nearly always the next hop. */
  readonly #usual: number;

  /**
   * @param prefixes of the interface that the session runs over, link-local ones aside
   * @param neighbour its address
   */
  constructor(prefixes: readonly Prefix[], neighbour: Uint8Array) {
    this.#prefixes = prefixes;
    this.#usual = nextHopHash(neighbour);
  }

  /** Whether a set of attributes names a next hop that cannot be reached without a router between. */
  isOff(t: AttributeTable, id: number): boolean {
    if (t.nextHopHash[id] === this.#usual) return false;
    const b = t.bytes;
    findNextHop(b, t.start(id), t.end(id), found);
    const { start, end } = found;
    // A link-local address, alone or beside a global one, is on the link by what it is.
    if (start < 0 || end - start > 16 || (b[start] === 0xfe && end - start === 16)) return false;
    const family = end - start === addressBytes(1) ? 4 : 6;
    const own = this.#prefixes.filter((p) => p.family === family);
    // Without an address of its family on the link we cannot tell.
    if (own.length === 0) return false;
    const hop = fromBytes(b.slice(start, end));
    return !own.some((p) => contains(p, hop));
  }
}
