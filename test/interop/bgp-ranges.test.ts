// test/interop: BIRDs that no one configured connect from a range with a TCP-MD5 password; one with another password does not get in.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { QueryKind, SessionState } from "../../src/api/generated/proto/speaker_pb.js";
import { parsePrefix, toBytes } from "../../src/net/address.ts";
import { asn, type Bgpd, BgpLab, type Bird, birdPeer, canRun, origin, ours, until } from "./bgp-lab.ts";

/** BIRD tells sessions apart by our address: each has its own. */
const servers = [
  { name: "one", theirs: "10.99.0.11", ours: ours.ipv4, asn: 65011, password: "s3cret" },
  { name: "two", theirs: "10.99.0.12", ours: "10.99.0.4", asn: 65012, password: "s3cret" },
  { name: "wrong", theirs: "10.99.0.13", ours: "10.99.0.6", asn: 65013, password: "another" },
] as const;
const extra = ["10.99.0.4", "10.99.0.6"];

describe.skipIf(!canRun)(`neighbours by range${canRun ? "" : " (skipped: needs root and bird)"}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;

  beforeAll(async () => {
    lab = new BgpLab("range");
    for (const s of servers) lab.in("a", "ip", "addr", "add", `${s.theirs}/24`, "dev", "veth0");
    for (const address of extra) lab.in("b", "ip", "addr", "add", `${address}/24`, "dev", "veth0");
    bird = await lab.bird(
      servers
        .map(
          (s, i) => `
ipv4 table t${s.name};
protocol static s${s.name} { ipv4 { table t${s.name}; }; route 198.51.${100 + i}.0/24 unreachable; }
protocol bgp ${s.name} {
  router id ${s.theirs};
  local ${s.theirs} as ${s.asn}; neighbor ${s.ours} as ${asn.ours}; strict bind on;
  password "${s.password}";
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { table t${s.name}; import all; export where source = RTS_STATIC; next hop self; };
}`,
        )
        .join("\n"),
    );
    bgpd = await lab.speaker();
    const prefix = parsePrefix("10.99.0.0/28");
    bgpd.desire({
      listen: [{}],
      peers: [
        birdPeer({
          name: "servers",
          address: new Uint8Array(0),
          ranges: [{ prefix: toBytes(prefix), length: prefix.length }],
          rangeLimit: 10,
          peerAsn: 0,
          external: true,
          password: "s3cret",
        }),
      ],
      origins: [origin("10.64.0.0/24", { peers: ["servers"] })],
    });
  }, 40_000);
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("both with the right password come up, are shown, and exchange routes", async () => {
    for (const s of servers.slice(0, 2)) {
      const session = await until(
        s.name,
        async () => {
          const found = await bgpd.session(`servers-${s.theirs}`);
          return found?.state === SessionState.SESSION_ESTABLISHED ? found : undefined;
        },
        30_000,
      );
      expect(session).toMatchObject({ range: "servers", peerAsn: s.asn, md5: true });
      await until("our route", () => bird.routes(`10.64.0.0/24 table t${s.name}`).includes(s.ours), 30_000);
    }
    await until("theirs", async () => (await bgpd.routes(QueryKind.QUERY_ROUTES)).length === 3, 30_000);
  }, 100_000);

  test("the one with another password never gets in", async () => {
    expect(await bgpd.session("servers-10.99.0.13")).toBeUndefined();
    expect(bird.established("wrong")).toBe(false);
  });

  test("taken out of the configuration, all are told to go", async () => {
    bgpd.desire({ listen: [{}], peers: [], origins: [] });
    await until("gone", async () => (await bgpd.session("servers-10.99.0.11")) === undefined, 30_000);
    await until("told", () => /Peer de-configured/i.test(bird.ask("show protocols all one")), 30_000);
  }, 70_000);
});
