// test/interop: the speaker against real BIRD 2, judged by what BIRD shows.
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AckState, QueryKind, SessionState } from "../../src/api/generated/proto/speaker_pb.js";
import { parseAddress, toBytes } from "../../src/net/address.ts";
import {
  type Bgpd,
  BgpLab,
  type Bird,
  birdBgp,
  birdPeer,
  canRun,
  origin,
  ours,
  theirs,
  until,
} from "./bgp-lab.ts";

const why = canRun ? "" : " (skipped: needs root and bird)";
const own = [origin("10.1.0.0/26"), origin("fd10:1::/122")];

/** All of `parts` are in the text. */
const has = (text: string, ...parts: string[]): boolean => parts.every((p) => text.includes(p));

const establishedSession = (bgpd: Bgpd) =>
  until("established at the speaker", async () => {
    const s = await bgpd.session();
    return s?.state === SessionState.SESSION_ESTABLISHED ? s : undefined;
  });

describe.skipIf(!canRun)(`BIRD: routes${why}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;

  beforeAll(async () => {
    lab = new BgpLab("routes");
    bird = await lab.bird(birdBgp());
    bgpd = await lab.speaker(undefined, true);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("both families on one session, with attributes, End-of-RIB both ways", async () => {
    const generation = bgpd.desire({
      peers: [birdPeer()],
      origins: [
        origin("10.1.0.0/26", {
          attributes: {
            med: 7,
            prepend: 2,
            communities: [64512 * 65536 + 5],
            large: [{ global: 64512, local1: 1, local2: 2 }],
          },
        }),
        origin("fd10:1::/122"),
      ],
    });
    await until("v6 route at BIRD", () => bird.routes().includes("fd10:1::/122"));
    const routes = bird.routes("protocol waggle");
    expect(routes).toContain("10.1.0.0/26");
    expect(routes).toContain("BGP.as_path: 64512 64512 64512\n");
    expect(routes).toContain("BGP.med: 7");
    expect(routes).toContain("BGP.community: (64512,5)");
    expect(routes).toContain("BGP.large_community: (64512, 1, 2)");
    expect(routes).toContain(`BGP.next_hop: ${ours.ipv4}`);
    expect(routes).toContain(`BGP.next_hop: ${ours.ipv6}`);
    expect(bgpd.acks(generation)).toEqual([{ peer: "bird", state: AckState.ACK_PEER_DOWN }]);
    const session = await until("End-of-RIB both ways", async () => {
      const s = await bgpd.session();
      return s?.counts.every((c) => c.endOfRibReceived && c.endOfRibSent) ? s : undefined;
    });
    expect(session.counts.map((c) => [c.received, c.accepted, c.advertised])).toEqual([
      [2, 2, 1],
      [1, 1, 1],
    ]);
    expect((await bgpd.routes(QueryKind.QUERY_ROUTES)).length).toBe(5);
    expect((await bgpd.routes(QueryKind.QUERY_RECEIVED, "bird")).length).toBe(3);
    expect((await bgpd.routes(QueryKind.QUERY_ADVERTISED, "bird")).length).toBe(2);
  });

  test("the Loc-RIB follows in batches: own and learned routes, then End-of-RIB", () => {
    const batches = bgpd.messages.flatMap((m) => (m.case === "routes" ? [m.value] : []));
    expect(batches.some((b) => b.snapshotDone)).toBe(true);
    const prefixes = new Set(
      batches.flatMap((b) => b.routes.map((r) => `${r.prefix.join(".")}/${r.length} ${r.paths[0]?.peer}`)),
    );
    expect(prefixes).toContain("192.0.2.0/24 bird");
    expect(prefixes).toContain("10.1.0.0/26 ");
    expect(batches.flatMap((b) => b.endOfRib.map((e) => `${e.peer} ${e.family}`)).sort()).toEqual([
      "bird 1",
      "bird 2",
    ]);
  });

  test("a withdrawal is acknowledged once BIRD's kernel has it; other routes are not touched", async () => {
    const before = (await bgpd.session())!.updatesSent;
    const generation = bgpd.desire({ peers: [birdPeer()], origins: [origin("fd10:1::/122")] });
    await until("acknowledged", () => bgpd.acks(generation).length > 0);
    expect(bgpd.acks(generation)).toEqual([{ peer: "bird", state: AckState.ACK_SENT }]);
    await until("gone from BIRD", () => !bird.routes().includes("10.1.0.0/26"), 1000);
    expect(bird.routes()).toContain("fd10:1::/122");
    expect((await bgpd.session())!.updatesSent - before).toBe(1n);
  });

  test("the same state again sends nothing", async () => {
    const before = (await bgpd.session())!.updatesSent;
    const generation = bgpd.desire({ peers: [birdPeer()], origins: [origin("fd10:1::/122")] });
    await until("acknowledged", () => bgpd.acks(generation).length > 0);
    expect((await bgpd.session())!.updatesSent).toBe(before);
  });

  test("BIRD's withdrawals and new routes arrive", async () => {
    bird.reconfigure((c) =>
      c.replace("route 192.0.2.0/24 unreachable;", "route 203.0.113.0/24 unreachable;"),
    );
    await until("changed", async () => {
      const text = (await bgpd.routes(QueryKind.QUERY_ROUTES)).map(
        (r) => `${r.prefix.join(".")}/${r.length}`,
      );
      return text.includes("203.0.113.0/24") && !text.includes("192.0.2.0/24");
    });
  });

  test("BIRD asks for a refresh and gets everything again", async () => {
    const before = (await bgpd.session())!.updatesSent;
    bird.ask("reload in waggle");
    await until("sent again", async () => (await bgpd.session())!.updatesSent > before);
    expect(bird.established()).toBe(true);
    expect(bird.routes()).toContain("fd10:1::/122");
  });

  test("policies change on a living session, both ways", async () => {
    const flaps = (await bgpd.session())!.flaps;
    const policy = {
      name: "some",
      rules: [
        {
          name: "no-v6",
          accept: false,
          match: { prefixes: [{ prefix: new Uint8Array(16), length: 0, le: 128 }] },
        },
        { name: "rest", accept: true, set: { addCommunities: [64512 * 65536 + 9], prepend: 1 } },
      ],
    };
    bgpd.desire({
      peers: [birdPeer({ exportPolicies: ["some"], importPolicies: ["some"] })],
      policies: [policy],
      origins: [origin("10.1.0.0/26"), origin("fd10:1::/122")],
    });
    await until("v6 gone, v4 there", () => {
      const r = bird.routes("protocol waggle");
      return (
        !r.includes("fd10:1::/122") && has(r, "10.1.0.0/26", "BGP.community: (64512,9)", "64512 64512\n")
      );
    });
    const session = await bgpd.session();
    expect(session!.flaps).toBe(flaps);
    expect(session!.counts.map((c) => c.accepted)).toEqual([2, 0]);
  });

  test("no policy: nothing goes to or comes from an external neighbour (RFC 8212)", async () => {
    bgpd.desire({ peers: [birdPeer({ exportPolicies: [], importPolicies: [] })], origins: own });
    await until("nothing at BIRD", () => bird.routes("protocol waggle").trim().split("\n").length <= 2);
    const session = await until("nothing accepted", async () => {
      const s = await bgpd.session();
      return s!.counts.every((c) => c.accepted === 0) ? s : undefined;
    });
    expect(session.counts.map((c) => c.received)).toEqual([2, 1]);
    const received = await bgpd.routes(QueryKind.QUERY_RECEIVED, "bird");
    expect(received[0]!.paths[0]!.decidedBy).toContain("RFC 8212");
  });

  test("prefix limit: Cease 6/1 at BIRD, session held down, said why", async () => {
    bgpd.desire({ peers: [birdPeer({ maxPrefixesIpv4: 1 })], origins: own });
    await until("BIRD heard the Cease", () =>
      bird.ask("show protocols all waggle").includes("Maximum number of prefixes reached"),
    );
    const session = await bgpd.session();
    expect(session!.downReason).toContain("more than 1 prefixes");
    expect(session!.lastErrorSent).toContain("6/1");
    bgpd.desire({ peers: [birdPeer()], origins: own });
    await establishedSession(bgpd);
  });

  test("administratively down and up again, with the reason on the wire", async () => {
    bgpd.desire({ peers: [birdPeer({ adminDown: true })], origins: own });
    await until("BIRD heard the Cease", () =>
      bird.ask("show protocols all waggle").includes("Administrative shutdown"),
    );
    expect((await bgpd.session())!.downReason).toBe("shut down by configuration");
    await until("the reason in BIRD's log", () => lab.log.includes("administratively down"));
    bgpd.desire({ peers: [birdPeer()], origins: own });
    await establishedSession(bgpd);
  });
});

describe.skipIf(!canRun)(`BIRD: TCP-MD5${why}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;

  beforeAll(async () => {
    lab = new BgpLab("md5");
    bird = await lab.bird(birdBgp('password "s3cret";'));
    bgpd = await lab.speaker();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("the Secret is missing: down, and says so", async () => {
    bgpd.desire({ peers: [birdPeer({ passwordMissing: true })], origins: own });
    const session = await until("session", () => bgpd.session());
    expect(session.state).toBe(SessionState.SESSION_IDLE);
    expect(session.downReason).toContain("does not exist");
  });

  test("wrong password: never established, says what may be wrong", async () => {
    bgpd.desire({ peers: [birdPeer({ password: "wrong" })], origins: own });
    await until("gave up once", async () => (await bgpd.session())!.downReason.includes("TCP-MD5"), 12_000);
    expect(bird.established()).toBe(false);
  }, 20_000);

  test("right password: established, never in the log or a reply", async () => {
    bgpd.desire({ peers: [birdPeer({ password: "s3cret" })], origins: own });
    const session = await establishedSession(bgpd);
    expect(session.md5).toBe(true);
    expect(lab.log).not.toContain("s3cret");
  });

  test("BIRD connects to our listening socket, whose key comes and goes with the state", async () => {
    bgpd.desire({ peers: [], origins: [] });
    await until("down", () => !bird.established());
    bgpd.desire({ peers: [birdPeer({ password: "s3cret", passive: true })], listen: [{}], origins: own });
    await establishedSession(bgpd);
    bgpd.desire({ peers: [birdPeer({ password: "other", passive: true })], listen: [{}], origins: own });
    await until("down", () => !bird.established());
    await sleep(2500);
    expect(bird.established()).toBe(false);
  });
});

describe.skipIf(!canRun)(`BIRD: TTL security${why}`, () => {
  test("with it on both sides the session comes up", async () => {
    await using lab = new BgpLab("gtsm");
    const bird = await lab.bird(birdBgp("ttl security on;"));
    const bgpd = await lab.speaker();
    bgpd.desire({ peers: [birdPeer({ ttlSecurityHops: 1 })], origins: own });
    await establishedSession(bgpd);
    expect(bird.routes()).toContain("10.1.0.0/26");
  });
});

describe.skipIf(!canRun)(`BIRD: restarts${why}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;

  beforeAll(async () => {
    lab = new BgpLab("gr");
    bird = await lab.bird(birdBgp());
    bgpd = await lab.speaker(undefined, true);
    bgpd.desire({ peers: [birdPeer()], origins: own, listen: [{}] });
    await establishedSession(bgpd);
    await until("routes", () => has(bird.routes(), "10.1.0.0/26", "fd10:1::/122"));
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  const kept = () => has(bird.routes(), "10.1.0.0/26", "fd10:1::/122");

  test("kill -9 of the speaker: BIRD keeps the routes; End-of-RIB waits for the agent's word", async () => {
    bgpd.process.kill("SIGKILL");
    await until("BIRD noticed", () => !bird.established());
    expect(kept()).toBe(true);
    bgpd = await lab.speaker(undefined, true);
    await sleep(300);
    expect(bird.established()).toBe(false);
    expect(kept()).toBe(true);
    // Only one of the two is there at first, and the agent has not said that this is all.
    bgpd.desire({ peers: [birdPeer()], origins: own.slice(0, 1), listen: [{}], complete: false });
    await establishedSession(bgpd);
    await sleep(300);
    expect(kept()).toBe(true);
    expect((await bgpd.session())!.counts.some((c) => c.endOfRibSent)).toBe(false);
    bgpd.desire({ peers: [birdPeer()], origins: own.slice(0, 1), listen: [{}], complete: true });
    await until("BIRD dropped what did not come back", () => !bird.routes().includes("fd10:1::/122"));
    expect(bird.routes()).toContain("10.1.0.0/26");
    bgpd.desire({ peers: [birdPeer()], origins: own, listen: [{}] });
    await until("all again", kept);
  });

  test("SIGTERM: no NOTIFICATION, BIRD keeps the routes", async () => {
    bgpd.process.kill("SIGTERM");
    await once(bgpd.process, "exit");
    expect(bgpd.process.exitCode).toBe(0);
    await until("BIRD noticed", () => !bird.established());
    expect(kept()).toBe(true);
    expect(bird.ask("show protocols all waggle")).not.toContain("Administrative shutdown");
    bgpd = await lab.speaker(undefined, true);
    bgpd.desire({ peers: [birdPeer()], origins: own, listen: [{}] });
    await establishedSession(bgpd);
    await sleep(300);
    expect(kept()).toBe(true);
  });

  test("the agent goes away: session and routes stay; a new one learns the generation", async () => {
    const generation = bgpd.desire({ peers: [birdPeer()], origins: own, listen: [{}] });
    await until("acknowledged", () => bgpd.acks(generation).length > 0);
    bgpd.client[Symbol.dispose]();
    await sleep(200);
    expect(bird.established()).toBe(true);
    expect(await bgpd.connect()).toBe(true);
    expect(bgpd.messages.some((m) => m.case === "session")).toBe(true);
    const next = bgpd.desire({ peers: [birdPeer()], origins: own, listen: [{}] });
    expect(next).toBe(generation + 1n);
  });

  test("kill -9 of BIRD: its routes stay as stale until it is back, then only what it still has", async () => {
    const routes = async () =>
      (await bgpd.routes(QueryKind.QUERY_ROUTES))
        .filter((r) => r.paths[0]!.peer === "bird")
        .map((r) => `${r.prefix.join(".")}/${r.length} ${r.paths[0]!.stale ? "stale" : ""}`)
        .sort();
    await until("routes of BIRD", async () => (await routes()).length === 3);
    bird.process.kill("SIGKILL");
    const down = await until("down", async () => {
      const s = await bgpd.session();
      return s!.state === SessionState.SESSION_ESTABLISHED ? undefined : s;
    });
    expect(down.restartingPeer).toBe(true);
    expect((await routes()).filter((r) => r.endsWith("stale")).length).toBe(3);
    bird = await lab.bird(birdBgp().replace("route 192.0.2.0/24 unreachable;", ""));
    await establishedSession(bgpd);
    await until("stale ones gone", async () => {
      const now = await routes();
      return now.length === 2 && now.every((r) => !r.endsWith("stale"));
    });
    expect((await routes()).some((r) => r.startsWith("192.0.2.0/24"))).toBe(false);
  });

  test("BIRD never comes back: stale routes go when its restart time is over", async () => {
    bird.process.kill("SIGKILL");
    await until("stale", async () => (await bgpd.session())!.restartingPeer);
    await until("gone", async () => !(await bgpd.session())!.restartingPeer, 25_000);
    expect((await bgpd.session())!.counts.map((c) => c.received)).toEqual([0, 0]);
  }, 30_000);
});

describe.skipIf(!canRun)(`BIRD: over IPv6${why}`, () => {
  test("both families on an IPv6 session with TCP-MD5 and TTL security", async () => {
    await using lab = new BgpLab("v6");
    const config = birdBgp('password "s3cret"; ttl security on;')
      .replace(`local ${theirs.ipv4}`, `local ${theirs.ipv6}`)
      .replace(`neighbor ${ours.ipv4}`, `neighbor ${ours.ipv6}`)
      .replace("next hop self;", `next hop address ${theirs.ipv4};`);
    const bird = await lab.bird(config);
    const bgpd = await lab.speaker();
    bgpd.desire({
      peers: [
        birdPeer({
          address: toBytes(parseAddress(theirs.ipv6)),
          password: "s3cret",
          ttlSecurityHops: 1,
          nextHopIpv4: toBytes(parseAddress(ours.ipv4)),
          nextHopIpv6: new Uint8Array(0),
        }),
      ],
      listen: [{}],
      origins: own,
    });
    await establishedSession(bgpd);
    await until("routes", () => has(bird.routes(), "10.1.0.0/26", "fd10:1::/122"));
    expect(bird.routes("protocol waggle")).toContain(`BGP.next_hop: ${ours.ipv4}`);
    expect(bird.routes("protocol waggle")).toContain(`BGP.next_hop: ${ours.ipv6}`);
    await until("learned", async () => (await bgpd.routes(QueryKind.QUERY_RECEIVED, "bird")).length === 3);
  });

  test("link-local addresses with an interface", async () => {
    await using lab = new BgpLab("ll");
    const linkLocal = (side: string): string =>
      /inet6 (fe80::[0-9a-f:]+)/.exec(
        lab.in(side, "ip", "-6", "addr", "show", "dev", "veth0", "scope", "link"),
      )?.[1] ?? "";
    const [a, b] = [
      await until("link-local", () => linkLocal("a")),
      await until("link-local", () => linkLocal("b")),
    ];
    await until(
      "usable",
      () => !lab.in("b", "ip", "-6", "addr", "show", "dev", "veth0").includes("tentative"),
    );
    const bird = await lab.bird(
      birdBgp()
        .replace(`local ${theirs.ipv4}`, `local ${a}`)
        .replace(`neighbor ${ours.ipv4}`, `neighbor ${b}%veth0`)
        .replace("next hop self;", `next hop address ${theirs.ipv4};`),
    );
    const bgpd = await lab.speaker();
    bgpd.desire({
      peers: [
        birdPeer({
          address: toBytes(parseAddress(a)),
          interface: "veth0",
          nextHopIpv4: toBytes(parseAddress(ours.ipv4)),
        }),
      ],
      origins: own,
    });
    await establishedSession(bgpd);
    await until("routes", () => has(bird.routes(), "10.1.0.0/26", "fd10:1::/122"));
  });
});

describe.skipIf(!canRun)(`BIRD: iBGP${why}`, () => {
  test("local preference goes out, AS path stays empty, own next hop", async () => {
    await using lab = new BgpLab("ibgp");
    const bird = await lab.bird(birdBgp().replaceAll("as 65001", "as 64512"));
    const bgpd = await lab.speaker();
    bgpd.desire({
      peers: [birdPeer({ peerAsn: 64512, exportPolicies: [], importPolicies: [] })],
      origins: [origin("10.1.0.0/26", { attributes: { localPref: 250 } })],
    });
    await establishedSession(bgpd);
    await until("route", () => bird.routes().includes("10.1.0.0/26"));
    const routes = bird.routes("protocol waggle");
    expect(routes).toContain("BGP.local_pref: 250");
    expect(routes).toMatch(/BGP.as_path: *\n/);
    expect(routes).toContain(`BGP.next_hop: ${ours.ipv4}`);
    const learned = await bgpd.routes(QueryKind.QUERY_ROUTES);
    expect(learned.some((r) => r.paths[0]!.nextHop.join(".") === theirs.ipv4)).toBe(true);
  });
});
