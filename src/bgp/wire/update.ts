// bgp/wire: the UPDATE message: where its parts lie, which of its errors ends the session and which only its routes (RFC 7606).
import {
  type AttributeContext,
  attributeByCode,
  checkNextHop,
  type Draft,
  mergeAs4,
  type PathAttributes,
  type UnknownAttribute,
  usableNextHop,
  type Verb,
} from "./attributes.ts";
import { type Afi, Attr, Flag, SAFI_UNICAST } from "./constants.ts";
import { countNlri, countNlriWithIds } from "./nlri.ts";
import { type Notification, notification } from "./notification.ts";

/** A part of the message by offsets; `start === end` is empty. */
interface Span {
  start: number;
  end: number;
}

/** One MP_REACH_NLRI or MP_UNREACH_NLRI, its NLRI checked where the family is ours. */
interface MpPart {
  present: boolean;
  afi: number;
  safi: number;
  nextHop: Span;
  nlri: Span;
}

/** Where everything of one UPDATE lies. One object is reused for all messages of a receiver. */
export interface UpdateLayout {
  readonly withdrawn: Span;
  readonly attributes: Span;
  readonly nlri: Span;
  readonly reach: MpPart;
  readonly unreach: MpPart;
  /** An attribute other than MP_UNREACH_NLRI is there. */
  hasOther: boolean;
  /** Strongest error of the frame of the attributes; their values are judged by {@link parseAttributes}. */
  withdraw: string | undefined;
}

/** What was negotiated that changes where things lie in an UPDATE. Bits of {@link layoutUpdate}'s `form`. */
export const UpdateForm = {
  /** NLRI of the family have path identifiers (RFC 7911). */
  pathIds: { 1: 1, 2: 2 },
  /** IPv4 routes may have IPv6 next hops (RFC 8950). */
  extendedNextHop: 4,
  /** The family was not negotiated: what is said of it is not judged. */
  ignored: { 1: 8, 2: 16 },
} as const;

const span = (): Span => ({ start: 0, end: 0 });
const mpPart = (): MpPart => ({ present: false, afi: 0, safi: 0, nextHop: span(), nlri: span() });

export const updateLayout = (): UpdateLayout => ({
  withdrawn: span(),
  attributes: span(),
  nlri: span(),
  reach: mpPart(),
  unreach: mpPart(),
  hasOther: false,
  withdraw: undefined,
});

/**
 * Finds the parts of an UPDATE and checks all NLRI. The NLRI field is located by the total attribute length, whatever the
 * attributes say of themselves (RFC 7606 4). Returns the error that ends the session, if there is one.
 * @param form bits of {@link UpdateForm}
 */
export function layoutUpdate(
  b: Uint8Array,
  start: number,
  end: number,
  into: UpdateLayout,
  form = 0,
): Notification | undefined {
  into.reach.present = false;
  into.unreach.present = false;
  into.hasOther = false;
  into.withdraw = undefined;
  const withdrawnEnd = start + 2 + ((b[start]! << 8) | b[start + 1]!);
  if (withdrawnEnd + 2 > end) return notification(3, 1, "withdrawn routes are longer than the message");
  const attributesStart = withdrawnEnd + 2;
  const attributesEnd = attributesStart + ((b[withdrawnEnd]! << 8) | b[withdrawnEnd + 1]!);
  if (attributesEnd > end) return notification(3, 1, "attributes are longer than the message");
  into.withdrawn.start = start + 2;
  into.withdrawn.end = withdrawnEnd;
  into.attributes.start = attributesStart;
  into.attributes.end = attributesEnd;
  into.nlri.start = attributesEnd;
  into.nlri.end = end;
  const count = counter(form, 1);
  if (count(b, start + 2, withdrawnEnd, 1) < 0) return notification(3, 10, "malformed withdrawn routes");
  if (count(b, attributesEnd, end, 1) < 0) return notification(3, 10, "malformed NLRI");
  return scan(b, into, form);
}

const counter = (form: number, afi: Afi): typeof countNlri =>
  form & UpdateForm.pathIds[afi] ? countNlriWithIds : countNlri;

/** Walks the attributes: finds the MP ones, checks that all fit. */
function scan(b: Uint8Array, into: UpdateLayout, form: number): Notification | undefined {
  const { end } = into.attributes;
  let at = into.attributes.start;
  while (at < end) {
    const flags = b[at]!;
    const long = (flags & Flag.extendedLength) !== 0;
    const from = at + (long ? 4 : 3);
    if (from > end) {
      into.withdraw = "truncated attribute header";
      into.hasOther = true;
      return undefined;
    }
    const code = b[at + 1]!;
    const to = from + (long ? (b[at + 2]! << 8) | b[at + 3]! : b[at + 2]!);
    const mp = code === Attr.mpReach ? into.reach : code === Attr.mpUnreach ? into.unreach : undefined;
    if (code !== Attr.mpUnreach) into.hasOther = true;
    if (to > end) {
      into.withdraw = `attribute ${code} is longer than the attributes`;
      // Its NLRI cannot be known, so neither can what to withdraw (RFC 7606 3 j).
      if (mp) return notification(3, 9, into.withdraw);
      return undefined;
    }
    if (mp) {
      if (mp.present) return notification(3, 1, `attribute ${code} appears twice`);
      const wrong = readMp(b, from, to, mp, code === Attr.mpReach, form);
      if (wrong) return notification(3, 9, wrong, b.slice(at, to));
      if ((flags & (Flag.optional | Flag.transitive)) !== Flag.optional)
        into.withdraw = `attribute ${code} has flags ${flags.toString(16)}`;
    }
    at = to;
  }
  return undefined;
}

/** Reads the head of an MP attribute and checks its NLRI. The text says what makes it unusable. */
function readMp(
  b: Uint8Array,
  start: number,
  end: number,
  into: MpPart,
  reach: boolean,
  form: number,
): string | undefined {
  if (end - start < (reach ? 5 : 3)) return `length ${end - start}`;
  into.present = true;
  into.afi = (b[start]! << 8) | b[start + 1]!;
  into.safi = b[start + 2]!;
  let at = start + 3;
  if (reach) {
    const length = b[at]!;
    at += 1;
    if (at + length + 1 > end) return "next hop is longer than the attribute";
    into.nextHop.start = at;
    into.nextHop.end = at + length;
    at += length + 1;
  }
  into.nlri.start = at;
  into.nlri.end = end;
  // NLRI of a family that is not ours has a form that we do not know: it is skipped, not judged.
  if (
    (into.afi === 1 || into.afi === 2) &&
    into.safi === SAFI_UNICAST &&
    !(form & UpdateForm.ignored[into.afi])
  ) {
    if (counter(form, into.afi)(b, at, end, into.afi) < 0) return "malformed NLRI";
    const length = into.nextHop.end - into.nextHop.start;
    const v6 = length === 16 || length === 32;
    const fits = into.afi === 1 ? length === 4 || (v6 && (form & UpdateForm.extendedNextHop) !== 0) : v6;
    if (reach && !fits) return `next hop of ${length} octets`;
  }
  return undefined;
}

export interface Problem {
  readonly verb: Verb;
  readonly text: string;
}

export interface ParsedAttributes {
  /** Undefined unless the routes may be used. */
  readonly attributes?: PathAttributes;
  /** Strongest verb of all problems, undefined where there is none. */
  readonly verb?: Verb;
  readonly problems: readonly Problem[];
}

/**
 * Reads the attributes of an UPDATE (whose frame {@link layoutUpdate} has checked) for routes of one family.
 * `mpNextHop` is the next hop of MP_REACH_NLRI when the routes are its, else undefined.
 * @param reachable whether there are routes, so that mandatory attributes must be there
 */
export function parseAttributes(
  b: Uint8Array,
  start: number,
  end: number,
  afi: Afi,
  mpNextHop: Uint8Array | undefined,
  context: AttributeContext,
  reachable: boolean,
): ParsedAttributes {
  const draft: Draft = { afi };
  const unknown: UnknownAttribute[] = [];
  const partial: number[] = [];
  const problems: Problem[] = [];
  const seen = new Set<number>();
  let at = start;
  while (at < end) {
    const flags = b[at]!;
    const long = (flags & Flag.extendedLength) !== 0;
    const from = at + (long ? 4 : 3);
    const code = b[at + 1]!;
    const to = from + (long ? (b[at + 2]! << 8) | b[at + 3]! : b[at + 2]!);
    if (from > end || to > end) break; // the layout has said so already
    at = to;
    if (code === Attr.mpReach || code === Attr.mpUnreach) continue;
    if (seen.has(code)) {
      problems.push({ verb: "discard", text: `attribute ${code} again` });
      continue;
    }
    seen.add(code);
    const d = attributeByCode.get(code);
    if (!d) {
      // What is well-known is known: it is the bit that is wrong, and RFC 7606 3 c says what then. RFC 4271 6.3 would end the session.
      if ((flags & Flag.optional) === 0)
        problems.push({
          verb: "withdraw",
          text: `unrecognized attribute ${code} that claims to be well-known`,
        });
      else if (flags & Flag.transitive)
        unknown.push({
          code,
          flags: Flag.optional | Flag.transitive | Flag.partial,
          value: b.slice(from, to),
        });
      continue;
    }
    if ((flags & (Flag.optional | Flag.transitive)) !== d.flags) {
      problems.push({ verb: "withdraw", text: `${d.name} has flags 0x${flags.toString(16)}` });
      continue;
    }
    if (d.internalOnly && context.ebgp) {
      problems.push({ verb: "discard", text: `${d.name} from an external peer` });
      continue;
    }
    // NEXT_HOP is ignored where the routes are in MP_REACH_NLRI (RFC 4760 3), so its errors are too.
    if (code === Attr.nextHop && mpNextHop) continue;
    if (flags & Flag.partial && flags & Flag.transitive && flags & Flag.optional) partial.push(code);
    const wrong = d.read(b, from, to, draft, context);
    if (wrong !== undefined) problems.push({ verb: d.malformed, text: `${d.name}: ${wrong}` });
  }
  if (mpNextHop) {
    draft.nextHop = usableNextHop(mpNextHop);
    const wrong = checkNextHop(draft.nextHop);
    if (wrong) problems.push({ verb: "withdraw", text: `next hop ${wrong}` });
  }
  if (reachable) {
    const missing = [
      ...(draft.origin === undefined && !seen.has(Attr.origin) ? ["ORIGIN"] : []),
      ...(draft.asPath === undefined && !seen.has(Attr.asPath) ? ["AS_PATH"] : []),
      ...(draft.nextHop === undefined && !seen.has(Attr.nextHop) ? ["NEXT_HOP"] : []),
    ];
    for (const name of missing) problems.push({ verb: "withdraw", text: `${name} is missing` });
  }
  if (reachable) {
    const wrong = mergeAs4(draft);
    if (wrong !== undefined) problems.push({ verb: "withdraw", text: wrong });
  }
  let verb: Verb | undefined;
  for (const p of problems) if (!verb || rank[p.verb] > rank[verb]) verb = p.verb;
  if (verb === "withdraw" || !reachable) return verb ? { verb, problems } : { problems };
  if (unknown.length > 0) draft.unknown = unknown;
  const kept = partial.filter((code) => attributeByCode.get(code)!.write(draft as PathAttributes));
  if (kept.length > 0) draft.partial = kept.sort((x, y) => x - y);
  draft.nextHop ??= new Uint8Array(0);
  const attributes = draft as PathAttributes;
  return verb ? { attributes, verb, problems } : { attributes, problems };
}

const rank: Readonly<Record<Verb, number>> = { discard: 1, withdraw: 2 };
