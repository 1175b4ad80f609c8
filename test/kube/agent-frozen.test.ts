// kube: a real node that is only observed, then announces, is paused, and lets go of everything on purpose.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SpeakerClient } from "../../src/bgp/daemon/speaker-client.ts";
import { kinds } from "../../src/kube/index.ts";
import { advertisement } from "../unit/plan/fixture.ts";
import { AgentNode, everything, missing, networkIn, populate, until } from "./agent-node.ts";

const needs = missing();

describe.skipIf(needs)(`observed, paused and left${needs ? ` (skipped: needs ${needs})` : ""}`, () => {
  let n: AgentNode;
  const hears = (prefixes: readonly string[], ms = 10_000) =>
    until(
      `BIRD hears ${prefixes.join(" ")}`,
      () => JSON.stringify(n.heard()) === JSON.stringify(prefixes),
      ms,
    );
  const says = (type: string, pattern: RegExp, ms = 10_000) =>
    until(`${type} ${pattern}`, async () => pattern.test(await n.condition(type)), ms);
  const inNode = (...command: string[]): string =>
    execFileSync("nsenter", [`--net=/run/netns/${n.netns}`, "--", ...command], { encoding: "utf8" });
  /** Everything in the node's network namespace and on bpffs that Waggle could have made. */
  const traces = (): readonly string[] => [
    inNode("ip", "-o", "link").replace(/ state \S+.*/g, ""),
    inNode("ip", "route", "show", "table", "all", "proto", "87"),
    inNode("ip", "-6", "route", "show", "table", "all", "proto", "87"),
    inNode("tc", "qdisc", "show", "dev", "eth0"),
    inNode("ss", "-Htnl"),
    n.pins().join(),
    existsSync(n.path("cni")) ? readdirSync(n.path("cni")).join() : "",
  ];
  const generation = async (): Promise<bigint> => {
    const { client, hello } = await SpeakerClient.open({ path: n.path("bgpd.sock") });
    using _ = client;
    return hello.generation;
  };
  const annotate = (annotations: Readonly<Record<string, string | null>>) =>
    n.client.patch(kinds.Node, n.node, "merge", { metadata: { annotations } });

  beforeAll(async () => {
    n = new AgentNode();
    await n.startApiServer();
    n.startRouter();
    await populate(n, networkIn("Observe"));
  }, 60_000);
  afterAll(async () => {
    if (process.env["WAGGLE_KEEP"]) console.log(n.log("agent"), n.log("bgpd"));
    await n?.[Symbol.asyncDispose]();
  }, 30_000);

  it("mode Observe writes nothing, attaches nothing and speaks to nobody, and says what it would do", async () => {
    const before = traces();
    n.startSpeaker();
    n.startAgent();
    await says("Ready", /^True NotAnnouncing/, 20_000);
    await sleep(3_000);
    expect(traces()).toEqual(before);
    expect(await generation()).toBe(0n);
    expect(n.birdc("show", "protocols", "node1")).not.toContain("Established");
    const { status } = await n.network();
    expect(status?.announced?.map((a) => [a.prefix, a.state, a.code])).toEqual(
      everything.map((prefix) => [prefix, "Withdrawn", "ModeIsObserve"]),
    );
    expect(status?.sessions).toEqual([]);
  }, 40_000);

  it("announces when it is told to, without a restart", async () => {
    await n.apply(networkIn("Announce"));
    await hears(everything, 20_000);
    await says("Ready", /^True Ready/);
  }, 30_000);

  it("paused it stays as it is, over a restart too, and goes on when it is let go", async () => {
    await annotate({ "waggle.dev/paused": "true" });
    await says("Paused", /^True Paused: .*Node\/node1/);
    const med = advertisement("all", { advertise: [{ type: "PodBlocks", attributes: { med: 77 } }] });
    await n.apply(med);
    await n.kill("agent");
    n.startAgent();
    await says("Paused", /^True Paused/);
    await sleep(4_000);
    expect(n.heard()).toEqual(everything);
    expect(n.birdc("show", "route", "all", "protocol", "node1")).not.toContain("BGP.med: 77");
    await annotate({ "waggle.dev/paused": null });
    await until("the new attributes", () =>
      n.birdc("show", "route", "all", "protocol", "node1").includes("BGP.med: 77"),
    );
    // Two of four withdrawn at once wait for an approval; that is the guard's part.
    await says("PlanApplied", /^False PlanHeld/);
    await n.apply(advertisement("all"));
    await says("PlanApplied", /^True/);
    await hears(everything);
  }, 60_000);

  it("lets go of everything in the order of a drain when it is told to", async () => {
    const withdraw = (value: string | null) =>
      n.client.patch(kinds.ClusterNetwork, "default", "merge", {
        metadata: { annotations: { "waggle.dev/withdraw": value } },
      });
    await withdraw("another-cluster");
    await sleep(1_000);
    expect(n.heard()).toEqual(everything);
    await withdraw("dc1");
    await until("least preferred", () =>
      n.birdc("show", "route", "all", "protocol", "node1").includes("(65535,0)"),
    );
    await hears([], 20_000);
    await until("Released", async () => (await n.network()).status?.drain?.phase === "Released", 20_000);
    await withdraw(null);
    await hears(everything, 20_000);
  }, 90_000);
});
