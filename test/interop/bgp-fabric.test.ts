// test/interop: a fabric of two BIRDs: nodes of two clusters with one ASN, each with both for neighbours; another BIRD on the node owns port 179;
// packets go on while a speaker is killed and comes back.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { Family, QueryKind } from "../../src/api/generated/proto/speaker_pb.js";
import { parseAddress, toBytes } from "../../src/net/address.ts";
import { asn, Bgpd, BgpLab, Bird, birdPath, canRun, origin, untilPatient as until } from "./bgp-lab.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const tors = [
  { name: "tor1", address: "10.99.0.1", asn: 65001 },
  { name: "tor2", address: "10.99.0.5", asn: 65002 },
] as const;
const nodes = [
  { name: "a", address: "10.99.0.3", prefix: "10.1.0.0/26" },
  { name: "b", address: "10.99.0.4", prefix: "10.2.0.0/26" },
] as const;
/** The daemon that was on the first node before us. */
const elder = { address: "10.99.0.2", asn: 64600, prefix: "10.3.0.0/26" } as const;

describe.skipIf(!canRun)(`a fabric${canRun ? "" : " (skipped: needs root and bird)"}`, () => {
  let lab: BgpLab;
  const birds = new Map<string, Bird>();
  const speakers = new Map<string, Bgpd>();

  async function bird(side: string, name: string, config: string): Promise<void> {
    const file = join(lab.directory, `${name}.conf`);
    const socket = join(lab.directory, `${name}.ctl`);
    writeFileSync(file, `log stderr all;\nprotocol device { scan time 2; }\n${config}`);
    const child = lab.start(side, birdPath!, "-f", "-c", file, "-s", socket);
    birds.set(name, new Bird(child, file, socket));
    await until(`${name} answers`, () => birds.get(name)!.ask("show status").includes("up and running"));
  }

  async function speaker(name: string): Promise<Bgpd> {
    const path = join(lab.directory, `${name}.sock`);
    const child = lab.start("b", process.execPath, "src/cli/main.ts", "bgpd", "--socket", path);
    const bgpd = new Bgpd(child, path);
    await until(`speaker ${name} answers`, () => bgpd.connect());
    speakers.set(name, bgpd);
    const node = nodes.find((n) => n.name === name)!;
    bgpd.desire({
      routerId: Number(parseAddress(node.address).lo),
      peers: tors.map((t) => ({
        name: t.name,
        address: toBytes(parseAddress(t.address)),
        localAddress: toBytes(parseAddress(node.address)),
        ...(t.name === "tor1" && { localPort: 1179 }),
        peerAsn: t.asn,
        families: [Family.IPV4_UNICAST],
        connectRetrySeconds: 1,
        gracefulRestart: true,
        forwardingPreserved: true,
        allowAsIn: 1,
        importPolicies: ["all"],
        exportPolicies: ["own"],
      })),
      origins: [origin(node.prefix, { peers: tors.map((t) => t.name) })],
    });
    return bgpd;
  }

  /** Neighbours by which a speaker reaches a prefix. */
  const ways = async (name: string, prefix: string): Promise<string[]> => {
    const wanted = [...toBytes(parseAddress(prefix.split("/")[0]!))].join();
    const routes = await speakers.get(name)!.routes(QueryKind.QUERY_ROUTES);
    return (routes.find((r) => r.prefix.join() === wanted)?.paths ?? []).map((p) => p.peer).sort();
  };

  beforeAll(async () => {
    lab = new BgpLab("fabric");
    const address = (side: string, a: string, link: string) =>
      lab.in(side, "ip", "addr", "add", a, "dev", link);
    address("a", `${tors[1].address}/24`, "veth0");
    for (const n of nodes) address("b", `${n.address}/24`, "veth0");
    // What a packet to the first node's pods finds.
    address("b", "10.1.0.1/32", "lo");
    const neighbour = (name: string, a: string, as: number) =>
      `protocol bgp ${name} from node { neighbor ${a} as ${as}; }\n`;
    for (const t of tors)
      await bird(
        "a",
        t.name,
        `router id ${t.address};
template bgp node {
  local ${t.address} as ${t.asn}; strict bind on; passive on; graceful restart on; graceful restart time 30;
  ipv4 { import all; export all; next hop self; };
}
${nodes.map((n) => neighbour(n.name, n.address, asn.ours)).join("")}${t.name === "tor1" ? `${neighbour("elder", elder.address, elder.asn)}protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n` : ""}`,
      );
    await bird(
      "b",
      "elder",
      `router id ${elder.address};
protocol static { ipv4; route ${elder.prefix} unreachable; }
protocol bgp tor1 { local ${elder.address} as ${elder.asn}; neighbor ${tors[0].address} as ${tors[0].asn};
  connect delay time 1; connect retry time 1; error wait time 1, 2; ipv4 { import all; export all; }; }`,
    );
    for (const n of nodes) await speaker(n.name);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("nodes of one ASN reach each other by both routers", async () => {
    await until("a reaches b", async () => (await ways("a", nodes[1].prefix)).join() === "tor1,tor2");
    await until("b reaches a", async () => (await ways("b", nodes[0].prefix)).join() === "tor1,tor2");
  });

  test("beside a BIRD that owns port 179: nobody of ours listens, the source port is as configured, both are heard", async () => {
    await until("elder is up", () => birds.get("tor1")!.established("elder"));
    const listening = lab.in("b", "ss", "-Hltnp");
    expect(listening).toMatch(/:179\s/);
    expect(listening).not.toContain("node");
    // One address and port of ours on the router's side of each session.
    const connected = lab.in("b", "ss", "-Htn", "state", "established", "dst", `${tors[0].address}:179`);
    for (const n of nodes) expect(connected).toContain(`${n.address}:1179`);
    const routes = birds.get("tor1")!.routes();
    for (const p of [elder.prefix, nodes[0].prefix, nodes[1].prefix]) expect(routes).toContain(p);
    await until("our node hears the elder", async () => (await ways("b", elder.prefix)).includes("tor1"));
  });

  test("a speaker is killed and comes back: no packet to its node is lost", async () => {
    await until("the router forwards", () =>
      lab.in("a", "ip", "route", "show", nodes[0].prefix).includes(nodes[0].address),
    );
    const args = [`--net=/var/run/netns/${lab.netns("a")}`, "ping", "-q", "-i", "0.005", "10.1.0.1"];
    const ping = spawn("nsenter", args, { stdio: ["ignore", "pipe", "ignore"] });
    lab.own(ping);
    let said = "";
    ping.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
    });
    speakers.get("a")!.process.kill("SIGKILL");
    await until("the router noticed", () => !birds.get("tor1")!.established("a"));
    await speaker("a");
    await until("the session is back", () => birds.get("tor1")!.established("a"));
    await until("routes are back", async () => (await ways("a", nodes[1].prefix)).length === 2);
    ping.kill("SIGINT");
    await once(ping, "exit");
    const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(said) ?? [];
    expect(Number(sent)).toBeGreaterThan(20);
    // The last one may still be on its way.
    expect(Number(sent) - Number(received)).toBeLessThanOrEqual(1);
  });

  test("a router that dies takes only its own way with it", async () => {
    birds.get("tor2")!.ask("disable all");
    await until("one way is left", async () => (await ways("a", nodes[1].prefix)).join() === "tor1");
    birds.get("tor2")!.ask("enable all");
    await until("both again", async () => (await ways("a", nodes[1].prefix)).join() === "tor1,tor2");
  });
});
