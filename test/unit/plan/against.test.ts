// plan: today's speaker beside Waggle: differences both ways, nodes that only observe, neighbours that are no BGPPeer; what birdc says.
import { describe, expect, it } from "vitest";
import { parseAddress } from "../../../src/net/address.ts";
import {
  against,
  birdNeighbors,
  birdRoutes,
  type HeardRoute,
  hearings,
  type NodeDifference,
  plan,
  type Snapshot,
} from "../../../src/plan/index.ts";
import { advertisement, blocks, clusterNetwork, everything, inputs, proven, snapshot } from "./fixture.ts";

const localAddress = () => parseAddress("172.30.1.11");
const tor = "172.30.1.1";

/** Exactly what Waggle tells the router. */
const told = (change: Partial<Snapshot> = {}): Map<string, HeardRoute> =>
  new Map(
    hearings(plan(snapshot(change), "node1", inputs({ proofs: proven() })).speaker, localAddress).flatMap(
      (h) => (h.route ? [[h.prefix, h.route] as const] : []),
    ),
  );

const compare = (
  today: ReadonlyMap<string, HeardRoute>,
  change: Partial<Snapshot> = {},
  more: { neighbor?: string; fields?: "sent" | "policy"; proofs?: readonly string[] } = {},
): NodeDifference =>
  against({
    node: "node1",
    snapshot: snapshot(change),
    inputs: inputs({ proofs: proven(more.proofs ?? everything) }),
    localAddress,
    today: [{ neighbor: more.neighbor ?? tor, routes: today }],
    fields: more.fields ?? "sent",
  });

const lines = ({ routes }: NodeDifference): readonly string[] =>
  routes.map((r) =>
    `${r.peer} ${r.before ? "-" : ""}${r.after ? "+" : ""} ${r.prefix} ${r.why.code} ${r.waitsFor.join()}`.trim(),
  );

describe("against today's speaker", () => {
  it("no difference where it tells the same", () => {
    expect(told().size).toBe(4);
    expect(lines(compare(told()))).toEqual([]);
  });

  it("what it tells and Waggle would not, and the reverse, with reasons", () => {
    const today = told();
    const route = today.get(blocks[0])!;
    today.delete(blocks[0]);
    today.set("192.0.2.0/24", route);
    expect(lines(compare(today))).toEqual(["tor + 10.1.0.0/26 Hears", "tor - 192.0.2.0/24 NoCandidate"]);
  });

  it("a route with other attributes; before BIRD's session adds to it, only policy counts", () => {
    const today = new Map([...told()].map(([p, r]) => [p, { ...r, asPath: [], nextHop: "" }] as const));
    expect(lines(compare(today))).toHaveLength(4);
    expect(lines(compare(today, {}, { fields: "policy" }))).toEqual([]);
    today.set(blocks[0], { ...today.get(blocks[0])!, med: 7 });
    expect(lines(compare(today, {}, { fields: "policy" }))).toEqual(["tor -+ 10.1.0.0/26 Hears"]);
  });

  it("a node that only observes is compared as if it announced, and what was never proven says so", () => {
    const observing = { clusterNetwork: clusterNetwork({ mode: "Observe" }) };
    expect(lines(compare(told(), observing, { proofs: [] }))).toEqual([]);
    expect(lines(compare(new Map(), observing, { proofs: [] }))).toEqual(
      everything.map((p) => `tor + ${p} Hears Proof`).sort(),
    );
  });

  it("a neighbour that is no BGPPeer is named by its address", () => {
    const today = told();
    expect(lines(compare(today, {}, { neighbor: "172.30.1.9" }))).toEqual(
      [...today.keys()].sort().map((p) => expect.stringMatching(`^172.30.1.9 - ${p} `) as unknown),
    );
  });

  it("an advertisement that is gone shows what would be missed", () => {
    const podsOnly = { advertisements: [advertisement("all", { advertise: [{ type: "PodBlocks" }] })] };
    expect(lines(compare(told(), podsOnly)).map((l) => l.split(" ").slice(0, 3).join(" "))).toEqual([
      "tor - 10.101.0.5/32",
      "tor - fd20:1::5/128",
    ]);
  });
});

describe("birdc", () => {
  it("neighbours of established protocols", () => {
    const text = `BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
device1    Device     ---        up     10:00:00.000
tor1       BGP        ---        up     10:00:01.000  Established
  BGP state:          Established
    Neighbor address: 172.30.1.1
    Neighbor AS:      65001
tor2       BGP        ---        start  10:00:01.000  Active
  BGP state:          Active
    Neighbor address: 172.30.1.2
tor3       BGP        ---        up     10:00:01.000  Established
    Neighbor address: fe80::1%eth0
`;
    expect([...birdNeighbors(text)]).toEqual([
      ["tor1", "172.30.1.1"],
      ["tor3", "fe80::1"],
    ]);
  });

  it("routes with their attributes, the best of each prefix", () => {
    const text = `BIRD 2.0.12 ready.
Table master4:
10.64.0.0/24         unicast [waggle 10:00:00.000] * (100) [AS64512i]
\tvia 10.99.0.2 on veth0
\tType: BGP univ
\tBGP.origin: IGP
\tBGP.as_path: 64512 {1 2}
\tBGP.next_hop: 10.99.0.2
\tBGP.med: 5
\tBGP.local_pref: 100
\tBGP.community: (64512,100) (65535,0)
\tBGP.large_community: (1, 2, 3)
                     unreachable [static4 10:00:00.000] (200)
\tBGP.med: 99
192.0.2.0/24         unreachable [static4 10:00:00.000] * (200)
\tType: static univ

Table master6:
2001:DB8::/48        unicast [waggle 10:00:00.000] * (100) [AS64512i]
\tvia fe80::1 on veth0
\tBGP.next_hop: 2001:db8::1 fe80::1
`;
    expect([...birdRoutes(text)]).toEqual([
      [
        "10.64.0.0/24",
        {
          nextHop: "10.99.0.2",
          asPath: [64512, 1, 2],
          origin: "IGP",
          med: 5,
          localPreference: 100,
          communities: ["64512:100", "65535:0"],
          largeCommunities: ["1:2:3"],
        },
      ],
      [
        "192.0.2.0/24",
        { nextHop: "", asPath: [], origin: "incomplete", communities: [], largeCommunities: [] },
      ],
      ["2001:db8::/48", expect.objectContaining({ nextHop: "2001:db8::1" })],
    ]);
  });
});
