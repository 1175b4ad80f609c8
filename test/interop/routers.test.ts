// test/interop: docs/routers: FRR and BIRD themselves read the configurations that are given for them.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { birdPath } from "./bgp-lab.ts";

const root = "docs/routers";
const files = (maker: string): string[] =>
  readdirSync(root).flatMap((topology) =>
    readdirSync(`${root}/${topology}`)
      .filter((f) => f.endsWith(`.${maker}.conf`))
      .map((f) => `${root}/${topology}/${f}`),
  );
const vtysh = existsSync("/usr/bin/vtysh");

describe("configurations for routers", () => {
  test.skipIf(!birdPath)(`BIRD takes its own${birdPath ? "" : " (skipped: needs bird)"}`, () => {
    expect(files("bird").length).toBeGreaterThan(8);
    for (const file of files("bird")) {
      const { status, stderr } = spawnSync(birdPath!, ["-p", "-c", file], { encoding: "utf8" });
      expect([file, status, stderr]).toEqual([file, 0, ""]);
    }
  });

  test.skipIf(!vtysh)(`FRR takes its own${vtysh ? "" : " (skipped: needs frr)"}`, () => {
    expect(files("frr").length).toBeGreaterThan(8);
    for (const file of files("frr"))
      expect([file, execFileSync("vtysh", ["-C", "-f", file], { encoding: "utf8" })]).toEqual([file, ""]);
  });
});
