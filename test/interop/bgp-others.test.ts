// test/interop: the speaker against FRR, GoBGP, OpenBGPD and ExaBGP, judged by what each of them shows.
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { QueryKind, SessionState } from "../../src/api/generated/proto/speaker_pb.js";
import { formatPrefix, fromBytes, maskTo, parseAddress, toBytes } from "../../src/net/address.ts";
import { daemons, installed, type OtherDaemon } from "./bgp-daemons.ts";
import {
  acceptAll,
  type Bgpd,
  BgpLab,
  birdPeer,
  isRoot,
  origin,
  ours,
  until,
  untilPatient,
} from "./bgp-lab.ts";

const own = [origin("10.1.0.0/26"), origin("fd10:1::/122")];
const seen = [
  { prefix: "10.1.0.0/26", nextHop: ours.ipv4, asPath: "64512" },
  { prefix: "fd10:1::/122", nextHop: ours.ipv6, asPath: "64512" },
];
const announced = ["192.0.2.0/24", "2001:db8:1::/48"];

/** What the neighbour itself originates: FRR also sends our own routes back to us. */
async function learned(bgpd: Bgpd): Promise<string[]> {
  const routes = await bgpd.routes(QueryKind.QUERY_RECEIVED, "bird");
  const its = routes.filter((r) => r.paths[0]!.asPath.length === 1);
  return its.map((r) => formatPrefix(maskTo(fromBytes(r.prefix), r.length))).sort();
}

const established = (bgpd: Bgpd) =>
  until(
    "established at the speaker",
    async () => (await bgpd.session())?.state === SessionState.SESSION_ESTABLISHED,
    20_000,
  );

for (const kind of daemons) {
  const runs = isRoot && installed(kind);
  const why = runs ? "" : ` (skipped: needs root and ${kind.package})`;

  describe.skipIf(!runs)(`${kind.name}: routes${why}`, () => {
    let lab: BgpLab;
    let other: OtherDaemon;
    let bgpd: Bgpd;

    beforeAll(async () => {
      lab = new BgpLab(kind.package);
      other = await kind.start(lab, undefined);
      bgpd = await lab.speaker();
    }, 30_000);
    afterAll(() => lab?.[Symbol.asyncDispose]());

    test("a session with both families", async () => {
      bgpd.desire({ peers: [birdPeer()], listen: [{}], origins: own });
      await established(bgpd);
      await until(`established at ${kind.name}`, () => other.established());
      expect((await bgpd.session())!.families).toEqual([1, 2]);
    }, 30_000);

    test("our routes are there, with path and next hop", async () => {
      await until("both", () => other.routes().length === 2);
      expect(other.routes().sort((a, b) => a.prefix.localeCompare(b.prefix))).toEqual(seen);
    });

    test("a change of attributes replaces the route", async () => {
      bgpd.desire({
        peers: [birdPeer()],
        listen: [{}],
        origins: [origin("10.1.0.0/26", { attributes: { prepend: 2 } }), own[1]!],
      });
      await until("prepended", () => other.routes().some((r) => r.asPath === "64512 64512 64512"));
      expect(other.routes().length).toBe(2);
    });

    test("a rule puts another's number and another next hop into it", async () => {
      const set = { prepend: 2, prependAsn: 65099, nextHop: { ipv4: toBytes(parseAddress("10.99.0.77")) } };
      bgpd.desire({
        peers: [birdPeer()],
        listen: [{}],
        origins: own,
        policies: [acceptAll, { name: "own", rules: [{ name: "marked", accept: true, set }] }],
      });
      await untilPatient(
        "marked",
        () => other.routes().filter((r) => r.asPath === "64512 65099 65099").length === 2,
      );
      expect(other.routes().sort((a, b) => a.prefix.localeCompare(b.prefix))).toEqual([
        { ...seen[0], nextHop: "10.99.0.77", asPath: "64512 65099 65099" },
        { ...seen[1], asPath: "64512 65099 65099" },
      ]);
    });

    test("its routes arrive, and go when it takes them back", async () => {
      for (const prefix of announced) other.announce(prefix);
      await until("both", async () => (await learned(bgpd)).length === 2);
      expect(await learned(bgpd)).toEqual(announced);
      other.withdraw(announced[0]!);
      await until("one", async () => (await learned(bgpd)).length === 1);
      expect(await learned(bgpd)).toEqual([announced[1]]);
      other.withdraw(announced[1]!);
      await until("none", async () => (await learned(bgpd)).length === 0);
    }, 30_000);

    test("our withdrawals, one family and then the other, on the same session", async () => {
      bgpd.desire({ peers: [birdPeer()], listen: [{}], origins: own.slice(1) });
      await until("IPv4 gone", () => other.routes().length === 1);
      expect(other.routes()).toEqual(seen.slice(1));
      bgpd.desire({ peers: [birdPeer()], listen: [{}], origins: [] });
      await until("IPv6 gone", () => other.routes().length === 0);
      expect(other.established()).toBe(true);
      expect((await bgpd.session())!.flaps).toBe(0n);
    });
  });

  describe.skipIf(!runs)(`${kind.name}: TCP-MD5${why}`, () => {
    test("a wrong password never comes up, the right one does", async () => {
      await using lab = new BgpLab(`${kind.package}5`);
      const other = await kind.start(lab, "s3cret");
      const bgpd = await lab.speaker();
      const passive = kind.name === "ExaBGP";
      bgpd.desire({ peers: [birdPeer({ password: "wrong", passive })], listen: [{}], origins: own });
      await sleep(3000);
      expect(other.established()).toBe(false);
      bgpd.desire({ peers: [birdPeer({ password: "s3cret", passive })], listen: [{}], origins: own });
      await established(bgpd);
      await until("routes", () => other.routes().length === 2);
      expect((await bgpd.session())!.md5).toBe(true);
      expect(lab.log).not.toContain("wrong");
    }, 60_000);
  });
}
