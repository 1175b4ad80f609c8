// test/interop: BMP and MRT with others: FRR and GoBGP as routers that our station reads, tables and dumps of BIRD and FRR that we read, ours that GoBGP takes.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { peerIndexTable, ribRecord } from "../../src/bgp/mrt/record.ts";
import { encodeCanonical } from "../../src/bgp/wire/canonical.ts";
import { parseAddress } from "../../src/net/address.ts";
import { birdNeighbors, birdRoutes } from "../../src/plan/index.ts";
import {
  asn,
  BgpLab,
  birdBgp,
  birdPath,
  birdPeer,
  isRoot,
  origin,
  ours,
  theirs,
  untilPatient as until,
} from "./bgp-lab.ts";

/** A starved machine may delay anything by seconds. */
vi.setConfig({ testTimeout: 120_000 });

const has = (...paths: string[]): boolean => isRoot && paths.every((p) => existsSync(p));
const hasFrr = has("/usr/lib/frr/bgpd", "/usr/lib/x86_64-linux-gnu/frr/modules/bgpd_bmp.so");
const hasGobgp = has("/usr/bin/gobgpd", "/usr/bin/gobgp");
const hasBird = isRoot && birdPath !== undefined;
const hasTshark = has("/usr/bin/tshark");

let lab: BgpLab;
beforeEach(() => {
  if (isRoot) lab = new BgpLab("mon");
});
afterEach(async () => {
  await lab?.[Symbol.asyncDispose]();
});

type Fact = Record<string, unknown> & { event: string };
const facts = (text: string): Fact[] =>
  text
    .split("\n")
    .filter((l) => l.startsWith("{") && l.endsWith("}"))
    .map((l) => JSON.parse(l) as Fact);

const cli = ["src/cli/main.ts", "bgp"];
const mrt = (path: string): Fact[] =>
  facts(execFileSync(process.execPath, [...cli, "mrt", path, "-o", "json"], { encoding: "utf8" }));

/** A station in the speaker's namespace; what it prints. */
function station(): () => Fact[] {
  let text = "";
  const args = [
    `--net=/var/run/netns/${lab.netns("b")}`,
    process.execPath,
    ...cli,
    "bmp",
    "--listen",
    "11019",
    "-o",
    "json",
  ];
  const child = spawn("nsenter", args, { stdio: ["ignore", "pipe", "ignore"] });
  lab.own(child);
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return () => facts(text);
}

const speaker = async () => {
  const bgpd = await lab.speaker();
  bgpd.desire({
    peers: [birdPeer()],
    origins: [
      origin("10.64.0.0/24", { attributes: { med: 5, communities: [64512 * 65536 + 100] } }),
      origin("fd00:64::/64"),
    ],
  });
  return bgpd;
};
const heard = (list: readonly Fact[], event: string, prefix: string, view: string): Fact | undefined =>
  list.find((f) => f.event === event && f["prefix"] === prefix && f["view"] === view);

describe.skipIf(!hasFrr)("FRR as a router (skipped: needs root, FRR's bgpd with its BMP module)", () => {
  const frr = (more: string) => {
    const dir = join(lab.directory, "frr");
    mkdirSync(dir);
    const config = join(lab.directory, "frr.conf");
    writeFileSync(
      config,
      `${more.startsWith("dump") ? more : ""}
router bgp ${asn.bird}
 bgp router-id ${theirs.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor ${ours.ipv4} remote-as ${asn.ours}
 neighbor ${ours.ipv4} timers connect 1
 ${more.startsWith("dump") ? "" : more}
 address-family ipv4 unicast
  network 192.0.2.0/24
  neighbor ${ours.ipv4} soft-reconfiguration inbound
 exit-address-family
 address-family ipv6 unicast
  neighbor ${ours.ipv4} activate
  neighbor ${ours.ipv4} soft-reconfiguration inbound
 exit-address-family
`,
    );
    const options = [
      "-Z",
      "-S",
      "-P",
      "0",
      "-M",
      "bmp",
      "-f",
      config,
      "-i",
      join(dir, "pid"),
      "--vty_socket",
      dir,
    ];
    lab.start("a", "/usr/lib/frr/bgpd", ...options);
  };

  test("its BMP: sessions, our routes before and after policy, statistics", async () => {
    const seen = station();
    frr(`bmp targets t
  bmp connect ${ours.ipv4} port 11019 min-retry 100 max-retry 1000
  bmp monitor ipv4 unicast pre-policy
  bmp monitor ipv4 unicast post-policy
  bmp monitor ipv6 unicast pre-policy
  bmp stats interval 1000
 exit`);
    const bgpd = await speaker();
    await until(
      "our route before policy",
      () => heard(seen(), "announce", "10.64.0.0/24", "pre-policy"),
      40_000,
    );
    await until("after policy", () => heard(seen(), "announce", "10.64.0.0/24", "post-policy"));
    await until("IPv6", () => heard(seen(), "announce", "fd00:64::/64", "pre-policy"));
    expect(heard(seen(), "announce", "10.64.0.0/24", "pre-policy")).toMatchObject({
      peer: ours.ipv4,
      peerASN: asn.ours,
      nextHop: ours.ipv4,
      // FRR 8.4 puts its own number in front even before policy.
      asPath: expect.arrayContaining([asn.ours]) as unknown,
      med: 5,
      communities: ["64512:100"],
    });
    await until("statistics", () => seen().some((f) => f.event === "statistics"));
    bgpd.desire({ peers: [birdPeer()], origins: [] });
    await until("withdrawn", () => heard(seen(), "withdraw", "10.64.0.0/24", "pre-policy"));
    bgpd.desire({ peers: [], origins: [] });
    await until("peer down", () => seen().some((f) => f.event === "peer-down"));
    expect(seen().filter((f) => f.event === "unreadable")).toEqual([]);
    expect(seen().some((f) => f.event === "initiation" && String(f["sysDescription"]).includes("FRR"))).toBe(
      true,
    );
  });

  test("its dump of all messages", async () => {
    const path = join(lab.directory, "frr.mrt");
    frr(`dump bgp all ${path}\n`);
    await speaker();
    await until(
      "our route",
      () =>
        existsSync(path) && mrt(path).some((f) => f.event === "announce" && f["prefix"] === "10.64.0.0/24"),
      40_000,
    );
    const all = mrt(path);
    expect(all.filter((f) => ["unreadable", "unknown"].includes(f.event))).toEqual([]);
    expect(all.map((f) => f.event)).toEqual(
      expect.arrayContaining(["state", "open", "keepalive", "announce"]),
    );
  });
});

describe.skipIf(!hasGobgp)("GoBGP (skipped: needs root and gobgpd)", () => {
  const gobgp = async (more: string) => {
    const config = join(lab.directory, "gobgpd.toml");
    writeFileSync(
      config,
      `[global.config]
as = ${asn.bird}
router-id = "${theirs.ipv4}"
${more}
[[neighbors]]
[neighbors.config]
neighbor-address = "${ours.ipv4}"
peer-as = ${asn.ours}
[neighbors.timers.config]
connect-retry = 5
idle-hold-time-after-reset = 1
`,
    );
    lab.start("a", "/usr/bin/gobgpd", "-f", config, "--api-hosts", "127.0.0.1:50051", "--pprof-disable");
    const ask = (...args: string[]): string => {
      try {
        return execFileSync("ip", ["netns", "exec", lab.netns("a"), "gobgp", "-p", "50051", ...args], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "ignore"],
        });
      } catch {
        return "";
      }
    };
    await until("GoBGP answers", () => ask("-j", "neighbor").includes("{"));
    return ask;
  };

  test("its BMP", async () => {
    const seen = station();
    await gobgp(`[[bmp-servers]]
[bmp-servers.config]
address = "${ours.ipv4}"
port = 11019
route-monitoring-policy = "all"
statistics-timeout = 15
`);
    await speaker();
    await until(
      "our route before policy",
      () => heard(seen(), "announce", "10.64.0.0/24", "pre-policy"),
      40_000,
    );
    await until("after policy", () => heard(seen(), "announce", "10.64.0.0/24", "post-policy"));
    expect(seen().filter((f) => f.event === "unreadable")).toEqual([]);
  });

  test("reads a table of ours", async () => {
    const path = join(lab.directory, "table.mrt");
    const attributes = encodeCanonical({
      afi: 1,
      origin: 0,
      asPath: [{ type: 2, asns: [asn.bird, 70_000] }],
      nextHop: Uint8Array.of(10, 99, 0, 1),
      med: 9,
    });
    const peers = [{ address: parseAddress(theirs.ipv4), asn: asn.bird, routerId: 7 }];
    const entry = { peer: 0, originated: 1_700_000_000, pathId: 0, attributes };
    writeFileSync(
      path,
      Buffer.concat([
        peerIndexTable(1_700_000_000_000, 1, "", peers),
        ribRecord(1_700_000_000_000, 0, 1, Uint32Array.of(0xc0000200), 0, 24, [entry]),
      ]),
    );
    const ask = await gobgp("port = -1");
    // What it makes of each record; its 3.10 then puts none into its table, BIRD's no more than ours.
    const read = ask("-d", "mrt", "inject", "global", path);
    expect(read).toContain(`Addr [${theirs.ipv4}] AS [${asn.bird}]`);
    expect(read).toMatch(/Prefix \[192\.0\.2\.0\/24\].*65001 70000 \{Nexthop: 10\.99\.0\.1\} \{Med: 9\}/);
  });
});

describe.skipIf(!hasBird)("BIRD (skipped: needs root and bird)", () => {
  test("its table dump is read, and says what its table says", async () => {
    const bird = await lab.bird(birdBgp());
    await speaker();
    await until(
      "our routes",
      () => bird.routes().includes("10.64.0.0/24") && bird.routes().includes("fd00:64::/64"),
      40_000,
    );
    // What waggle diff --against birdc reads of it.
    expect([...birdNeighbors(bird.ask("show protocols all"))]).toEqual([["waggle", ours.ipv4]]);
    const exported = birdRoutes(bird.ask("show route export waggle all"));
    expect([...exported.keys()].sort()).toEqual(["192.0.2.0/24", "198.51.100.0/24", "2001:db8:1::/48"]);
    expect(birdRoutes(bird.routes()).get("10.64.0.0/24")).toMatchObject({
      asPath: [asn.ours],
      med: 5,
      communities: ["64512:100"],
    });
    const [four, six] = ["four.mrt", "six.mrt"].map((f) => join(lab.directory, f)) as [string, string];
    bird.ask(`mrt dump table master4 to "${four}"`);
    bird.ask(`mrt dump table master6 to "${six}"`);
    await until("written", () => [four, six].every((p) => existsSync(p) && readFileSync(p).length > 12));
    const seen = await until("whole", () => {
      const all = [...mrt(four), ...mrt(six)];
      return all.some((f) => f["prefix"] === "10.64.0.0/24") &&
        all.some((f) => f["prefix"] === "fd00:64::/64")
        ? all
        : undefined;
    });
    expect(seen.find((f) => f["prefix"] === "10.64.0.0/24")).toMatchObject({
      event: "rib",
      nextHop: ours.ipv4,
      asPath: [asn.ours],
      med: 5,
      communities: ["64512:100"],
    });
    expect(seen.filter((f) => ["unreadable", "unknown"].includes(f.event))).toEqual([]);
  });
});

test.skipIf(!hasTshark)(
  "another dissector finds nothing wrong with our BMP (skipped: needs root and tshark)",
  async () => {
    const pcap = join(lab.directory, "bmp.pcap");
    lab.start("b", "tshark", "-q", "-i", "veth0", "-f", "tcp port 11019", "-w", pcap);
    await until("capturing", () => existsSync(pcap) && readFileSync(pcap).length > 0, 40_000);
    const listener = spawn(
      "nsenter",
      [`--net=/var/run/netns/${lab.netns("a")}`, process.execPath, ...cli, "bmp", "--listen", "11019"],
      { stdio: "ignore" },
    );
    lab.own(listener);
    await lab.bird(birdBgp());
    const bgpd = await lab.speaker();
    bgpd.desire({
      peers: [birdPeer()],
      origins: [origin("10.64.0.0/24")],
      bmpStations: [
        {
          name: "s",
          address: Uint8Array.of(10, 99, 0, 1),
          prePolicy: true,
          postPolicy: true,
          locRib: true,
          statisticsSeconds: 1,
        },
      ],
    });
    const dissect = (): string =>
      execFileSync("tshark", ["-r", pcap, "-d", "tcp.port==11019,bmp", "-V"], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
    await until("captured", () => existsSync(pcap) && /Statistics Report/.test(dissect()), 40_000);
    // Wireshark 4.0 takes the table's name that ends the Peer Up of the Loc-RIB (RFC 9069 section 4.3) for a third BGP message.
    const named = /Type: Peer Up[^\n]*\n[^\n]*Per Peer Header\n[^\n]*Loc-RIB Instance/;
    const frames = dissect().split(/^Frame /m);
    expect(frames.filter((frame) => named.test(frame))).toHaveLength(1);
    for (const frame of frames) {
      if (!named.test(frame)) expect(frame).not.toMatch(/Malformed|Expert Info \(Error/);
    }
  },
);
