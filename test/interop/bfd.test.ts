// test/interop: BFD against BIRD's and FRR's: up, a neighbour that dies, one that is shut down, restarts of either side; routes with it.
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { QueryKind } from "../../src/api/generated/proto/speaker_pb.js";
import {
  asn,
  type Bgpd,
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

const frrBfd = "/usr/lib/frr/bfdd";
const hasBird = isRoot && birdPath !== undefined;
const hasFrr = isRoot && ["/usr/lib/frr/zebra", "/usr/lib/frr/bgpd", frrBfd].every((p) => existsSync(p));

/** With what the others are configured for: three seconds of silence until either side notices. Short beside the hold time of 90 s. */
const intervals = { transmitMs: 200, receiveMs: 600, detectMultiplier: 15 };
/** Where nobody is to notice anything: ten. */
const steady = { transmitMs: 200, receiveMs: 2000, detectMultiplier: 50 };
const BIRD_BFD = `protocol bfd { accept; interface "veth0" { interval 200 ms; multiplier 5; };
  multihop { interval 200 ms; multiplier 5; }; }\n`;

let lab: BgpLab;
let bgpd: Bgpd;

const state = async (): Promise<string> => (await bgpd.session())?.bfd?.state ?? "";
const established = async (): Promise<boolean> => (await bgpd.session())?.state === 5;
const up = () => until("both are up", async () => (await established()) && (await state()) === "Up");
const learned = async (): Promise<number> =>
  (await bgpd.routes(QueryKind.QUERY_ROUTES)).filter((r) => r.paths.some((p) => p.peer === "bird")).length;

beforeEach(() => {
  if (hasBird || hasFrr) lab = new BgpLab("bfd");
});
afterEach(async () => {
  await lab?.[Symbol.asyncDispose]();
});

describe.skipIf(!hasBird)("BIRD (skipped: needs root and bird)", () => {
  const start = async (peer: Parameters<typeof birdPeer>[0] = {}, options = "bfd on;") => {
    const bird = await lab.bird(BIRD_BFD + birdBgp(options));
    bgpd = await lab.speaker();
    bgpd.desire({ peers: [birdPeer({ bfd: intervals, ...peer })], origins: [origin("10.64.0.0/24")] });
    await up();
    await until("routes", async () => (await learned()) >= 3);
    return bird;
  };

  test("up on both sides, with what the two negotiate; intervals change without a flap", async () => {
    const bird = await start({ bfd: steady });
    expect(bird.ask("show bfd sessions")).toMatch(/10\.99\.0\.2\s+veth0\s+Up/);
    await until(
      "negotiated",
      async () =>
        (await bgpd.session())!.bfd!.transmitMs === 200 && (await bgpd.session())!.bfd!.remoteState === "Up",
    );
    expect((await bgpd.session())!.bfd).toMatchObject({
      state: "Up",
      remoteState: "Up",
      detectMs: 10_000,
      downs: 0,
      problem: "",
      remoteIndependent: false,
    });
    // Other intervals, without a flap.
    bgpd.desire({
      peers: [birdPeer({ bfd: { ...steady, transmitMs: 500, receiveMs: 3000 } })],
      origins: [origin("10.64.0.0/24")],
    });
    await until("slower", async () => (await bgpd.session())!.bfd!.detectMs === 15_000);
    await until("BIRD knows", () => bird.ask("show bfd sessions").includes("25.000"));
    expect((await bgpd.session())!.bfd!.downs).toBe(0);
    expect((await bgpd.session())!.flaps).toBe(0n);
  });

  test("a neighbour that falls silent is down within the detection time, long before the hold time, and its routes go", async () => {
    const bird = await start();
    bird.process.kill("SIGSTOP");
    const stopped = Date.now();
    await until("down", async () => !(await established()));
    expect(Date.now() - stopped).toBeLessThan(45_000);
    const session = (await bgpd.session())!;
    expect(session.bfd).toMatchObject({
      state: "Down",
      diagnostic: "control detection time expired",
      downs: 1,
    });
    expect(session.lastErrorSent).toContain("BFD Down");
    expect(await learned()).toBe(0);
    bird.process.kill("SIGCONT");
    await up();
  });

  test("multihop", async () => {
    const bird = await start({ multihopTtl: 5, bfd: { ...steady, multihop: true } }, "bfd on; multihop 5;");
    expect(bird.ask("show bfd sessions")).toMatch(/10\.99\.0\.2\s+---\s+Up/);
  });

  test("killed and back: C bit 0, so its routes are kept although BFD is down", async () => {
    const bird = await start();
    bird.process.kill("SIGKILL");
    await until("BFD down", async () => (await state()) === "Down");
    expect(await learned()).toBeGreaterThanOrEqual(3);
    expect((await bgpd.session())!.restartingPeer).toBe(true);
    await lab.bird(BIRD_BFD + birdBgp("bfd on;"));
    await up();
    await until(
      "fresh",
      async () => !(await bgpd.session())!.restartingPeer && (await learned()) >= 3,
      30_000,
    );
  });

  test("we stop for an upgrade: BIRD hears AdminDown and keeps our routes", async () => {
    const bird = await start({}, "bfd graceful;");
    bgpd.process.kill("SIGTERM");
    await until("gone", () => bgpd.process.exitCode !== null);
    await sleep(1500);
    expect(bird.routes("10.64.0.0/24")).toContain("10.64.0.0/24");
    expect(bird.ask("show bfd sessions")).not.toMatch(/veth0\s+Up/);
  });
});

describe.skipIf(!hasFrr)("FRR (skipped: needs root, FRR's zebra, bgpd and bfdd)", () => {
  const start = async (more: string, peer: Parameters<typeof birdPeer>[0] = {}) => {
    const dir = join(lab.directory, "frr");
    mkdirSync(dir);
    // These daemons insist on being the user of Debian's package.
    chmodSync(lab.directory, 0o755);
    execFileSync("chown", ["frr:frr", dir]);
    const config = join(lab.directory, "frr.conf");
    writeFileSync(
      config,
      `router bgp ${asn.bird}
 bgp router-id ${theirs.ipv4}
 bgp graceful-restart
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor ${ours.ipv4} remote-as ${asn.ours}
 neighbor ${ours.ipv4} timers connect 1
 neighbor ${ours.ipv4} bfd 5 200 200
 ${more}
 address-family ipv4 unicast
  network 192.0.2.0/24
 exit-address-family
`,
    );
    const empty = join(lab.directory, "empty.conf");
    writeFileSync(empty, "");
    const common = (name: string, file: string) => [
      "-P",
      "0",
      "-f",
      file,
      "-i",
      join(dir, `${name}.pid`),
      "--vty_socket",
      dir,
    ];
    const zserv = join(dir, "zserv");
    lab.start("a", "/usr/lib/frr/zebra", ...common("zebra", empty), "-z", zserv);
    await until("zebra", () => existsSync(zserv)).catch((e: Error) => {
      throw new Error(`${e.message}: ${lab.log}`);
    });
    const bfdd = () =>
      lab.start("a", frrBfd, ...common("bfdd", empty), "-z", zserv, "--bfdctl", join(dir, "bfdd.sock"));
    const process = bfdd();
    await until("bfdd", () => existsSync(join(dir, "bfdd.vty")));
    const bgp = lab.start("a", "/usr/lib/frr/bgpd", ...common("bgpd", config), "-z", zserv);
    const ask = (daemon: string, ...commands: string[]): string => {
      try {
        return execFileSync(
          "vtysh",
          ["--vty_socket", dir, "-d", daemon, ...commands.flatMap((c) => ["-c", c])],
          {
            encoding: "utf8",
            stdio: ["ignore", "pipe", "ignore"],
          },
        );
      } catch {
        return "";
      }
    };
    bgpd = await lab.speaker();
    bgpd.desire({ peers: [birdPeer({ bfd: intervals, ...peer })], origins: [origin("10.64.0.0/24")] });
    await up();
    await until("routes", async () => (await learned()) === 1);
    return { ask, process, bgp };
  };

  test("shut down by its operator: BFD goes, the session and its routes stay", async () => {
    const frr = await start("", { bfd: steady });
    const bfd = (command: string) =>
      frr.ask(
        "bfdd",
        "configure terminal",
        "bfd",
        `peer ${ours.ipv4} local-address ${theirs.ipv4} interface veth0`,
        command,
      );
    bfd("shutdown");
    await until("down", async () => (await state()) === "Down");
    expect((await bgpd.session())!.bfd).toMatchObject({ remoteState: "AdminDown" });
    expect(await established()).toBe(true);
    expect(await learned()).toBe(1);
    bfd("no shutdown");
    await up();
    expect((await bgpd.session())!.flaps).toBe(0n);
  });

  test("C bit 1: BFD outlives the session and the routes are kept; then BFD fails too, and they go", async () => {
    const frr = await start(`neighbor ${ours.ipv4} bfd check-control-plane-failure`, {
      bfd: { ...intervals, receiveMs: 1200, detectMultiplier: 30 },
    });
    await until("C bit", async () => (await bgpd.session())!.bfd!.remoteIndependent);
    // A bgpd that hangs and loses its connection. Not one that is killed: FRR's bfdd ends the sessions of a client that is gone.
    frr.bgp.kill("SIGSTOP");
    lab.in("a", "ss", "-K", "dst", ours.ipv4);
    await until("restarting", async () => (await bgpd.session())!.restartingPeer);
    await sleep(1500);
    expect([await learned(), await state()]).toEqual([1, "Up"]);
    frr.process.kill("SIGKILL");
    await until("down", async () => (await state()) === "Down");
    await until("routes go", async () => (await learned()) === 0);
  });

  test("we are killed: with our C bit 0, FRR keeps our routes", async () => {
    const frr = await start(`neighbor ${ours.ipv4} bfd check-control-plane-failure`);
    await until("our route", () =>
      frr.ask("bgpd", "show bgp ipv4 unicast 10.64.0.0/24").includes("10.64.0.0"),
    );
    bgpd.process.kill("SIGKILL");
    await until("BFD down there", () => /Status: down/.test(frr.ask("bfdd", "show bfd peers")));
    expect(frr.ask("bgpd", "show bgp ipv4 unicast 10.64.0.0/24")).toContain("stale");
  });
});
