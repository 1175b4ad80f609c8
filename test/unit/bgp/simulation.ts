// test/unit/bgp: speakers on a virtual clock with flaps, kills, partitions and edits, beside a naive model of what each should say.
import { expect } from "vitest";
import type { Policy } from "../../../src/bgp/policy/types.ts";
import type { Origin } from "../../../src/bgp/rib/group.ts";
import type { PeerSession } from "../../../src/bgp/session/peer.ts";
import { State } from "../../../src/bgp/session/types.ts";
import { flatten } from "../../../src/bgp/wire/aspath.ts";
import type { PathAttributes } from "../../../src/bgp/wire/attributes.ts";
import type { Prefix } from "../../../src/net/address.ts";
import { acceptAll, type Host, peerConfig, rule, speakerConfig, World } from "./world.ts";

/** What a test host is configured with; the model reads this and nothing of the speaker's. */
interface Plan {
  readonly host: Host;
  readonly name: string;
  readonly asn: number;
  readonly routerId: number;
  origins: readonly Origin[];
  policy: Policy;
  peers: string[];
  prefixesMax: number;
}

/** A route as plain data, as the naive model has it. */
interface Route {
  readonly asPath: readonly number[];
  readonly med: number | undefined;
  readonly localPref: number;
  readonly communities: readonly number[];
  readonly nextHop: string;
  readonly from: string;
}

const communityNoExport = 0xffffff01;

export class Simulation {
  readonly world: World;
  readonly plans = new Map<string, Plan>();
  readonly #afi: 1 | 2;
  readonly #reach: number;
  #generation = 1n;

  /** @param reach how far along the ring of pairs a speaker has neighbours; by default everybody is everybody's neighbour */
  constructor(seed: number, hosts: number, afi: 1 | 2 = 1, reach = hosts) {
    this.#afi = afi;
    this.#reach = reach;
    this.world = new World(seed);
    for (let i = 0; i < hosts; i++) {
      const name = `s${i}`;
      const host = this.world.add(name, `10.0.0.${i + 1}`);
      // Pairs share an AS: both external and internal sessions.
      this.plans.set(name, {
        host,
        name,
        asn: 65001 + (i >> 1),
        routerId: 0x0a000001 + i,
        origins: [],
        policy: acceptAll,
        peers: [],
        prefixesMax: 1000,
      });
    }
    for (const p of this.plans.values()) p.peers = this.#neighbours(p);
  }

  /** Whom a speaker has for a neighbour when nobody has edited anything. */
  #neighbours(p: Plan): string[] {
    const pairs = Math.ceil(this.plans.size / 2);
    const away = (q: Plan): number => {
      const distance = Math.abs(p.asn - q.asn);
      return Math.min(distance, pairs - distance);
    };
    return [...this.plans.values()].filter((q) => q !== p && away(q) <= this.#reach).map((q) => q.name);
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.world.random() * list.length)]!;
  }

  apply(p: Plan): void {
    if (!p.host.alive) return;
    const peers = p.peers.map((name) => {
      const q = this.plans.get(name)!;
      const address = `10.0.0.${[...this.plans.keys()].indexOf(name) + 1}`;
      return peerConfig(name, address, q.asn, {
        localAsn: p.asn,
        holdSeconds: 9,
        connectRetrySeconds: 2,
        restartSeconds: 30,
        families: [this.#afi],
        nextHop: { 1: undefined, 2: nextHop6(p) },
        importPolicies: [p.policy.name],
        exportPolicies: [p.policy.name],
        prefixesMax: { 1: p.prefixesMax, 2: p.prefixesMax },
      });
    });
    p.host.speaker.apply(
      speakerConfig(peers, {
        asn: p.asn,
        routerId: p.routerId,
        clusterId: p.routerId,
        generation: this.#generation++,
        origins: p.origins,
        policies: [p.policy],
      }),
    );
  }

  randomOrigins(p: Plan): void {
    const { random } = this.world;
    const wanted = new Set<number>();
    for (let i = 0; i < 8; i++) if (random() < 0.6) wanted.add(Math.floor(random() * 24));
    p.origins = [...wanted].map((n) =>
      origin(
        this.#afi,
        n,
        p.peers.filter(() => random() < 0.8),
        random() < 0.5 ? Math.floor(random() * 3) : undefined,
      ),
    );
  }

  randomPolicy(p: Plan): void {
    const { random } = this.world;
    const n = Math.floor(random() * 24);
    const prefix =
      this.#afi === 1
        ? { family: 4 as const, hi: 0n, lo: BigInt(0x0b000000 + n * 256), length: 24 }
        : { family: 6 as const, hi: (0x20010db8n << 32n) | BigInt(n), lo: 0n, length: 64 };
    const { length } = prefix;
    const set = { addCommunities: [], addLarge: [], prepend: 0 };
    p.policy = {
      name: "edited",
      rules: [
        rule("one", {
          accept: random() < 0.5,
          match: { ...acceptAll.rules[0]!.match, prefixes: [{ prefix, ge: length, le: length }] },
          set: { ...set, localPref: 50 + Math.floor(random() * 100) },
        }),
        rule("long", {
          accept: false,
          match: { ...acceptAll.rules[0]!.match, asPathContains: [65001 + Math.floor(random() * 4)] },
        }),
        rule("rest", {
          set: {
            ...set,
            prepend: Math.floor(random() * 2),
            addCommunities: random() < 0.2 ? [communityNoExport] : [],
          },
        }),
      ],
    };
  }

  event(): void {
    const { random, world } = { random: this.world.random, world: this.world };
    const all = [...this.plans.values()];
    const p = this.pick(all);
    const q = this.pick(all);
    const dice = random();
    if (dice < 0.3) {
      this.randomOrigins(p);
      this.apply(p);
    } else if (dice < 0.5) {
      this.randomPolicy(p);
      this.apply(p);
    } else if (dice < 0.62) {
      if (p !== q) world.cut(p.host.address, q.host.address);
    } else if (dice < 0.78) world.heal(p.host.address, q.host.address);
    else if (dice < 0.86) {
      world.restart(p.host);
      this.apply(p);
    } else if (dice < 0.9) world.kill(p.host);
    else if (dice < 0.95) {
      if (!p.host.alive) {
        world.restart(p.host);
        this.apply(p);
      }
    } else {
      p.peers = p.peers.includes(q.name)
        ? p.peers.filter((n) => n !== q.name)
        : p === q
          ? p.peers
          : [...p.peers, q.name].sort();
      this.apply(p);
    }
    world.clock.run(random() * 3_000);
  }

  /** Everybody is back, everything heals, and time passes until all is quiet. */
  rest(): void {
    for (const p of this.plans.values()) {
      for (const q of this.plans.values()) this.world.heal(p.host.address, q.host.address);
      if (!p.host.alive) this.world.restart(p.host);
      p.peers = this.#neighbours(p);
      this.apply(p);
    }
    this.world.clock.run(900_000);
  }

  /** Adj-RIB-In of one session, before policy. */
  adjIn(p: Plan, from: string): Map<string, PathAttributes> {
    const out = new Map<string, PathAttributes>();
    const { rib } = p.host.speaker;
    const session = p.host.speaker.session(from)!;
    const table = rib.tables[this.#afi];
    const { words } = table.prefixes;
    for (let path = 0; path < table.pathLimit; path++) {
      const pid = table.pathPid[path]!;
      if (pid >= 0 && table.pathPeer[path] === session.rib.index)
        out.set(
          text([...table.prefixes.keys.subarray(pid * words, pid * words + words)]),
          rib.attributes.attributes(table.pathRaw[path]!, this.#afi),
        );
    }
    return out;
  }

  /** The naive model: what `p` should tell `to`, from what p has heard and originates. */
  expected(p: Plan, to: Plan): Map<string, string> {
    const candidates = new Map<string, Route[]>();
    for (const o of p.origins) {
      const key = text([...o.words]);
      const own: Route = {
        asPath: [],
        med: o.attributes.med,
        localPref: 100,
        communities: [],
        nextHop: "",
        from: "",
      };
      candidates.set(key, [own]);
    }
    for (const name of p.peers) {
      const q = this.plans.get(name)!;
      for (const [key, a] of this.adjIn(p, name)) {
        const path = flatten(a.asPath);
        if (path.includes(p.asn)) continue;
        const given: Route = {
          asPath: path,
          med: a.med,
          localPref: q.asn === p.asn ? (a.localPref ?? 100) : 100,
          communities: a.communities ?? [],
          nextHop: a.nextHop.join("."),
          from: name,
        };
        const route = naivePolicy(p.policy, key, given);
        if (route) candidates.set(key, [...(candidates.get(key) ?? []), route]);
      }
    }
    const out = new Map<string, string>();
    for (const [key, list] of candidates) {
      const best = this.#best(p, list);
      if (best.from === to.name) continue;
      const own = best.from === "";
      if (own) {
        const o = p.origins.find((x) => text([...x.words]) === key && x.peers.has(to.name));
        if (!o) continue;
      } else {
        if (this.plans.get(best.from)!.asn === p.asn && to.asn === p.asn) continue;
        if (best.communities.includes(communityNoExport) && to.asn !== p.asn) continue;
      }
      const sent = naivePolicy(p.policy, key, best);
      if (!sent) continue;
      const external = to.asn !== p.asn;
      const rest = p.policy.rules.find((r) => naiveMatch(r, key, best.asPath))!;
      const asPath = external
        ? [...new Array<number>(1 + rest.set.prepend).fill(p.asn), ...sent.asPath]
        : sent.asPath;
      const self = this.#afi === 1 ? addressOf(p) : nextHop6(p).join(".");
      const nextHop = external || own ? self : sent.nextHop;
      const med = external && !own ? undefined : sent.med;
      const pref = external ? undefined : sent.localPref;
      out.set(key, show(asPath, med, pref, sent.communities, nextHop));
    }
    return out;
  }

  #best(p: Plan, list: readonly Route[]): Route {
    let left = [...list];
    const own = left.find((r) => r.from === "");
    if (own) return own;
    const keep = (score: (r: Route) => number): void => {
      const top = Math.min(...left.map(score));
      left = left.filter((r) => score(r) === top);
    };
    keep((r) => -r.localPref);
    keep((r) => r.asPath.length);
    left = left.filter(
      (r) => !left.some((x) => (x.asPath[0] ?? 0) === (r.asPath[0] ?? 0) && (x.med ?? 0) < (r.med ?? 0)),
    );
    keep((r) => (this.plans.get(r.from)!.asn === p.asn ? 1 : 0));
    keep((r) => this.plans.get(r.from)!.routerId);
    return left[0]!;
  }

  /** Compares every session with the model, both what is sent and what has arrived. */
  check(): number {
    let routes = 0;
    for (const p of this.plans.values())
      for (const name of p.peers) {
        const to = this.plans.get(name)!;
        const session = p.host.speaker.session(name)!;
        expect(`${p.name}-${name} ${session.state} ${session.downReason}`).toBe(
          `${p.name}-${name} ${State.established} `,
        );
        const expected = this.expected(p, to);
        const arrived = new Map(
          [...this.adjIn(to, p.name)].map(([key, a]) => [
            key,
            show(flatten(a.asPath), a.med, a.localPref, a.communities ?? [], a.nextHop.join(".")),
          ]),
        );
        expect(Object.fromEntries(sorted(arrived)), `${p.name} to ${name}`).toEqual(
          Object.fromEntries(sorted(expected)),
        );
        expect(session.sender!.out(this.#afi)!.advertised).toBe(expected.size);
        routes += arrived.size;
        this.#checkStale(session);
      }
    return routes;
  }

  #checkStale(session: PeerSession): void {
    expect(session.stale).toEqual({ 1: false, 2: false });
  }
}

const text = (words: readonly number[]): string => words.map((w) => (w >>> 0).toString(16)).join(":");
const nextHop6 = (p: Plan): Uint8Array =>
  Uint8Array.from([0xfd, ...new Array<number>(14).fill(0), Number(p.host.address.lo & 255n)]);

/** A route of one's own: the n-th of the world. */
function origin(afi: 1 | 2, n: number, peers: readonly string[], med?: number): Origin {
  return {
    afi,
    words: afi === 1 ? Uint32Array.of(0x0b000000 + n * 256) : Uint32Array.of(0x20010db8, n, 0, 0),
    length: afi === 1 ? 24 : 64,
    attributes: {
      afi,
      origin: 0,
      asPath: [],
      nextHop: new Uint8Array(0),
      ...(med === undefined ? {} : { med }),
    },
    prepend: 0,
    peers: new Set(peers),
    key: `${n} ${med} ${peers.join()}`,
  };
}
const addressOf = (p: Plan): string => `10.0.0.${Number(p.host.address.lo & 255n)}`;
const show = (
  path: readonly number[],
  med: number | undefined,
  pref: number | undefined,
  communities: readonly number[],
  nextHop: string,
): string => `[${path.join(" ")}] med ${med} pref ${pref} comm ${communities.join()} via ${nextHop}`;
const sorted = (m: Map<string, string>): [string, string][] => [...m].sort(([a], [b]) => (a < b ? -1 : 1));

const prefixText = (p: Prefix): string =>
  p.family === 4
    ? text([Number(p.lo)])
    : text([p.hi >> 32n, p.hi & 0xffffffffn, p.lo >> 32n, p.lo & 0xffffffffn].map(Number));

const naiveMatch = (r: Policy["rules"][number], key: string, asPath: readonly number[]): boolean =>
  (r.match.prefixes.length === 0 || r.match.prefixes.some(({ prefix }) => prefixText(prefix) === key)) &&
  (r.match.asPathContains.length === 0 || r.match.asPathContains.some((asn) => asPath.includes(asn)));

function naivePolicy(policy: Policy, key: string, route: Route): Route | undefined {
  const r = policy.rules.find((x) => naiveMatch(x, key, route.asPath));
  if (!r?.accept) return undefined;
  return {
    ...route,
    localPref: r.set.localPref ?? route.localPref,
    communities: [
      ...route.communities,
      ...r.set.addCommunities.filter((c) => !route.communities.includes(c)),
    ],
  };
}
