// test/interop: a table is loaded, a heavy trace runs, agent and tracer die of this and that: KEEPALIVEs stay on time and no session is lost.
// WAGGLE_BUSY_ROUTES (100000) sets the table; where it is given, the machine is taken to be ours alone and times are judged strictly.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { create, toJsonString } from "@bufbuild/protobuf";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DesiredStateSchema, Family } from "../../src/api/generated/proto/speaker_pb.js";
import { parseAddress, toBytes } from "../../src/net/address.ts";
import { acceptAll, asn, type Bgpd, BgpLab, isRoot, ours, untilPatient } from "./bgp-lab.ts";
import type { Heard } from "./busy-peer.ts";

const strict = process.env["WAGGLE_BUSY_ROUTES"] !== undefined;
const routes = Number(process.env["WAGGLE_BUSY_ROUTES"] ?? 100_000);
/** Seconds; a machine that others use, too, may be late by as much. */
const HOLD = strict ? 3 : 6;
const patience = strict ? 120_000 : 60_000;
const script =
  "tracepoint:raw_syscalls:sys_enter { @[comm, args.id] = count(); @h[comm] = hist(nsecs); } profile:hz:999 { @s[kstack] = count(); }";
const traces =
  isRoot &&
  spawnSync("bin/waggle", ["trace", "--local", "-q", "-e", "BEGIN { exit(); }"], { stdio: "ignore" })
    .status === 0;

/** A child whose lines are read one by one. */
class Child {
  readonly process: ChildProcess;
  readonly lines: string[] = [];
  readonly exited: Promise<string>;

  constructor(process: ChildProcess) {
    this.process = process;
    createInterface({ input: process.stdout! }).on("line", (line) => this.lines.push(line));
    this.exited = new Promise((resolve) => {
      process.once("exit", (code, signal) => resolve(signal ?? `${code}`));
    });
  }

  say(line: string): void {
    this.process.stdin!.write(`${line}\n`);
  }
}

const peers = [
  { name: "loader", address: "10.99.0.11", asn: 65011, hold: 90 },
  { name: "watcher", address: "10.99.0.12", asn: 65012, hold: HOLD },
  { name: "observer", address: "10.99.0.13", asn: 65013, hold: HOLD },
] as const;

describe.skipIf(!isRoot)("a busy speaker (skipped: needs root)", () => {
  let lab: BgpLab;
  let bgpd: Bgpd;
  const children = new Map<string, Child>();
  const start = (name: string, command: string, args: readonly string[]): Child => {
    const child = new Child(spawn(command, args, { stdio: ["pipe", "pipe", "ignore"] }));
    children.set(name, child);
    lab.own(child.process);
    return child;
  };
  const agent = (heapMB: number): Child =>
    start("agent", process.execPath, [
      `--max-old-space-size=${heapMB}`,
      "test/interop/busy-agent.ts",
      bgpd.path,
      toJsonString(DesiredStateSchema, desired),
    ]);
  const tracer = (): Child =>
    start("tracer", "bin/waggle", ["trace", "--local", "--for", "60s", "-e", script]);
  const heard = async (name: string): Promise<Heard> => {
    const { lines } = children.get(name)!;
    const before = lines.length;
    children.get(name)!.say("tell");
    await untilPatient(`${name} tells`, () => lines.length > before, patience);
    return JSON.parse(lines.at(-1)!) as Heard;
  };
  const desired = create(DesiredStateSchema, {
    asn: asn.ours,
    routerId: Number(parseAddress(ours.ipv4).lo),
    policies: [acceptAll],
    complete: true,
    listen: [{ address: toBytes(parseAddress(ours.ipv4)), port: 179 }],
    peers: peers.map((p) => ({
      name: p.name,
      address: toBytes(parseAddress(p.address)),
      peerAsn: p.asn,
      holdSeconds: p.hold,
      families: [Family.IPV4_UNICAST],
      passive: true,
      maxPrefixesIpv4: 4_000_000,
      importPolicies: p.name === "loader" ? ["all"] : [],
      exportPolicies: p.name === "observer" ? ["all"] : [],
    })),
  });

  beforeAll(async () => {
    lab = new BgpLab("busy");
    for (const { address } of peers) lab.in("a", "ip", "addr", "add", `${address}/24`, "dev", "veth0");
    bgpd = await lab.speaker();
    // The controller is a process of its own.
    bgpd.client[Symbol.dispose]();
    agent(4096);
    await untilPatient("state is desired", () => children.get("agent")!.lines.length > 0, patience);
    for (const p of peers) {
      // Whoever measures comes first.
      const inside = [`--net=/var/run/netns/${lab.netns("a")}`, "nice", "-n", "-15", process.execPath];
      const args = [
        "test/interop/busy-peer.ts",
        ours.ipv4,
        p.name,
        p.address,
        `${p.asn}`,
        `${p.hold}`,
        `${routes}`,
      ];
      start(p.name, "nsenter", [...inside, ...args]);
    }
    for (const p of peers)
      await untilPatient(`${p.name} is up`, () => children.get(p.name)!.lines.length > 0, patience);
    children.get("agent")!.process.kill("SIGKILL");
    await children.get("agent")!.exited;
  }, 200_000);
  afterAll(() => lab[Symbol.asyncDispose]());

  test(`${routes} routes, and nobody else's death`, async () => {
    // The first has room for a part of the routes only.
    const small = agent(20);
    if (traces) tracer();
    await untilPatient("a new agent", () => small.lines.length > 0, patience);
    for (const { name } of peers) children.get(name)!.say("begin");
    expect(await small.exited).toBe("SIGABRT");
    if (traces) {
      children.get("tracer")!.process.kill("SIGSEGV");
      await children.get("tracer")!.exited;
      tracer();
    }
    const second = agent(4096);
    await untilPatient("routes to the next agent", () => second.lines.length > 1, patience);
    second.process.kill("SIGSEGV");
    expect(await second.exited).toBe("SIGSEGV");
    // As the kernel does when memory is short.
    children.get("tracer")?.process.kill("SIGKILL");
    let all = await heard("observer");
    for (const end = Date.now() + patience; all.announced < routes && Date.now() < end; )
      all = await heard("observer");
    expect(all.announced).toBe(routes);
    const watcher = await untilPatient(
      "some KEEPALIVEs",
      async () => {
        const h = await heard("watcher");
        return h.keepaliveGaps.length > (strict ? 5 : 3) ? h : undefined;
      },
      patience,
    );
    const figures = {
      watcher: Math.max(...watcher.keepaliveGaps),
      observer: (await heard("observer")).silence,
    };
    if (strict) console.log(JSON.stringify(figures));
    for (const { name } of peers) expect((await heard(name)).ended, name).toBe("");
    const bound = strict ? 1_000 : HOLD * 1_000;
    expect(figures.watcher).toBeLessThan(bound);
    expect(figures.observer).toBeLessThan(bound);
    await bgpd.connect();
    for (const { name } of peers) expect((await bgpd.session(name))?.flaps, name).toBe(0n);
  }, 300_000);
});
