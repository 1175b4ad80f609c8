// trace: `waggle trace --local` as its user sees it: streams, exit codes, signals, commands, listings.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { splitCommand } from "../../../src/trace/command.ts";
import type { LocalOptions } from "../../../src/trace/local.ts";
import { cacheDirectory, canTrace, skipped } from "./helper.ts";

const runner = join(cacheDirectory, "runner.ts");
const local = join(import.meta.dirname, "../../../src/trace/local.ts");

beforeAll(() => {
  writeFileSync(
    runner,
    `const { runLocal } = await import(${JSON.stringify(local)});
     process.exitCode = await runLocal(JSON.parse(process.argv[2]));`,
  );
});
afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

interface More {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string;
  /** Called with everything that came out so far, until it returns a signal to send. */
  readonly signalWhen?: (out: string, err: string, child: ChildProcess) => NodeJS.Signals | undefined;
}

function run(options: LocalOptions, more: More = {}): Promise<Result> {
  const child = spawn(
    process.execPath,
    [runner, JSON.stringify({ tracer: { cacheDirectory }, ...options })],
    {
      env: { ...process.env, ...more.env },
      stdio: ["pipe", "pipe", "pipe"],
    },
  );
  let out = "";
  let err = "";
  let signalled = false;
  const look = () => {
    const signal = signalled ? undefined : more.signalWhen?.(out, err, child);
    if (signal === undefined) return;
    signalled = true;
    child.kill(signal);
  };
  child.stdout.on("data", (bytes: Buffer) => {
    out += bytes;
    look();
  });
  child.stderr.on("data", (bytes: Buffer) => {
    err += bytes;
    look();
  });
  child.stdin.end(more.stdin ?? "");
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, out, err })));
}

const hello = 'BEGIN { printf("hello\\n"); exit(); }';

describe.skipIf(!canTrace)(`local traces (${skipped})`, () => {
  it("print the script's output on stdout and everything else on stderr", async () => {
    expect(await run({ program: hello })).toEqual({ code: 0, out: "hello\n\n\n", err: "Attached 1 probe\n" });
    expect(await run({ program: hello, quiet: true })).toEqual({ code: 0, out: "hello\n\n\n", err: "" });
  });

  it("print JSON lines", async () => {
    const { out } = await run({
      program: 'BEGIN { @x = 5; @h[1] = hist(3); printf("a\\n"); print((1, "b")); exit(); }',
      format: "json",
    });
    const lines = out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { type: string; data: unknown });
    expect(lines[0]).toEqual({ type: "attached_probes", count: 1, data: { probes: 1 } });
    expect(lines.map((l) => l.type)).toEqual(["attached_probes", "printf", "value", "hist", "map"]);
    expect(lines.at(-1)).toEqual({ type: "map", data: { "@x": 5 } });
  });

  it("read scripts from files and stdin, with positional parameters", async () => {
    const file = join(cacheDirectory, "script.bt");
    writeFileSync(file, '#!/usr/bin/env bpftrace\nBEGIN { printf("%d %s\\n", $1, str($2)); exit(); }\n');
    expect((await run({ file, arguments: ["7", "x"] })).out).toBe("7 x\n\n\n");
    expect((await run({ file: "-" }, { stdin: hello })).out).toBe("hello\n\n\n");
    expect(await run({ file: "/nothing/here.bt" })).toMatchObject({
      code: 1,
      err: expect.stringContaining("ENOENT"),
    });
    expect(await run({})).toMatchObject({ code: 1, err: expect.stringContaining("nothing to run") });
  });

  it("show errors with their place and end with 1, exit with the script's code otherwise", async () => {
    const bad = await run({ program: "BEGIN { @x = nope; }" });
    expect(bad.code).toBe(1);
    expect(bad.out).toBe("");
    expect(bad.err).toMatch(/^stdin:1:14-18: ERROR: .*nope/);
    expect((await run({ program: "BEGIN { exit(3); }" })).code).toBe(3);
  });

  it("tell harnesses when the probes are on, and print maps on SIGINT and SIGTERM", async () => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      const result = await run(
        { program: "BEGIN { @x = 1; } interval:s:100 { @y = 1; }" },
        {
          env: { __BPFTRACE_NOTIFY_PROBES_ATTACHED: "1" },
          signalWhen: (out) => (out.includes("__BPFTRACE_NOTIFY_PROBES_ATTACHED\n") ? signal : undefined),
        },
      );
      expect(result).toMatchObject({ code: 0, out: "__BPFTRACE_NOTIFY_PROBES_ATTACHED\n\n\n@x: 1\n" });
    }
  });

  it("print maps on SIGUSR1 and go on", async () => {
    let asked = false;
    const result = await run(
      {
        program:
          "BEGIN { @x = 1; } interval:ms:200 { @y++; if (@y > 400) { exit(); } } END { clear(@y); @x = 2; }",
      },
      {
        env: { __BPFTRACE_NOTIFY_PROBES_ATTACHED: "1" },
        signalWhen: (out, _, child) => {
          if (asked) return out.includes("@x: 1\n") ? "SIGTERM" : undefined;
          if (!out.includes("ATTACHED\n")) return undefined;
          asked = true;
          child.kill("SIGUSR1");
          return undefined;
        },
      },
    );
    expect(result.code).toBe(0);
    expect(result.out).toMatch(/ATTACHED\n@x: 1\n(@y: \d+\n)?\n\n@x: 2\n$/);
  });

  it("take settings from the environment, which counts for more than the script", async () => {
    const program =
      'config = { str_trunc_trailer = "!" } BEGIN { @x = 1; printf("%s\\n", str((uint8 *)&curtask->nsproxy->uts_ns->name.sysname, 3)); }';
    const { out, code } = await run(
      { program },
      { env: { BPFTRACE_PRINT_MAPS_ON_EXIT: "0", BPFTRACE_STR_TRUNC_TRAILER: "~~" } },
    );
    expect({ out, code }).toEqual({ out: "Lin~~\n\n\n", code: 0 });
    const wrong = await run({ program }, { env: { BPFTRACE_STACK_MODE: "sideways" } });
    expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining("one of bpftrace, perf, raw") });
  });

  it("start a command once the probes are on, see all of it, and end with it", async () => {
    const { code, out } = await run({
      program: "tracepoint:syscalls:sys_enter_execve { @[str(args.filename)] = count(); }",
      command: "/bin/echo 'one two'",
    });
    expect(code).toBe(0);
    expect(out).toMatch(/^one two\n/);
    expect(out).toContain("@[/bin/echo]: 1\n");
    expect(splitCommand(`a "b c" 'd "e' f\\ g "h\\"i"`)).toEqual(["a", "b c", 'd "e', "f g", 'h"i']);
  });

  it("write to a file, check without attaching, and show stages", async () => {
    const file = join(cacheDirectory, "out.txt");
    expect(await run({ program: hello, output: file, quiet: true })).toEqual({ code: 0, out: "", err: "" });
    expect(readFileSync(file, "utf8")).toBe("hello\n\n\n");
    expect(await run({ program: hello, dryRun: true })).toEqual({ code: 0, out: "", err: "" });
    const stages = await run({ program: hello, stages: ["ast", "bytecode", "verifier"] });
    expect(stages.code).toBe(0);
    expect(stages.out).toContain("95 00 00 00 00 00 00 00");
    expect(stages.out).toContain("processed");
  });

  it("list probes by pattern, with their arguments", async () => {
    expect((await run({ list: "tracepoint:syscalls:sys_enter_getppid" })).out).toBe(
      "tracepoint:syscalls:sys_enter_getppid\n",
    );
    const { out } = await run({ list: "t:syscalls:sys_enter_open*", verbose: true });
    expect(out).toContain(
      "tracepoint:syscalls:sys_enter_openat\n    int __syscall_nr\n    int dfd\n    const char * filename\n",
    );
    expect((await run({ list: "*sys_enter_getp*" })).out.split("\n")).toContain(
      "tracepoint:syscalls:sys_enter_getpid",
    );
    expect((await run({ list: "struct sockaddr_in", verbose: true })).out).toContain("sin_port;");
    expect(await run({ list: "nothing:*" })).toEqual({ code: 0, out: "", err: "" });
  });
});
