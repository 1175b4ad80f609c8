import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TransportError } from "../../../src/kube/errors.ts";
import { Informer } from "../../../src/kube/informer.ts";
import { kinds } from "../../../src/kube/resource.ts";
import { claimName, fromInteger, maskTo, overlaps, parsePrefix } from "../../../src/net/address.ts";
import { ClaimLedger } from "../../../src/operator/claims.ts";
import { SimulatedApi } from "../kube/simulated-api.ts";
import { seeded, VirtualClock } from "../kube/virtual-clock.ts";
import { network, node, pods, service, vips, World } from "./world.ts";

/** One process that knows nothing: its cache never lists. */
function ignorant(api: SimulatedApi, clock: VirtualClock, name: string, death: AbortController) {
  const client = api.client(name, death.signal);
  const informer = new Informer({ api: client, resource: kinds.IPAllocation, clock, random: () => 0.5 });
  return new ClaimLedger(client, informer, clock);
}

const owner = (name: string) => ({ kind: "Service", namespace: "shop", name, uid: `uid-${name}` }) as const;

describe("claims of processes that know nothing of one another", () => {
  const wishes = fc.array(
    fc.record({
      process: fc.nat(3),
      owner: fc.nat(5),
      length: fc.integer({ min: 28, max: 32 }),
      offset: fc.nat(15),
      after: fc.nat(300),
    }),
    { minLength: 2, maxLength: 14 },
  );

  it("never hold two that overlap nor more than the quota, though each dies or loses answers at any moment", async () => {
    let held = 0;
    await fc.assert(
      fc.asyncProperty(wishes, fc.integer(), fc.integer({ min: 1, max: 6 }), async (list, seed, quota) => {
        const clock = new VirtualClock();
        const random = seeded(seed);
        const api = new SimulatedApi({ clock, random, latencyMs: 60 });
        api.fault = () => (random() < 0.1 ? new TransportError("connect", "lost") : undefined);
        const processes = [0, 1, 2, 3].map((i) => {
          const death = new AbortController();
          return { death, ledger: ignorant(api, clock, `p${i}`, death) };
        });
        const granted = new Map<string, string>();
        for (const w of list) {
          const prefix = maskTo(fromInteger(4, 0x0a000000n + BigInt(w.offset)), w.length);
          const { ledger } = processes[w.process]!;
          clock.after(w.after, () => {
            ledger.claim(owner(`s${w.owner}`), { name: "pool", quota }, prefix).then(
              (outcome) => {
                if (outcome.ok) granted.set(claimName(prefix), outcome.claim.spec.owner.uid);
              },
              () => undefined,
            );
          });
        }
        clock.after(random() * 400, () => processes[0]!.death.abort());
        api.onWrite = () => {
          const phased = api.all(kinds.IPAllocation).filter((c) => c.status?.phase !== undefined);
          for (const a of phased)
            for (const b of phased)
              if (a !== b)
                expect(overlaps(parsePrefix(a.spec.prefix), parsePrefix(b.spec.prefix))).toBe(false);
          expect(phased.length).toBeLessThanOrEqual(quota);
        };
        await clock.advance(5_000);
        held += granted.size;
        for (const [name, uid] of granted) {
          const claim = api.read(kinds.IPAllocation, name);
          expect(claim?.status?.phase).toBe("Bound");
          expect(claim?.spec.owner.uid).toBe(uid);
        }
      }),
      { seed: 5, numRuns: 400 },
    );
    // The rules are not kept by giving out nothing.
    expect(held).toBeGreaterThan(150);
  }, 60_000);

  it("give a free prefix to whoever asks alone", async () => {
    const clock = new VirtualClock();
    const api = new SimulatedApi({ clock, random: seeded(1), latencyMs: 5 });
    const ledger = ignorant(api, clock, "p", new AbortController());
    const asked = ledger.claim(owner("a"), { name: "pool", quota: 1 }, parsePrefix("10.0.0.0/28"));
    await clock.advance(100);
    expect(await asked).toMatchObject({ ok: true, claim: { status: { phase: "Bound" } } });
    const inside = ledger.claim(owner("b"), { name: "other", quota: undefined }, parsePrefix("10.0.0.7/32"));
    await clock.advance(100);
    expect(await inside).toMatchObject({ ok: false, by: expect.stringContaining("Service shop/a") });
    expect(api.all(kinds.IPAllocation)).toHaveLength(1);
  });
});

describe("writes that arrive late, from processes that are dead by then", () => {
  it("bind nothing that is another claim by now", async () => {
    const clock = new VirtualClock();
    const api = new SimulatedApi({ clock, random: seeded(1), latencyMs: 5 });
    const deaths = [1, 2, 3].map(() => new AbortController());
    const [slow, other, dying] = deaths.map((d, i) => ignorant(api, clock, `p${i}`, d));
    api.stall = (operation, client) => (client === "p0" && operation.verb === "patch" ? 10_000 : 0);
    const block = parsePrefix("10.0.0.0/28");
    void slow!.claim(owner("a"), { name: "pool", quota: undefined }, block);
    await clock.advance(1_000);
    deaths[0]!.abort();
    api.remove(kinds.IPAllocation, claimName(block));
    void other!.claim(owner("b"), { name: "pool", quota: undefined }, parsePrefix("10.0.0.4/32"));
    await clock.advance(1_000);
    api.onWrite = (_kind, type) => type === "ADDED" && deaths[2]!.abort();
    void dying!.claim(owner("c"), { name: "pool", quota: undefined }, block);
    await clock.advance(60_000);
    const phases = api.all(kinds.IPAllocation).map((c) => `${c.spec.prefix} ${c.status?.phase}`);
    expect(phases.toSorted()).toEqual(["10.0.0.0/28 undefined", "10.0.0.4/32 Bound"]);
  });

  it("show no address that is another Service's by now", async () => {
    const w = new World(5);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"], { cooldownSeconds: 0 }));
    const first = w.start();
    await w.settle();
    w.api.stall = (operation, client) =>
      client === first.name && operation.verb === "patch" && operation.kind === "Service" ? 29_000 : 0;
    const a = w.api.put(kinds.Service, service("a"));
    await w.settle(2_000);
    expect(w.claimLines()).toEqual(["10.101.0.0/32 Bound Service/a"]);
    w.kill(first);
    w.api.remove(kinds.Lease, "waggle-operator", "waggle-system");
    w.start();
    const annotations = { "waggle.dev/addresses": "10.101.0.9" };
    w.api.put(kinds.Service, { ...a, metadata: { ...a.metadata, annotations } });
    await w.settle(10_000);
    w.api.put(kinds.Service, service("b"));
    await w.settle(5_000);
    expect(w.service("b")?.status?.loadBalancer?.ingress?.[0]?.ip).toBe("10.101.0.0");
    let twice = 0;
    w.api.onWrite = () => {
      if (w.service("a")?.status?.loadBalancer?.ingress?.[0]?.ip !== "10.101.0.9") twice += 1;
    };
    await w.settle(60_000);
    expect(twice).toBe(0);
  });

  it("put no block of an earlier Node into the view of a later one", async () => {
    const w = new World(6);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/16"]));
    const first = w.start();
    await w.settle();
    w.api.stall = (operation, client) =>
      client === first.name && operation.verb === "patch" && operation.kind === "NodeNetwork" ? 29_000 : 0;
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    await w.settle(2_000);
    w.kill(first);
    w.api.remove(kinds.Node, "n1");
    w.api.remove(kinds.Lease, "waggle-operator", "waggle-system");
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    w.start();
    await w.settle(10_000);
    const view = w.view("n1")?.spec;
    expect(view?.podBlocks?.[0]?.prefix).toBe("10.1.0.64/26");
    let changes = 0;
    w.api.onWrite = (kind) => {
      if (kind === "NodeNetwork" && w.view("n1")?.spec.podBlocks?.[0]?.prefix !== "10.1.0.64/26")
        changes += 1;
    };
    await w.settle(60_000);
    expect(changes).toBe(0);
  });
});

describe("what a process believes of claims", () => {
  /** A process whose cache follows, and answers that arrive when the test says. */
  async function follower() {
    const clock = new VirtualClock();
    const api = new SimulatedApi({ clock, random: seeded(1), latencyMs: 0 });
    const client = api.client("p");
    const informer = new Informer({ api: client, resource: kinds.IPAllocation, clock, random: () => 0.5 });
    const ledger = new ClaimLedger(client, informer, clock);
    informer.start();
    await clock.advance(100);
    const claimOf = (name: string, uid: string) => ({
      apiVersion: "waggle.dev/v1alpha1" as const,
      kind: "IPAllocation" as const,
      metadata: { name, uid },
      spec: { prefix: "10.0.0.1/32", pool: "pool", owner: { ...owner(uid), uid } },
    });
    return { clock, api, client, ledger, claimOf };
  }
  const name = "v4-10-0-0-1-32";

  it("is not undone by an answer that was true when it was given", async () => {
    const { clock, api, ledger, claimOf } = await follower();
    // The answer "not found" is on its way when the claim is made and heard of.
    let slow = 0;
    api.fault = (operation, effect) => {
      if (operation.verb === "get" && !effect) slow += 1;
      return undefined;
    };
    const reading = (async () => {
      const original = api.pause.bind(api);
      let pauses = 0;
      api.pause = async () => {
        pauses += 1;
        if (pauses !== 2) return original();
        api.put(kinds.IPAllocation, claimOf(name, "a"));
        await new Promise<void>((resolve) => clock.after(500, resolve));
        return true;
      };
      return ledger.read(name);
    })();
    await clock.advance(1_000);
    await reading;
    expect(slow).toBe(1);
    expect(ledger.get(name)?.metadata.uid).toBe("a");
  });

  it("does not keep what has gone before the answer of its making came", async () => {
    const { clock, api, ledger, client, claimOf } = await follower();
    const answer = await Promise.all([
      client.create(kinds.IPAllocation, claimOf(name, "a")),
      clock.advance(10),
    ]);
    await clock.advance(100);
    expect(ledger.get(name)).toBeDefined();
    api.remove(kinds.IPAllocation, name);
    await clock.advance(100);
    expect(ledger.get(name)).toBeUndefined();
    // The same answer again, as if it had come only now.
    api.fault = () => undefined;
    const late = { ...answer[0] };
    const reading = ledger.verify({ ...late }, undefined).catch(() => undefined);
    await clock.advance(1_000);
    await reading;
    expect(ledger.get(name)).toBeUndefined();
    expect(ledger.taken.size).toBe(0);
  });
});

describe("operators with late caches", () => {
  it("do not give up an address that a node has just reported", async () => {
    const w = new World(3);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/24"], { cooldownSeconds: 0 }));
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    w.start();
    await w.settle();
    w.api.put(kinds.Service, service("a"));
    await w.settle();
    w.api.lag = (_, kind) => (kind === "NodeNetwork" ? 120_000 : 0);
    w.announce("n1", ["10.101.0.0/32"]);
    w.api.remove(kinds.Service, "a", "shop");
    await w.settle(60_000);
    expect(w.claimLines()).toEqual(["10.101.0.0/32 Releasing Service/a"]);
    w.announce("n1", []);
    await w.settle(300_000);
    expect(w.claimLines()).toEqual([]);
  });

  it("that lead at once and disagree about what is free settle on one block, and the other goes back", async () => {
    const w = new World(4);
    w.api.put(kinds.ClusterNetwork, network());
    w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/16"], { cooldownSeconds: 0 }));
    w.api.put(kinds.Node, node("n1", "172.30.1.11"));
    const [one] = [w.start(true), w.start(true)];
    await w.settle();
    const views: string[] = [];
    w.api.onWrite = (kind, type, object) => {
      if (kind !== "NodeNetwork" || type === "DELETED" || object.metadata.name !== "n2") return;
      const shown = JSON.stringify(w.view("n2")?.spec.podBlocks ?? []);
      if (shown !== views.at(-1)) views.push(shown);
    };
    // One of them does not hear that n1 is gone and its block free again.
    w.api.lag = (client, kind) => (client === one!.name && kind === "IPAllocation" ? 60_000 : 0);
    w.api.remove(kinds.Node, "n1");
    await w.settle(15_000);
    expect(w.claims()).toEqual([]);
    w.api.put(kinds.Node, node("n2", "172.30.1.12"));
    await w.settle(5_000);
    w.announce("n2", []);
    await w.settle(400_000);
    expect(views).toHaveLength(2);
    expect(w.claims()).toHaveLength(1);
    expect(w.view("n2")?.spec.podBlocks?.[0]?.prefix).toBe(w.claims()[0]?.spec.prefix);
  });
});
