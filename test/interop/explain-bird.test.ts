import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { decodeSession, type SessionView } from "../../src/agent/speaker/decode.ts";
import { QueryKind } from "../../src/api/generated/proto/speaker_pb.js";
import { parseAddress } from "../../src/net/address.ts";
import {
  type DrainPhase,
  difference,
  encodeDesired,
  explain,
  type HeardRoute,
  type InForce,
  inForceOf,
  type LocalAddressOf,
  type NodeFacts,
  type Plan,
  type PlanInputs,
  plan,
  questionOf,
  type RouteDifference,
  type Snapshot,
} from "../../src/plan/index.ts";
import {
  Dice,
  type Fixed,
  nodeName,
  peerDefaults,
  provable,
  randomOf,
  randomState,
  type State,
} from "../support/cluster-states.ts";
import { type Bgpd, BgpLab, type Bird, canRun, ours, theirs, until } from "./bgp-lab.ts";

const why = canRun ? "" : " (skipped: needs root and bird)";
/** A share of what `WAGGLE_EXPLAIN_STATES` asks for; the seed may be given, too. */
const states = Number(process.env["WAGGLE_EXPLAIN_STATES"] ?? 30);
const seed = Number(process.env["WAGGLE_EXPLAIN_SEED"] ?? 20_261);

/** Another subnet of the same link. */
const second = { theirs: "10.98.0.1", ours: "10.98.0.2" } as const;
const clusterASN = 64_601;

/** One external neighbour, one with a local AS number of its own that takes one family only, and an internal one over IPv6. */
const fixed: Fixed = {
  clusterASN,
  nodeAddresses: [ours.ipv4, ours.ipv6],
  peers: [
    {
      name: "tor1",
      spec: { ...peerDefaults, address: theirs.ipv4, peerASN: 65_001, role: "Provider", strictRole: true },
    },
    { name: "tor2", spec: { ...peerDefaults, address: second.theirs, peerASN: 65_001, localASN: 64_777 } },
    { name: "spine", spec: { ...peerDefaults, address: theirs.ipv6, peerASN: clusterASN } },
  ],
};
const internal = new Set(["spine"]);

const birdConfig = (): string => {
  const protocol = (
    name: string,
    local: string,
    as: number,
    neighbour: string,
    neighbourAs: number,
    families: readonly (4 | 6)[],
    more = "",
  ) => `
${families.map((f) => `ipv${f} table ${name}_${f};`).join("\n")}
protocol bgp ${name} {
  local ${local} as ${as};
  neighbor ${neighbour} as ${neighbourAs};
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ${more}
  ${families.map((f) => `ipv${f} { table ${name}_${f}; import all; export none; };`).join("\n  ")}
}`;
  return [
    protocol("tor1", theirs.ipv4, 65_001, ours.ipv4, clusterASN, [4, 6], "local role customer;"),
    protocol("tor2", second.theirs, 65_001, second.ours, 64_777, [4]),
    protocol("spine", theirs.ipv6, clusterASN, ours.ipv6, clusterASN, [4, 6]),
  ].join("\n");
};

type Table = Readonly<Record<string, HeardRoute>>;
type Tables = Readonly<Record<string, Table>>;

const communities = (text: string): string[] =>
  [...text.matchAll(/\(([^)]*)\)/g)].map((m) => m[1]!.replaceAll(" ", "").replaceAll(",", ":")).sort();

/** What `show route all` says of one table. */
function parseRoutes(text: string, isInternal: boolean): Table {
  const out: Record<string, HeardRoute> = {};
  for (const block of text.split(/^(?=[0-9a-f.:]+\/\d+\s)/m)) {
    const [, prefix] = /^([0-9a-f.:]+\/\d+)\s/.exec(block) ?? [];
    if (prefix === undefined) continue;
    const field = (name: string): string | undefined =>
      new RegExp(`BGP\\.${name}:[ \\t]*(.*)`).exec(block)?.[1]?.trim();
    const med = field("med");
    const localPreference = field("local_pref");
    const mark = field("otc");
    out[prefix] = {
      nextHop: field("next_hop")?.split(" ")[0] ?? "",
      asPath: (field("as_path") ?? "").split(" ").filter(Boolean).map(Number),
      origin: field("origin") === "IGP" ? "IGP" : "incomplete",
      ...(med !== undefined && { med: Number(med) }),
      // BIRD gives every route from outside one of its own.
      ...(isInternal && localPreference !== undefined && { localPreference: Number(localPreference) }),
      communities: communities(field("community") ?? ""),
      largeCommunities: communities(field("large_community") ?? ""),
      ...(mark !== undefined && { onlyToCustomer: Number(mark) }),
    };
  }
  return out;
}

const sorted = (r: HeardRoute): HeardRoute => ({
  ...r,
  communities: [...r.communities].sort(),
  largeCommunities: [...r.largeCommunities].sort(),
});

/** The plan in force, what it was made from, and what BIRD hears of it. */
interface Step {
  readonly snapshot: Snapshot;
  readonly inputs: PlanInputs;
  readonly plan: Plan;
  readonly heard: Tables;
}

const inputsOf = (
  given: Pick<PlanInputs, "proofs" | "drain" | "elsewhere">,
  previous: InForce | undefined,
): PlanInputs => ({
  passwords: new Set(),
  retiring: [],
  guardSerial: 0,
  host: { connected: [], apiServer: [], cniDataDir: "" },
  now: 0,
  ...given,
  ...(previous && { previous }),
});

const withApproval = (snapshot: Snapshot, hash: string): Snapshot => ({
  ...snapshot,
  nodeNetwork: {
    ...snapshot.nodeNetwork!,
    metadata: { name: nodeName, annotations: { "waggle.dev/approve": hash } },
  },
});

describe.skipIf(!canRun)(`explain and diff against BIRD${why}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;
  const disabled = new Set<string>();

  beforeAll(async () => {
    lab = new BgpLab("explain");
    for (const [side, own] of [
      ["a", second.theirs],
      ["b", second.ours],
    ] as const)
      lab.in(side, "ip", "addr", "add", `${own}/24`, "dev", "veth0");
    bird = await lab.bird(birdConfig());
    bgpd = await lab.speaker();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  async function sessions(): Promise<ReadonlyMap<string, SessionView>> {
    const out = new Map<string, SessionView>();
    for await (const piece of bgpd.client.query({ kind: QueryKind.QUERY_PEERS }))
      for (const s of piece.sessions) out.set(s.peer, decodeSession(s));
    return out;
  }

  /** Tells the speaker as an agent does, and waits until sessions and acknowledgements are there. */
  async function put(p: Plan): Promise<void> {
    const {
      $typeName: _t,
      $unknown: _u,
      generation: _g,
      ...state
    } = encodeDesired(p.speaker, 0n, true, new Map());
    const generation = bgpd.desire(state);
    const names = p.speaker.peers.map((x) => x.name);
    await until("every neighbour has acknowledged", () => bgpd.acks(generation).length === names.length);
    await until(
      "sessions are up",
      async () => {
        const now = await sessions();
        return names.every((n) => disabled.has(n) || now.get(n)?.state === "Established");
      },
      20_000,
    );
  }

  const tables = (): Tables =>
    Object.fromEntries(
      fixed.peers.map(({ name }) => [
        name,
        Object.assign(
          {},
          ...[4, 6].map((f) => parseRoutes(bird.routes(`table ${name}_${f}`), internal.has(name))),
        ) as Table,
      ]),
    );

  /** What explain says that each neighbour hears. */
  async function foretold(p: Plan): Promise<Tables> {
    const views = await sessions();
    const facts: NodeFacts = {
      sessions: views,
      proofs: new Map(),
      localAddress: (peer) => {
        const address = views.get(peer.name)?.localAddress;
        return address ? parseAddress(address) : undefined;
      },
    };
    const out: Record<string, Record<string, HeardRoute>> = Object.fromEntries(
      fixed.peers.map(({ name }) => [name, {}]),
    );
    for (const prefix of provable)
      for (const e of explain(p, facts, questionOf(prefix)!))
        for (const peer of e.peers)
          if (peer.hears && e.prefix === prefix) out[peer.peer]![prefix] = sorted(peer.route!);
    return out;
  }

  /** BIRD has a moment to read what was written to it. */
  async function heardAs(expected: Tables, what: string): Promise<Tables> {
    const deadline = Date.now() + 3_000;
    await sleep(60);
    for (;;) {
      const now = tables();
      if (Date.now() > deadline || JSON.stringify(ordered(now)) === JSON.stringify(ordered(expected))) {
        expect(now, what).toEqual(expected);
        return now;
      }
      await sleep(50);
    }
  }

  const ordered = (t: Tables) =>
    Object.entries(t).map(([name, routes]) => [
      name,
      Object.entries(routes)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([prefix, r]) => [
          prefix,
          r.nextHop,
          r.asPath,
          r.med,
          r.localPreference,
          r.communities,
          r.largeCommunities,
          r.onlyToCustomer,
        ]),
    ]);

  const localAddress: LocalAddressOf = (peer) =>
    peer.name === "tor2"
      ? parseAddress(second.ours)
      : fixed.nodeAddresses.map(parseAddress).find((a) => a.family === peer.address.family);

  /** What BIRD hears after an edit, from what it hears now and what diff says. */
  function applied(now: Tables, routes: readonly RouteDifference[], approved: boolean): Tables {
    const out = Object.fromEntries(Object.entries(now).map(([name, t]) => [name, { ...t }]));
    for (const r of routes) {
      const waits = r.waitsFor.includes("Approval") && !approved;
      if (r.waitsFor.includes("Proof") || (waits && !r.meanwhile)) continue;
      // A family that the neighbour has not agreed to shows in no table.
      if (disabled.has(r.peer) || (r.peer === "tor2" && r.prefix.includes(":"))) continue;
      const route = waits ? r.meanwhile : r.after;
      if (route) out[r.peer]![r.prefix] = sorted(route);
      else delete out[r.peer]![r.prefix];
    }
    return out;
  }

  test(
    `over ${states} states: each neighbour hears what explain says, and an edit changes what diff says (seed ${seed})`,
    async () => {
      const d = new Dice(randomOf(seed));
      let step: Step | undefined;
      let heard = 0;
      let edits = 0;
      let edited = 0;
      for (let i = 0; i < states; i++) {
        const edit = step !== undefined && d.chance(0.5);
        const state = randomState(d, fixed);
        const before = step?.plan;
        const lastGood = before?.lastGood ?? state.snapshot.lastGood;
        if (!edit && d.chance(0.15)) {
          // A neighbour that goes, or comes back.
          if (disabled.delete("tor2")) bird.ask("enable tor2");
          else {
            disabled.add("tor2");
            bird.ask("disable tor2");
          }
          await until(
            "the session has followed",
            async () => {
              const view = (await sessions()).get("tor2");
              return view === undefined || (view.state === "Established") !== disabled.has("tor2");
            },
            20_000,
          );
        }
        const snapshot: Snapshot = edit
          ? { ...step!.snapshot, ...editOf(d, state), lastGood }
          : { ...(i === 0 ? announcing(state) : state.snapshot), lastGood };
        const inputs = edit
          ? inputsOf(step!.inputs, inForceOf(before!))
          : inputsOf(
              {
                proofs: state.proofs,
                drain: {
                  phase: d.chance(0.85) ? "None" : d.of<DrainPhase>(["DePreferred", "Quiet", "Withdrawn"]),
                  since: 0,
                },
                ...(d.chance(0.5) && { elsewhere: new Set(d.some(provable, 0.7)) }),
              },
              before && inForceOf(before),
            );
        const first = plan(snapshot, nodeName, inputs);
        const approve = first.held !== undefined && d.chance(0.6);
        const next = approve ? plan(withApproval(snapshot, first.held!.hash), nodeName, inputs) : first;
        const what = `state ${i} of seed ${seed}${edit ? ", an edit" : ""}`;
        await put(next);
        const expected = await foretold(next);
        const now = await heardAs(expected, what);
        if (edit) {
          const said = difference({
            node: nodeName,
            before: { ...step!.snapshot, lastGood: before!.lastGood },
            after: snapshot,
            inputs: inputsOf(step!.inputs, inForceOf(before!)),
            localAddress,
          });
          expect(now, `${what}: what diff said`).toEqual(applied(step!.heard, said.routes, approve));
          edits++;
          if (said.routes.length > 0) edited++;
        }
        heard += Object.values(now).reduce((sum, t) => sum + Object.keys(t).length, 0);
        step = { snapshot, inputs, plan: next, heard: now };
      }
      console.log(
        `${states} states, ${edits} of them edits (${edited} with differences), ${heard} routes heard`,
      );
      expect(heard).toBeGreaterThan(states);
      expect(edited).toBeGreaterThan(edits / 3);
    },
    60_000 + states * 6_000,
  );
});

/** The first state must make neighbours. */
const announcing = ({ snapshot }: State): Snapshot => ({
  ...snapshot,
  clusterNetwork: {
    ...snapshot.clusterNetwork!,
    spec: {
      ...snapshot.clusterNetwork!.spec,
      nodes: snapshot.clusterNetwork!.spec.nodes.map((n) => ({ ...n, mode: "Announce" as const })),
    },
  },
});

const editable = [
  "advertisements",
  "policies",
  "peers",
  "services",
  "allocations",
  "endpointSlices",
] as const;
/** A part of the cluster as it is in another state. */
const editOf = (d: Dice, { snapshot }: State): Partial<Snapshot> =>
  Object.fromEntries([d.of(editable), ...d.some(editable, 0.2)].map((k) => [k, snapshot[k]]));
