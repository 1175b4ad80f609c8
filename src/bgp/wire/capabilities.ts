// bgp/wire: capabilities of an OPEN (RFC 5492) as one table of descriptors: code, name, how to read, how to write.

/** A family as the wire names it; the peer's may be ones that we do not have. */
export interface WireFamily {
  readonly afi: number;
  readonly safi: number;
}

/** RFC 8950: routes of one family may have next hops of another. */
export interface NextHopFamily extends WireFamily {
  readonly nextHopAfi: number;
}

/** RFC 7911 4, from the sender's point of view. */
export const AddPathMode = { receive: 1, send: 2, both: 3 } as const;

export interface AddPathFamily extends WireFamily {
  /** One of {@link AddPathMode}. */
  readonly mode: number;
}

/** RFC 9494 3. */
export interface LongLivedFamily extends WireFamily {
  /** F bit: forwarding state was kept. */
  readonly forwarding: boolean;
  /** How long stale routes may be kept, 0..16777215. */
  readonly seconds: number;
}

export interface GracefulRestart {
  /** R bit: the sender has restarted (RFC 4724). */
  readonly restarting: boolean;
  /** N bit: graceful restart also after a NOTIFICATION and an expired hold timer (RFC 8538). */
  readonly notification: boolean;
  /** 0..4095 */
  readonly seconds: number;
  /** F bit of each family: forwarding state was kept. */
  readonly families: readonly (WireFamily & { readonly forwarding: boolean })[];
}

export interface Capabilities {
  /** Undefined where no multiprotocol capability was sent at all: then IPv4 unicast is meant (RFC 4760 8). */
  readonly families?: readonly WireFamily[];
  readonly routeRefresh?: true;
  readonly enhancedRouteRefresh?: true;
  readonly extendedMessages?: true;
  readonly as4?: number;
  readonly gracefulRestart?: GracefulRestart;
  readonly longLived?: readonly LongLivedFamily[];
  readonly addPath?: readonly AddPathFamily[];
  readonly extendedNextHop?: readonly NextHopFamily[];
  /** RFC 9234: 0 provider, 1 route server, 2 route server client, 3 customer, 4 peer. */
  readonly role?: number;
  /** Those that have no descriptor here, as they came. */
  readonly other?: readonly { readonly code: number; readonly value: Uint8Array }[];
}

/** Stands for several roles in one OPEN; unassigned, so that it fits nothing. */
const ROLE_CONFLICT = 255;

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

interface Descriptor {
  readonly code: number;
  readonly name: string;
  /** Adds the value to `into`; false when it is malformed. */
  readonly read: (value: Uint8Array, into: Mutable<Capabilities>) => boolean;
  /** The values to send, one capability each. */
  readonly write: (from: Capabilities) => readonly Uint8Array[];
}

const u16 = (b: Uint8Array, at: number): number => (b[at]! << 8) | b[at + 1]!;
const u32 = (b: Uint8Array, at: number): number => ((u16(b, at) << 16) | u16(b, at + 2)) >>> 0;

const flag = (
  code: number,
  name: string,
  field: "routeRefresh" | "enhancedRouteRefresh" | "extendedMessages",
): Descriptor => ({
  code,
  name,
  read: (value, into) => {
    into[field] = true;
    return value.length === 0;
  },
  write: (from) => (from[field] ? [new Uint8Array(0)] : []),
});

export const capabilityTable: readonly Descriptor[] = [
  {
    code: 1,
    name: "Multiprotocol (RFC 4760)",
    read: (value, into) => {
      if (value.length !== 4) return false;
      const family = { afi: u16(value, 0), safi: value[3]! };
      const known = into.families ?? [];
      if (!known.some((f) => f.afi === family.afi && f.safi === family.safi))
        into.families = [...known, family];
      return true;
    },
    write: (from) => (from.families ?? []).map((f) => Uint8Array.of(f.afi >> 8, f.afi & 255, 0, f.safi)),
  },
  flag(2, "Route Refresh (RFC 2918)", "routeRefresh"),
  {
    code: 5,
    name: "Extended Next Hop (RFC 8950)",
    read: (value, into) => {
      if (value.length % 6 !== 0) return false;
      const families = [...(into.extendedNextHop ?? [])];
      for (let at = 0; at < value.length; at += 6)
        families.push({ afi: u16(value, at), safi: u16(value, at + 2), nextHopAfi: u16(value, at + 4) });
      into.extendedNextHop = families;
      return true;
    },
    write: (from) =>
      from.extendedNextHop?.length
        ? [
            Uint8Array.from(
              from.extendedNextHop.flatMap(({ afi, safi, nextHopAfi }) =>
                [afi, safi, nextHopAfi].flatMap((n) => [n >> 8, n & 255]),
              ),
            ),
          ]
        : [],
  },
  flag(6, "Extended Messages (RFC 8654)", "extendedMessages"),
  {
    code: 9,
    name: "Role (RFC 9234)",
    read: (value, into) => {
      if (value.length !== 1) return false;
      // Two roles are none that could fit (RFC 9234 4.2).
      into.role = into.role === undefined || into.role === value[0] ? value[0]! : ROLE_CONFLICT;
      return true;
    },
    write: (from) => (from.role === undefined ? [] : [Uint8Array.of(from.role)]),
  },
  {
    code: 64,
    name: "Graceful Restart (RFC 4724)",
    read: (value, into) => {
      if (value.length < 2 || (value.length - 2) % 4 !== 0) return false;
      const head = u16(value, 0);
      const families = [];
      for (let at = 2; at < value.length; at += 4)
        families.push({
          afi: u16(value, at),
          safi: value[at + 2]!,
          forwarding: (value[at + 3]! & 0x80) !== 0,
        });
      into.gracefulRestart = {
        restarting: (head & 0x8000) !== 0,
        notification: (head & 0x4000) !== 0,
        seconds: head & 0xfff,
        families,
      };
      return true;
    },
    write: (from) => {
      const gr = from.gracefulRestart;
      if (!gr) return [];
      const head = (gr.restarting ? 0x8000 : 0) | (gr.notification ? 0x4000 : 0) | Math.min(gr.seconds, 4095);
      const out = [head >> 8, head & 255];
      for (const f of gr.families) out.push(f.afi >> 8, f.afi & 255, f.safi, f.forwarding ? 0x80 : 0);
      return [Uint8Array.from(out)];
    },
  },
  {
    code: 65,
    name: "4-octet AS numbers (RFC 6793)",
    read: (value, into) => {
      if (value.length !== 4) return false;
      into.as4 = u32(value, 0);
      return true;
    },
    write: (from) =>
      from.as4 === undefined
        ? []
        : [Uint8Array.of(from.as4 >>> 24, (from.as4 >> 16) & 255, (from.as4 >> 8) & 255, from.as4 & 255)],
  },
  {
    code: 69,
    name: "ADD-PATH (RFC 7911)",
    read: (value, into) => {
      if (value.length % 4 !== 0) return false;
      const families = [...(into.addPath ?? [])];
      for (let at = 0; at < value.length; at += 4) {
        const mode = value[at + 3]!;
        // RFC 7911 4: another value means nothing and is passed over.
        if (mode >= AddPathMode.receive && mode <= AddPathMode.both)
          families.push({ afi: u16(value, at), safi: value[at + 2]!, mode });
      }
      into.addPath = families;
      return true;
    },
    write: (from) =>
      from.addPath?.length
        ? [Uint8Array.from(from.addPath.flatMap((f) => [f.afi >> 8, f.afi & 255, f.safi, f.mode]))]
        : [],
  },
  {
    code: 71,
    name: "Long-Lived Graceful Restart (RFC 9494)",
    read: (value, into) => {
      if (value.length % 7 !== 0) return false;
      const families = [...(into.longLived ?? [])];
      for (let at = 0; at < value.length; at += 7)
        families.push({
          afi: u16(value, at),
          safi: value[at + 2]!,
          forwarding: (value[at + 3]! & 0x80) !== 0,
          seconds: (value[at + 4]! << 16) | u16(value, at + 5),
        });
      into.longLived = families;
      return true;
    },
    write: (from) =>
      from.longLived
        ? [
            Uint8Array.from(
              from.longLived.flatMap(({ afi, safi, forwarding, seconds }) => [
                afi >> 8,
                afi & 255,
                safi,
                forwarding ? 0x80 : 0,
                (seconds >> 16) & 255,
                (seconds >> 8) & 255,
                seconds & 255,
              ]),
            ),
          ]
        : [],
  },
  flag(70, "Enhanced Route Refresh (RFC 7313)", "enhancedRouteRefresh"),
];

const byCode = new Map(capabilityTable.map((d) => [d.code, d]));

/** Reads the capabilities of one optional parameter into `into`. Returns what is wrong, or undefined. */
export function readCapabilities(b: Uint8Array, into: Mutable<Capabilities>): string | undefined {
  let at = 0;
  while (at < b.length) {
    if (at + 2 > b.length) return "truncated capability";
    const code = b[at]!;
    const end = at + 2 + b[at + 1]!;
    if (end > b.length) return `capability ${code} is longer than its parameter`;
    const value = b.slice(at + 2, end);
    const descriptor = byCode.get(code);
    if (!descriptor) into.other = [...(into.other ?? []), { code, value }];
    else if (!descriptor.read(value, into)) return `capability ${descriptor.name} has length ${value.length}`;
    at = end;
  }
  return undefined;
}

/** All capabilities as the value of one optional parameter. */
export function writeCapabilities(c: Capabilities): Uint8Array {
  const out: number[] = [];
  for (const d of capabilityTable) for (const value of d.write(c)) out.push(d.code, value.length, ...value);
  for (const { code, value } of c.other ?? []) out.push(code, value.length, ...value);
  return Uint8Array.from(out);
}
