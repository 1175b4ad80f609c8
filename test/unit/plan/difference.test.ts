// plan: differences: what waits for a proof or an approval, what is kept although the object is wrong, and what sessions do.
import { describe, expect, it } from "vitest";
import type { BGPPolicy } from "../../../src/api/index.ts";
import { speakerConfig } from "../../../src/bgp/daemon/config.ts";
import { sessionKey } from "../../../src/bgp/session/peer.ts";
import { parseAddress } from "../../../src/net/address.ts";
import {
  difference,
  encodeDesired,
  inForceOf,
  type NodeDifference,
  type PlanInputs,
  plan,
  type Snapshot,
} from "../../../src/plan/index.ts";
import {
  advertisement,
  blocks,
  clusterNetwork,
  drained,
  draining,
  everything,
  inputs,
  node,
  peer,
  proven,
  snapshot,
  vips,
} from "./fixture.ts";

/** What `change` does to node1, where `before` is in force. */
function changing(
  change: Partial<Snapshot>,
  before: Partial<Snapshot> = {},
  given: Partial<PlanInputs> = {},
): NodeDifference {
  const was = snapshot(before);
  const start = inputs(given);
  return difference({
    node: "node1",
    before: was,
    after: { ...was, ...change },
    inputs: { ...start, previous: inForceOf(plan(was, "node1", start)) },
    localAddress: () => parseAddress("172.30.1.11"),
  });
}

const lines = ({ routes }: NodeDifference): readonly string[] =>
  routes.map((r) =>
    `${r.before ? "-" : ""}${r.after ? "+" : ""} ${r.prefix} ${r.why.code} ${r.waitsFor.join()}`.trim(),
  );

const podsOnly = advertisement("all", { advertise: [{ type: "PodBlocks" }] });
const withMed = advertisement("all", {
  advertise: [
    { type: "PodBlocks", attributes: { med: 9 } },
    { type: "Services", serviceSelector: {}, addresses: ["LoadBalancerIP"], attributes: { med: 9 } },
  ],
});
const paused = <T extends { readonly metadata: object }>(object: T): T => ({
  ...object,
  metadata: { ...object.metadata, generation: 2, annotations: { "waggle.dev/paused": "true" } },
});

describe("difference", () => {
  it("is none for the same state", () => {
    expect(changing({})).toEqual({ node: "node1", routes: [], peers: [], problems: [] });
  });

  it("says of what has never been tried that it waits for a proof, and was not heard before", () => {
    const untried = { proofs: proven(blocks) };
    expect(lines(changing({ advertisements: [withMed] }, {}, untried))).toEqual([
      "-+ 10.1.0.0/26 Hears",
      "+ 10.101.0.5/32 Hears Proof",
      "-+ fd10:1::/122 Hears",
      "+ fd20:1::5/128 Hears Proof",
    ]);
    // What was never heard does not go.
    expect(lines(changing({ advertisements: [podsOnly] }, {}, untried))).toEqual([]);
    // The very same pending announcement is no difference.
    expect(lines(changing({ policies: [] }, {}, untried))).toEqual([]);
  });

  it("takes a proof that is known to fail as failing", () => {
    const failing = {
      proofs: new Map([...proven(blocks), [vips[0], { state: "Failed", reason: "dropped" } as const]]),
    };
    expect(lines(changing({}, { advertisements: [podsOnly] }, failing))).toEqual([]);
    const asking = changing(
      { advertisements: [advertisement("all")] },
      { advertisements: [podsOnly] },
      failing,
    );
    expect(lines(asking)).toEqual([`+ ${vips[1]} Hears Proof`]);
  });

  it("marks what the guard would hold, and says what is so once that is approved", () => {
    expect(lines(changing({ advertisements: [] }))).toEqual(
      everything.map((p) => `- ${p} NoAdvertisement Approval`),
    );
    const one = changing({ allocations: snapshot().allocations.slice(1) });
    expect(lines(one)).toEqual(["- 10.1.0.0/26 NoCandidate"]);
    const wide = clusterNetwork({}, { withdrawGuardPercent: 100 });
    expect(lines(changing({ advertisements: [] }, { clusterNetwork: wide }))).toEqual(
      everything.map((p) => `- ${p} NoAdvertisement`),
    );
  });

  it("sees no difference where a paused object is changed", () => {
    expect(changing({ advertisements: [paused(podsOnly)] })).toMatchObject({ routes: [], problems: [] });
    expect(lines(changing({ advertisements: [podsOnly] })).length).toBe(2);
  });

  it("names what would be wrong, and that the last good form stays in force", () => {
    const wrong = changing({ peers: [peer("tor", { exportPolicies: ["nobody"] })] });
    expect([wrong.routes, wrong.peers]).toEqual([[], []]);
    expect(wrong.problems).toEqual([
      {
        object: "BGPPeer/tor",
        path: "spec.exportPolicies[0]",
        message: "there is no BGPPolicy nobody",
        lastGoodInForce: true,
      },
    ]);
    // What was wrong before is not the change's.
    const already = { peers: [peer("tor", { exportPolicies: ["nobody"] })] };
    expect(changing({ advertisements: [podsOnly] }, already).problems).toEqual([]);
  });

  it("foretells a drain that a change begins or ends", () => {
    const nodes = [drained(1, "force"), node(2)];
    expect(lines(changing({ nodes }))).toEqual(everything.map((p) => `- ${p} Drained`));
    expect(lines(changing({ nodes: [drained(1), node(2)] }, {}, { elsewhere: new Set([vips[0]]) }))).toEqual([
      "- 10.1.0.0/26 Drained",
      "- 10.101.0.5/32 Drained",
      "- fd10:1::/122 Drained",
      "-+ fd20:1::5/128 Hears",
    ]);
    const over = changing({ nodes: [node(1), node(2)] }, { nodes }, { drain: draining("Released") });
    expect(lines(over)).toEqual(everything.map((p) => `+ ${p} Hears`));
  });

  it("says which fields of a neighbour change, and whether the session is made anew", () => {
    const policy = (action: "Accept" | "Reject"): BGPPolicy => ({
      apiVersion: "waggle.dev/v1alpha1",
      kind: "BGPPolicy",
      metadata: { name: "in" },
      spec: { rules: [{ name: "all", action }] },
    });
    const peers = [peer("tor", { importPolicies: ["in"] })];
    const before = { peers, policies: [policy("Accept")] };
    const of = (spec: Parameters<typeof peer>[1]) =>
      changing({ peers: [peer("tor", { importPolicies: ["in"], ...spec })] }, before).peers;
    expect(of({ holdSeconds: 9 })).toEqual([
      { peer: "tor", change: "Changed", fields: ["holdSeconds"], restarts: true },
    ]);
    expect(of({ connectRetrySeconds: 9 })).toEqual([
      { peer: "tor", change: "Changed", fields: ["connectRetrySeconds"], restarts: false },
    ]);
    expect(of({ importPolicies: [] })[0]).toMatchObject({ fields: ["importPolicies"], restarts: false });
    expect(changing({ policies: [policy("Reject")] }, before).peers).toEqual([
      { peer: "tor", change: "Changed", fields: ["importPolicies"], restarts: false },
    ]);
    expect(changing({ peers: [...peers, peer("new", { address: "172.30.1.2" })] }, before).peers).toEqual([
      { peer: "new", change: "Added", fields: [], restarts: false },
    ]);
    const other = clusterNetwork({ routerIDSource: "Hash" });
    expect(changing({ clusterNetwork: other }, before).peers).toEqual([
      { peer: "tor", change: "Changed", fields: ["routerID"], restarts: true },
    ]);
  });

  it("agrees with the speaker on which fields make a session anew", () => {
    const keyOf = (
      spec: Parameters<typeof peer>[1],
    ): { readonly key: string; readonly peers: NodeDifference["peers"] } => {
      const peers = [peer("tor", { importPolicies: [], ...spec })];
      const { speaker } = plan(snapshot({ peers }), "node1", inputs());
      const config = speakerConfig(encodeDesired(speaker, 1n, true, new Map()));
      return { key: sessionKey(config.peers[0]!), peers: changing({ peers }).peers };
    };
    const { key } = keyOf({});
    const changes: readonly Parameters<typeof peer>[1][] = [
      { address: "172.30.1.9" },
      { port: 1179 },
      { peerASN: 65_002 },
      { localASN: 64_999 },
      { localAddress: "172.30.1.11" },
      { families: ["IPv4Unicast"] },
      { holdSeconds: 30 },
      { connectRetrySeconds: 30 },
      { ttlSecurityHops: 1 },
      { multihopTTL: 3 },
      { gracefulRestart: { enabled: false, restartSeconds: 120 } },
      { gracefulRestart: { enabled: true, restartSeconds: 60 } },
      { maxPrefixes: { ipv4: 5, ipv6: 5 } },
      { passive: true },
    ];
    for (const change of changes) {
      const now = keyOf(change);
      expect(now.peers[0]?.restarts, JSON.stringify(change)).toBe(now.key !== key);
    }
  });
});
