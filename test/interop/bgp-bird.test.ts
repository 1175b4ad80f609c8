// test/interop: the speaker against real BIRD 2, judged by what BIRD shows.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AckState, QueryKind, SessionState } from "../../src/api/generated/proto/speaker_pb.js";
import { type Bgpd, BgpLab, type Bird, birdBgp, birdPeer, canRun, origin, until } from "./bgp-lab.ts";

describe.skipIf(!canRun)(`BIRD${canRun ? "" : " (skipped: needs root and bird)"}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;

  beforeAll(async () => {
    lab = new BgpLab("bird");
    bird = await lab.bird(birdBgp());
    bgpd = await lab.speaker(undefined, true);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("both families on one session, with attributes", async () => {
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
    await until("established", () => bird.established());
    await until("v6 route at BIRD", () => bird.routes().includes("fd10:1::/122"));
    const routes = bird.routes("protocol waggle");
    expect(routes).toContain("10.1.0.0/26");
    expect(routes).toContain("BGP.as_path: 64512 64512 64512\n");
    expect(routes).toContain("BGP.med: 7");
    expect(routes).toContain("BGP.community: (64512,5)");
    expect(routes).toContain("BGP.large_community: (64512, 1, 2)");
    expect(routes).toContain("BGP.next_hop: 10.99.0.2");
    expect(routes).toContain("BGP.next_hop: fd99::2");
    expect(bgpd.acks(generation)).toEqual([{ peer: "bird", state: AckState.ACK_PEER_DOWN }]);
    const session = await until("EoR from BIRD", async () => {
      const s = await bgpd.session();
      return s?.counts.every((c) => c.endOfRibReceived && c.endOfRibSent) ? s : undefined;
    });
    expect(session.state).toBe(SessionState.SESSION_ESTABLISHED);
    expect(session.counts.map((c) => [c.received, c.accepted, c.advertised])).toEqual([
      [2, 2, 1],
      [1, 1, 1],
    ]);
    expect((await bgpd.routes(QueryKind.QUERY_ROUTES)).length).toBe(5);
    expect((await bgpd.routes(QueryKind.QUERY_RECEIVED, "bird")).length).toBe(3);
    expect((await bgpd.routes(QueryKind.QUERY_ADVERTISED, "bird")).length).toBe(2);
  });
});
