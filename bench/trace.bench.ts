// bench: scripts on one machine beside bpftrace, turn by turn. Needs root, `make build` and, for the comparison, bpftrace.
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { getPriority, setPriority } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunListener } from "../src/trace/types.ts";
import { SYS, writeWorkload } from "../test/kernel/differential/workload.ts";
import { compare, report } from "./harness.ts";
import { generate, type Tool, TracedRun } from "./trace-run.ts";

const one = "tracepoint:syscalls:sys_enter_openat { @[comm] = count(); }";
const ten = `
tracepoint:syscalls:sys_enter_openat { @a[comm] = count(); }
tracepoint:syscalls:sys_exit_openat /args->ret < 0/ { @b[args->ret] = count(); }
tracepoint:syscalls:sys_enter_connect { @c[pid] = count(); }
tracepoint:syscalls:sys_enter_read { @d = hist(args->count); }
tracepoint:syscalls:sys_enter_write { @e = sum(args->count); }
tracepoint:sched:sched_switch { @f[args->next_comm] = count(); }
tracepoint:sched:sched_process_exec { @g[str(args->filename)] = count(); }
tracepoint:sock:inet_sock_set_state { @h[args->oldstate, args->newstate] = count(); }
tracepoint:net:net_dev_queue { @i[str(args->name)] = sum(args->len); }
tracepoint:tcp:tcp_retransmit_skb { @j[ntop(args->daddr)] = count(); }`;

const hasPeer = spawnSync("bpftrace", ["--version"]).status === 0;
// On tmpfs: what is measured is the tracer, not a disk.
const directory = mkdtempSync("/dev/shm/waggle-bench-");
const file = (name: string): string => join(directory, name);
const sysctl = "/proc/sys/kernel/bpf_stats_enabled";

/** `node bench/trace.bench.ts attached` runs the cases whose names match. */
const wanted = new RegExp(process.argv[2] ?? "");

/** Ours beside the peer; alone where there is none. */
async function beside(name: string, unit: string, runs: number, figure: (tool: Tool) => Promise<number>) {
  if (!wanted.test(name)) return;
  const peer = hasPeer ? { name: "bpftrace", run: () => figure("bpftrace") } : undefined;
  await compare("trace", name, unit, runs, () => figure("waggle"), peer);
}

async function attachTime(tool: Tool, script: string): Promise<number> {
  const run = new TracedRun(tool, ["-e", script]);
  await run.attached();
  await run.interrupt();
  return run.attachedMs;
}

/** From the event whose action is exit() to its map on stdout. */
async function resultTime(tool: Tool): Promise<number> {
  const run = new TracedRun(tool, [
    "-e",
    `tracepoint:syscalls:sys_enter_getpriority /pid == ${process.pid}/ { @done[comm] = count(); exit(); }`,
  ]);
  await run.attached();
  await sleep(150);
  const event = performance.now();
  getPriority(0);
  await run.until("the result", () => run.out.includes("@done["));
  const took = performance.now() - event;
  await run.closed;
  return took;
}

async function wholeRun(tool: Tool): Promise<number> {
  const run = new TracedRun(tool, ["-e", `BEGIN { exit(); } ${one}`]);
  await run.closed;
  return run.elapsedMs;
}

/** `every` is done ten times a second, so that all parts of a run have been at work. */
async function peakMemory(tool: Tool, every: string): Promise<number> {
  const sink = openSync("/dev/null", "w");
  const run = new TracedRun(tool, ["-e", `${one} interval:ms:100 { ${every} }`], { stdout: sink });
  await run.attached();
  await sleep(500);
  const peak = run.peakMb();
  await run.interrupt();
  closeSync(sink);
  return peak;
}

const events = 200_000;
const workload = file("events");

/** ns and instructions of an action, on a program that makes the event again and again. */
async function perEvent(
  tool: Tool,
  action: string,
  generator: string,
  least: number,
): Promise<{ ns: number; instructions: number }> {
  const sink = openSync("/dev/null", "w");
  const run = new TracedRun(tool, ["-e", `tracepoint:syscalls:sys_enter_getpriority { ${action} }`], {
    stdout: sink,
    ahead: "events",
  });
  await run.attached();
  generate(generator);
  const [program] = run.programs("tracepoint");
  await run.interrupt();
  closeSync(sink);
  if (!program || program.runs < least) throw new Error(`${tool}: ${program?.runs ?? 0} runs of ${least}`);
  return { ns: program.ns / program.runs, instructions: program.xlated / 8 };
}

/** ms that a load takes while a script is attached that does not match it. */
async function loadTime(tool: Tool, script: string): Promise<number> {
  const run = new TracedRun(tool, ["-e", script], { ahead: "events" });
  await run.attached();
  const took = generate(workload) * 1000;
  await run.interrupt();
  return took;
}

const burst = 100;
/** What a burst itself takes, traced; the rest of its share of a second is slept. */
const burstNs = 60_000;

/** A program that makes events in bursts, for half a second at the rate. */
function pacedWorkload(rate: number): { readonly path: string; readonly events: number } {
  const bursts = Math.round(rate / 2 / burst);
  const path = file(`rate-${rate}`);
  const pause = Math.max(1, Math.round((burst / rate) * 1e9) - burstNs);
  writeWorkload(path, [
    {
      repeat: bursts,
      steps: [
        { call: SYS.getpriority, with: [0, 0], times: burst },
        { call: SYS.nanosleep, with: [{ words: [0, pause] }, 0] },
      ],
    },
  ]);
  return { path, events: bursts * burst };
}

const printLine = 'printf("%d %s\\n", pid, comm);';

/** The rate that was really offered, in lines a second, and whether every line arrived. */
async function offer(tool: Tool, nominal: number): Promise<{ rate: number; all: boolean }> {
  const { path, events: made } = pacedWorkload(nominal);
  const output = file("lines");
  writeFileSync(output, "");
  const sink = openSync(output, "w");
  const run = new TracedRun(tool, ["-e", `tracepoint:syscalls:sys_enter_getpriority { ${printLine} }`], {
    stdout: sink,
    ahead: "events",
  });
  await run.attached();
  const seconds = generate(path);
  await run.interrupt();
  closeSync(sink);
  const lines = readFileSync(output, "utf8").split("\n");
  return { rate: made / seconds, all: lines.filter((line) => line.includes(" rate-")).length >= made };
}

const rates = [25_000, 50_000, 100_000, 150_000, 200_000, 300_000, 450_000, 700_000];

/** The highest rate that was offered, in lines a second, at which nothing was lost. */
async function lossFreeRate(tool: Tool): Promise<number> {
  let [low, high, best] = [-1, rates.length, 0];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    const { rate, all } = await offer(tool, rates[middle]!);
    if (all) [low, best] = [middle, rate];
    else high = middle;
  }
  return best;
}

const resident = "attached, resident tracer";

/** Prepare and attach in a tracer that is warm, as an agent's is. */
async function residentAttach(runs: number): Promise<void> {
  // The child inherits it: an agent's tracer is compared with a goal in ms, not with this machine's other work.
  setPriority(-20);
  const { ProcessTracer } = await import("../src/trace/tracer.ts");
  const tracer = new ProcessTracer({
    nodeIndex: 0,
    unownedIsNode: true,
    countsUnattributed: true,
    cacheDirectory: directory,
  });
  const listener: RunListener = { chunk: () => {}, finished: () => {} };
  const took: number[] = [];
  for (let i = -1; i < runs; i++) {
    const name = `bench-${i}`;
    const request = {
      run: name,
      script: one,
      positional: [],
      durationMs: 60_000,
      mapBytes: 0,
      ringBytes: 0,
    };
    if (i < 0) await sleep(500);
    const began = performance.now();
    const prepared = await tracer.prepare(request);
    const attached = prepared.ok && (await tracer.attach(name, listener));
    if (i >= 0) took.push(performance.now() - began);
    if (attached === false || !attached.ok)
      throw new Error(`a resident trace failed: ${JSON.stringify(prepared)}`);
    await tracer.stop(name, "stopped");
  }
  await tracer.close();
  report("trace", resident, "ms", took);
}

const before = readFileSync(sysctl, "utf8");
try {
  writeWorkload(workload, [{ call: SYS.getpriority, with: [0, 0], times: events }]);
  await beside("exec to attached, 1 probe", "ms", 7, (tool) => attachTime(tool, one));
  await beside("exec to attached, 10 probes", "ms", 3, (tool) => attachTime(tool, ten));
  await beside("last event to results", "ms", 5, resultTime);
  await beside("whole run", "ms", 5, wholeRun);
  await beside("peak memory, maps", "MB", 2, (tool) => peakMemory(tool, "print(@);"));
  await beside("peak memory, printf", "MB", 2, (tool) => peakMemory(tool, printLine));
  for (const [name, event, predicate] of [
    ["system call", "syscalls:sys_enter_getpriority", 'comm == "nobody"'],
    // As most tracepoints: from the raw one below it.
    ["any system call", "raw_syscalls:sys_enter", "args->id == 9999"],
  ] as const) {
    const script = `tracepoint:${event} /${predicate}/ { @ = count(); }`;
    await beside(`load that does not match, ${name}`, "ms", 7, (tool) => loadTime(tool, script));
  }
  writeFileSync(sysctl, "1");
  const paced = pacedWorkload(50_000);
  for (const [name, action, generator, least] of [
    ["@[comm] = count()", "@[comm] = count();", workload, events],
    ["@ = hist(nsecs)", "@ = hist(nsecs);", workload, events],
    // At a pace at which every line finds room: a line that is dropped is cheap.
    ["printf", printLine, paced.path, paced.events],
  ] as const) {
    const instructions: Record<Tool, number> = { waggle: 0, bpftrace: 0 };
    await beside(`per event, ${name}`, "ns", 3, async (tool) => {
      const figure = await perEvent(tool, action, generator, least);
      instructions[tool] = figure.instructions;
      return figure.ns;
    });
    if (!wanted.test(`per event, ${name}`)) continue;
    const peer = hasPeer ? { name: "bpftrace", values: [instructions.bpftrace] } : undefined;
    report("trace", `instructions, ${name}`, "count", [instructions.waggle], peer);
  }
  writeFileSync(sysctl, before);
  await beside("printf without loss", "lines/s", 1, lossFreeRate);
  if (wanted.test(resident)) await residentAttach(9);
} finally {
  writeFileSync(sysctl, before);
  rmSync(directory, { recursive: true, force: true });
}
