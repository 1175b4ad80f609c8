// bgp/rib: one UPDATE into the RIB: RFC 7606 decides what is used, what is only withdrawn, and what ends the session.
import type { AttributeContext } from "../wire/attributes.ts";
import { type Afi, Attr, Flag, SAFI_UNICAST } from "../wire/constants.ts";
import { type Notification, notification } from "../wire/notification.ts";
import { scanReceived, setSummary } from "../wire/scan.ts";
import {
  layoutUpdate,
  type ParsedAttributes,
  parseAttributes,
  UpdateForm,
  updateLayout,
} from "../wire/update.ts";
import type { Rib, RibPeer } from "./rib.ts";

/** What reading UPDATEs needs to know of the session they come from. */
export interface UpdateSource {
  readonly peer: RibPeer;
  readonly context: AttributeContext;
  /** Negotiated families. */
  readonly families: Readonly<Record<Afi, boolean>>;
  /** Bits of UpdateForm. */
  readonly form: number;
  /** Most prefixes by family. */
  readonly prefixesMax: Readonly<Record<Afi, number>>;
  /** What becomes of more: the end of the session (RFC 4486) where it is left out. */
  readonly overLimit?: "teardown" | "discard" | "warn";
}

/** What became of UPDATEs, counted; nothing of it is an error of ours. */
export interface UpdateCounters {
  updates: number;
  /** UPDATEs whose routes were treated as withdrawn. */
  treatedAsWithdraw: number;
  /** UPDATEs of which an attribute was discarded. */
  attributeDiscard: number;
  /** Prefixes that no router forwards to. */
  unroutable: number;
  /** UPDATEs for a family that was not negotiated. */
  familyIgnored: number;
}

export const updateCounters = (): UpdateCounters => ({
  updates: 0,
  treatedAsWithdraw: 0,
  attributeDiscard: 0,
  unroutable: 0,
  familyIgnored: 0,
});

export interface UpdateOutcome {
  readonly error?: Notification;
  /** The UPDATE was an End-of-RIB of this family. */
  readonly endOfRib?: Afi;
  /** For the log: what was wrong and what was done about it. */
  readonly complaint?: string;
}

const done: UpdateOutcome = {};
const layout = updateLayout();
/** The next hop of MP_REACH_NLRI as a canonical set begins with it, then the other attributes: what identifies a set on a v6 session. */
let key = new Uint8Array(8192);

/** Number of a context for AttributeTable.lookup. */
const kindOf = (c: AttributeContext, afi: Afi): number =>
  1 + (c.ebgp ? 1 : 0) + (c.as4 ? 2 : 0) + (afi === 2 ? 4 : 0);

/** Applies the UPDATE in `b[start, end)` to the Adj-RIB-In of its sender. */
export function receiveUpdate(
  rib: Rib,
  from: UpdateSource,
  counters: UpdateCounters,
  b: Uint8Array,
  start: number,
  end: number,
): UpdateOutcome {
  counters.updates++;
  const { families } = from;
  const form =
    from.form | (families[1] ? 0 : UpdateForm.ignored[1]) | (families[2] ? 0 : UpdateForm.ignored[2]);
  const error = layoutUpdate(b, start, end, layout, form);
  if (error) return { error };
  const { withdrawn, attributes, nlri, reach, unreach } = layout;
  const hasNlri = nlri.start < nlri.end;
  if (!layout.hasOther && !hasNlri && withdrawn.start === withdrawn.end) {
    const afi = emptyOf();
    if (afi) return from.families[afi] ? { endOfRib: afi } : done;
  }
  const { peer } = from;
  const reachAfi = ours(reach.afi, reach.safi);
  const unreachAfi = ours(unreach.afi, unreach.safi);
  let ignored = (reach.present && !(reachAfi && from.families[reachAfi])) as boolean;
  if (unreach.present && !(unreachAfi && from.families[unreachAfi])) ignored = true;
  const mp = reach.present && reachAfi !== undefined && from.families[reachAfi] ? reachAfi : undefined;

  let raw4 = -1;
  let rawMp = -1;
  let complaint: string | undefined;
  if (layout.hasOther || hasNlri) {
    let verdict: Verdict | undefined;
    if (layout.withdraw !== undefined) verdict = { withdraw: layout.withdraw };
    // Whatever carries no route is judged as IPv4; what of it is wrong does not depend on the family.
    if (hasNlri || mp === undefined) {
      const v = read(rib, from.context, 1, b, hasNlri, false);
      raw4 = v.raw ?? -1;
      verdict = stronger(verdict, v);
    }
    if (mp !== undefined) {
      const v = read(rib, from.context, mp, b, true, true);
      rawMp = v.raw ?? -1;
      verdict = stronger(verdict, v);
    }
    if (verdict?.withdraw !== undefined) {
      // Without a route in sight there may be one that we failed to see (RFC 7606 5.2).
      if (!hasNlri && !(reach.present && reach.nlri.start < reach.nlri.end) && layout.hasOther)
        return { error: notification(3, 1, `${verdict.withdraw}; no route to withdraw`) };
      counters.treatedAsWithdraw++;
      raw4 = -1;
      rawMp = -1;
      complaint = `treated as withdraw: ${verdict.withdraw}`;
    } else if (verdict?.discard !== undefined) {
      counters.attributeDiscard++;
      complaint = `attribute discarded: ${verdict.discard}`;
    }
  }
  if (ignored) {
    counters.familyIgnored++;
    complaint ??= "routes of a family that was not negotiated";
  }
  if (from.families[1]) {
    if (withdrawn.start < withdrawn.end)
      rib.withdraw(peer, 1, b, withdrawn.start, withdrawn.end, hasIds(from, 1));
  }
  if (unreach.present && unreachAfi && from.families[unreachAfi])
    rib.withdraw(peer, unreachAfi, b, unreach.nlri.start, unreach.nlri.end, hasIds(from, unreachAfi));
  if (hasNlri && from.families[1]) {
    const over = apply(rib, from, counters, 1, b, nlri.start, nlri.end, raw4);
    if (over) return over;
  } else if (hasNlri || withdrawn.start < withdrawn.end) {
    if (!from.families[1]) counters.familyIgnored++;
  }
  if (mp !== undefined) {
    const over = apply(rib, from, counters, mp, b, reach.nlri.start, reach.nlri.end, rawMp);
    if (over) return over;
  }
  return complaint === undefined ? done : { complaint };

  /** The family of which a message without any route or attribute is the End-of-RIB. */
  function emptyOf(): Afi | undefined {
    if (!unreach.present) return attributes.start === attributes.end ? 1 : undefined;
    return unreach.nlri.start === unreach.nlri.end ? ours(unreach.afi, unreach.safi) : undefined;
  }
}

const ours = (afi: number, safi: number): Afi | undefined =>
  safi === SAFI_UNICAST && (afi === 1 || afi === 2) ? afi : undefined;

const hasIds = (from: UpdateSource, afi: Afi): boolean => (from.form & UpdateForm.pathIds[afi]) !== 0;

function apply(
  rib: Rib,
  from: UpdateSource,
  counters: UpdateCounters,
  afi: Afi,
  b: Uint8Array,
  start: number,
  end: number,
  raw: number,
): UpdateOutcome | undefined {
  const { peer } = from;
  if (raw < 0) {
    rib.withdraw(peer, afi, b, start, end, hasIds(from, afi));
    return undefined;
  }
  const max = from.prefixesMax[afi];
  const most = from.overLimit === "discard" ? max : Infinity;
  // A message that might go over the limit is counted through: only new prefixes count, so the count comes after.
  counters.unroutable += rib.announce(peer, afi, b, start, end, raw, hasIds(from, afi), most);
  if (peer.received[afi] <= max || from.overLimit === "warn" || from.overLimit === "discard")
    return undefined;
  const data = Uint8Array.of(
    0,
    afi,
    SAFI_UNICAST,
    max >>> 24,
    (max >> 16) & 255,
    (max >> 8) & 255,
    max & 255,
  );
  return { error: notification(6, 1, `more than ${max} prefixes`, data) };
}

interface Verdict {
  readonly raw?: number;
  readonly withdraw?: string;
  readonly discard?: string;
}

function stronger(a: Verdict | undefined, b: Verdict): Verdict {
  if (!a) return b;
  if (a.withdraw !== undefined) return a;
  return b.withdraw !== undefined || a.discard === undefined ? b : a;
}

/**
 * The number of the attribute set for the routes of one family, parsed only when it has never been seen.
 * @param useMp the routes are those of MP_REACH_NLRI, and so is the next hop
 */
function read(
  rib: Rib,
  context: AttributeContext,
  afi: Afi,
  b: Uint8Array,
  reachable: boolean,
  useMp: boolean,
): Verdict {
  const { start, end } = layout.attributes;
  const t = rib.attributes;
  const { reach, unreach } = layout;
  const plain = !reach.present && !unreach.present;
  const keyLength = plain ? 0 : rawKey(b, useMp);
  const kind = kindOf(context, afi);
  const usable = reachable && layout.withdraw === undefined;
  if (usable) {
    const known = plain ? t.lookup(kind, b, start, end) : t.lookup(kind, key, 0, keyLength);
    if (known >= 0) return { raw: known };
  }
  const from = plain ? b : key;
  const first = plain ? start : 0;
  const last = plain ? end : keyLength;
  // The way of nearly all sets: flawless and in canonical form, they are taken as octets.
  if (usable && context.as4 && scanReceived(from, first, last, context.ebgp, summary)) {
    const raw = t.internBytes(from, first, last, summary);
    if (raw < 0) return noRoom;
    t.alias(kind, from, first, last, raw);
    return { raw };
  }
  const nextHop = useMp && reachable ? b.slice(reach.nextHop.start, reach.nextHop.end) : undefined;
  const parsed = parseAttributes(b, start, end, afi, nextHop, context, reachable);
  const verdict = judge(parsed);
  if (!usable || !parsed.attributes || verdict.withdraw !== undefined) return verdict;
  const raw = t.intern(parsed.attributes);
  if (raw < 0) return noRoom;
  t.alias(kind, from, first, last, raw);
  return { ...verdict, raw };
}

const summary = setSummary();
const noRoom: Verdict = { withdraw: "no room for more attributes" };

function judge(parsed: ParsedAttributes): Verdict {
  if (!parsed.verb) return {};
  const problem = parsed.problems.find((p) => p.verb === parsed.verb)!;
  return parsed.verb === "withdraw" ? { withdraw: problem.text } : { discard: problem.text };
}

/** Writes the MP next hop, if it counts, and then all attributes but the MP ones, into `key`; returns its length. */
function rawKey(b: Uint8Array, useMp: boolean): number {
  const { start, end } = layout.attributes;
  if (key.length < end - start + 64) key = new Uint8Array((end - start) * 2 + 64);
  let to = 0;
  if (useMp) {
    const { nextHop } = layout.reach;
    const hop = nextHop.end - nextHop.start;
    key[to++] = Flag.optional;
    key[to++] = Attr.mpReach;
    key[to++] = hop + 5;
    key[to++] = 0;
    key[to++] = layout.reach.afi;
    key[to++] = SAFI_UNICAST;
    key[to++] = hop;
    for (let i = nextHop.start; i < nextHop.end; i++) key[to++] = b[i]!;
    key[to++] = 0;
  }
  for (let at = start; at < end; ) {
    const long = (b[at]! & Flag.extendedLength) !== 0;
    const next = at + (long ? 4 + ((b[at + 2]! << 8) | b[at + 3]!) : 3 + b[at + 2]!);
    const code = b[at + 1]!;
    if (code !== Attr.mpReach && code !== Attr.mpUnreach)
      for (let i = at; i < next && i < end; i++) key[to++] = b[i]!;
    at = next;
  }
  return to;
}
