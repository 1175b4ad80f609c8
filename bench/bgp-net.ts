// bench: two network namespaces with a wire between them: one for the speaker under test, one for all its neighbours.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { own } from "./bgp-speakers.ts";

const ip = (...args: string[]): void => void execFileSync("ip", args);
const batch = (lines: readonly string[]): void =>
  void execFileSync("ip", ["-batch", "-"], { input: lines.join("\n") });

const name = (side: "dut" | "load"): string => `wgbgp-bench-${side[0]}${process.pid % 10000}`;

/** Makes both namespaces; the neighbours' side has all these addresses. */
export function setUp(addresses: readonly string[]): void {
  const [dut, load] = [name("dut"), name("load")];
  ip("netns", "add", dut);
  ip("netns", "add", load);
  ip("-n", dut, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", load);
  ip("-n", dut, "addr", "add", `${own.address}/16`, "dev", "v0");
  execFileSync("ip", ["-n", load, "-batch", "-"], {
    input: addresses.map((a) => `addr add ${a}/16 dev v0`).join("\n"),
  });
  for (const n of [dut, load]) {
    // What a machine paces its own connections with is not to be measured here.
    ip("netns", "exec", n, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno");
    ip("-n", n, "link", "set", "lo", "up");
    ip("-n", n, "link", "set", "v0", "up");
  }
}

export function tearDown(): void {
  const there = (["dut", "load"] as const).map(name).filter((n) => existsSync(`/var/run/netns/${n}`));
  if (there.length > 0) batch(there.map((n) => `netns del ${n}`));
}

/** Starts a program inside; its output can be read where `stdio` is "pipe". */
export const inside = (
  side: "dut" | "load",
  command: readonly string[],
  stdio: "pipe" | "ignore",
): ChildProcess =>
  spawn("nsenter", [`--net=/var/run/netns/${name(side)}`, ...command], {
    stdio: [stdio, stdio, process.env["WAGGLE_BENCH_VERBOSE"] ? "inherit" : "ignore"],
  });
