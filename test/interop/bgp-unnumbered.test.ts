// test/interop: neighbours without numbers on a link without IPv4: FRR and BIRD found by router advertisements, IPv4 routes with IPv6 next hops both ways.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  Family,
  QueryKind,
  type Route,
  type Session,
  SessionState,
} from "../../src/api/generated/proto/speaker_pb.js";
import { formatAddress, fromBytes } from "../../src/net/address.ts";
import { daemons, installed } from "./bgp-daemons.ts";
import { asn, type Bgpd, BgpLab, type Bird, birdPeer, canRun, origin, theirs, until } from "./bgp-lab.ts";

const frrInstalled = installed(daemons.find((d) => d.name === "FRR")!);
const origins = [origin("10.64.0.0/24"), origin("fd64::/64")];

/** Nothing but link-local addresses on the link. */
function makeLinkLocalOnly(lab: BgpLab): void {
  for (const side of ["a", "b"]) {
    lab.in(side, "ip", "-4", "addr", "flush", "dev", "veth0");
    lab.in(side, "ip", "-6", "addr", "flush", "dev", "veth0", "scope", "global");
  }
}

/** The link-local address of a side, once the kernel has made sure that nobody else has it. */
const linkLocal = (lab: BgpLab, side: string): Promise<string> =>
  until(
    `a link-local address in ${side}`,
    () =>
      (
        JSON.parse(lab.in(side, "ip", "-j", "-6", "addr", "show", "dev", "veth0", "scope", "link")) as {
          addr_info?: { local: string; tentative?: boolean }[];
        }[]
      )
        .flatMap((l) => l.addr_info ?? [])
        .find((a) => !a.tentative)?.local,
  );

const nextHops = (routes: readonly Route[]): Record<string, string> =>
  Object.fromEntries(
    routes.flatMap((r) =>
      r.paths
        .filter((p) => p.peer === "bird")
        .map((p) => [
          `${formatAddress(fromBytes(r.prefix))}/${r.length}`,
          `${formatAddress(fromBytes(p.nextHop))}%${p.interface}`,
        ]),
    ),
  );

/** Our end: no address, any AS but ours. */
const unnumbered = (more: Parameters<typeof birdPeer>[0] = {}) =>
  birdPeer({
    address: new Uint8Array(0),
    peerAsn: 0,
    nextHopIpv6: new Uint8Array(0),
    interface: "veth0",
    external: true,
    ...more,
  });

const established = async (bgpd: Bgpd): Promise<Session | undefined> => {
  const s = await bgpd.session();
  return s?.state === SessionState.SESSION_ESTABLISHED ? s : undefined;
};

describe.skipIf(!canRun || !frrInstalled)(
  `FRR, neighbor interface remote-as external${canRun && frrInstalled ? "" : " (skipped: needs root and frr)"}`,
  () => {
    let lab: BgpLab;
    let bgpd: Bgpd;
    let vtysh: (command: string) => string;
    const accepted = async () => nextHops(await bgpd.routes(QueryKind.QUERY_ROUTES));

    beforeAll(async () => {
      lab = new BgpLab("unnum");
      makeLinkLocalOnly(lab);
      lab.in("a", "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1");
      const sockets = join(lab.directory, "frr");
      mkdirSync(sockets);
      // zebra gives up root and then makes its sockets there.
      for (const directory of [lab.directory, sockets]) chmodSync(directory, 0o777);
      const config = join(lab.directory, "frr.conf");
      writeFileSync(
        config,
        `router bgp ${asn.bird}
 bgp router-id ${theirs.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor veth0 interface remote-as external
 neighbor veth0 timers connect 1
 address-family ipv4 unicast
  network 198.51.100.0/24
 exit-address-family
 address-family ipv6 unicast
  neighbor veth0 activate
  network 2001:db8:1::/48
`,
      );
      const zebra = join(sockets, "zserv.api");
      const both = ["-P", "0", "-z", zebra, "--vty_socket", sockets];
      lab.start("a", "/usr/lib/frr/zebra", ...both, "-i", join(sockets, "zebra.pid"), "-f", "/dev/null");
      vtysh = (command) => {
        try {
          return execFileSync("vtysh", ["--vty_socket", sockets, "-c", command], {
            encoding: "utf8",
            stdio: ["ignore", "pipe", "ignore"],
          });
        } catch {
          return "";
        }
      };
      await until("zebra answers", () => vtysh("show version").includes("FRR"), 30_000);
      lab.start("a", "/usr/lib/frr/bgpd", ...both, "-i", join(sockets, "bgpd.pid"), "-f", config);
      bgpd = await lab.speaker();
      bgpd.desire({ listen: [{}], peers: [unnumbered()], origins });
    }, 60_000);
    afterAll(() => lab?.[Symbol.asyncDispose]());

    test("they find each other and agree on RFC 8950", async () => {
      const s = await until("established", () => established(bgpd), 60_000);
      expect(s.interface).toBe("veth0");
      expect(s.peerAsn).toBe(asn.bird);
      expect(s.extendedNextHop).toBe(true);
      expect(formatAddress(fromBytes(s.address))).toBe(await linkLocal(lab, "a"));
      expect(s.families).toEqual([Family.IPV4_UNICAST, Family.IPV6_UNICAST]);
    }, 80_000);

    test("routes of both families arrive with the link's next hop", async () => {
      const theirLink = await linkLocal(lab, "a");
      await until("both", async () => Object.keys(await accepted()).length === 2, 30_000);
      expect(await accepted()).toEqual({
        "198.51.100.0/24": `${theirLink}%veth0`,
        "2001:db8:1::/48": `${theirLink}%veth0`,
      });
    }, 40_000);

    test("FRR takes ours and puts them into its kernel", async () => {
      const ourLink = await linkLocal(lab, "b");
      await until(
        "IPv4",
        () => lab.in("a", "ip", "-4", "route", "show", "10.64.0.0/24").includes(ourLink),
        30_000,
      );
      await until(
        "IPv6",
        () => lab.in("a", "ip", "-6", "route", "show", "fd64::/64").includes(ourLink),
        30_000,
      );
    }, 70_000);

    test("a withdrawal arrives", async () => {
      bgpd.desire({ listen: [{}], peers: [unnumbered()], origins: [] });
      await until("gone", () => !lab.in("a", "ip", "-4", "route").includes("10.64.0.0/24"), 30_000);
    }, 40_000);
  },
);

describe.skipIf(!canRun)(`BIRD, link-local${canRun ? "" : " (skipped: needs root and bird)"}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;
  const accepted = async () => nextHops(await bgpd.routes(QueryKind.QUERY_ROUTES));

  beforeAll(async () => {
    lab = new BgpLab("unbird");
    makeLinkLocalOnly(lab);
    const ourLink = await linkLocal(lab, "b");
    bird = await lab.bird(`
protocol radv { interface "veth0" { max ra interval 5; }; }
protocol static static4 { ipv4; route 198.51.100.0/24 unreachable; }
protocol static static6 { ipv6; route 2001:db8:1::/48 unreachable; }
protocol bgp waggle {
  local as ${asn.bird};
  neighbor ${ourLink}%veth0 as ${asn.ours};
  password "s3cret"; ttl security on;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 { import all; export all; extended next hop on; next hop self; };
  ipv6 { import all; export all; next hop self; };
}`);
    bgpd = await lab.speaker();
    bgpd.desire({
      listen: [{}],
      peers: [unnumbered({ password: "s3cret", ttlSecurityHops: 1 })],
      origins,
    });
  }, 40_000);
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("found by router advertisement; TCP-MD5 and TTL security over link-local addresses", async () => {
    const s = await until("established", () => established(bgpd), 60_000);
    expect(s.extendedNextHop).toBe(true);
    expect(s.md5).toBe(true);
  }, 70_000);

  test("routes of both families, both ways", async () => {
    const theirLink = await linkLocal(lab, "a");
    await until("both", async () => Object.keys(await accepted()).length === 2, 30_000);
    expect(await accepted()).toEqual({
      "198.51.100.0/24": `${theirLink}%veth0`,
      "2001:db8:1::/48": `${theirLink}%veth0`,
    });
    const ourLink = await linkLocal(lab, "b");
    for (const prefix of ["10.64.0.0/24", "fd64::/64"])
      await until(prefix, () => bird.routes(prefix).includes(`via ${ourLink} on veth0`), 30_000);
  }, 100_000);
});
