// test, vm: `waggle trace --local` on Linux 6.1: each kind of probe counts exactly what a program with known calls does.
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bootVm, canBoot, checkout, how } from "./vm.ts";

interface Outcome {
  readonly exitCode: number;
  readonly probes: number;
  readonly maps: Readonly<Record<string, unknown>>;
  /** What was no result. */
  readonly said: string;
}

/** Made when a guest is really booted. */
const directory = join(tmpdir(), `waggle-vm-trace-${process.pid}`);
const workload = join(directory, "workload");
const [opens, reads, steps] = [20, 30, 5];
/** It opens three files more than asked, one of which does not exist. */
const allOpens = opens + 3;
const ours = '/comm == "workload"/';

/** Name -> script; all run in one guest and one process, one after the other, each with the workload under its probes. */
const scripts = {
  tracepoint: `tracepoint:syscalls:sys_enter_openat ${ours} { @n = count(); @by[str(args.filename)] = count(); }
    tracepoint:syscalls:sys_exit_openat /comm == "workload" && args.ret < 0/ { @failed[args.ret] = count(); }`,
  "raw tracepoint": `rawtracepoint:sys_enter ${ours} { @[args.id] = count(); }`,
  "by the raw one below": `tracepoint:raw_syscalls:sys_enter ${ours} { @[args.id] = count(); }
    tracepoint:sched:sched_process_exec { @exec[str(args.filename), comm] = count(); }
    tracepoint:sched:sched_process_exit ${ours} { @exit[args.comm, args.pid == tid, args.prio] = count(); }
    tracepoint:sched:sched_switch { @switch[args.prev_pid != args.next_pid] = count(); }`,
  kprobe: `kprobe:vfs_read ${ours} { @n = count(); @bytes = sum(arg2); @by[func] = count(); }`,
  kretprobe: `kretprobe:vfs_read ${ours} { @n = count(); @bytes = sum(retval); }`,
  "kprobe wildcard": `kprobe:vfs_* ${ours} { @[probe] = count(); }`,
  "several points": `kprobe:vfs_read,kprobe:vfs_write ${ours} { @[probe] = count(); }`,
  fentry: `fentry:vfs_read ${ours} { @n = count(); @bytes = sum(args.count);
    @name[str(args.file->f_path.dentry->d_name.name)] = count(); }`,
  fexit: `fexit:vfs_write ${ours} { @n = count(); @asked = sum(args.count); @written = sum(retval); }`,
  uprobe: `uprobe:${workload}:step { @n = count(); @sum = sum(arg0); } uretprobe:${workload}:step { @returned = sum(retval); }`,
  timers: `profile:hz:99 ${ours} { @samples = count(); } interval:ms:100 { @ticks = count(); }`,
  software: `software:page-faults:1 ${ours} { @ = count(); }`,
  iterator: "iter:task { @ = count(); if (ctx->task->pid == 1) { @first = count(); } }",
  stack: `kprobe:vfs_read ${ours} { @[kstack(2)] = count(); }`,
  comm: "tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }",
  latency: `kprobe:vfs_write ${ours} { @from[tid] = nsecs; }
    kretprobe:vfs_write /@from[tid]/ { @took = hist(nsecs - @from[tid]); delete(@from[tid]); }`,
  begin: 'BEGIN { printf("%s\\n", "hi"); exit(); }',
  "no such function": "kprobe:no_such_function { @ = count(); }",
} as const;

type Name = keyof typeof scripts;

const names = Object.keys(scripts) as Name[];
/** These end by themselves. */
const alone: readonly Name[] = ["iterator", "begin"];

const commandOf = (name: Name): string =>
  alone.includes(name) ? "" : `${workload} ${opens} ${reads} ${steps} ${name === "timers" ? 1500 : 0}`;

function outcomesOf(output: string): Map<string, Outcome> {
  const outcomes = new Map<string, Outcome>();
  for (const part of output.split(/^== (?!rc)/m).slice(1)) {
    const [name = "", ...lines] = part.split("\n");
    const maps: Record<string, unknown> = {};
    const said: string[] = [];
    let probes = 0;
    let exitCode = -1;
    for (const line of lines) {
      if (line.startsWith("== rc ")) exitCode = Number(line.slice(6));
      else if (line.startsWith('{"type":')) {
        const { type, data } = JSON.parse(line) as { type: string; data: Record<string, unknown> };
        if (type === "attached_probes") probes = Number(data["probes"]);
        else if (type === "map" || type === "hist") Object.assign(maps, data);
        else said.push(line);
      } else said.push(line);
    }
    outcomes.set(name, { exitCode, probes, maps, said: said.join("\n") });
  }
  return outcomes;
}

describe.skipIf(!canBoot)(`trace on Linux 6.1 (${how})`, () => {
  let outcomes = new Map<string, Outcome>();
  let output = "";

  beforeAll(async () => {
    mkdirSync(directory);
    const source = join(checkout, "test/vm/guest/workload.c");
    execFileSync("clang", ["-O1", "-nostdlib", "-static", "-o", workload, source]);
    const cases = join(directory, "cases.json");
    writeFileSync(cases, JSON.stringify(names.map((name) => [name, scripts[name], commandOf(name)])));
    const result = await bootVm({
      memoryMb: 768,
      run: `node test/vm/guest/trace.ts ${cases}
        echo "== command line"
        node src/cli/main.ts trace --local -f json -e 'kprobe:vfs_read ${ours} { @ = count(); }' -c '${workload} 0 ${reads} 0'
        echo "== rc $?"`,
      timeoutMs: 900_000,
    });
    output = result.output;
    outcomes = outcomesOf(output);
  }, 3_000_000);

  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** A run that came to its end. */
  function of(name: Name | "command line"): Outcome {
    const outcome = outcomes.get(name);
    if (!outcome) throw new Error(`nothing came of ${name}:\n${output}`);
    expect(outcome.exitCode, outcome.said).toBe(0);
    return outcome;
  }

  test("tracepoints: every call, by its arguments and results", () => {
    const { maps, probes } = of("tracepoint");
    expect(probes).toBe(2);
    expect(maps).toEqual({
      "@n": allOpens,
      "@by": { "/dev/null": opens + 1, "/dev/zero": 1, "/there/is/no/such/file": 1 },
      "@failed": { "-2": 1 },
    });
  });

  test("raw tracepoints have typed arguments", () => {
    const { maps } = of("raw tracepoint");
    expect(maps["@"]).toMatchObject({ "0": reads, "1": reads, "3": opens, "257": allOpens, "231": 1 });
  });

  test("tracepoints by the raw ones below them", () => {
    const { maps, probes } = of("by the raw one below");
    expect(probes).toBe(4);
    expect(maps["@"]).toMatchObject({ "0": reads, "1": reads, "3": opens, "257": allOpens, "231": 1 });
    expect(maps["@exec"]).toMatchObject({ [`${workload},workload`]: 1 });
    expect(maps["@exit"]).toEqual({ "workload,true,120": 1 });
    expect(maps["@switch"]).toHaveProperty(["true"]);
  });

  test("kprobes and kretprobes", () => {
    expect(of("kprobe").maps).toEqual({
      "@n": reads,
      "@bytes": reads * 7,
      "@by": { vfs_read: reads },
    });
    expect(of("kretprobe").maps).toEqual({ "@n": reads, "@bytes": reads * 7 });
  });

  test("a wildcard attaches to all that match, and each probe knows its name", () => {
    const { maps, probes } = of("kprobe wildcard");
    // Some seventy functions of 6.1 that are not inlined.
    expect(probes).toBeGreaterThan(40);
    expect(maps["@"]).toMatchObject({ "kprobe:vfs_read": reads, "kprobe:vfs_write": reads });
    const several = of("several points");
    expect(several.probes).toBe(2);
    expect(several.maps).toEqual({ "@": { "kprobe:vfs_read": reads, "kprobe:vfs_write": reads } });
  });

  test("fentry and fexit: arguments by name, structures behind them, results", () => {
    expect(of("fentry").maps).toEqual({ "@n": reads, "@bytes": reads * 7, "@name": { zero: reads } });
    expect(of("fexit").maps).toEqual({ "@n": reads, "@asked": reads * 3, "@written": reads * 3 });
  });

  test("uprobes and uretprobes", () => {
    const sum = (steps * (steps - 1)) / 2;
    expect(of("uprobe").maps).toEqual({ "@n": steps, "@sum": sum, "@returned": 3 * sum });
  });

  test("profiles and intervals", () => {
    const { maps } = of("timers");
    // 1.5 s of a busy process; an emulated machine may be late, but is never early.
    expect(Number(maps["@samples"])).toBeGreaterThan(10);
    expect(Number(maps["@samples"])).toBeLessThan(250);
    expect(Number(maps["@ticks"])).toBeGreaterThan(3);
    expect(Number(maps["@ticks"])).toBeLessThan(60);
  });

  test("software events", () => {
    // At least its text, its data and its stack.
    expect(Number(of("software").maps["@"])).toBeGreaterThanOrEqual(2);
  });

  test("iterators walk over all tasks", () => {
    const { maps } = of("iterator");
    expect(Number(maps["@"])).toBeGreaterThan(20);
    expect(maps["@first"]).toBe(1);
  });

  test("stacks of the kernel by symbols", () => {
    const stacks = Object.entries(of("stack").maps["@"] as Record<string, number>);
    expect(stacks).toHaveLength(1);
    const [stack = "", count] = stacks[0] ?? [];
    expect(count).toBe(reads);
    expect(stack).toMatch(/^\s*vfs_read\+\d+\n\s*(ksys_read|__x64_sys_read)\+\d+\s*$/);
  });

  test("the same comm is one key, whatever lay in memory before", () => {
    const keys = of("comm").maps["@"] as Record<string, number>;
    expect(keys["workload"]).toBe(allOpens);
  });

  test("what a kprobe keeps its kretprobe finds", () => {
    const buckets = of("latency").maps["@took"] as readonly { readonly count: number }[];
    expect(buckets.reduce((sum, b) => sum + b.count, 0)).toBe(reads);
  });

  test("the command line's way", () => {
    expect(of("command line").maps).toEqual({ "@": reads });
  });

  test("BEGIN prints", () => {
    expect(of("begin").said).toContain('{"type": "printf", "data": "hi\\n"}');
  });

  test("a function that the kernel does not have is named, and nothing is attached", () => {
    const { exitCode, said, probes } = outcomes.get("no such function") ?? {};
    // As bpftrace ends.
    expect(exitCode).toBe(255);
    expect(probes).toBe(0);
    expect(said).toContain("no_such_function");
  });
});
