// test/interop: long-lived graceful restart with BIRD: each side is killed, and the other keeps its routes as the last choice.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { QueryKind, SessionState } from "../../src/api/generated/proto/speaker_pb.js";
import { WellKnown } from "../../src/bgp/wire/constants.ts";
import { type Bgpd, BgpLab, type Bird, birdBgp, birdPeer, canRun, origin, until } from "./bgp-lab.ts";

const config = birdBgp("long lived graceful restart on; long lived stale time 300;").replace(
  "graceful restart time 20;",
  "graceful restart time 1;",
);

describe.skipIf(!canRun)(`LLGR with BIRD${canRun ? "" : " (skipped: needs root and bird)"}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let bgpd: Bgpd;
  const established = async (): Promise<boolean> =>
    (await bgpd.session())?.state === SessionState.SESSION_ESTABLISHED;
  const paths = async () =>
    (await bgpd.routes(QueryKind.QUERY_ROUTES)).flatMap((r) => r.paths).filter((p) => p.peer === "bird");

  beforeAll(async () => {
    lab = new BgpLab("llgr");
    bird = await lab.bird(config);
    bgpd = await lab.speaker();
    bgpd.desire({
      listen: [{}],
      peers: [birdPeer({ restartSeconds: 1, longLivedSeconds: 3600 })],
      origins: [origin("10.64.0.0/24"), origin("fd64::/64")],
    });
    await until("established", established, 30_000);
    await until("routes there", () => bird.routes("10.64.0.0/24").includes("waggle"), 30_000);
    await until("routes here", async () => (await paths()).length === 3, 30_000);
  }, 60_000);
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("BIRD is killed: its routes stay, marked, until it is back", async () => {
    expect((await paths()).some((p) => p.communities.includes(WellKnown.longLivedStale))).toBe(false);
    bird.process.kill("SIGKILL");
    await until(
      "all marked",
      async () => {
        const now = await paths();
        return (
          now.length === 3 && now.every((p) => p.stale && p.communities.includes(WellKnown.longLivedStale))
        );
      },
      30_000,
    );
    bird = await lab.bird(config);
    await until(
      "fresh again",
      async () => {
        const now = await paths();
        return now.length === 3 && now.every((p) => !p.stale && p.communities.length === 0);
      },
      30_000,
    );
  }, 80_000);

  test("we are killed: BIRD keeps ours as stale", async () => {
    await until("there", () => bird.routes("10.64.0.0/24").includes("waggle"), 30_000);
    bgpd.process.kill("SIGKILL");
    for (const prefix of ["10.64.0.0/24", "fd64::/64"])
      await until(prefix, () => /BGP\.community: .*(65535,6)|llgr_stale/i.test(bird.routes(prefix)), 30_000);
  }, 80_000);
});
