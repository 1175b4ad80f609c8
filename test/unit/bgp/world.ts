// test/unit/bgp: a virtual clock and a network in memory, so that speakers run from a seed and faster than time.

import type { BmpExporter } from "../../../src/bgp/bmp/exporter.ts";
import type { Policy, Rule } from "../../../src/bgp/policy/types.ts";
import type { Origin } from "../../../src/bgp/rib/group.ts";
import { noTreatment } from "../../../src/bgp/rib/treatment.ts";
import { Speaker, type SpeakerEvents } from "../../../src/bgp/session/speaker.ts";
import {
  type Clock,
  type Connection,
  type ConnectionHandler,
  noAddPath,
  type PeerConfig,
  type SpeakerConfig,
  type Timer,
  type Transport,
} from "../../../src/bgp/session/types.ts";
import { type Address, formatAddress, parseAddress } from "../../../src/net/address.ts";

/** A small generator of good quality (mulberry32): equal seeds, equal worlds. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/** Time that moves only when the test says so. */
export class VirtualClock implements Clock {
  #now = 0;
  #order = 0;
  #events: Event[] = [];
  #soon: (() => void)[] = [];

  now(): number {
    return this.#now;
  }

  unixMs(): number {
    return 1_700_000_000_000 + this.#now;
  }

  after(ms: number, run: () => void): Timer {
    const event: Event = { at: this.#now + Math.max(ms, 0), order: this.#order++, run, cancelled: false };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.#events[mid]!.at <= event.at) low = mid + 1;
      else high = mid;
    }
    this.#events.splice(low, 0, event);
    return {
      cancel: () => {
        event.cancelled = true;
      },
    };
  }

  soon(run: () => void): void {
    this.#soon.push(run);
  }

  #drain(): void {
    for (let bound = 0; this.#soon.length > 0; bound++) {
      if (bound > 100_000) throw new Error("the world does not come to rest");
      this.#soon.shift()!();
    }
  }

  /** Lets this much time pass. */
  run(ms: number): void {
    const end = this.#now + ms;
    this.#drain();
    while (this.#events.length > 0 && this.#events[0]!.at <= end) {
      const event = this.#events.shift()!;
      this.#now = event.at;
      if (!event.cancelled) event.run();
      this.#drain();
    }
    this.#now = end;
  }
}

/** One end of a connection in memory. */
class Pipe implements Connection {
  readonly local: Address;
  readonly remote: Address;
  other: Pipe | undefined;
  handler: ConnectionHandler | undefined;
  closed = false;
  /** This end opened the connection. */
  outgoing = false;
  /** The other end does not read: what is written stays here. */
  stalled = false;
  pendingBytes = 0;
  readonly #world: World;

  constructor(world: World, local: Address, remote: Address) {
    this.#world = world;
    this.local = local;
    this.remote = remote;
  }

  /** What is under way, in order. */
  readonly #queue: Uint8Array[] = [];
  #moving = false;

  write(bytes: Uint8Array): boolean {
    if (this.closed) return false;
    this.pendingBytes += bytes.length;
    this.#queue.push(bytes);
    this.#move(this.#world.latency());
    return false;
  }

  /** Delivers what is under way; as TCP does, tries again while nothing passes. */
  #move(ms: number): void {
    if (this.#moving) return;
    this.#moving = true;
    this.#world.clock.after(ms, () => {
      this.#moving = false;
      if (this.stalled || this.#world.isCut(this.local, this.remote)) {
        this.#move(200);
        return;
      }
      const { other } = this;
      for (let item = this.#queue.shift(); item !== undefined; item = this.#queue.shift()) {
        this.pendingBytes -= item.length;
        if (other && !other.closed) this.#deliver(other, item);
      }
      if (this.closed) {
        if (other && !other.closed) {
          other.closed = true;
          other.handler?.closed("closed");
        }
        this.#world.forget(this);
        if (other) this.#world.forget(other);
      } else if (this.pendingBytes === 0) this.handler?.drained();
    });
  }

  #deliver(other: Pipe, bytes: Uint8Array): void {
    const { random } = this.#world;
    // Streams have no message boundaries: a chunk may arrive in two pieces.
    const cut = bytes.length > 1 && random() < 0.3 ? Math.floor(random() * bytes.length) : 0;
    if (cut > 0) other.handler?.data(bytes.slice(0, cut));
    if (!other.closed) other.handler?.data(bytes.slice(cut));
  }

  unacknowledged(): number {
    return this.pendingBytes;
  }

  end(): void {
    this.#close();
  }

  destroy(): void {
    this.#close();
  }

  /** The other end is told after what was written; our own owner knows already. */
  #close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#move(this.#world.latency());
  }

  /** The process of this end has died: what was not sent is lost, the other end sees the connection end. */
  kill(): void {
    this.handler = undefined;
    this.#queue.length = 0;
    this.pendingBytes = 0;
    this.#close();
  }
}

/** A speaker in the world and what it told. */
export interface Host {
  readonly name: string;
  readonly address: Address;
  speaker: Speaker;
  alive: boolean;
  /** Ends what the process that runs now has under way. */
  end: () => void;
  readonly acks: { generation: bigint; peer: string; state: string }[];
  readonly pipes: Set<Pipe>;
}

export class World {
  readonly clock = new VirtualClock();
  readonly random: () => number;
  readonly hosts = new Map<string, Host>();
  readonly #cuts = new Set<string>();
  readonly log: string[] = [];
  /** Told of what speakers do. */
  monitor: Pick<BmpExporter, "changed" | "sessionUp" | "sessionDown"> | undefined;

  constructor(seed: number) {
    this.random = seeded(seed);
  }

  /** A connection has ended: whoever had an end of it need not be told of it any more. */
  forget(pipe: Pipe): void {
    for (const address of [pipe.local, pipe.remote])
      this.hosts.get(formatAddress(address))?.pipes.delete(pipe);
  }

  latency(): number {
    return 1 + this.random() * 4;
  }

  /** No packet passes between two addresses; connections are not told. */
  cut(a: Address, b: Address): void {
    this.#cuts.add(pair(a, b));
  }

  heal(a: Address, b: Address): void {
    this.#cuts.delete(pair(a, b));
  }

  isCut(a: Address, b: Address): boolean {
    return this.#cuts.has(pair(a, b));
  }

  add(name: string, address: string): Host {
    const host: Host = {
      name,
      address: parseAddress(address),
      speaker: undefined as unknown as Speaker,
      alive: true,
      end: () => {},
      acks: [],
      pipes: new Set(),
    };
    host.speaker = this.#speaker(host);
    this.hosts.set(formatAddress(host.address), host);
    return host;
  }

  #speaker(host: Host): Speaker {
    const events: SpeakerEvents = {
      acknowledged: (generation, peer, state) => host.acks.push({ generation, peer, state }),
      sessionChanged: () => {},
      routesChanged: () => this.monitor?.changed(),
      sessionUp: (session) => this.monitor?.sessionUp(session),
      sessionDown: (session, ending) => this.monitor?.sessionDown(session, ending),
      endOfRib: () => {},
      log: (level, peer, text, fields) => {
        if (this.log.length < 10_000)
          this.log.push(
            `${Math.round(this.clock.now())} ${host.name} ${level} ${peer}: ${text} ${JSON.stringify(fields ?? {})}`,
          );
      },
    };
    // A process that was killed runs no more timers.
    const life = { over: false };
    host.end = () => {
      life.over = true;
    };
    const living = (run: () => void) => () => {
      if (!life.over) run();
    };
    const clock: Clock = {
      now: () => this.clock.now(),
      unixMs: () => this.clock.unixMs(),
      after: (ms, run) => this.clock.after(ms, living(run)),
      soon: (run) => this.clock.soon(living(run)),
    };
    return new Speaker({ clock, random: this.random, transport: this.#transport(host), events });
  }

  /** kill -9: connections end without a word; then a new process that knows nothing. */
  restart(host: Host): void {
    this.kill(host);
    host.alive = true;
    host.speaker = this.#speaker(host);
  }

  kill(host: Host): void {
    host.alive = false;
    host.end();
    for (const pipe of host.pipes) pipe.kill();
    host.pipes.clear();
  }

  #transport(host: Host): Transport {
    return {
      connect: (target, handler) => {
        const near = new Pipe(this, target.localAddress ?? host.address, target.address);
        near.handler = handler;
        near.outgoing = true;
        host.pipes.add(near);
        const attempt = (): void => {
          if (near.closed) return;
          if (this.isCut(near.local, near.remote)) {
            this.clock.after(1_000, attempt);
            return;
          }
          const other = this.hosts.get(formatAddress(target.address));
          const far = new Pipe(this, target.address, near.local);
          const peer = other?.alive ? other.speaker.admit(near.local, target.address) : undefined;
          const accepted = peer && other!.speaker.accept(peer, far);
          if (!accepted) {
            near.closed = true;
            handler.closed("connection refused");
            return;
          }
          far.handler = accepted;
          near.other = far;
          far.other = near;
          other!.pipes.add(far);
          handler.connected();
          accepted.connected();
        };
        this.clock.after(this.latency(), attempt);
        return near;
      },
    };
  }

  /** A raw neighbour under the test's control connects to a host. */
  raw(host: Host, from: string): RawPeer {
    const address = parseAddress(from);
    const far = new Pipe(this, host.address, address);
    const peer = host.speaker.admit(address, host.address);
    if (!peer) throw new Error(`${from} is not configured`);
    const handler = host.speaker.accept(peer, far);
    if (!handler) throw new Error("refused");
    const near = new Pipe(this, address, host.address);
    const raw = new RawPeer(this, near);
    near.handler = raw;
    far.handler = handler;
    near.other = far;
    far.other = near;
    host.pipes.add(far);
    handler.connected();
    return raw;
  }
}

/** A neighbour that sends exactly what the test says. */
export class RawPeer implements ConnectionHandler {
  readonly received: { type: number; body: Uint8Array }[] = [];
  closedReason: string | undefined;
  #buffer = new Uint8Array(0);
  readonly #world: World;
  readonly #pipe: Pipe;

  constructor(world: World, pipe: Pipe) {
    this.#world = world;
    this.#pipe = pipe;
  }

  connected(): void {}
  drained(): void {}

  closed(reason: string): void {
    this.closedReason = reason;
  }

  data(chunk: Uint8Array): void {
    const joined = new Uint8Array(this.#buffer.length + chunk.length);
    joined.set(this.#buffer);
    joined.set(chunk, this.#buffer.length);
    let at = 0;
    while (at + 19 <= joined.length) {
      const length = (joined[at + 16]! << 8) | joined[at + 17]!;
      if (at + length > joined.length) break;
      this.received.push({ type: joined[at + 18]!, body: joined.slice(at + 19, at + length) });
      at += length;
    }
    this.#buffer = joined.slice(at);
  }

  send(...messages: Uint8Array[]): void {
    for (const m of messages) this.#pipe.write(m);
    this.#world.clock.run(20);
  }

  /** Reads nothing from now on, or what comes from now on. */
  stall(on: boolean): void {
    this.#pipe.other!.stalled = on;
  }

  /** Octets that wait for us at the other end. */
  get unread(): number {
    return this.#pipe.other!.pendingBytes;
  }

  close(): void {
    this.#pipe.end();
    this.#world.clock.run(20);
  }

  /** "code/subcode" of the NOTIFICATION that was received, or "". */
  get notification(): string {
    const n = this.received.find((m) => m.type === 3);
    return n ? `${n.body[0]}/${n.body[1]}` : "";
  }
}

const pair = (a: Address, b: Address): string => [formatAddress(a), formatAddress(b)].sort().join(" ");

const anyMatch = { prefixes: [], communities: [], large: [], asPathContains: [], source: "any" } as const;

export const rule = (name: string, more: Partial<Rule> = {}): Rule => ({
  name,
  match: anyMatch,
  accept: true,
  set: { addCommunities: [], addLarge: [], prepend: 0 },
  ...more,
});

export const acceptAll: Policy = { name: "all", rules: [rule("accept")] };

export const peerConfig = (
  name: string,
  address: string,
  peerAsn: number,
  more: Partial<PeerConfig> = {},
): PeerConfig => ({
  name,
  address: parseAddress(address),
  unnumbered: false,
  range: undefined,
  port: 179,
  peerAsn,
  localAsn: 65000,
  localAddress: undefined,
  families: [1, 2],
  holdSeconds: 90,
  connectRetrySeconds: 5,
  password: undefined,
  passwordMissing: false,
  ttlSecurityHops: 0,
  multihopTtl: 0,
  gracefulRestart: true,
  restartSeconds: 120,
  longLivedSeconds: 0,
  forwardingPreserved: true,
  prefixesMax: { 1: 10_000, 2: 10_000 },
  importPolicies: ["all"],
  exportPolicies: ["all"],
  nextHop: { 1: undefined, 2: Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9) },
  passive: false,
  interface: undefined,
  adminDown: false,
  treatment: noTreatment,
  addPath: noAddPath,
  extendedNextHop: undefined,
  ...more,
});

export const speakerConfig = (
  peers: readonly PeerConfig[],
  more: Partial<SpeakerConfig> = {},
): SpeakerConfig => ({
  generation: 1n,
  asn: 65000,
  routerId: 0x0a000001,
  clusterId: 0x0a000001,
  listen: [],
  peers,
  origins: [],
  policies: [acceptAll],
  complete: true,
  ...more,
});

/** An IPv4 route of one's own. */
export const origin = (address: number, length: number, peers: readonly string[], med?: number): Origin => ({
  afi: 1,
  words: Uint32Array.of(address),
  length,
  attributes: {
    afi: 1,
    origin: 0,
    asPath: [],
    nextHop: new Uint8Array(0),
    ...(med === undefined ? {} : { med }),
  },
  prepend: 0,
  peers: new Set(peers),
  key: `${address >>> 0}/${length} ${med} ${peers.join()}`,
});
