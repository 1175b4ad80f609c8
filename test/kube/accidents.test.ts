// kube: what docs/uninstall.md promises of accidents: kinds deleted, rights revoked, advertisements pruned, everything stopped.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readManifests } from "../../src/apiserver/manifests.ts";
import { isNotFound, kinds } from "../../src/kube/index.ts";
import { AgentNode, everything, missing, networkIn, populate, until } from "./agent-node.ts";

const needs = missing();
/** A neighbour keeps the routes of a speaker that has gone for so long, seconds. */
const restartSeconds = 10;

describe.skipIf(needs)(`accidents on a node${needs ? ` (skipped: needs ${needs})` : ""}`, () => {
  let n: AgentNode;
  const hears = (prefixes: readonly string[], ms = 60_000) =>
    until(
      `BIRD hears ${prefixes.join(" ")}`,
      () => JSON.stringify(n.heard()) === JSON.stringify(prefixes),
      ms,
    );
  const says = (type: string, pattern: RegExp, ms = 60_000) =>
    until(`${type} ${pattern}`, async () => pattern.test(await n.condition(type)), ms);
  const path = (resource: string, name = ""): string =>
    `/apis/apiextensions.k8s.io/v1/${resource}${name && `/${name}`}`;

  beforeAll(async () => {
    n = new AgentNode();
    await n.startApiServer();
    n.startRouter();
    await populate(n, networkIn("Announce"), { gracefulRestart: { enabled: true, restartSeconds } });
    // As the chart runs them, their capabilities too.
    for (const [name, file] of [
      ["agent", "agent"],
      ["bgpd", "speaker"],
    ] as const) {
      const text = readFileSync(`deploy/chart/templates/${file}.yaml`, "utf8");
      n.capabilities.set(name, /^ +add: \[([A-Z_, ]+)\]$/m.exec(text)![1]!.split(", "));
    }
    n.startSpeaker("--metrics-listen", "127.0.0.1:9633");
    n.startAgent("--metrics-listen", "127.0.0.1:9631");
    await hears(everything);
  }, 120_000);
  afterAll(async () => {
    if (process.env["WAGGLE_KEEP"]) console.log(n.log("agent"), n.log("bgpd"));
    await n?.[Symbol.asyncDispose]();
  }, 30_000);

  /** A sample of a daemon's metrics; undefined where it is not shown. */
  const sample = (port: number, series: string): number | undefined => {
    const program = `fetch("http://127.0.0.1:${port}/metrics").then((r) => r.text()).then((t) => process.stdout.write(t))`;
    const text = execFileSync(
      "nsenter",
      [`--net=/run/netns/${n.netns}`, "--", process.execPath, "-e", program],
      { encoding: "utf8" },
    );
    const line = text.split("\n").find((l) => l.startsWith(`${series} `));
    return line === undefined ? undefined : Number(line.split(" ").at(-1));
  };
  const shows = (port: number, series: string, value: number, ms = 60_000) =>
    until(`${series} ${value}`, () => sample(port, series) === value, ms);

  it("works with the capabilities that the chart gives, and shows its metrics", async () => {
    await says("Ready", /^True Ready/);
    await shows(9631, 'waggle_agent_announcements{state="Announced"}', everything.length);
    await shows(9631, 'waggle_agent_proofs{state="Proven"}', everything.length);
    expect(sample(9631, "waggle_agent_speaker_connected")).toBe(1);
    expect(sample(9631, "waggle_agent_datapath_healthy")).toBe(1);
    expect(sample(9633, 'waggle_bgp_session_up{peer="tor"}')).toBe(1);
    await shows(9633, 'waggle_bgp_prefixes_advertised{peer="tor",family="ipv4"}', 2);
    const failures = n
      .log("agent")
      .split("\n")
      .filter((l) => /EPERM|EACCES|not permitted/.test(l));
    expect(failures).toEqual([]);
  }, 150_000);

  it("all kinds deleted: nothing is withdrawn, no finalizer holds them up, and objects come back", async () => {
    const definitions = readManifests("crds").map((m) =>
      String((m["metadata"] as { readonly name: string }).name),
    );
    for (const name of definitions)
      await n.client.raw({ method: "DELETE", path: path("customresourcedefinitions", name) });
    for (const name of definitions)
      await until(`${name} is gone`, () =>
        n.client.raw({ method: "GET", path: path("customresourcedefinitions", name) }).then(
          () => false,
          (error: unknown) => isNotFound(error),
        ),
      );
    await shows(9631, "waggle_agent_snapshot_fresh", 0);
    await sleep(1_000);
    expect(n.heard()).toEqual(everything);
    expect(n.pins().some((p) => p.includes("links/"))).toBe(true);
    // An agent that starts now knows what it did before.
    await n.kill("agent");
    n.startAgent();
    await sleep(2_500);
    expect(n.heard()).toEqual(everything);

    for (const manifest of readManifests("crds"))
      await n.client.raw({ method: "POST", path: path("customresourcedefinitions"), body: manifest });
    await until("the kinds are served", () =>
      n.client.list(kinds.NodeNetwork, { retries: 0 }).then(
        () => true,
        () => false,
      ),
    );
    await populate(n, networkIn("Announce"), { gracefulRestart: { enabled: true, restartSeconds } });
    await says("SnapshotFresh", /^True/);
    await says("Ready", /^True Ready/);
    expect(n.heard()).toEqual(everything);
  }, 240_000);

  it("every BGPAdvertisement pruned: held, until the hash is approved", async () => {
    for (const { metadata } of (await n.client.list(kinds.BGPAdvertisement)).items)
      await n.client.delete(kinds.BGPAdvertisement, metadata.name);
    await says("PlanApplied", /^False/);
    await sleep(1_000);
    expect(n.heard()).toEqual(everything);
    const { status } = await n.network();
    expect(status?.heldPlan?.withdraws).toHaveLength(everything.length);
    await n.client.patch(kinds.NodeNetwork, n.node, "merge", {
      metadata: { annotations: { "waggle.dev/approve": status!.heldPlan!.hash } },
    });
    await hears([]);
    await populate(n, networkIn("Announce"), { gracefulRestart: { enabled: true, restartSeconds } });
    await hears(everything);
  }, 150_000);

  it("everything stopped, as an uninstall does: the datapath stays, neighbours keep the routes for their restart time", async () => {
    await n.kill("agent", "SIGTERM");
    const begun = performance.now();
    await n.kill("bgpd", "SIGTERM");
    await sleep(1_000);
    const first = n.heard();
    // On a machine that is starved the time may have passed before anybody could look.
    if (performance.now() - begun < restartSeconds * 1_000) expect(first).toEqual(everything);
    expect(n.pins().some((p) => p.includes("links/"))).toBe(true);
    await hears([], (restartSeconds + 60) * 1_000);
    expect(n.pins().some((p) => p.includes("links/"))).toBe(true);
    expect(n.cleanup().length).toBeGreaterThan(0);
    expect(n.pins()).toEqual([]);
  }, 150_000);
});
