// test, cli: `waggle trace --fmt` prints a script laid out anew, and refuses what is none; it needs neither root nor a cluster.
import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { isLocal, parseLocal } from "../../../src/cli/local-options.ts";

const run = (...args: string[]) =>
  spawnSync(process.execPath, ["src/cli/main.ts", "trace", ...args], { encoding: "utf8", timeout: 60_000 });

describe("trace --fmt", () => {
  it("is about this machine, without --local", () => {
    expect(isLocal(["trace", "--fmt", "x.bt"])).toBe(true);
    expect(parseLocal(["--fmt", "x.bt"])).toMatchObject({ kind: "format", options: { file: "x.bt" } });
  });

  it("prints the script", () => {
    const { stdout, status } = run("--fmt", "-e", "BEGIN{@x=1;// one\nprint(@x)}");
    expect(stdout).toBe("BEGIN {\n  @x = 1; // one\n  print(@x)\n}\n");
    expect(status).toBe(0);
  });

  it("says where a script is wrong, and prints nothing", () => {
    const { stdout, stderr, status } = run("--fmt", "-e", "BEGIN { @x = = 1 }");
    expect(stderr).toContain("stdin:1:14-15: ERROR: syntax error");
    expect({ stdout, status }).toEqual({ stdout: "", status: 1 });
  });
});
