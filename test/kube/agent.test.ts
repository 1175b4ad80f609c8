// kube: a real agent, speaker and datapath on one node, told by the embedded API server, heard by BIRD.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { advertisement, peer, slice } from "../unit/plan/fixture.ts";
import { AgentNode, everything, missing, own, populate, router, until, vips } from "./agent-node.ts";

const needs = missing();

describe.skipIf(needs)(`agent on a node${needs ? ` (skipped: needs ${needs})` : ""}`, () => {
  let n: AgentNode;
  const hears = (prefixes: readonly string[], ms = 10_000) =>
    until(
      `BIRD hears ${prefixes.join(" ")}, not ${n.heard().join(" ")}`,
      () => JSON.stringify(n.heard()) === JSON.stringify(prefixes),
      ms,
    );
  const says = (type: string, pattern: RegExp, ms = 10_000) =>
    until(`${type} ${pattern}`, async () => pattern.test(await n.condition(type)), ms);
  const inNode = (...command: string[]): string =>
    execFileSync("nsenter", [`--net=/run/netns/${n.netns}`, "--", ...command], { encoding: "utf8" });

  beforeAll(async () => {
    n = new AgentNode();
    await n.startApiServer();
    n.startRouter();
    await populate(n);
    n.startSpeaker();
    n.startAgent();
  }, 60_000);

  afterAll(async () => {
    if (process.env["WAGGLE_KEEP"]) console.log(n.log("agent"), n.log("bgpd"));
    await n?.[Symbol.asyncDispose]();
  }, 30_000);

  it("proves and announces, and the router has it with our tag", async () => {
    await hears(everything, 20_000);
    await says("Ready", /^True Ready/);
    const all = n.birdc("show", "route", "all", "protocol", "node1");
    expect(all).toContain(`(${own.asn}, 1, 1)`);
    expect(all).toContain(`(${own.asn}, 1, 2)`);
    const { status } = await n.network();
    expect(status?.proofs?.map((p) => p.state)).toEqual(Array(4).fill("Proven"));
    expect(status?.sessions?.[0]).toMatchObject({ peer: "tor", state: "Established", advertised: 4 });
    expect(status?.agent?.layout).toMatch(/^[0-9a-f]+$/);
    expect(JSON.parse(readFileSync(n.path("cni/10-waggle.conflist"), "utf8"))).toMatchObject({
      name: "waggle",
    });
  }, 40_000);

  it("takes what the ClusterPeering declares into map and kernel, and nothing else", async () => {
    await until("routes in the kernel", () =>
      /10\.2\.0\.0\/26/.test(inNode("ip", "route", "show", "proto", "87")),
    );
    const routes = inNode("ip", "route", "show", "proto", "87");
    expect(routes).not.toContain("default");
    expect(routes).not.toContain("10.9.0.0");
    expect(inNode("ip", "-6", "route", "show", "proto", "87")).toContain("fd10:2::/64 via fd28:1::1");
    await until("routes in status", async () => (await n.network()).status?.routes?.inFIB === 2);
    expect((await n.network()).status?.routes?.tagMissing).toEqual([]);
  });

  it("a change reaches the router within a second", async () => {
    const begun = performance.now();
    await n.apply(
      advertisement("all", {
        advertise: [
          { type: "PodBlocks", attributes: { communities: { standard: ["65001:777"] } } },
          { type: "Services", serviceSelector: {}, addresses: ["LoadBalancerIP"] },
        ],
      }),
    );
    await until("the community", () =>
      n.birdc("show", "route", "all", "protocol", "node1").includes("(65001,777)"),
    );
    const ms = performance.now() - begun;
    console.log(`advertisement -> BIRD: ${Math.round(ms)} ms`);
    expect(ms).toBeLessThan(1_000);
  });

  it("kill -9 of the agent changes nothing; the next one takes over", async () => {
    const since = n.birdc("show", "protocols", "node1");
    await n.kill("agent");
    await sleep(500);
    expect(n.heard()).toEqual(everything);
    expect(n.pins().some((p) => p.includes("links/"))).toBe(true);
    n.startAgent();
    const { startedAt } = (await n.network()).status!.agent!;
    await until(
      "the new agent's report",
      async () => (await n.network()).status?.agent?.startedAt !== startedAt,
    );
    await says("Ready", /^True Ready/);
    expect(n.heard()).toEqual(everything);
    expect(n.birdc("show", "protocols", "node1")).toBe(since);
    expect(inNode("ip", "route", "show", "proto", "87")).toContain("10.2.0.0/26");
  }, 30_000);

  it("SIGTERM ends it quickly and leaves everything", async () => {
    const ms = await n.kill("agent", "SIGTERM");
    console.log(`SIGTERM -> end: ${Math.round(ms)} ms`);
    expect(ms).toBeLessThan(2_000);
    expect(n.heard()).toEqual(everything);
    n.startAgent();
    await says("Ready", /^True Ready/);
  }, 30_000);

  it("kill -9 of the speaker: it is told everything again", async () => {
    await n.kill("bgpd");
    await says("SpeakerConnected", /^False/);
    n.startSpeaker();
    await says("Ready", /^True Ready/, 20_000);
    await hears(everything);
  }, 40_000);

  it("starts from the stored snapshot while the API server is away", async () => {
    await sleep(1_500);
    await n.kill("apiserver");
    await n.kill("agent");
    n.startAgent();
    await sleep(6_000);
    expect(n.heard()).toEqual(everything);
    expect(n.log("agent")).toContain("desired state sent");
    await n.client[Symbol.asyncDispose]();
    await n.startApiServer();
    await says("SnapshotFresh", /^True/, 40_000);
    await says("Ready", /^True Ready/);
  }, 70_000);

  it("an unproven VIP is not announced: no endpoint, then one", async () => {
    await n.apply(slice("web", 4, []));
    await hears(everything.filter((p) => p !== vips[0]));
    await until("reason in status", async () =>
      (await n.network()).status?.announced?.some(
        (a) => a.prefix === vips[0] && /no ready endpoint/.test(a.reason ?? ""),
      ),
    );
    await n.apply(slice("web", 4, [{ address: "10.1.0.2", node: 1 }]));
    await hears(everything);
  });

  it("drains with force, and comes back", async () => {
    const waggle = (...args: string[]): string =>
      execFileSync(
        process.execPath,
        ["src/cli/main.ts", ...args, "--kubeconfig", n.path("kubeconfig"), "-o", "json"],
        {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"],
          env: { ...process.env, WAGGLE_API_SOCKET: n.path("api.sock") },
        },
      );
    const outcome = JSON.parse(waggle("drain", n.node, "--force", "--wait", "--timeout", "20s")) as {
      phase: string;
      announced: string[];
    };
    expect(outcome).toMatchObject({ phase: "Released", announced: [] });
    expect(n.heard()).toEqual([]);
    waggle("drain", n.node, "--undo");
    await hears(everything);
  }, 60_000);

  it("holds the session down while the password Secret is missing", async () => {
    await n.apply(
      peer("tor", {
        address: router.ipv4,
        peerASN: router.asn,
        connectRetrySeconds: 1,
        passwordSecretName: "bgp",
      }),
    );
    await until("session down with its reason", async () =>
      /Secret waggle-system\/bgp/.test((await n.network()).status?.sessions?.[0]?.reason ?? ""),
    );
    await n.kill("bird");
    n.startRouter("geheim");
    await n.apply({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name: "bgp", namespace: "waggle-system" },
      data: { password: Buffer.from("geheim").toString("base64") },
    });
    await until(
      "Established with TCP-MD5",
      async () => {
        const session = (await n.network()).status?.sessions?.[0];
        return session?.state === "Established" && session.md5;
      },
      20_000,
    );
    await hears(everything);
    expect(n.log("agent") + n.log("bgpd")).not.toContain("geheim");
    for (const file of ["state/snapshot.json", "state/progress.json", "state/names.json"])
      expect(readFileSync(n.path(file), "utf8")).not.toContain("geheim");
  }, 60_000);

  it("cleanup removes exactly what is ours", async () => {
    await n.kill("agent", "SIGTERM");
    await n.kill("bgpd", "SIGTERM");
    const removed = n.cleanup();
    console.log(removed.join("; "));
    expect(removed.length).toBeGreaterThanOrEqual(4);
    expect(n.pins()).toEqual([]);
    expect(inNode("ip", "route", "show", "proto", "87")).toBe("");
    expect(existsSync(n.path("state/snapshot.json"))).toBe(false);
    expect(existsSync(n.path("cni/10-waggle.conflist"))).toBe(false);
    expect(n.cleanup()).toEqual([]);
  }, 30_000);
});
