// trace: kinds of probes: what loads for kernels that have more than this one, uprobes, USDT notes, signals, counters.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { tracefsRoot } from "../../../src/kernel/tracefs.ts";
import { compile, renderDiagnostics } from "../../../src/script/index.ts";
import type { KernelFeatures } from "../../../src/script/types.ts";
import { listProbes } from "../../../src/trace/listing.ts";
import { type LoadedScript, loadScript } from "../../../src/trace/load.ts";
import { KernelTypes } from "../../../src/trace/type-source.ts";
import { cacheDirectory, canTrace, environment, rowsOf, runScript, skipped, sleep } from "./helper.ts";

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
});
