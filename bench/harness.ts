// bench: one harness for every case: interleaved runs, one JSON line a case with the machine's state beside the figures.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, release } from "node:os";

export interface Line {
  readonly bench: string;
  readonly case: string;
  readonly unit: string;
  readonly n: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
  /** Median of the pair-by-pair ratios ours/peer, where a peer was measured in the same run. */
  readonly ratio?: number;
  readonly peer?: string;
  readonly peerMedian?: number;
}

const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

const readNumber = (path: string): number | undefined => {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch {
    // Not every kernel has every knob; its absence is part of the answer.
    return undefined;
  }
};

const environment = () => ({
  kernel: release(),
  cpu: cpus()[0]?.model,
  cpus: cpus().length,
  load1: loadavg()[0],
  bpfStats: readNumber("/proc/sys/kernel/bpf_stats_enabled"),
  jit: readNumber("/proc/sys/net/core/bpf_jit_enable"),
  node: process.version,
  commit: commit(),
});

function commit(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8", stdio: "pipe" }).trim();
  } catch {
    return "unknown";
  }
}

const rounded = (value: number): number => Number(value.toPrecision(5));

/** Prints one case. */
export function report(
  bench: string,
  name: string,
  unit: string,
  ours: readonly number[],
  peer?: { name: string; values: readonly number[] },
): void {
  const ratios = peer?.values.map((value, i) => ours[i]! / value);
  const line: Line = {
    bench,
    case: name,
    unit,
    n: ours.length,
    min: rounded(Math.min(...ours)),
    median: rounded(median(ours)),
    max: rounded(Math.max(...ours)),
    ...(peer && ratios
      ? { peer: peer.name, peerMedian: rounded(median(peer.values)), ratio: rounded(median(ratios)) }
      : {}),
  };
  console.log(JSON.stringify({ ...line, env: environment() }));
}

/**
 * Runs ours and the peer in turn, A B A B …, after one uncounted run of each: these machines are shared, so only pairs that
 * were measured side by side are compared. Each function returns its figure in `unit`.
 */
export async function compare(
  bench: string,
  name: string,
  unit: string,
  runs: number,
  ours: () => Promise<number> | number,
  peer?: { name: string; run: () => Promise<number> | number },
): Promise<void> {
  const a: number[] = [];
  const b: number[] = [];
  for (let i = -1; i < runs; i++) {
    const x = await ours();
    const y = peer ? await peer.run() : 0;
    if (i < 0) continue;
    a.push(x);
    b.push(y);
  }
  report(bench, name, unit, a, peer ? { name: peer.name, values: b } : undefined);
}
