// agent: the loop in virtual time with a simulated cluster, speaker and datapath.
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Family, RouteBatchSchema } from "../../../src/api/generated/proto/speaker_pb.js";
import type { Finding } from "../../../src/datapath/index.ts";
import {
  formatPrefix,
  fromBytes,
  maskTo,
  parseAddress,
  parsePrefix,
  toBytes,
} from "../../../src/net/address.ts";
import type { Snapshot } from "../../../src/plan/index.ts";
import {
  advertisement,
  blocks,
  clusterNetwork,
  drained,
  everything,
  node,
  peer,
  service,
  slice,
  snapshot,
  vips,
} from "../plan/fixture.ts";
import { World } from "./world.ts";

async function settled(cluster: Snapshot = snapshot()): Promise<World> {
  const world = new World();
  world.cluster = cluster;
  world.start();
  await world.clock.advance(500);
  return world;
}

describe("first round", () => {
  it("programs, proves and only then announces, complete", async () => {
    const world = new World();
    world.cluster = snapshot();
    world.speaker.onState = (state) => {
      for (const o of state.origins) {
        const prefix = formatPrefix(maskTo(fromBytes(o.prefix), o.length));
        expect(
          world.datapath.programmed(
            (blocks as readonly string[]).includes(prefix) ? prefix : prefix.split("/")[0]!,
          ),
        ).toBe(true);
      }
      expect(state.complete).toBe(true);
    };
    world.start();
    await world.clock.advance(100);
    expect(world.speaker.received.length).toBe(1);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("Ready")).toMatch(/^True Ready/);
    expect(world.condition("Proven")).toMatch(/^True/);
    expect(world.status?.announced?.map((a) => a.state)).toEqual(Array(4).fill("Announced"));
    expect(world.status?.agent).toMatchObject({ layout: "layout1", snapshot: "Fresh" });
  });

  it("sends nothing at all before there is a snapshot", async () => {
    const world = new World();
    world.start();
    await world.clock.advance(10_000);
    expect(world.speaker.received).toEqual([]);
    expect(world.condition("Ready")).toMatch(/^False NoSnapshot/);
  });

  it("waits for the first answer about passwords, but not for ever", async () => {
    const world = new World();
    world.passwordsSettled = false;
    world.cluster = snapshot({ peers: [peer("tor", { passwordSecretName: "bgp" })] });
    world.start();
    await world.clock.advance(4_000);
    expect(world.speaker.received).toEqual([]);
    await world.clock.advance(3_000);
    expect(world.speaker.received[0]!.peers[0]!.passwordMissing).toBe(true);
    expect(world.status?.sessions?.[0]?.reason).toContain("Secret waggle-system/bgp");
    expect(world.condition("Ready")).toMatch(/^False SessionsDown/);
    world.passwords.set("bgp", "geheim");
    world.passwordsSettled = true;
    world.agent!.poke();
    await world.clock.advance(100);
    expect(world.speaker.state!.peers[0]).toMatchObject({ password: "geheim", passwordMissing: false });
    const told = JSON.stringify([world.logs, world.status, world.events, world.disk]);
    expect(told).not.toContain("geheim");
  });

  it("does not take a password from a live speaker while nobody can be asked for it", async () => {
    const world = await settled(snapshot({ peers: [peer("tor", { passwordSecretName: "bgp" })] }));
    world.passwords.set("bgp", "geheim");
    world.agent!.poke();
    await world.clock.advance(3_000);
    const before = world.speaker.received.length;
    expect(world.speaker.state!.peers[0]!.password).toBe("geheim");
    world.kill();
    world.cluster = undefined;
    world.passwords.clear();
    world.passwordsSettled = false;
    world.start();
    await world.clock.advance(60_000);
    expect(world.speaker.received.length).toBe(before);
    world.passwords.set("bgp", "geheim");
    world.passwordsSettled = true;
    world.cluster = snapshot({ peers: [peer("tor", { passwordSecretName: "bgp" })] });
    world.agent!.poke();
    await world.clock.advance(100);
    expect(world.speaker.state!.peers[0]).toMatchObject({ password: "geheim", passwordMissing: false });
    expect(world.speaker.origins()).toEqual(everything);
  });

  it("announces nothing on a node that is only observed, and programs nothing", async () => {
    const world = await settled(snapshot({ clusterNetwork: clusterNetwork({ mode: "Observe" }) }));
    expect(world.datapath.syncs).toBe(0);
    expect(world.speaker.received).toEqual([]);
    expect(world.condition("Ready")).toMatch(/^True NotAnnouncing/);
  });
});

describe("changes", () => {
  it("reach the speaker within 50 ms", async () => {
    const world = await settled();
    await world.change(
      snapshot({
        advertisements: [
          advertisement("all", {
            advertise: [
              { type: "PodBlocks", attributes: { med: 9 } },
              { type: "Services", serviceSelector: {}, addresses: ["LoadBalancerIP"] },
            ],
          }),
        ],
      }),
      50,
    );
    expect(world.speaker.state!.origins.filter((o) => o.attributes?.med === 9).length).toBe(2);
  });

  it("that change nothing send nothing and do not even plan", async () => {
    const world = await settled();
    const { received } = world.speaker;
    const before = received.length;
    const { syncs } = world.datapath;
    await world.clock.advance(30_000);
    expect(received.length).toBe(before);
    expect(world.datapath.syncs).toBe(syncs);
  });

  it("withdraw a Service that loses its endpoints at once, and say it only when it is acknowledged", async () => {
    const world = await settled();
    world.speaker.ackMs = undefined;
    await world.change(snapshot({ endpointSlices: [] }), 50);
    expect(world.speaker.origins()).toEqual([...blocks]);
    const said = () =>
      world.status?.announced
        ?.filter((a) => (vips as readonly string[]).includes(a.prefix))
        .map((a) => a.state);
    expect(said()).toEqual(["Announced", "Announced"]);
    world.speaker.ackMs = 10;
    world.speaker.receive(world.speaker.state!);
    await world.clock.advance(100);
    expect(said()).toEqual(["Withdrawn", "Withdrawn"]);
  });

  it("a new VIP whose proof fails is not announced until it succeeds", async () => {
    const world = await settled(snapshot({ endpointSlices: [] }));
    world.datapath.verdicts.set("10.101.0.5", "Failed");
    await world.change(snapshot());
    expect(world.speaker.origins()).toEqual(everything.filter((p) => p !== "10.101.0.5/32"));
    expect(world.condition("Proven")).toMatch(/^False ProofFails: 10.101.0.5\/32/);
    world.datapath.verdicts.clear();
    await world.clock.advance(12_000);
    expect(world.speaker.origins()).toEqual(everything);
  });

  it("are held when they would withdraw much, and told", async () => {
    const world = await settled();
    await world.change(snapshot({ advertisements: [] }));
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("PlanApplied")).toMatch(/^False PlanHeld/);
    const hash = world.status!.heldPlan!.hash!;
    expect(world.events.map((e) => e.reason)).toContain("PlanHeld");
    await world.change(
      snapshot({
        advertisements: [],
        nodeNetwork: {
          apiVersion: "waggle.dev/v1alpha1",
          kind: "NodeNetwork",
          metadata: { name: "node1", annotations: { "waggle.dev/approve": hash } },
          spec: {},
        },
      }),
    );
    expect(world.speaker.origins()).toEqual([]);
    expect(world.status?.heldPlan).toBeUndefined();
  });
});

describe("what is away", () => {
  it("API server: nothing changes, and status says stale", async () => {
    const world = await settled();
    await world.change(undefined, 60_000);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("SnapshotFresh")).toMatch(/^False Stale/);
    expect(world.status?.agent?.snapshot).toBe("Stale");
  });

  it("agent dies while the API server is away: it starts from the stored snapshot", async () => {
    const world = await settled();
    await world.clock.advance(3_000);
    await world.change(undefined);
    world.kill();
    world.start();
    await world.clock.advance(2_000);
    const before = world.speaker.received.length;
    expect(before).toBe(1);
    await world.clock.advance(3_000);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("SnapshotFresh")).toMatch(/^False/);
    expect(world.condition("Ready")).toMatch(/^True/);
  });

  it("agent restarts beside a live speaker: generations continue and nothing is taken back in between", async () => {
    const world = await settled();
    await world.clock.advance(2_000);
    const before = world.speaker.state!;
    world.kill();
    await world.clock.advance(5_000);
    const seen: string[][] = [];
    world.speaker.onState = () => void seen.push([...world.speaker.origins()]);
    world.start();
    await world.clock.advance(1_000);
    for (const origins of seen) expect(origins).toEqual(everything);
    expect(world.speaker.state!.generation).toBeGreaterThan(before.generation);
    expect({ ...world.speaker.state!, generation: 0n }).toEqual({ ...before, generation: 0n });
  });

  it("agent restarts and its first proof fails: de-preferred, not withdrawn", async () => {
    const world = await settled();
    await world.clock.advance(2_000);
    world.kill();
    for (const p of everything) world.datapath.verdicts.set(p.replace(/\/(32|128)$/, ""), "Failed");
    world.start();
    await world.clock.advance(1_000);
    expect(world.speaker.origins()).toEqual(everything);
    for (const o of world.speaker.state!.origins) expect(o.attributes!.communities).toContain(0xffff_0000);
  });

  it("speaker alone restarts: it gets the whole state again", async () => {
    const world = await settled();
    world.speaker.restart();
    await world.clock.advance(1_000);
    expect(world.condition("SpeakerConnected")).toMatch(/^False/);
    world.speaker.connect(world.agent!);
    await world.clock.advance(100);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("Ready")).toMatch(/^True/);
  });

  it("another cluster's progress is not this one's", async () => {
    const world = await settled();
    await world.clock.advance(2_000);
    world.kill();
    world.disk.snapshot = undefined;
    world.datapath.verdicts.set("10.101.0.5", "Failed");
    world.cluster = snapshot({ clusterUID: "another" });
    world.start();
    await world.clock.advance(1_000);
    expect(world.speaker.origins()).not.toContain("10.101.0.5/32");
  });
});

describe("datapath", () => {
  const finding = (kind: Finding["kind"], subject: string, repairable: boolean): Finding => ({
    kind,
    subject,
    message: `${kind} at ${subject}`,
    repairable,
  });

  it("a foreign program ahead: noticed within 5 s, told, de-preferred, and forgotten when it goes", async () => {
    const world = await settled();
    world.elsewhere = new Set();
    world.datapath.findings = [finding("ForeignProgramAhead", "eth0 ingress", false)];
    for (const p of everything) world.datapath.verdicts.set(p.replace(/\/(32|128)$/, ""), "Unproven");
    await world.clock.advance(3_000);
    expect(world.condition("Proven")).toMatch(/^Unknown/);
    expect(world.condition("DatapathHealthy")).toMatch(/^False Damaged: ForeignProgramAhead/);
    expect(world.events.map((e) => e.reason)).toContain("ForeignProgramAhead");
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.speaker.state!.origins[0]!.attributes!.localPref).toBe(0);
    world.datapath.findings = [];
    world.datapath.verdicts.clear();
    await world.clock.advance(3_000);
    expect(world.condition("Ready")).toMatch(/^True/);
    expect(world.speaker.state!.origins[0]!.attributes!.localPref).toBeUndefined();
  });

  it("a detached link and an emptied entry are mended and told", async () => {
    const world = await settled();
    world.datapath.findings = [
      finding("LinkDetached", "eth0 ingress", true),
      finding("MapEntryMissing", "services 10.101.0.5:80/TCP", true),
    ];
    await world.clock.advance(3_000);
    expect(world.condition("DatapathHealthy")).toMatch(/^True Repaired: .*LinkDetached.*MapEntryMissing/);
    expect(world.condition("Ready")).toMatch(/^True/);
    expect(world.events.filter((e) => e.note.startsWith("repaired")).length).toBe(2);
    await world.clock.advance(11 * 60_000);
    expect(world.condition("DatapathHealthy")).toMatch(/^True AsProgrammed/);
  });

  it("that cannot be programmed keeps new routes from being announced and old ones announced", async () => {
    const world = await settled(snapshot({ services: [] }));
    expect(world.speaker.origins()).toEqual([...blocks]);
    world.datapath.broken = true;
    await world.change(snapshot(), 3_000);
    expect(world.speaker.origins()).toEqual([...blocks]);
    expect(world.condition("DatapathHealthy")).toMatch(/^False DatapathFailed/);
    world.datapath.broken = false;
    await world.clock.advance(4_000);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.condition("DatapathHealthy")).toMatch(/^True/);
  });
});

describe("VIPs that somebody else delivers", () => {
  it("are proven by connecting, and the proof says so", async () => {
    const world = new World();
    world.cluster = snapshot({ clusterNetwork: clusterNetwork({ owns: ["Pods"] }) });
    world.start();
    await world.clock.advance(500);
    expect(world.datapath.desired!.services).toEqual([]);
    expect(world.speaker.origins()).toEqual([...blocks]);
    expect(world.condition("Proven")).toMatch(/^False ProofFails: 10.101.0.5\/32: .*connection refused/);
    world.answering.add("10.101.0.5").add("fd20:1::5");
    await world.clock.advance(12_000);
    expect(world.speaker.origins()).toEqual(everything);
    expect(world.status?.proofs?.find((p) => p.prefix === "10.101.0.5/32")?.reason).toMatch(
      /end-to-end connect/,
    );
  });
});

describe("drain", () => {
  it("goes through its phases and ends with the entries unprogrammed", async () => {
    const world = await settled();
    world.elsewhere = new Set(vips);
    await world.change(snapshot({ nodes: [drained(1), node(2)] }), 20_000);
    const phases = world.events.filter((e) => e.reason === "DrainPhase").map((e) => e.note.split(" -> ")[1]);
    expect(phases).toEqual(["DePreferred", "Quiet", "Withdrawn", "Released"]);
    expect(world.speaker.origins()).toEqual([]);
    expect(world.datapath.desired!.services.map((s) => s.entry)).toEqual([false, false]);
    expect(world.datapath.desired!.services[0]!.backends.length).toBe(2);
    expect(world.condition("Ready")).toMatch(/^True Draining/);
    world.kill();
    world.start();
    await world.clock.advance(1_000);
    expect(world.status?.drain?.phase).toBe("Released");
    expect(world.speaker.origins()).toEqual([]);
    await world.change(snapshot(), 1_000);
    expect(world.speaker.origins()).toEqual(everything);
  });

  it("waits for a neighbour that does not acknowledge and names it", async () => {
    const world = await settled();
    world.elsewhere = new Set(vips);
    world.speaker.ackMs = undefined;
    await world.change(snapshot({ nodes: [drained(1), node(2)] }), 60_000);
    expect(world.status?.drain).toMatchObject({ phase: "DePreferred" });
    expect(world.status?.drain?.message).toContain("tor");
  });

  it("says which VIPs it keeps, and why", async () => {
    const world = await settled();
    world.elsewhere = new Set();
    await world.change(snapshot({ nodes: [drained(1), node(2)] }), 60_000);
    expect(world.speaker.origins()).toEqual([...vips]);
    expect(world.status?.drain).toMatchObject({ phase: "Quiet" });
    expect(world.status?.drain?.message).toContain("--force");
  });
});

describe("learned routes", () => {
  const batch = (sequence: number, ...prefixes: string[]) =>
    create(RouteBatchSchema, {
      sequence: BigInt(sequence),
      routes: prefixes.map((text) => {
        const prefix = parsePrefix(text);
        return {
          prefix: toBytes(prefix),
          length: prefix.length,
          paths: [
            {
              peer: "tor",
              nextHop: toBytes(parseAddress("172.30.1.1")),
              asPath: [65001, 65002, 64602],
              large: [{ global: 64602, local1: 2, local2: 1 }],
              best: true,
            },
          ],
        };
      }),
    });

  it("go into the maps and the kernel's table, and into status", async () => {
    const world = await settled();
    world.agent!.listener.routes(batch(2, "10.2.0.0/26", "10.9.0.0/24"));
    await world.clock.advance(100);
    expect(world.datapath.routes.prefixes.map((p) => p.prefix)).toContain("10.2.0.0/26");
    expect([...world.datapath.kernelRoutes.keys()]).toEqual(["10.2.0.0/26"]);
    expect(world.status?.routes).toMatchObject({ learned: 2, inFIB: 1, refused: 1, ignoredTags: 1 });
  });

  it("stay in the kernel over a restart of agent and speaker until End-of-RIB", async () => {
    const world = await settled();
    world.agent!.listener.routes(batch(2, "10.2.0.0/26", "10.2.0.64/26"));
    await world.clock.advance(3_000);
    world.kill();
    world.speaker.restart();
    world.start();
    await world.clock.advance(5_000);
    expect([...world.datapath.kernelRoutes.keys()].sort()).toEqual(["10.2.0.0/26", "10.2.0.64/26"]);
    const ids = new Map(world.datapath.routes.prefixes.map((p) => [p.prefix, p.routeId]));
    expect(ids.has("10.2.0.64/26")).toBe(true);
    world.agent!.listener.routes(batch(2, "10.2.0.0/26"));
    await world.clock.advance(100);
    expect(world.datapath.kernelRoutes.size).toBe(2);
    world.agent!.listener.routes(
      create(RouteBatchSchema, { sequence: 3n, endOfRib: [{ peer: "tor", family: Family.IPV4_UNICAST }] }),
    );
    await world.clock.advance(100);
    expect([...world.datapath.kernelRoutes.keys()]).toEqual(["10.2.0.0/26"]);
    expect(world.datapath.routes.prefixes.find((p) => p.prefix === "10.2.0.0/26")!.routeId).toBe(
      ids.get("10.2.0.0/26"),
    );
  });

  it("are not installed where Waggle does not own Routes", async () => {
    const world = await settled(snapshot({ clusterNetwork: clusterNetwork({ owns: ["Pods", "VIPs"] }) }));
    world.agent!.listener.routes(batch(2, "10.2.0.0/26"));
    await world.clock.advance(100);
    expect(world.datapath.kernelRoutes.size).toBe(0);
    expect(world.datapath.routes.prefixes.map((p) => p.prefix)).toContain("10.2.0.0/26");
  });
});

describe("simulation", () => {
  /** What may happen to a node, in any order. */
  const event = fc.oneof(
    fc.constantFrom(
      "kill agent",
      "start agent",
      "restart speaker",
      "reconnect speaker",
      "API away",
      "API back",
      "break datapath",
      "mend datapath",
      "taint",
      "untaint",
      "ack slowly",
      "ack quickly",
      "peer down",
      "peer up",
    ),
    fc.record({
      endpoints: fc.array(fc.record({ node: fc.constantFrom(1, 2), ready: fc.boolean() }), { maxLength: 3 }),
      service: fc.boolean(),
      advertised: fc.boolean(),
    }),
  );
  const step = fc.record({ event, ms: fc.integer({ min: 1, max: 4_000 }) });

  it("whatever happens in whatever order: nothing unproven is announced anew, nothing announced is unprogrammed", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async (steps) => {
        const world = new World();
        let wanted = snapshot();
        let tainted = false;
        world.elsewhere = new Set(vips);
        world.cluster = wanted;
        const check = (): void => {
          // Programmed as it is in the kernel now, whoever wrote it.
          for (const prefix of world.speaker.origins()) {
            const key = prefix.replace(/\/(32|128)$/, "");
            const d = world.datapath.desired!;
            const there = key.includes("/")
              ? d.podBlocks.includes(key)
              : d.services.some((s) => s.vip === key && s.entry);
            const backends = d.services.some((s) => s.vip === key && s.backends.length > 0);
            // A VIP that has just lost its last endpoint is withdrawn in the same round.
            if (backends || key.includes("/")) expect(there, `${prefix} is announced`).toBe(true);
          }
        };
        const before = new Set<string>();
        world.speaker.onState = () => {
          for (const prefix of world.speaker.origins()) {
            if (before.has(prefix)) continue;
            expect(world.datapath.programmed(prefix.replace(/\/(32|128)$/, ""))).toBe(true);
            expect(world.datapath.broken).toBe(false);
          }
          before.clear();
          for (const prefix of world.speaker.origins()) before.add(prefix);
          check();
        };
        world.datapath.onSync = check;
        world.start();
        await world.clock.advance(300);
        for (const { event: what, ms } of steps) {
          if (typeof what === "object") {
            wanted = snapshot({
              services: what.service ? [service("web")] : [],
              advertisements: what.advertised ? [advertisement("all")] : [],
              endpointSlices: [4, 6].map((family) =>
                slice(
                  "web",
                  family as 4 | 6,
                  what.endpoints.map((e, i) => ({
                    address: family === 4 ? `10.1.0.${i + 2}` : `fd10:1::${i + 2}`,
                    ...e,
                  })),
                ),
              ),
            });
          } else if (what === "kill agent") world.kill();
          else if (what === "start agent" && !world.agent) world.start();
          else if (what === "restart speaker") {
            world.speaker.restart();
          } else if (what === "reconnect speaker" && world.agent && !world.speaker.agent)
            world.speaker.connect(world.agent);
          else if (what === "API away") world.cluster = undefined;
          else if (what === "break datapath") world.datapath.broken = true;
          else if (what === "mend datapath") world.datapath.broken = false;
          else if (what === "taint") tainted = true;
          else if (what === "untaint") tainted = false;
          else if (what === "ack slowly") world.speaker.ackMs = 3_000;
          else if (what === "ack quickly") world.speaker.ackMs = 10;
          else if (what === "peer down") world.speaker.established = false;
          else if (what === "peer up") world.speaker.established = true;
          if (what !== "API away" && (world.cluster || what === "API back"))
            world.cluster = { ...wanted, nodes: tainted ? [drained(1), node(2)] : wanted.nodes };
          if (what === "peer up" || what === "peer down") world.speaker.sessions();
          world.agent?.poke();
          await world.clock.advance(ms);
        }
        // When the storm is over, the node gets to where it should be.
        world.datapath.broken = false;
        world.speaker.ackMs = 10;
        world.speaker.established = true;
        world.speaker.sessions();
        world.cluster = snapshot();
        if (!world.agent) world.start();
        else if (!world.speaker.agent) world.speaker.connect(world.agent);
        world.agent!.poke();
        await world.clock.advance(60_000);
        expect(world.speaker.origins()).toEqual(everything);
        expect(world.condition("Ready"), JSON.stringify(world.logs.slice(-5))).toMatch(/^True Ready/);
        for (const o of world.speaker.state!.origins) expect(o.attributes!.communities).toEqual([]);
        world.kill();
      }),
      { seed: 20, numRuns: 60 },
    );
  }, 120_000);
});
