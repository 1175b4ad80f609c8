// trace: tracepoints and the raw ones below them: both are put on each event of the equivalence table and must see the same.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EQUIVALENTS } from "../../../src/script/equivalents.ts";
import type { CompiledScript } from "../../../src/script/types.ts";
import { prepareScript } from "../../../src/trace/prepare.ts";
import {
  cacheDirectory,
  canTrace,
  environment,
  getppid,
  type Outcome,
  rowsOf,
  runScript,
  skipped,
  sleep,
} from "./helper.ts";

const { types } = environment();
const events = canTrace
  ? Object.keys(EQUIVALENTS).filter((name) => {
      const [category = "", event = ""] = name.split(":");
      return types.tracepoint(category, event) !== undefined && types.rawTracepoint(event) !== undefined;
    })
  : [];

/** Fields of this kernel's record that the table has, as keys of a map. */
function keysOf(name: string): string {
  const [category = "", event = ""] = name.split(":");
  const known = Object.keys(EQUIVALENTS[name] ?? {});
  const fields = types.tracepoint(category, event)?.fields.filter((f) => known.includes(f.name)) ?? [];
  return fields
    .map(({ name, dataLoc, type }) =>
      dataLoc
        ? `str(args.${name})`
        : type.kind === "array" && type.of.kind === "int" && !type.of.signed
          ? `ntop(args.${name})`
          : type.kind === "pointer"
            ? `((uint64)args.${name} >> 4) & 0xff`
            : `args.${name}`,
    )
    .join(", ");
}

/** What asks for ctx stays on the event itself. */
const stays = "/(uint64)ctx != 0/";
/** Events that the traffic below makes for certain; the others come where they come. */
const certain =
  /^(raw_syscalls:|sched:sched_(switch|waking|process_)|net:net_dev_|sock:|skb:kfree_skb|irq:softirq_(entry|exit))/;

/** As it is in the kernel. */
function compiled(source: string, env = environment()): CompiledScript {
  const prepared = prepareScript(env, source, { name: "test.bt", positional: [] });
  if (!prepared.ok || !prepared.loaded) throw new Error(`${source}: ${JSON.stringify(prepared)}`);
  using loaded = prepared.loaded;
  return loaded.script;
}

/** Connections to a server, to nobody, and datagrams: over loopback. */
async function traffic(): Promise<void> {
  const server = createServer((socket) => socket.end("x")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  for (let i = 0; i < 10; i++) {
    const socket = connect(port, "127.0.0.1").resume();
    await once(socket, "close");
    await new Promise((closed) =>
      connect(1, "127.0.0.1")
        .on("error", () => {})
        .on("close", closed),
    );
  }
  server.close();
  const datagrams = createSocket("udp4");
  for (let i = 0; i < 10; i++)
    await new Promise((sent) => datagrams.send("x".repeat(100 + i), 9, "127.0.0.1", sent));
  datagrams.close();
  getppid(100);
  const { spawnSync } = await import("node:child_process");
  for (let i = 0; i < 5; i++) spawnSync("/bin/true");
}

describe.skipIf(!canTrace)(`tracepoints by the raw ones below them (${skipped})`, () => {
  let outcome: Outcome;

  beforeAll(async () => {
    const source = events
      .map(
        (name, i) => `tracepoint:${name} { @e${i}[${keysOf(name)}] = count(); }
tracepoint:${name} ${stays} { @t${i}[${keysOf(name)}] = count(); }`,
      )
      .join("\n");
    outcome = await runScript(source, {
      prepare: { compile: { maxMapKeys: 10_000 } },
      work: async () => {
        await traffic();
        await sleep(300);
      },
    });
  }, 60_000);

  afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

  it("the table's rows are this kernel's events", () => {
    expect(events.length).toBeGreaterThan(15);
    const script = compiled(
      events
        .map((name) => `tracepoint:${name} { @ = count(); } tracepoint:${name} ${stays} { @ = count(); }`)
        .join("\n"),
    );
    for (const point of script.attach) expect(point.text, point.text).toMatch(/^tracepoint:/);
    const kinds = script.attach.map((point) => script.programs[point.program]?.type);
    expect(kinds).toEqual(events.flatMap(() => ["tp_btf", "tracepoint"]));
  });

  for (const [i, name] of events.entries())
    it(`${name}: the same events with the same fields`, () => {
      const script = compiled(`tracepoint:${name} { @[${keysOf(name)}] = count(); }`);
      expect(script.programs[script.attach[0]?.program ?? -1]?.type).toBe("tp_btf");
      const ours = rowsOf(outcome.maps, `@e${i}`) as Record<string, number>;
      const theirs = rowsOf(outcome.maps, `@t${i}`) as Record<string, number>;
      const sum = (rows: Record<string, number>): number => Object.values(rows).reduce((a, b) => a + b, 0);
      const all = sum(theirs);
      if (certain.test(name)) expect(all).toBeGreaterThan(4);
      let differ = 0;
      for (const key of new Set([...Object.keys(ours), ...Object.keys(theirs)]))
        differ += Math.abs((ours[key] ?? 0) - (theirs[key] ?? 0));
      // Where the run begins and ends, and where a program for the event is left out because another is at work on that CPU. A
      // field that is not the same makes all of its events differ, twice.
      expect(differ, `${JSON.stringify(ours)}\n${JSON.stringify(theirs)}`).toBeLessThanOrEqual(8 + all / 3);
    });

  it("what the table does not have stays on the event", () => {
    const type = (source: string): string | undefined => compiled(source).programs[0]?.type;
    expect(type("tracepoint:sched:sched_process_exec { @[ctx] = count(); }")).toBe("tracepoint");
    expect(type("tracepoint:sched:sched_switch { @[kstack] = count(); }")).toBe("tracepoint");
    expect(type("tracepoint:raw_syscalls:sys_enter { @[args.args[0]] = count(); }")).toBe("tracepoint");
    expect(type("tracepoint:syscalls:sys_enter_openat { @ = count(); }")).toBe("tracepoint");
  });

  it("where the kernel refuses it, the event itself is used", () => {
    const env = environment({});
    const known = env.types.rawTracepoint.bind(env.types);
    env.types.rawTracepoint = (name) => {
      const prototype = known(name);
      // Not a tracepoint's type: the kernel does not load the program.
      return prototype && { ...prototype, btfId: 1 };
    };
    const script = compiled("tracepoint:sched:sched_switch { @[args.next_comm] = count(); }", env);
    expect(script.programs[0]?.type).toBe("tracepoint");
  });

  it("each of several points has a program and its name", async () => {
    const { maps, probes } = await runScript(
      "tracepoint:irq:softirq_entry, tracepoint:irq:softirq_exit { @[probe] = count(); }",
      { work: () => sleep(300) },
    );
    expect(probes).toBe(2);
    expect(Object.keys(rowsOf(maps, "@")).sort()).toEqual([
      "tracepoint:irq:softirq_entry",
      "tracepoint:irq:softirq_exit",
    ]);
  });
});
