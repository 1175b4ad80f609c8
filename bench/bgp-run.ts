// bench: one speaker from its start to its end under one load, and what that took.
import { type ChildProcess, execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { LoadResult } from "./bgp-load.ts";
import { inside } from "./bgp-net.ts";
import { type Neighbour, own, type Speaker } from "./bgp-speakers.ts";
import { type Usage, usage } from "./bgp-usage.ts";

export interface Load {
  readonly prefixes: number;
  readonly senders: number;
  /** Neighbours that never read, flap or read slowly. */
  readonly crowd: number;
}

export interface Figures {
  /** Seconds until the observer had everything. */
  readonly load: number;
  /** CPU seconds of that, and of it those of the first thread. */
  readonly loadCpu: number;
  readonly loadMain: number;
  /** Seconds of the load that the first thread waited for a CPU. */
  readonly loadWait: number;
  /** Seconds until the observer had every withdrawal, and CPU seconds of that. */
  readonly withdraw: number;
  readonly withdrawCpu: number;
  /** What was resident more than before the load, for each path. */
  readonly bytesPerPath: number;
  /** MB with everything loaded, and at most until everything was withdrawn. */
  readonly rss: number;
  readonly peak: number;
}

/** A speaker that is not done by then has failed. */
export class Unfinished extends Error {}

const observer = "10.98.0.100";
const senderAddress = (i: number): string => `10.98.0.${101 + i}`;
const crowdAddress = (i: number): string => `10.98.1.${1 + i}`;
const list = (n: number, address: (i: number) => string): string[] =>
  Array.from({ length: n }, (_, i) => address(i));

/** All addresses that neighbours of a load have. */
export const addressesOf = (load: Load): string[] => [
  observer,
  ...list(load.senders, senderAddress),
  ...list(load.crowd, crowdAddress),
];

const neighboursOf = (load: Load): Neighbour[] => [
  ...list(load.senders, senderAddress).map((address, i) => ({
    name: `s${i}`,
    address,
    asn: 65001 + i,
    sends: true,
    hears: false,
  })),
  ...list(load.crowd, crowdAddress).map((address, i) => ({
    name: `c${i}`,
    address,
    asn: 64000 + i,
    sends: true,
    hears: true,
  })),
  { name: "observer", address: observer, asn: 65100, sends: false, hears: true },
];

/** Lines of a child's output, each awaited for so many seconds. */
function linesOf(child: ChildProcess, limitSeconds: number): () => Promise<string> {
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  return async () => {
    const timeout = new AbortController();
    const late = sleep(limitSeconds * 1000, undefined, { signal: timeout.signal }).then(
      () => undefined,
      () => undefined,
    );
    const next = await Promise.race([lines.next(), late]);
    timeout.abort();
    if (next === undefined) throw new Unfinished(`not done after ${limitSeconds} s`);
    if (next.done) throw new Unfinished("the neighbours gave up");
    return next.value;
  };
}

/** Ends a child that was started by nsenter, with everything that it has started. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  for (const pid of descendants(child.pid!)) process.kill(pid, "SIGKILL");
  child.kill("SIGKILL");
  await exited;
}

function descendants(pid: number): number[] {
  try {
    const children = execFileSync("pgrep", ["-P", String(pid)], { encoding: "utf8" })
      .trim()
      .split("\n")
      .map(Number);
    return children.flatMap((child) => [...descendants(child), child]);
  } catch {
    // No children.
    return [];
  }
}

/** @throws Unfinished */
export async function run(speaker: Speaker, load: Load, limitSeconds: number): Promise<Figures> {
  const directory = mkdtempSync(join(tmpdir(), "waggle-bench-"));
  const dut = inside("dut", speaker.command(directory, neighboursOf(load)), "ignore");
  const children: ChildProcess[] = [dut];
  const join_ = (...command: string[]): ChildProcess => {
    const child = inside("load", [process.execPath, ...command], "pipe");
    children.push(child);
    return child;
  };
  try {
    if (load.crowd > 0) {
      await sleep(1_500);
      await linesOf(
        join_("bench/bgp-crowd.ts", own.address, list(load.crowd, crowdAddress).join(",")),
        limitSeconds,
      )();
      await sleep(3_000);
    }
    const neighbours = join_(
      "bench/bgp-load.ts",
      own.address,
      observer,
      list(load.senders, senderAddress).join(","),
      String(load.prefixes),
    );
    const line = linesOf(neighbours, limitSeconds);
    await line();
    // Whatever a runtime does after its start is over.
    await sleep(1_000);
    const idle = usage(dut.pid!);
    neighbours.stdin!.write("go\n");
    await line();
    const loaded = usage(dut.pid!);
    neighbours.stdin!.write("withdraw\n");
    const result = JSON.parse(await line()) as LoadResult;
    const empty = usage(dut.pid!);
    return {
      load: result.loadSeconds,
      loadCpu: loaded.cpu - idle.cpu,
      loadMain: loaded.mainCpu - idle.mainCpu,
      loadWait: loaded.mainWait - idle.mainWait,
      withdraw: result.withdrawSeconds,
      withdrawCpu: empty.cpu - loaded.cpu,
      bytesPerPath: ((loaded.rss - idle.rss) * 1e6) / (load.prefixes * load.senders),
      rss: loaded.rss,
      peak: empty.peak,
    };
  } finally {
    for (const child of children.reverse()) await end(child);
    rmSync(directory, { recursive: true, force: true });
  }
}

export interface IdleFigures {
  /** Share of one core, in percent. */
  readonly share: number;
  readonly rss: number;
}

const idleAddress = (i: number): string => `10.98.${2 + Math.floor(i / 250)}.${1 + (i % 250)}`;
export const idleAddresses = (sessions: number): string[] => list(sessions, idleAddress);

/** What sessions cost that only stay up: KEEPALIVEs every 60 s in both directions, hold time 180 s. @throws Unfinished */
export async function idle(
  speaker: Speaker,
  sessions: number,
  seconds: number,
  limitSeconds: number,
): Promise<IdleFigures> {
  const directory = mkdtempSync(join(tmpdir(), "waggle-bench-"));
  const neighbours = idleAddresses(sessions).map((address, i) => ({
    name: `n${i}`,
    address,
    asn: 64000 + i,
    sends: true,
    hears: true,
  }));
  const dut = inside("dut", speaker.command(directory, neighbours), "ignore");
  const clients = inside(
    "load",
    [process.execPath, "bench/bgp-idle.ts", own.address, idleAddresses(sessions).join(",")],
    "pipe",
  );
  try {
    await linesOf(clients, limitSeconds)();
    await sleep(5_000);
    const before: Usage = usage(dut.pid!);
    const began = performance.now();
    await sleep(seconds * 1000);
    const after = usage(dut.pid!);
    const lasted = (performance.now() - began) / 1000;
    if (clients.exitCode !== null) throw new Unfinished("a session was lost");
    return { share: ((after.cpu - before.cpu) / lasted) * 100, rss: after.rss };
  } finally {
    await end(clients);
    await end(dut);
    rmSync(directory, { recursive: true, force: true });
  }
}
