// cli: the program as a process: help, suggestions, exit codes, and that a command loads only what it needs.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { commands } from "../../../src/cli/main.ts";

const run = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["src/cli/main.ts", ...args], {
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  return { code: status, out: stdout, err: stderr };
};

describe("waggle", () => {
  it("--help names every command, in groups, and says where to start", () => {
    const { code, out, err } = run("--help");
    expect([code, err]).toEqual([0, ""]);
    for (const { name, summary } of commands)
      expect(out).toMatch(new RegExp(`^  ${name} +${summary.slice(0, 20)}`, "m"));
    expect(out).toContain("waggle lab demo");
    expect(out).toContain("Exit codes: 0 ok, 1 failed, 2 usage, 3 partial answer.");
  });

  it("a command that is not there: the nearest one is named", () => {
    const { code, out, err } = run("tarce");
    expect([code, out]).toEqual([2, ""]);
    expect(err).toContain("unknown command 'tarce'\n(Did you mean trace?)");
  });

  it("usage errors are 2, of options, of values and of arguments", () => {
    expect(run("--nope").code).toBe(2);
    expect(run("version", "-o", "yaml").code).toBe(2);
    expect(run("trace", "--for", "1500ms", "-e", "x")).toMatchObject({ code: 2, out: "" });
    expect(run("trace")).toMatchObject({ code: 2, out: "" });
    expect(run("trace", "-c", "ls", "-e", "BEGIN { }").err).toContain("add --local");
  });

  it("version is for people and for programs", () => {
    expect(run("version").out).toMatch(/^waggle \d+\.\d+\.\d+\+source \(Node\.js \d+/);
    expect(JSON.parse(run("version", "-o", "json").out)).toMatchObject({
      platform: `${process.platform}-${process.arch}`,
    });
    expect(run("-V").out).toBe(run("version").out);
  });

  it("has a file for every command, and a command for every file that is one", () => {
    const text = Object.fromEntries(
      readdirSync("src/cli", { withFileTypes: true })
        .filter((f) => f.isFile() && f.name !== "main.ts")
        .map((f) => [f.name, readFileSync(`src/cli/${f.name}`, "utf8")]),
    );
    // A subcommand's file exports it by its own name, as explain.ts does for bgp.
    const own = Object.keys(text).filter((f) => /^export (function|const) command\b/m.test(text[f]!));
    expect(own.sort()).toEqual(commands.map((c) => `${c.name}.ts`).sort());
  });

  it("every command's help exits 0 and has a summary of its own", async () => {
    for (const { name, load } of commands) {
      const command = (await load()).command();
      expect(command.name(), name).toBe(name);
      expect(command.helpInformation().length, name).toBeGreaterThan(50);
    }
  });

  it("waggle trace --help loads neither FFI nor a Kubernetes client", () => {
    const script = `
      const { registerHooks } = await import("node:module");
      const seen = [];
      registerHooks({ resolve(specifier, context, next) { seen.push(specifier); return next(specifier, context); } });
      const { main } = await import(${JSON.stringify(new URL("../../../src/cli/main.ts", import.meta.url).href)});
      await main(["trace", "--help"]);
      console.log(JSON.stringify(seen));`;
    const { stdout } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      encoding: "utf8",
    });
    const seen = JSON.parse(stdout.trim().split("\n").at(-1)!) as string[];
    expect(seen.length).toBeGreaterThan(5);
    expect(
      seen.filter((s) => /koffi|client-node|undici|connectrpc|x509|pino|kernel|script\//.test(s)),
    ).toEqual([]);
  });
});
