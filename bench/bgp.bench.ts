// bench: routes in, policy, best path, routes out: our speaker beside BIRD, turn by turn. Needs root.
// WAGGLE_BENCH_PREFIXES (default 100000), WAGGLE_BENCH_SENDERS (default 1) and WAGGLE_BENCH_ROUNDS (default 3) set the load;
// WAGGLE_BENCH_CROWD (default 0) adds so many neighbours that never read, flap or read slowly.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type { LoadResult } from "./bgp-load.ts";
import { report } from "./harness.ts";

const prefixes = Number(process.env["WAGGLE_BENCH_PREFIXES"] ?? 100_000);
const senders = Number(process.env["WAGGLE_BENCH_SENDERS"] ?? 1);
const rounds = Number(process.env["WAGGLE_BENCH_ROUNDS"] ?? 3);
const crowd = Number(process.env["WAGGLE_BENCH_CROWD"] ?? 0);
const bird = ["/usr/sbin/bird", "/usr/local/sbin/bird"].find((p) => existsSync(p));
const netns = { dut: `wgbgp-bench-d${process.pid % 10000}`, load: `wgbgp-bench-l${process.pid % 10000}` };
const ip = (...args: string[]): void => void execFileSync("ip", args);
const address = { dut: "10.98.0.2", observer: "10.98.0.100" };
const senderAddresses = Array.from({ length: senders }, (_, i) => `10.98.0.${101 + i}`);
const crowdAddresses = Array.from({ length: crowd }, (_, i) => `10.98.1.${1 + i}`);

function setUp(): void {
  ip("netns", "add", netns.dut);
  ip("netns", "add", netns.load);
  ip("-n", netns.dut, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", netns.load);
  ip("-n", netns.dut, "addr", "add", `${address.dut}/16`, "dev", "v0");
  for (const a of [address.observer, ...senderAddresses, ...crowdAddresses])
    ip("-n", netns.load, "addr", "add", `${a}/16`, "dev", "v0");
  for (const n of Object.values(netns)) {
    // What a machine paces its own connections with is not to be measured here.
    ip("netns", "exec", n, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=reno");
    ip("-n", n, "link", "set", "lo", "up");
    ip("-n", n, "link", "set", "v0", "up");
  }
}

const inside = (
  name: string,
  command: string,
  args: readonly string[],
  stdio: "pipe" | "ignore",
): ChildProcess =>
  spawn("nsenter", [`--net=/var/run/netns/${name}`, command, ...args], { stdio: [stdio, stdio, "inherit"] });

function birdCommand(directory: string): [string, string[]] {
  const peer = (name: string, a: string, asn: number, rules: string) =>
    `protocol bgp ${name} { local ${address.dut} as 65000; neighbor ${a} as ${asn}; passive on; ipv4 { ${rules} }; }\n`;
  const config = join(directory, "bird.conf");
  writeFileSync(
    config,
    `log stderr { error, fatal, bug };\nrouter id ${address.dut};\nprotocol device {}\n` +
      "filter taken { if net ~ [ 0.0.0.0/0{0,7} ] then reject; accept; }\n" +
      "filter given { if net ~ [ 10.0.0.0/8+ ] then reject; accept; }\n" +
      senderAddresses
        .map((a, i) => peer(`s${i}`, a, 65001 + i, "import filter taken; export none;"))
        .join("") +
      crowdAddresses
        .map((a, i) => peer(`c${i}`, a, 64000 + i, "import filter taken; export filter given;"))
        .join("") +
      peer("observer", address.observer, 65100, "import none; export filter given;"),
  );
  return [bird!, ["-f", "-c", config, "-s", join(directory, "bird.ctl")]];
}

function speakerCommand(directory: string): [string, string[]] {
  const config = join(directory, "speaker.yaml");
  const peer = (name: string, a: string, asn: number, policies: object) => ({
    name,
    address: a,
    asn,
    families: ["ipv4"],
    passive: true,
    gracefulRestart: { enabled: false },
    maxPrefixes: { ipv4: 8_000_000 },
    ...policies,
  });
  const policy = (name: string, prefix: string, ge: number, le: number) => ({
    name,
    rules: [
      { name: "not", action: "reject", match: { prefixes: [{ prefix, ge, le }], source: "any" } },
      { name: "rest", action: "accept", match: { source: "any" } },
    ],
  });
  writeFileSync(
    config,
    JSON.stringify({
      asn: 65000,
      routerID: address.dut,
      listen: [{ address: address.dut }],
      peers: [
        ...senderAddresses.map((a, i) => peer(`s${i}`, a, 65001 + i, { import: ["taken"] })),
        ...crowdAddresses.map((a, i) =>
          peer(`c${i}`, a, 64000 + i, { import: ["taken"], export: ["given"] }),
        ),
        peer("observer", address.observer, 65100, { export: ["given"] }),
      ],
      policies: [policy("taken", "0.0.0.0/0", 0, 7), policy("given", "10.0.0.0/8", 8, 32)],
    }),
  );
  const built = "bin/waggle";
  const program = existsSync(built) ? [built] : [process.execPath, "src/cli/main.ts"];
  return [program[0]!, [...program.slice(1), "bgpd", "-f", config, "--log-level", "error"]];
}

/** CPU seconds of a process so far, and its resident set in MB. */
function usage(pid: number): { cpu: number; rss: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return {
    cpu: (Number(stat[11]) + Number(stat[12])) / 100,
    rss: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1000,
  };
}

interface Figures {
  readonly load: number;
  readonly loadCpu: number;
  readonly withdraw: number;
  readonly bytesPerPath: number;
  readonly rss: number;
}

/** One speaker from its start to its end. */
async function run(command: (directory: string) => [string, string[]]): Promise<Figures> {
  const directory = mkdtempSync(join(tmpdir(), "waggle-bench-"));
  const dut = inside(netns.dut, ...command(directory), "ignore");
  let load: ChildProcess | undefined;
  let bad: ChildProcess | undefined;
  try {
    if (crowd > 0) {
      await sleep(1_500);
      bad = inside(
        netns.load,
        process.execPath,
        ["bench/bgp-crowd.ts", address.dut, crowdAddresses.join(",")],
        "pipe",
      );
      await createInterface({ input: bad.stdout! })[Symbol.asyncIterator]().next();
      await sleep(3_000);
    }
    load = inside(
      netns.load,
      process.execPath,
      ["bench/bgp-load.ts", address.dut, address.observer, senderAddresses.join(","), String(prefixes)],
      "pipe",
    );
    const lines = createInterface({ input: load.stdout! })[Symbol.asyncIterator]();
    await lines.next();
    // Whatever a runtime does after its start is over.
    await sleep(1_000);
    const idle = usage(dut.pid!);
    load.stdin!.write("go\n");
    await lines.next();
    const loaded = usage(dut.pid!);
    load.stdin!.write("withdraw\n");
    const result = JSON.parse((await lines.next()).value as string) as LoadResult;
    return {
      load: result.loadSeconds,
      loadCpu: loaded.cpu - idle.cpu,
      withdraw: result.withdrawSeconds,
      bytesPerPath: ((loaded.rss - idle.rss) * 1e6) / (prefixes * senders),
      rss: loaded.rss,
    };
  } finally {
    load?.kill("SIGKILL");
    bad?.kill("SIGKILL");
    dut.kill("SIGKILL");
    if (dut.exitCode === null && dut.signalCode === null) await once(dut, "exit");
    rmSync(directory, { recursive: true, force: true });
  }
}

if (process.getuid?.() !== 0) console.log(JSON.stringify({ bench: "bgp", skipped: "needs root" }));
else {
  const ours: Figures[] = [];
  const theirs: Figures[] = [];
  try {
    setUp();
    for (let i = 0; i < rounds; i++) {
      ours.push(await run(speakerCommand));
      if (bird) theirs.push(await run(birdCommand));
    }
  } finally {
    for (const n of Object.values(netns)) if (existsSync(`/var/run/netns/${n}`)) ip("netns", "del", n);
  }
  const name = `${senders} x ${prefixes}${crowd > 0 ? `, bad crowd of ${crowd}` : ""}`;
  const cases = [
    ["until the observer has all", "s", "load"],
    ["CPU of that", "s", "loadCpu"],
    ["withdrawal of all", "s", "withdraw"],
    ["memory a path", "bytes", "bytesPerPath"],
    ["resident set", "MB", "rss"],
  ] as const;
  for (const [what, unit, field] of cases)
    report(
      "bgp",
      `${name}: ${what}`,
      unit,
      ours.map((f) => f[field]),
      bird ? { name: "BIRD", values: theirs.map((f) => f[field]) } : undefined,
    );
}
