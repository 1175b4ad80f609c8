// bgp/bmp: what the speaker tells monitoring stations (RFC 7854, 9069): which sessions there are, and one state a station.
import { type Address, formatAddress } from "../../net/address.ts";
import type { Rib } from "../rib/rib.ts";
import type { Ending } from "../session/channel.ts";
import type { PeerSession } from "../session/peer.ts";
import type { Clock, Random, Transport } from "../session/types.ts";
import { type Afi, afis, SAFI_UNICAST } from "../wire/constants.ts";
import { notificationMessage } from "../wire/frame.ts";
import { encodeOpen } from "../wire/open.ts";
import {
  type BmpPeer,
  DownReason,
  encodePeer,
  PeerType,
  peerDown,
  peerUp,
  type Stat,
  Statistic,
  statistics,
  textTlv,
} from "./message.ts";
import { Station } from "./station.ts";

/** A station as it is configured. */
export interface StationConfig {
  readonly name: string;
  readonly address: Address;
  readonly port: number;
  readonly localAddress: Address | undefined;
  /** What it is told: Adj-RIB-In before and after policy, Loc-RIB. */
  readonly prePolicy: boolean;
  readonly postPolicy: boolean;
  readonly locRib: boolean;
  /** Seconds between statistics; 0 is none. */
  readonly statisticsSeconds: number;
}

/** What a station shows of itself. */
export interface StationStatus {
  readonly name: string;
  readonly address: Address;
  readonly port: number;
  readonly connected: boolean;
  readonly sinceUnixMs: number;
  /** Why it is not connected. */
  readonly reason: string;
  readonly messages: number;
  /** Routes that it has still to be told of. */
  readonly waiting: number;
  /** How often it was so slow that the connection was begun anew. */
  readonly overflows: number;
}

export interface ExporterParts {
  readonly rib: Rib;
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  /** Changed paths that wait for a station at most; {@link PATHS_WAITING_MAX} unless a test is to see the bound. */
  readonly pathsWaitingMax?: number;
  readonly sysName: string;
  readonly sysDescription: string;
  /** Ours, for the Loc-RIB. */
  local(): { readonly asn: number; readonly routerId: number };
  /** Brings the RIB up to date before it is read. */
  flush(): void;
  log(level: "info" | "warn", text: string, fields: Readonly<Record<string, unknown>>): void;
}

/** A session that is up, as stations see it. */
export interface Monitored {
  readonly session: PeerSession;
  readonly index: number;
  readonly families: readonly Afi[];
  /** Its paths have identifiers (RFC 7911). */
  readonly pathIds: Readonly<Record<Afi, boolean>>;
  readonly up: Uint8Array;
  /** The per-peer header before (0) or after policy (1), at a time. */
  header(postPolicy: boolean, timeUs: bigint): Uint8Array;
}

export class BmpExporter {
  readonly parts: ExporterParts;
  /** By the neighbour's index in the RIB. */
  readonly monitored = new Map<number, Monitored>();
  readonly #stations = new Map<string, { station: Station; key: string }>();
  readonly #watch = (peer: { readonly index: number }, afi: Afi, pid: number, id: number): void => {
    for (const { station } of this.#stations.values()) station.pathChanged(peer.index, afi, pid, id);
  };

  constructor(parts: ExporterParts) {
    this.parts = parts;
  }

  /** Makes these the stations; one whose configuration stays keeps its connection. */
  set(configs: readonly StationConfig[]): void {
    const wanted = new Map(configs.map((c) => [c.name, c]));
    for (const [name, { station, key }] of this.#stations) {
      const config = wanted.get(name);
      if (config && keyOf(config) === key) continue;
      station[Symbol.dispose]();
      this.#stations.delete(name);
    }
    for (const [name, config] of wanted)
      if (!this.#stations.has(name))
        this.#stations.set(name, { station: new Station(config, this), key: keyOf(config) });
    const { pathWatchers } = this.parts.rib;
    // Without a station that wants paths, they cost the RIB nothing.
    if (configs.some((c) => c.prePolicy || c.postPolicy)) pathWatchers.add(this.#watch);
    else pathWatchers.delete(this.#watch);
  }

  [Symbol.dispose](): void {
    this.set([]);
  }

  get status(): StationStatus[] {
    return [...this.#stations.values()].map(({ station }) => station.status);
  }

  /** Routes have changed. */
  changed(): void {
    for (const { station } of this.#stations.values()) station.work();
  }

  sessionUp(session: PeerSession): void {
    const peer = this.#describe(session);
    if (!peer) return;
    this.monitored.set(peer.index, peer);
    for (const { station } of this.#stations.values()) station.peerUp(peer);
  }

  sessionDown(session: PeerSession, ending: Ending): void {
    const peer = this.monitored.get(session.rib.index);
    if (!peer) return;
    this.monitored.delete(peer.index);
    const [reason, data] = downOf(ending);
    const message = peerDown(peer.header(false, this.nowUs()), reason, data);
    for (const { station } of this.#stations.values()) station.peerDown(peer.index, message);
  }

  nowUs(): bigint {
    return BigInt(Math.floor(this.parts.clock.unixMs() * 1000));
  }

  #describe(session: PeerSession): Monitored | undefined {
    const { channel } = session;
    if (!channel?.negotiated || !channel.openSent || !channel.openReceived) return undefined;
    const { connection, negotiated, openSent, openReceived } = channel;
    const remote = connection?.remote ?? session.config.address;
    const base: BmpPeer = {
      type: PeerType.global,
      distinguisher: "0",
      address: remote,
      asn: negotiated.peerAsn,
      routerId: negotiated.routerId,
      postPolicy: false,
      adjRibOut: false,
      as2: false,
      filtered: false,
      timeUs: 0n,
    };
    const header = (postPolicy: boolean, timeUs: bigint) => encodePeer({ ...base, postPolicy, timeUs });
    const up = peerUp(header(false, this.nowUs()), {
      localAddress: connection?.local ?? session.config.localAddress,
      localPort: connection?.localPort ?? 0,
      remotePort: connection?.remotePort ?? 0,
      sentOpen: openSent,
      receivedOpen: openReceived,
      information: [],
    });
    const families = afis.filter((afi) => negotiated.families[afi]);
    return { session, index: session.rib.index, families, pathIds: negotiated.pathsIn, up, header };
  }

  /** Peer Up of the Loc-RIB (RFC 9069 5.1): its OPENs are made up, equal, with what the table holds. */
  locRibUp(): Uint8Array {
    const { asn, routerId } = this.parts.local();
    const families = afis.map((afi) => ({ afi, safi: SAFI_UNICAST }));
    const open = encodeOpen({ asn, holdSeconds: 0, routerId, capabilities: { families, as4: asn } });
    return peerUp(this.locRibHeader(this.nowUs()), {
      localAddress: undefined,
      localPort: 0,
      remotePort: 0,
      sentOpen: open,
      receivedOpen: open,
      information: [textTlv(3, "global")],
    });
  }

  locRibHeader(timeUs: bigint): Uint8Array {
    const { asn, routerId } = this.parts.local();
    return encodePeer({
      type: PeerType.locRib,
      distinguisher: "0",
      address: undefined,
      asn,
      routerId,
      postPolicy: false,
      adjRibOut: false,
      as2: false,
      filtered: false,
      timeUs,
    });
  }

  /** Statistics of a session (RFC 7854 4.8, RFC 8671 6.2). */
  statisticsOf({ session, families, header }: Monitored): Uint8Array {
    const { received } = session.rib;
    const sent = (afi: Afi): number => session.sender?.out(afi)?.advertised ?? 0;
    const total = (of: (afi: Afi) => number): bigint =>
      BigInt(families.reduce((sum, afi) => sum + of(afi), 0));
    const byFamily = (type: number, of: (afi: Afi) => number): Stat[] =>
      families.map((afi) => ({ type, afi, safi: SAFI_UNICAST, value: BigInt(of(afi)) }));
    return statistics(header(false, this.nowUs()), [
      { type: Statistic.adjRibIn, value: total((afi) => received[afi]) },
      ...byFamily(Statistic.adjRibInFamily, (afi) => received[afi]),
      { type: Statistic.treatedAsWithdraw, value: BigInt(session.counters.treatedAsWithdraw) },
      { type: Statistic.adjRibOut, value: total(sent) },
      ...byFamily(Statistic.adjRibOutFamily, sent),
    ]);
  }

  locRibStatistics(): Uint8Array {
    const { tables } = this.parts.rib;
    const size = (afi: Afi): bigint => {
      const { best, prefixes } = tables[afi];
      let n = 0;
      for (let pid = 0; pid < prefixes.limit; pid++) if (best[pid]! >= 0) n++;
      return BigInt(n);
    };
    const sizes = { 1: size(1), 2: size(2) };
    return statistics(this.locRibHeader(this.nowUs()), [
      { type: Statistic.locRib, value: sizes[1] + sizes[2] },
      ...afis.map((afi) => ({
        type: Statistic.locRibFamily,
        afi,
        safi: SAFI_UNICAST,
        value: sizes[afi],
      })),
    ]);
  }
}

/** Reason and data of a Peer Down (RFC 7854 4.9). */
function downOf(ending: Ending): [reason: number, data: Uint8Array] {
  if (ending.kind === "sent") return [DownReason.localNotification, notificationMessage(ending.notification)];
  if (ending.kind === "received")
    return [DownReason.remoteNotification, notificationMessage(ending.notification)];
  // The code of an event of RFC 4271's state machine; 0 where none fits.
  return ending.ours
    ? [DownReason.localSilent, new Uint8Array(2)]
    : [DownReason.remoteSilent, new Uint8Array(0)];
}

const keyOf = (c: StationConfig): string =>
  JSON.stringify({
    ...c,
    address: formatAddress(c.address),
    localAddress: c.localAddress && formatAddress(c.localAddress),
  });
