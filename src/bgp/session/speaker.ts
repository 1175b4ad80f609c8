// bgp/session: the speaker: the desired state becomes sessions, origins and policies; routes go from the RIB to the neighbours.
import { type Address, formatAddress, toInteger } from "../../net/address.ts";
import { type Chain, compileChain } from "../policy/chain.ts";
import type { Policy } from "../policy/types.ts";
import { allThatTie } from "../rib/decision.ts";
import { Rib } from "../rib/rib.ts";
import type { Afi } from "../wire/constants.ts";
import { Cease } from "../wire/notification.ts";
import type { Ending } from "./channel.ts";
import { farewell, why } from "./messages.ts";
import { type MessageTap, PeerSession, type SessionContext } from "./peer.ts";
import { Pulse } from "./pulse.ts";
import { isMember, memberConfig, Reaper, rangeOf, replaceable } from "./ranges.ts";
import { Turns } from "./turns.ts";
import {
  type Clock,
  type Connection,
  type ConnectionHandler,
  type PeerConfig,
  type Random,
  type SpeakerConfig,
  State,
  type Timer,
  type Transport,
} from "./types.ts";

export type AckState = "sent" | "peer-down" | "timeout";

/** Of refused neighbours of ranges one in so many is logged. */
const REFUSALS_PER_LINE = 1_000;

/** How long a generation may take to reach a neighbour. */
const ACK_MS = 5_000;
/** Generations that wait for their acknowledgement at once; an older one then counts as timed out. */
const ACKS_MAX = 64;

/** What a speaker tells those who watch it. */
export interface SpeakerEvents {
  acknowledged(generation: bigint, peer: string, state: AckState): void;
  sessionChanged(peer: PeerSession): void;
  routesChanged(): void;
  endOfRib(peer: string, afi: Afi): void;
  /** For those who monitor sessions. */
  sessionUp?(peer: PeerSession): void;
  sessionDown?(peer: PeerSession, ending: Ending): void;
  log(
    level: "error" | "info" | "warn" | "debug",
    peer: string,
    text: string,
    fields?: Readonly<Record<string, unknown>>,
  ): void;
}

export interface SpeakerParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly events: SpeakerEvents;
}

interface PendingAck {
  readonly generation: bigint;
  readonly waiting: Map<string, PeerSession>;
  readonly timer: Timer;
}

export class Speaker {
  readonly rib: Rib;
  /** Sees each message of each session. */
  tap: MessageTap | undefined;
  readonly #parts: SpeakerParts;
  #config: SpeakerConfig | undefined;
  readonly #sessions = new Map<string, PeerSession>();
  #policies: ReadonlyMap<string, Policy> = new Map();
  #flushDue = false;
  readonly #turns: Turns;
  readonly #pulse: Pulse;
  #acks: PendingAck[] = [];
  readonly #reaper: Reaper;
  /** Neighbours of ranges that found no place. */
  rangeRefused = 0;
  readonly #context: SessionContext;

  constructor(parts: SpeakerParts) {
    this.#parts = parts;
    this.#pulse = new Pulse(parts.clock);
    this.#turns = new Turns(parts.clock, this.#pulse);
    this.rib = new Rib(Math.floor(parts.random() * 2 ** 32));
    this.#reaper = new Reaper(parts.clock, (session) => this.#remove(session.name, session));
    const speaker = this;
    this.#context = {
      rib: this.rib,
      clock: parts.clock,
      pulse: this.#pulse,
      random: parts.random,
      transport: parts.transport,
      get routerId() {
        return speaker.#config?.routerId ?? 0;
      },
      get clusterId() {
        return speaker.#config?.clusterId ?? 0;
      },
      get reflecting() {
        return speaker.#config?.peers.some((p) => p.treatment.reflectorClient) ?? false;
      },
      get complete() {
        return speaker.#config?.complete ?? false;
      },
      changed: () => this.#flushSoon(),
      hungry: (peer) => this.#turns.add(peer),
      sessionChanged: (peer) => this.#sessionChanged(peer),
      get tap() {
        return speaker.tap;
      },
      up: (peer) => parts.events.sessionUp?.(peer),
      down: (peer, ending) => parts.events.sessionDown?.(peer, ending),
      endOfRib: (peer, afi) => {
        this.flush();
        parts.events.endOfRib(peer.rib.audience, afi);
      },
      log: (level, peer, text, fields) => parts.events.log(level, peer, text, fields),
    };
  }

  get config(): SpeakerConfig | undefined {
    return this.#config;
  }

  get sessions(): Iterable<PeerSession> {
    return this.#sessions.values();
  }

  session(name: string): PeerSession | undefined {
    return this.#sessions.get(name);
  }

  /** Makes the desired state true: the difference to the last one, and nothing else. */
  apply(config: SpeakerConfig): void {
    const before = this.#config;
    this.#config = config;
    this.#policies = new Map(config.policies.map((p) => [p.name, p]));
    const wanted = new Map(config.peers.map((p) => [p.name, p]));
    this.#keepMembers(config.peers, wanted);
    for (const [name, session] of this.#sessions) if (!wanted.has(name)) this.#remove(name, session);
    const restart =
      before !== undefined && (before.routerId !== config.routerId || before.clusterId !== config.clusterId);
    for (const peer of wanted.values()) {
      const session = this.#sessions.get(peer.name);
      if (!session) continue;
      if (restart) session.stop(Cease.configChange, "router identifier changed");
      session.reconfigure(peer, this.#chains(peer, session.rib.audience));
      if (restart) session.start();
    }
    this.rib.setMultipath(config.multipath ?? allThatTie);
    this.rib.setOrigins(config.origins);
    this.flush();
    for (const peer of wanted.values()) if (!this.#sessions.has(peer.name)) this.#add(peer);
    this.#requestAcks(config.generation);
  }

  /** Adds the neighbours of ranges that still belong to theirs. */
  #keepMembers(peers: readonly PeerConfig[], wanted: Map<string, PeerConfig>): void {
    const taken = new Set(peers.map((p) => formatAddress(p.address)));
    for (const session of this.#sessions.values()) {
      if (!isMember(session)) continue;
      const { address } = session.config;
      const range = rangeOf(peers, address, undefined);
      if (range?.name === session.rib.audience && !taken.has(formatAddress(address)))
        wanted.set(session.name, memberConfig(range, address));
    }
  }

  #chains(peer: PeerConfig, audience: string): { import: Chain; export: Chain } {
    return {
      import: compileChain(peer.importPolicies, this.#policies, { name: peer.name, audience }),
      export: compileChain(peer.exportPolicies, this.#policies),
    };
  }

  /** Takes the configuration of one neighbour that has changed by itself: the address of an unnumbered one was found. */
  amend(peer: PeerConfig): void {
    const session = this.#sessions.get(peer.name);
    if (!session || !this.#config) return;
    const peers = this.#config.peers.map((p) => (p.name === peer.name ? peer : p));
    this.#config = { ...this.#config, peers };
    session.reconfigure(peer, this.#chains(peer, session.rib.audience));
  }

  #add(config: PeerConfig, audience = config.name): void {
    const rib = this.rib.addPeer(config.name, audience);
    if (!rib) {
      this.#parts.events.log("warn", config.name, why.tooManyPeers);
      return;
    }
    const session = new PeerSession(config, rib, this.#chains(config, audience), this.#context);
    this.#sessions.set(config.name, session);
    session.start();
  }

  #remove(name: string, session: PeerSession): void {
    session.stop(Cease.deconfigured, farewell.deconfigured);
    session[Symbol.dispose]();
    this.rib.removePeer(session.rib);
    this.#sessions.delete(name);
    this.#turns.forget(session);
    this.#reaper.forget(session);
  }

  /** The neighbour that a connection comes from, one of a range included; undefined for a stranger. See {@link peerFor}. */
  admit(remote: Address, local: Address | undefined, link?: string): PeerSession | undefined {
    return this.peerFor(remote, local, link) ?? this.#newMember(remote, link);
  }

  #newMember(remote: Address, link: string | undefined): PeerSession | undefined {
    const range = rangeOf(this.#config?.peers ?? [], remote, link);
    if (!range?.range || range.adminDown || range.passwordMissing) return undefined;
    const config = memberConfig(range, remote);
    if (this.#sessions.has(config.name)) return undefined;
    const members = [...this.#sessions.values()].filter((s) => isMember(s) && s.rib.audience === range.name);
    if (members.length >= range.range.limit) {
      const old = replaceable(members);
      if (!old) {
        if (this.rangeRefused++ % REFUSALS_PER_LINE === 0)
          this.#parts.events.log("warn", range.name, why.rangeFull(range.range.limit));
        return undefined;
      }
      this.#remove(old.name, old);
    }
    this.#add(config, range.name);
    return this.#sessions.get(config.name);
  }

  /**
   * The configured neighbour at an address; where several share it, the one whose own address fits.
   * @param link interface that a link-local address belongs to
   */
  peerFor(remote: Address, local: Address | undefined, link?: string): PeerSession | undefined {
    let found: PeerSession | undefined;
    for (const session of this.#sessions.values()) {
      const { address, localAddress, interface: its } = session.config;
      if (link !== undefined && its !== undefined && its !== link) continue;
      if (address.family !== remote.family || toInteger(address) !== toInteger(remote)) continue;
      if (!localAddress) found ??= session;
      else if (local && toInteger(localAddress) === toInteger(local)) return session;
    }
    return found;
  }

  /** A connection that somebody opened to us. Undefined: it is not wanted, close it. */
  accept(peer: PeerSession, connection: Connection): ConnectionHandler | undefined {
    return peer.accept(connection);
  }

  #flushSoon(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    this.#parts.clock.soon(() => {
      if (this.#flushDue) this.flush();
    });
  }

  /** Decides what has changed and sends it. */
  flush(): void {
    this.#flushDue = false;
    if (this.rib.dirty) {
      this.rib.flush();
      this.#pulse.beat();
      this.#parts.events.routesChanged();
    }
    const complete = this.#config?.complete ?? false;
    for (const session of this.#sessions.values())
      if (session.sender?.hungry(complete)) this.#turns.add(session);
    this.#turns.run();
  }

  #sessionChanged(peer: PeerSession): void {
    if (peer.state !== State.established) this.#acknowledgeDown(peer);
    this.#reaper.changed(peer);
    this.#parts.events.sessionChanged(peer);
  }

  #requestAcks(generation: bigint): void {
    const waiting = new Map<string, PeerSession>();
    const timer = this.#parts.clock.after(ACK_MS, () => this.#timeOut(ack));
    const ack: PendingAck = { generation, waiting, timer };
    for (const session of this.#sessions.values()) if (session.sender) waiting.set(session.name, session);
    const heard = new Set([...waiting.values()].map((s) => s.rib.audience));
    for (const peer of this.#config!.peers)
      if (!heard.has(peer.name)) this.#parts.events.acknowledged(generation, peer.name, "peer-down");
    this.#acks.push(ack);
    if (this.#acks.length > ACKS_MAX) this.#timeOut(this.#acks[0]!);
    for (const [name, session] of waiting)
      session.sender!.whenSent(() => {
        if (waiting.delete(name)) this.#acknowledge(ack, session, "sent");
        this.#dropDone();
      });
    this.#dropDone();
    for (const session of waiting.values()) this.#turns.add(session);
    this.#turns.run();
  }

  #acknowledgeDown(peer: PeerSession): void {
    for (const ack of this.#acks)
      if (ack.waiting.delete(peer.name)) this.#acknowledge(ack, peer, "peer-down");
    this.#dropDone();
  }

  /** Tells it of a neighbour as it is configured: of a range once the last of its neighbours has heard. */
  #acknowledge(ack: PendingAck, { rib: { audience } }: PeerSession, state: AckState): void {
    for (const other of ack.waiting.values()) if (other.rib.audience === audience) return;
    this.#parts.events.acknowledged(ack.generation, audience, state);
  }

  #timeOut(ack: PendingAck): void {
    for (const name of new Set([...ack.waiting.values()].map((s) => s.rib.audience)))
      this.#parts.events.acknowledged(ack.generation, name, "timeout");
    ack.waiting.clear();
    this.#dropDone();
  }

  #dropDone(): void {
    this.#acks = this.#acks.filter((ack) => {
      if (ack.waiting.size > 0) return true;
      ack.timer.cancel();
      return false;
    });
  }

  /** Stops for an upgrade: neighbours that know graceful restart hear nothing and keep our routes. */
  stop(): void {
    for (const session of this.#sessions.values()) session.stopForUpgrade();
  }
}
