// test/interop: ADD-PATH with BIRD, FRR and GoBGP in both directions: two paths of one prefix reach each side, and go one by one.
import type { MessageInitShape } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Family, type PeerSchema, QueryKind } from "../../src/api/generated/proto/speaker_pb.js";
import { formatAddress, fromBytes, parseAddress, toBytes } from "../../src/net/address.ts";
import { daemons, installed, type OtherDaemon } from "./bgp-daemons.ts";
import {
  acceptAll,
  asn,
  type Bgpd,
  BgpLab,
  type Bird,
  birdPeer,
  canRun,
  ours,
  theirs,
  until,
} from "./bgp-lab.ts";

/** Two feeders in BIRD, which tells sessions apart by our address: each has its own. */
const feeders = [
  { name: "feed1", theirs: "10.99.0.11", ours: "10.99.0.4", asn: 65011 },
  { name: "feed2", theirs: "10.99.0.12", ours: "10.99.0.6", asn: 65012 },
] as const;
/** What the feeders have: two paths for us. */
const fed = "203.0.113.0/24";
/** What the daemon under test has: two paths for us, of which one comes from feed1 where it cannot make two itself. */
const own = "198.51.100.0/24";

const feederConfig = (toDaemon: string): string => `
${feeders
  .map(
    (f) => `
ipv4 table t${f.name};
protocol static s${f.name} { ipv4 { table t${f.name}; }; route ${fed} unreachable; }
protocol bgp ${f.name} {
  router id ${f.theirs};
  local ${f.theirs} as ${f.asn}; neighbor ${f.ours} as ${asn.ours}; strict bind on;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { table t${f.name}; import none; export all; next hop self; };
}`,
  )
  .join("\n")}
${toDaemon}
`;

/** A path of its own for the daemon that cannot be told two of them. */
const feedDaemon = `
ipv4 table xtable;
protocol static sx { ipv4 { table xtable; }; route ${own} unreachable; }
protocol bgp xfeed {
  router id 10.99.0.11;
  local 10.99.0.11 as 65011; neighbor ${theirs.ipv4} as ${asn.bird}; strict bind on; multihop 2;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { table xtable; import none; export all; next hop address 10.99.0.99; };
}`;

/** BIRD itself as the daemon under test. */
const birdUnderTest = `
protocol static s1 { ipv4; route ${own} unreachable { bgp_community.add((65001, 1)); }; }
protocol static s2 { ipv4; route ${own} blackhole { bgp_community.add((65001, 2)); }; }
protocol bgp waggle {
  local ${theirs.ipv4} as ${asn.bird}; neighbor ${ours.ipv4} as ${asn.ours}; strict bind on;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { add paths on; import all; export all; next hop self; };
}`;

interface Under {
  readonly name: string;
  readonly can: boolean;
  readonly needs: string;
  /** Further lines of BIRD's. */
  readonly bird: string;
  start(lab: BgpLab, bird: Bird): Promise<{ fed(): number; withdraw(): void }>;
}

const lines = (text: string, pattern: RegExp): number =>
  text.split("\n").filter((l) => pattern.test(l)).length;

const bird: Under = {
  name: "BIRD",
  can: true,
  needs: "bird",
  bird: birdUnderTest,
  start: async (_lab, daemon) => ({
    fed: () => lines(daemon.ask(`show route ${fed} table master4 all`), /BGP\.as_path/),
    withdraw: () => void daemon.ask("disable s2"),
  }),
};

const withFeeder = (name: string): Under => {
  const kind = daemons.find((d) => d.name === name)!;
  return {
    name,
    can: installed(kind),
    needs: kind.package,
    bird: feedDaemon,
    start: async (lab) => {
      const other: OtherDaemon = await kind.start(lab, undefined, { addPath: true, feeder: "10.99.0.11" });
      other.announce(own);
      return {
        fed: () => other.routes().filter((r) => r.prefix === fed).length,
        withdraw: () => other.withdraw(own),
      };
    },
  };
};

describe.each([bird, withFeeder("FRR"), withFeeder("GoBGP")])("ADD-PATH with $name", (under) => {
  const runs = canRun && under.can;
  const why = runs ? "" : ` (skipped: needs root, bird and ${under.needs})`;
  describe.skipIf(!runs)(`both ways${why}`, () => {
    let lab: BgpLab;
    let feeding: Bird;
    let bgpd: Bgpd;
    let daemon: { fed(): number; withdraw(): void };

    beforeAll(async () => {
      lab = new BgpLab("addpath");
      for (const f of feeders) {
        lab.in("a", "ip", "addr", "add", `${f.theirs}/24`, "dev", "veth0");
        lab.in("b", "ip", "addr", "add", `${f.ours}/24`, "dev", "veth0");
      }
      feeding = await lab.bird(feederConfig(under.bird));
      bgpd = await lab.speaker();
      daemon = await under.start(lab, feeding);
      bgpd.desire({
        policies: [acceptAll],
        peers: [
          ...feeders.map(
            (f): MessageInitShape<typeof PeerSchema> =>
              birdPeer({
                name: f.name,
                address: toBytes(parseAddress(f.theirs)),
                localAddress: toBytes(parseAddress(f.ours)),
                peerAsn: f.asn,
                families: [Family.IPV4_UNICAST],
                exportPolicies: [],
              }),
          ),
          birdPeer({
            localAddress: toBytes(parseAddress(ours.ipv4)),
            families: [Family.IPV4_UNICAST],
            exportPolicies: ["all"],
            addPath: [{ family: Family.IPV4_UNICAST, receive: true, send: true }],
          }),
        ],
      });
    }, 40_000);
    afterAll(() => lab?.[Symbol.asyncDispose]());

    const received = async () =>
      (await bgpd.routes(QueryKind.QUERY_RECEIVED, "bird")).find(
        (r) => `${formatAddress(fromBytes(r.prefix))}/${r.length}` === own,
      )?.paths ?? [];

    test("both capabilities are negotiated, two paths arrive on each side", async () => {
      await until("negotiated", async () => (await bgpd.session())?.addPathReceive.length, 30_000);
      expect((await bgpd.session())!.addPathSend).toEqual([Family.IPV4_UNICAST]);
      await until("two paths here", async () => (await received()).length === 2, 30_000);
      expect(new Set((await received()).map((p) => p.pathId)).size).toBe(2);
      await until("two paths there", () => daemon.fed() === 2, 30_000);
      const told = await bgpd.routes(QueryKind.QUERY_ADVERTISED, "bird");
      expect(
        told
          .find((r) => r.paths.length === 2)!
          .paths.map((p) => p.asPath.at(-1))
          .sort(),
      ).toEqual([65011, 65012]);
    }, 100_000);

    test("each path goes alone", async () => {
      daemon.withdraw();
      await until("one path here", async () => (await received()).length === 1, 30_000);
      feeding.ask("disable sfeed2");
      await until("one path there", () => daemon.fed() === 1, 30_000);
      feeding.ask("enable sfeed2");
      await until("two again", () => daemon.fed() === 2, 30_000);
      expect((await bgpd.session())!.flaps).toBe(0n);
    }, 100_000);
  });
});
