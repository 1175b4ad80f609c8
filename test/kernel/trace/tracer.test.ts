// trace: the tracer's child process: two phases, limits, deaths on either side of the channel, owners of events.
import { execFileSync, fork, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { mountPointOf } from "../../../src/kernel/cgroup.ts";
import { netnsCookie, ownNetns } from "../../../src/kernel/netns.ts";
import type { NodeChunk } from "../../../src/results/types.ts";
import { openOwners, ownerLimit } from "../../../src/trace/owners.ts";
import { ProcessTracer, type ProcessTracerOptions } from "../../../src/trace/tracer.ts";
import type { Finished, PrepareRequest, RunListener } from "../../../src/trace/types.ts";
import {
  cacheDirectory,
  canTrace,
  environment,
  getppid,
  rowsOf,
  runScript,
  skipped,
  until,
} from "./helper.ts";

afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

const mine = `/pid == ${process.pid}/`;
const counting = `tracepoint:syscalls:sys_enter_getppid ${mine} { @ = count(); }`;

const request = (run: string, script = counting, more: Partial<PrepareRequest> = {}): PrepareRequest => ({
  run,
  script,
  positional: [],
  durationMs: 60_000,
  mapBytes: 0,
  ringBytes: 0,
  ...more,
});

class Recorder implements RunListener {
  readonly chunks: NodeChunk[] = [];
  end: Finished | undefined;
  chunk(chunk: NodeChunk): void {
    this.chunks.push(chunk);
  }
  finished(end: Finished): void {
    this.end = end;
  }
  get maps() {
    return this.chunks.flatMap((c) => (c.kind === "maps" ? c.maps : []));
  }
}

/** Tracer cgroups that a process has left anywhere. */
const cgroupsOf = (pid: number | undefined): string[] =>
  spawnSync("find", ["/sys/fs/cgroup", "-type", "d", "-name", `waggle-tracer-${pid}`], { encoding: "utf8" })
    .stdout.split("\n")
    .filter((line) => line !== "");

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`);

describe.skipIf(!canTrace)(`tracer (${skipped})`, () => {
  const open: ProcessTracer[] = [];
  const logged: string[] = [];

  function tracer(more: Partial<ProcessTracerOptions> = {}): ProcessTracer {
    const made = new ProcessTracer({
      nodeIndex: 0,
      unownedIsNode: true,
      countsUnattributed: true,
      cacheDirectory,
      log: (message) => logged.push(message),
      ...more,
    });
    open.push(made);
    return made;
  }

  afterEach(async () => {
    await Promise.all(open.splice(0).map((t) => t.close()));
    logged.length = 0;
  });

  it("prepares, attaches, stops, and the answer is exact", async () => {
    const t = tracer();
    const prepared = await t.prepare(request("a"));
    expect(prepared).toMatchObject({
      ok: true,
      schema: { version: 1, maps: [{ name: "@", kind: "count" }] },
    });
    getppid(10);
    const listener = new Recorder();
    expect(await t.attach("a", listener)).toEqual({ ok: true, probes: 1 });
    getppid(123);
    await t.stop("a", "stopped");
    expect(rowsOf(listener.maps, "@")).toEqual({ "": 123 });
    expect(listener.end).toMatchObject({ reason: "stopped", lostEvents: 0, exitCode: 0 });
  });

  it("hands over lines, rounds and exit codes as they come", async () => {
    const t = tracer();
    const script = `tracepoint:syscalls:sys_enter_getppid ${mine} { @ = count(); printf("x"); print(@); if (@n++ == 4) { exit(9); } }`;
    expect((await t.prepare(request("b", script))).ok).toBe(true);
    const listener = new Recorder();
    await t.attach("b", listener);
    getppid(5);
    await until("the script's end", () => listener.end !== undefined);
    expect(listener.end).toMatchObject({ reason: "exit", exitCode: 9 });
    expect(listener.chunks.filter((c) => c.kind === "line")).toHaveLength(5);
    expect(listener.chunks.flatMap((c) => (c.kind === "round" ? [c.ordinal] : []))).toEqual([0, 1, 2, 3, 4]);
  });

  it("says what is wrong with a script, with its place, and refuses what is not allowed", async () => {
    const t = tracer({ limits: { runs: 2 } });
    const errors = async (r: PrepareRequest) => {
      const prepared = await t.prepare(r);
      return prepared.ok ? [] : prepared.errors;
    };
    expect(
      (await errors(request("c", "tracepoint:syscalls:sys_enter_openat { @ = args.nope; }")))[0],
    ).toMatch(/^script:1:\d+-\d+: ERROR: .*nope/);
    expect((await errors(request("c", 'BEGIN { system("id"); }')))[0]).toMatch(/unsafe/i);
    expect((await errors(request("c", counting, { durationMs: 3_600_001 })))[0]).toContain("3600 s");
    expect((await errors(request("c", counting, { durationMs: 0 })))[0]).toContain("duration");
    expect((await errors(request("c", "BEGIN { @[pid] = count(); }", { mapBytes: 10_000 })))[0]).toContain(
      "kernel memory",
    );
    expect((await errors(request("c", "tracepoint:syscalls:* { @ = count(); }")))[0]).toMatch(
      /too many probes/i,
    );
    expect(await errors(request("1"))).toEqual([]);
    expect((await errors(request("1")))[0]).toContain("exists already");
    expect(await errors(request("2"))).toEqual([]);
    expect((await errors(request("3")))[0]).toContain("already runs 2");
    await t.stop("2", "stopped");
    expect(await errors(request("3"))).toEqual([]);
    expect(await t.attach("2", new Recorder())).toMatchObject({ ok: false });
  });

  it("ends runs when the child is killed, and works again after that", async () => {
    const t = tracer();
    await t.prepare(request("d"));
    const listener = new Recorder();
    await t.attach("d", listener);
    const { pid } = t;
    if (pid === undefined) throw new Error("no child");
    process.kill(pid, "SIGKILL");
    await until("the run's end", () => listener.end !== undefined);
    expect(listener.end).toMatchObject({ reason: "error", message: expect.stringContaining("SIGKILL") });
    await until("a new child", () => t.pid !== undefined && t.pid !== pid);
    expect((await t.prepare(request("d"))).ok).toBe(true);
    expect(logged.some((message) => message.includes("SIGKILL"))).toBe(true);
  });

  it("leaves nothing within 5 s when its parent is killed", async () => {
    const parent = fork(
      join(import.meta.dirname, "parent.ts"),
      [JSON.stringify({ cacheDirectory, script: counting })],
      {
        execArgv: [],
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      },
    );
    const child = await new Promise<number>((resolve) =>
      parent.once("message", (pid: number) => resolve(pid)),
    );
    expect(alive(child)).toBe(true);
    const started = Date.now();
    parent.kill("SIGKILL");
    await until("the child's end", () => !alive(child), 5000);
    expect(Date.now() - started).toBeLessThan(5000);
    expect(cgroupsOf(parent.pid)).toEqual([]);
  });

  it("keeps the child in a memory cgroup, or says why not", async () => {
    const t = tracer();
    await t.prepare(request("e"));
    const cgroups = execFileSync("cat", [`/proc/${t.pid}/cgroup`], { encoding: "utf8" });
    const confined = cgroups.includes(`waggle-tracer-${process.pid}`);
    expect(confined || logged.some((m) => m.includes("without a memory limit"))).toBe(true);
    if (confined) expect(cgroupsOf(process.pid)).toHaveLength(1);
    await t.close();
    expect(cgroupsOf(process.pid)).toEqual([]);
  });
});

const bpffs = canTrace
  ? mountPointOf("bpf", spawnSync("cat", ["/proc/self/mounts"], { encoding: "utf8" }).stdout)
  : undefined;

describe.skipIf(!canTrace || bpffs === undefined)(`owners of events (${skipped}, and a bpffs)`, () => {
  const directory = join(bpffs ?? "", `waggle-test-trace-${process.pid}`);
  const names = join(cacheDirectory, "names.json");
  const tables = {
    node: "n5",
    cluster: "c",
    nodes: { 5: "node-five", 6: "node-six" },
    pods: { 70: "web/a" },
    namespaces: { 3: "web" },
    clusters: {},
    peers: {},
  };
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const source = `tracepoint:sock:inet_sock_set_state /args.newstate == 10 && pid == ${process.pid}/ { @[node, pod, namespace] = count(); }`;

  async function listens(node: number, countsUnattributed = false) {
    const env = environment({
      ownerDirectory: directory,
      namesFile: names,
      nodeIndex: node,
      unownedIsNode: false,
      countsUnattributed,
    });
    const { createServer } = await import("node:net");
    return runScript(source, {
      environment: env,
      work: () =>
        new Promise<void>((resolve) => {
          const server = createServer().listen(0, "127.0.0.1", () => server.close(() => resolve()));
        }),
    });
  }

  it("are found by the socket's namespace, whoever the current task is; others' events are not counted", async () => {
    mkdirSync(cacheDirectory, { recursive: true });
    writeFileSync(names, JSON.stringify(tables));
    using owners = openOwners(directory);
    const cookie = netnsCookie(ownNetns);
    const before = await listens(5, true);
    expect(rowsOf(before.maps, "@")).toEqual({});
    expect(before.end.unattributed).toBeGreaterThan(0);
    owners.registerNetns(cookie, { node: 5, pod: 70, namespace: 3 });
    expect([...owners.list("netns")]).toContainEqual([cookie, { node: 5, pod: 70, namespace: 3 }]);
    const [own, other] = [await listens(5), await listens(6)];
    expect(rowsOf(own.maps, "@")).toEqual({ "node-five,web/a,web": 1 });
    expect(rowsOf(other.maps, "@")).toEqual({});
    expect(owners.unregisterNetns(cookie)).toBe(true);
    expect(owners.unregisterNetns(cookie)).toBe(false);
  });

  it("are the same maps for everybody who opens them, and bounded", () => {
    using first = openOwners(directory);
    using second = openOwners(directory);
    first.registerCgroup(77n, { node: 1, pod: 2, namespace: 3 });
    expect([...second.list("cgroup")]).toEqual([[77n, { node: 1, pod: 2, namespace: 3 }]]);
    expect(second.unregisterCgroup(77n)).toBe(true);
    expect(first.cgroup.maxEntries).toBe(ownerLimit);
    for (let i = 0; i < ownerLimit; i++) first.registerNetns(BigInt(i), { node: 1, pod: 0, namespace: 0 });
    expect(() => first.registerNetns(1n << 40n, { node: 1, pod: 0, namespace: 0 })).toThrow(/16384 entries/);
    for (let i = 0; i < ownerLimit; i++) first.unregisterNetns(BigInt(i));
  });
});
