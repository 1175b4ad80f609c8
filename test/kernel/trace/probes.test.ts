// trace: kinds of probes: what loads for kernels that have more than this one, uprobes, USDT notes, signals, counters.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { cgroupOf, cgroupRoot } from "../../../src/kernel/cgroup.ts";
import { addressOf } from "../../../src/kernel/ffi.ts";
import { tracefsRoot } from "../../../src/kernel/tracefs.ts";
import { compile, renderDiagnostics } from "../../../src/script/index.ts";
import type { AttachPoint, KernelFeatures } from "../../../src/script/types.ts";
import { AttachError, attachAll } from "../../../src/trace/attach.ts";
import { listProbes } from "../../../src/trace/listing.ts";
import { LoadedScript, loadScript } from "../../../src/trace/load.ts";
import { KernelTypes } from "../../../src/trace/type-source.ts";
import {
  cacheDirectory,
  canTrace,
  environment,
  getppid,
  isRoot,
  rowsOf,
  runScript,
  skipped,
  sleep,
} from "./helper.ts";

afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

/** This kernel's types, with features that it may not have: programs can be made and loaded for what cannot be attached. */
class Pretended extends KernelTypes {
  override readonly features: KernelFeatures;
  constructor(more: Partial<KernelFeatures>) {
    super({ tracefs: tracefsRoot(), cacheDirectory });
    this.features = { ...environment().types.features, ...more };
  }
}

function load(source: string, types: KernelTypes): LoadedScript {
  const { script, diagnostics } = compile(source, { name: "test.bt", types, network: false });
  if (!script) throw new Error(renderDiagnostics(source, "test.bt", diagnostics));
  return loadScript(script, {
    name: "test.bt",
    source,
    external: () => undefined,
    iteratorFunction: (name) => types.iteratorFunction(name),
  });
}

const bash = "/bin/bash";
const python = "/usr/bin/python3";
const notesOf = (file: string): string[] =>
  [
    ...spawnSync("readelf", ["-n", file], { encoding: "utf8" }).stdout.matchAll(
      /Provider: (\S+)\s+Name: (\S+)/g,
    ),
  ].map((m) => `${m[1]}:${m[2]}`);

describe.skipIf(!canTrace)(`kinds of probes (${skipped})`, () => {
  it("kprobes and kretprobes load, also where they cannot be attached", () => {
    const types = new Pretended({ kprobe: true });
    using loaded = load(
      "kprobe:vfs_read { @[comm, arg2] = count(); } kretprobe:vfs_read { @r = hist(retval); } kprobe:vfs_read+4 { @n++; }",
      types,
    );
    expect(loaded.script.attach.map((p) => p.text)).toEqual([
      "kprobe:vfs_read",
      "kretprobe:vfs_read",
      "kprobe:vfs_read+4",
    ]);
    expect(loaded.script.attach.map((p) => p.kernelFunction)).toMatchObject([
      { name: "vfs_read", offset: 0, ret: false },
      { name: "vfs_read", offset: 0, ret: true },
      { name: "vfs_read", offset: 4, ret: false },
    ]);
  });

  it("what this kernel does not have is an error of the script", () => {
    const { types } = environment();
    const lacking = [
      ...(types.features.kprobe ? [] : ["kprobe:vfs_read"]),
      ...(types.features.fentry ? [] : ["fentry:vfs_read"]),
    ];
    for (const probe of lacking)
      expect(() => load(`${probe} { @ = count(); }`, types)).toThrow(
        /test\.bt:1:1-\d+: ERROR: this kernel has no/,
      );
  });

  it.skipIf(!existsSync(bash))("uprobes fire in the files that they name (skipped: needs bash)", async () => {
    // A copy of its own: probes are the file's, and nobody else runs this one.
    const copy = join(cacheDirectory, "bash-copy");
    copyFileSync(bash, copy);
    chmodSync(copy, 0o755);
    const { maps } = await runScript(
      `uprobe:${copy}:main { @in = count(); } uprobe:${copy}:execute_command { @by[comm] = count(); }
       uretprobe:${copy}:execute_command { @out = count(); }`,
      {
        work: () => {
          for (let i = 0; i < 5; i++) execFileSync(copy, ["--norc", "-c", "true; true; true"]);
        },
      },
    );
    expect(rowsOf(maps, "@in")).toEqual({ "": 5 });
    const entered = Number(rowsOf(maps, "@by")["bash-copy"]);
    expect(entered).toBeGreaterThanOrEqual(5);
    expect(rowsOf(maps, "@out")).toEqual({ "": entered });
  });

  it("libraries are found by name", async () => {
    const { maps } = await runScript("uprobe:libc:getenv { @ = count(); }", {
      work: () => void execFileSync("/bin/date", [], { env: { TZ: "UTC" } }),
    });
    expect(Number(rowsOf(maps, "@")[""])).toBeGreaterThan(0);
  });

  it.skipIf(!existsSync(python) || notesOf(python).length === 0)(
    "USDT probes are read as readelf reads them (skipped: needs a python3 with probes and readelf)",
    () => {
      const { types } = environment();
      const expected = [...new Set(notesOf(python))].sort();
      expect(types.match("usdt", `${python}:*`).map((name) => name.slice(name.indexOf(":") + 1))).toEqual(
        expected,
      );
      const [first = ""] = expected;
      const [provider = "", name = ""] = first.split(":");
      const places = types.usdt(python, provider, name);
      expect(places.length).toBeGreaterThan(0);
      for (const place of places) expect(place.offset).toBeGreaterThan(0n);
      expect(types.usdt(python, "", name)).toEqual(places);
      expect(types.usdt(python, provider, "nothing")).toEqual([]);
    },
  );

  it("software events and profiles count on every CPU, intervals on one", async () => {
    const { maps } = await runScript(
      "profile:ms:10 { @p[cpu] = count(); } interval:ms:10 { @i[cpu] = count(); } software:cpu-clock:10000000 { @c = count(); }",
      { work: () => sleep(400) },
    );
    expect(Object.keys(rowsOf(maps, "@i"))).toHaveLength(1);
    // 400 ms of 10 ms ticks; a loaded machine may be late but is never early.
    const ticks = Number(Object.values(rowsOf(maps, "@i"))[0]);
    expect(ticks).toBeGreaterThan(20);
    expect(ticks).toBeLessThan(120);
    expect(Number(rowsOf(maps, "@c")[""])).toBeGreaterThan(0);
  });

  it("signals to this process run their probe", async () => {
    const { text } = await runScript('self:signal:SIGUSR2 { printf("usr2 "); }', {
      work: async () => {
        for (let i = 0; i < 3; i++) {
          process.kill(process.pid, "SIGUSR2");
          await sleep(20);
        }
      },
    });
    expect(text).toBe("usr2 usr2 usr2 ");
    expect(process.listenerCount("SIGUSR2")).toBe(0);
  });

  it("wildcards attach to all that match, and say which fired", async () => {
    const { maps, probes } = await runScript(
      `tracepoint:syscalls:sys_enter_getp?id /pid == ${process.pid}/ { @[probe] = count(); }`,
      { work: async () => void (await import("./helper.ts")).getppid(3) },
    );
    expect(probes).toBe(2);
    expect(rowsOf(maps, "@")["tracepoint:syscalls:sys_enter_getppid"]).toBe(3);
  });

  it("a hardware counter that the machine lacks is named", async () => {
    const { types } = environment();
    const listed = [...listProbes("hardware:cpu-*", { types, tracefs: tracefsRoot(), verbose: false })];
    expect(listed).toEqual(["hardware:cpu-cycles:"]);
    try {
      await runScript("hardware:cpu-cycles:1000000 { @ = count(); }", { work: () => sleep(10) });
    } catch (error) {
      expect((error as Error).message).toBe(
        "hardware:cpu-cycles:1000000: this machine has no such hardware counter",
      );
    }
  });

  it("watchpoints count the writes to a place in a process", async (context) => {
    const watched = new BigUint64Array(4);
    const address = addressOf(watched.subarray(2));
    const source = `watchpoint:0x${address.toString(16)}:8:w { @[comm != ""] = count(); }`;
    const work = () => {
      for (let i = 0; i < 7; i++) Atomics.store(watched, 2, BigInt(i));
      Atomics.store(watched, 1, 1n);
    };
    try {
      const { maps, probes } = await runScript(source, { work, run: { pid: process.pid } });
      expect(probes).toBe(1);
      expect(Object.values(rowsOf(maps, "@"))).toEqual([7]);
    } catch (error) {
      // A virtual machine may have no debug registers.
      if (!/ENODEV|EOPNOTSUPP|ENOSPC|EINVAL|ENOENT/.test((error as Error).message)) throw error;
      context.skip("this machine has no hardware breakpoints");
    }
  });

  const cgroup = isRoot ? cgroupOf("self") : undefined;

  it.skipIf(cgroup === undefined)("cgroups by id and by path (skipped: needs cgroup2)", async () => {
    const { maps } = await runScript(
      `tracepoint:syscalls:sys_enter_getppid /pid == ${process.pid}/ {
        @same[cgroup == cgroupid("${cgroup}")] = count(); @path[cgroup_path(cgroup)] = count(); }`,
      { work: () => getppid(2) },
    );
    expect(Object.values(rowsOf(maps, "@same"))).toEqual([2]);
    expect(Object.keys(rowsOf(maps, "@same"))[0]).toMatch(/^(1|true)$/);
    const path = (cgroup ?? "").slice((cgroupRoot() ?? "").length) || "/";
    expect(Object.keys(rowsOf(maps, "@path"))[0]?.endsWith(path)).toBe(true);
  });

  it("points that are refused are all named; a wildcard goes on without them", async () => {
    const points = ["hardware:cpu-cycles:1000000", "watchpoint:0x1001:8:w", "watchpoint:0x2001:8:w"];
    const error = await runScript(points.map((p) => `${p} { @ = count(); }`).join("\n")).then(
      () => undefined,
      (e: Error) => e,
    );
    expect(error).toBeInstanceOf(AttachError);
    // Addresses that are not aligned; the counter is refused only where there is none.
    for (const point of points.slice(1)) expect(error?.message).toContain(point);

    const types = environment().types;
    using loaded = load("tracepoint:syscalls:sys_enter_getp?id { @ = count(); }", types);
    const [first, second] = loaded.script.attach;
    if (!first?.tracepoint || !second) throw new Error("two points");
    expect(first.missing).toBe("warn");
    const gone = { ...first, tracepoint: { ...first.tracepoint, id: 0xffff } };
    const attach = (points: readonly AttachPoint[]) =>
      attachAll(new LoadedScript({ ...loaded.script, attach: points }, loaded.maps, loaded.programs));
    const attachment = await attach([gone, second]);
    expect(attachment.probes).toBe(1);
    expect(attachment.skipped).toEqual([expect.stringContaining(`Error attaching probe: ${first.text}`)]);
    await attachment.detach();
    await expect(attach([gone])).rejects.toThrow(first.text);
  });

  it("runtime errors are counted and told", async () => {
    const { end } = await runScript("BEGIN { $zero = 0; @ = 5 / $zero; @r = 5 % $zero; exit(); }", {
      endsItself: true,
    });
    expect(end.runtimeErrors).toBe(2);
  });
});
