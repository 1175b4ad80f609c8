// trace: scripts run end to end on this kernel: exact counts, order, rounds, exit, deadlines, losses, full maps.
import { rmSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { compile } from "../../../src/script/index.ts";
import type { CompiledScript } from "../../../src/script/types.ts";
import { loadScript, ScriptLoadError } from "../../../src/trace/load.ts";
import {
  cacheDirectory,
  canTrace,
  environment,
  getppid,
  getpriority,
  rowsOf,
  runScript,
  skipped,
  sleep,
} from "./helper.ts";

afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

const mine = `/pid == ${process.pid}/`;

describe.skipIf(!canTrace)(`scripts on this kernel (${skipped})`, () => {
  it("count exactly what happens, no more and no less", async () => {
    const { maps, end, probes } = await runScript(
      `tracepoint:syscalls:sys_enter_getppid ${mine} { @calls = count(); @by[pid, comm] = count(); @n++; }`,
      { work: () => getppid(5000) },
    );
    expect(probes).toBe(1);
    expect(rowsOf(maps, "@calls")).toEqual({ "": 5000 });
    expect(Object.values(rowsOf(maps, "@by"))).toEqual([5000]);
    expect(rowsOf(maps, "@n")).toEqual({ "": 5000 });
    expect(end).toMatchObject({ reason: "stopped", lostEvents: 0, mapFull: 0, exitCode: 0 });
  });

  it("see nothing that happened before all probes were on, or after the end", async () => {
    getppid(10);
    const { maps } = await runScript(
      `tracepoint:syscalls:sys_enter_getppid ${mine} { @ = count(); } interval:hz:1000 { @ticks = count(); }`,
      { work: () => getppid(7) },
    );
    getppid(10);
    expect(rowsOf(maps, "@")).toEqual({ "": 7 });
  });

  it("aggregate: sum, min, max, avg, stats, hist and lhist", async () => {
    const { maps } = await runScript(
      `tracepoint:syscalls:sys_enter_getpriority ${mine} {
         @sum = sum(args.who); @min = min(args.who); @max = max(args.who); @avg = avg(args.who);
         @stats = stats(args.who); @hist = hist(args.who); @lhist = lhist(args.who, 0, 100, 10);
       }`,
      { work: () => getpriority(100) },
    );
    expect(rowsOf(maps, "@sum")).toEqual({ "": 4950 });
    expect(rowsOf(maps, "@min")).toEqual({ "": 0 });
    expect(rowsOf(maps, "@max")).toEqual({ "": 99 });
    expect(rowsOf(maps, "@avg")).toEqual({ "": { count: "100", total: "4950" } });
    expect(rowsOf(maps, "@stats")).toEqual({ "": { count: "100", total: "4950" } });
    const total = (name: string) =>
      (Object.values(rowsOf(maps, name))[0] as [number, string][]).reduce((sum, [, n]) => sum + Number(n), 0);
    expect(total("@hist")).toBe(100);
    expect((Object.values(rowsOf(maps, "@lhist"))[0] as [number, string][]).map(([, n]) => n)).toEqual(
      Array(10).fill("10"),
    );
  });

  it("print in order, BEGIN first and END last", async () => {
    const { text, end } = await runScript(
      `BEGIN { printf("begin\\n"); } END { printf("end\\n"); }
       tracepoint:syscalls:sys_enter_getpriority ${mine} { printf("%d\\n", args.who); }`,
      { work: () => getpriority(2000) },
    );
    expect(end.lostEvents).toBe(0);
    expect(text).toBe(["begin", ...Array.from({ length: 2000 }, (_, i) => String(i)), "end", ""].join("\n"));
  });

  it("exit by themselves with their code, and what was printed before arrives", async () => {
    const { text, end } = await runScript(
      `tracepoint:syscalls:sys_enter_getpriority ${mine} { printf("%d ", args.who); if (args.who == 3) { exit(42); } }`,
      { work: () => getpriority(4), endsItself: true },
    );
    expect(text).toBe("0 1 2 3 ");
    expect(end).toMatchObject({ reason: "exit", exitCode: 42 });
  });

  it("that have BEGIN and END alone end when BEGIN is done", async () => {
    const { text, end, probes } = await runScript('BEGIN { printf("a"); } END { printf("b"); }', {
      endsItself: true,
    });
    expect(text).toBe("ab");
    expect(end.reason).toBe("exit");
    expect(probes).toBe(2);
  });

  it("tick at intervals and print rounds of a map, numbered", async () => {
    const { chunks } = await runScript(
      `tracepoint:syscalls:sys_enter_getppid ${mine} { @ = count(); }
       interval:ms:50 { print(@); clear(@); @ticks = count(); }`,
      {
        work: async () => {
          for (let i = 0; i < 4; i++) {
            getppid(10);
            await sleep(50);
          }
          await sleep(60);
        },
      },
    );
    const rounds = chunks.flatMap((c) => (c.kind === "round" ? [c] : []));
    expect(rounds.length).toBeGreaterThanOrEqual(3);
    expect(rounds.map((r) => r.ordinal)).toEqual(rounds.map((_, i) => i));
    const counted = rounds.reduce((sum, r) => sum + Number(Object.values(rowsOf([r.map], "@"))[0] ?? 0), 0);
    expect(counted).toBe(40);
  });

  it("stop at their deadline", async () => {
    const start = Date.now();
    const { end } = await runScript(`tracepoint:syscalls:sys_enter_getppid ${mine} { @ = count(); }`, {
      run: { durationMs: 150 },
      endsItself: true,
    });
    expect(end.reason).toBe("deadline");
    expect(Date.now() - start).toBeGreaterThanOrEqual(149);
  });

  it("count every record that the ring had no room for", async () => {
    const { chunks, end } = await runScript(
      `tracepoint:syscalls:sys_enter_getpriority ${mine} { printf("%d\\n", args.who); }`,
      { prepare: { compile: { ringBytes: 4096 } }, work: () => getpriority(1000) },
    );
    const lines = chunks.filter((c) => c.kind === "line").length;
    // Nobody drains while the calls are made: what fits, fits, and the rest is counted.
    expect(lines).toBeGreaterThan(50);
    expect(lines).toBeLessThan(1000);
    expect(end.lostEvents).toBe(1000 - lines);
  });

  it("count every update that a map had no room for", async () => {
    const { maps, end } = await runScript(
      `tracepoint:syscalls:sys_enter_getpriority ${mine} { @[args.who] = count(); }`,
      { prepare: { compile: { maxMapKeys: 16 } }, work: () => getpriority(100) },
    );
    expect(Object.keys(rowsOf(maps, "@"))).toHaveLength(16);
    expect(end.mapFull).toBe(84);
  });

  it("carry raw tracepoints, profiles, software events, uprobes and iterators", async () => {
    const { maps } = await runScript(
      `rawtracepoint:sched_switch { @switches = count(); }
       profile:hz:200 { @samples[cpu] = count(); }
       software:page-faults:1 { @faults = count(); }`,
      { work: () => sleep(300) },
    );
    expect(Number(rowsOf(maps, "@switches")[""])).toBeGreaterThan(0);
    expect(Object.keys(rowsOf(maps, "@samples")).length).toBeGreaterThan(0);
    const iterated = await runScript("iter:task { @tasks = count(); }", { endsItself: true });
    expect(iterated.end.reason).toBe("exit");
    expect(Number(rowsOf(iterated.maps, "@tasks")[""])).toBeGreaterThan(3);
  });

  it("read strings of user space and addresses of sockets", async () => {
    const { text } = await runScript(
      `tracepoint:syscalls:sys_enter_openat ${mine} { printf("%s\\n", str(args.filename)); }`,
      {
        work: async () => {
          const { openSync, closeSync } = await import("node:fs");
          closeSync(openSync("/proc/self/stat", "r"));
        },
      },
    );
    expect(text).toContain("/proc/self/stat\n");
  });
});

describe.skipIf(!canTrace)(`scripts that do not run (${skipped})`, () => {
  it("tell what is wrong with them, and attach nothing", async () => {
    await expect(runScript("tracepoint:syscalls:sys_enter_openat { @ = args.nope; }")).rejects.toThrow(
      /test\.bt:1:\d+-\d+: ERROR: .*nope/,
    );
    await expect(runScript("tracepoint:nothing:here { @ = 1; }")).rejects.toThrow(/tracepoint not found/);
  });

  it("are refused when their maps are larger than allowed", async () => {
    await expect(
      runScript("tracepoint:syscalls:sys_enter_getppid { @[pid] = count(); }", {
        prepare: { mapBytes: 10_000 },
      }),
    ).rejects.toThrow(/kernel memory/);
  });

  it("and whose code the verifier refuses are told by the line of the source", () => {
    const source = [
      "tracepoint:syscalls:sys_enter_getppid",
      "{",
      "  @a = count();",
      "  @b[pid] = count();",
      "}",
    ].join("\n");
    const { types } = environment();
    const { script } = compile(source, { name: "test.bt", types, network: false });
    const [program] = script?.programs ?? [];
    const at = program?.lines.find((l) => l.line === 4)?.instruction;
    if (!script || !program || at === undefined) throw new Error("the script has no line 4");
    const code = program.code.slice();
    // r2 = *(u64 *)(r9 + 4096), which is nobody's memory.
    code.set([0x79, 0x92, 0x00, 0x10, 0, 0, 0, 0], at * 8);
    const broken: CompiledScript = { ...script, programs: [{ ...program, code }] };
    const load = () =>
      loadScript(broken, {
        name: "test.bt",
        source,
        external: () => undefined,
        iteratorFunction: () => undefined,
      });
    let caught: unknown;
    try {
      load();
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(ScriptLoadError);
    const [diagnostic] = (caught as ScriptLoadError).diagnostics;
    expect(diagnostic).toMatchObject({ severity: "error", code: "verifier", span: { line: 4 } });
    expect((caught as ScriptLoadError).log).toContain("@ test.bt:4");
  });
});
