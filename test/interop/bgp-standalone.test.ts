// test/interop: the speaker alone, from a file, unprivileged, on another port than 179; and the command line that asks it.
import { execFileSync } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { asn, BgpLab, type Bird, birdBgp, canRun, ours, theirs, until } from "./bgp-lab.ts";

const nobody = 65534;

describe.skipIf(!canRun)(`bgpd -f speaker.yaml${canRun ? "" : " (skipped: needs root and bird)"}`, () => {
  let lab: BgpLab;
  let bird: Bird;
  let file: string;
  let socket: string;
  let process_: ReturnType<BgpLab["start"]>;

  const write = (origins: readonly string[], more = ""): void => {
    writeFileSync(
      file,
      [
        `asn: ${asn.ours}`,
        `routerID: ${ours.ipv4}`,
        "listen: [{ address: 0.0.0.0, port: 1179 }]",
        "peers:",
        `- { name: tor, address: ${theirs.ipv4}, asn: ${asn.bird}, password: s3cret, passive: true, import: [all], export: [all], nextHop: { ipv6: "${ours.ipv6}" } }`,
        "origins:",
        ...origins.map((o) => `- { prefix: "${o}", peers: [tor] }`),
        "policies:",
        "- { name: all, rules: [{ name: every, action: accept }] }",
        more,
      ].join("\n"),
    );
  };
  const waggle = (...args: string[]): string =>
    execFileSync(process.execPath, ["src/cli/main.ts", ...args, "--socket", socket], { encoding: "utf8" });

  beforeAll(async () => {
    lab = new BgpLab("alone");
    chmodSync(lab.directory, 0o777);
    file = join(lab.directory, "speaker.yaml");
    socket = join(lab.directory, "bgpd.sock");
    bird = await lab.bird(
      birdBgp('password "s3cret";').replace(`neighbor ${ours.ipv4} as`, `neighbor ${ours.ipv4} port 1179 as`),
    );
    write(["10.1.0.0/26", "fd10:1::/122"]);
    process_ = lab.start(
      "b",
      "setpriv",
      `--reuid=${nobody}`,
      `--regid=${nobody}`,
      "--clear-groups",
      // A checkout in root's home: reading it is then the one thing more that this nobody may do.
      "--inh-caps=-all,+dac_read_search",
      "--ambient-caps=+dac_read_search",
      process.execPath,
      "src/cli/main.ts",
      "bgpd",
      "-f",
      file,
      "--socket",
      socket,
    );
    await until("route at BIRD", () => bird.routes().includes("fd10:1::/122"), 15_000);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test("peers, routes, received and advertised, as tables and as JSON", () => {
    expect(waggle("bgp", "peers")).toMatch(
      /tor +10\.99\.0\.1 +65001 +Established .* ipv4\/ipv6 +2\/1 +2\/1 +1\/1/,
    );
    const peers = JSON.parse(waggle("bgp", "peers", "-o", "json"));
    expect(peers[0]).toMatchObject({
      peer: "tor",
      state: "Established",
      md5: true,
      families: ["ipv4", "ipv6"],
    });
    expect(waggle("bgp", "routes")).toMatch(/192\.0\.2\.0\/24 +\* +tor +10\.99\.0\.1 +65001/);
    const routes = JSON.parse(waggle("bgp", "routes", "10.0.0.0/8", "-o", "json"));
    expect(routes.map((r: { prefix: string }) => r.prefix)).toEqual(["10.1.0.0/26"]);
    expect(JSON.parse(waggle("bgp", "received", "tor", "-o", "json")).length).toBe(3);
    const advertised = JSON.parse(waggle("bgp", "advertised", "tor", "-o", "json"));
    expect(
      advertised.map((r: { prefix: string; decidedBy: string }) => `${r.prefix} ${r.decidedBy}`),
    ).toEqual(["10.1.0.0/26 all/every", "fd10:1::/122 all/every"]);
  });

  test("SIGHUP: what has changed changes, the session lives", async () => {
    write(["10.1.0.0/26", "10.2.0.0/26"]);
    process_.kill("SIGHUP");
    await until("new route", () => bird.routes().includes("10.2.0.0/26"));
    await until("old route gone", () => !bird.routes().includes("fd10:1::/122"));
    expect(JSON.parse(waggle("bgp", "peers", "-o", "json"))[0].flaps).toBe(0);
  });

  test("SIGHUP with a mistake: it is named, and everything stays", async () => {
    write(["10.3.0.0/26"], "colour: red");
    process_.kill("SIGHUP");
    await until("complaint", () => lab.log.includes("additional properties"));
    expect(bird.routes()).toContain("10.2.0.0/26");
    expect(JSON.parse(waggle("bgp", "peers", "-o", "json"))[0].flaps).toBe(0);
  });

  test("no speaker there: failed, and says where it looked", () => {
    expect(() =>
      execFileSync(process.execPath, ["src/cli/main.ts", "bgp", "peers", "--socket", "/proc/self/nowhere"], {
        stdio: "pipe",
      }),
    ).toThrow(/nowhere.*ENOENT/);
  });
});
