// kube: the whole way of a question: `waggle trace`, an API server, a hub, agents with real tracers, the kernel, and back.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { setPriority, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Hub, startHub } from "../../src/fleet/hub/index.ts";
import { joinHub, type Member } from "../../src/fleet/member.ts";
import { systemClock } from "../../src/kube/index.ts";
import { ProcessTracer } from "../../src/trace/index.ts";
import { quiet } from "../unit/fleet/world.ts";
import { addNode, type Plane, planes, tokenOf } from "./fleet-plane.ts";

const able = process.getuid?.() === 0 && existsSync("/sys/kernel/btf/vmlinux");

describe.skipIf(!able)(
  `a question to real kernels${able ? "" : " (skipped: needs root and kernel types in /sys/kernel/btf)"}`,
  () => {
    const directory = mkdtempSync(join(tmpdir(), "waggle-fleet-"));
    const members: Member[] = [];
    const tracers: ProcessTracer[] = [];
    let plane: Plane;
    let hub: Hub;

    beforeAll(async () => {
      plane = await planes[0]!.start("dc1");
      for (const node of ["n1", "n2"]) await addNode(plane.client, node);
      hub = await startHub({
        client: plane.client,
        listen: "127.0.0.1:0",
        clock: systemClock,
        random: Math.random,
        log: quiet,
        cluster: "dc1",
      });
      for (const node of ["n1", "n2"]) {
        const tracer = new ProcessTracer({
          nodeIndex: 1,
          unownedIsNode: true,
          countsUnattributed: true,
          cacheDirectory: join(directory, "cache"),
        });
        tracers.push(tracer);
        const token = await tokenOf(plane.client, "waggle-agent", "waggle-hub", node);
        members.push(
          joinHub({
            discover: async () => ({ ca: hub.caBundle, address: hub.address! }),
            token: async () => token,
            node,
            version: "test",
            kernel: "6",
            tracer,
            clock: systemClock,
            random: Math.random,
            log: quiet,
          }),
        );
      }
      while (hub.nodes().length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
    }, 60_000);

    afterAll(async () => {
      for (const member of members) await member.close();
      for (const tracer of tracers) await tracer.close();
      await hub?.close();
      await plane?.[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    }, 30_000);

    const ask = (program: string, args: readonly string[] = [], flags: readonly string[] = []) => {
      const child = spawn(
        process.execPath,
        [
          "src/cli/main.ts",
          "trace",
          ...flags,
          "--kubeconfig",
          plane.kubeconfig,
          "-e",
          program,
          "--",
          ...args,
        ],
        { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NO_COLOR: "1" } },
      );
      let out = "";
      let err = "";
      child.stdout.on("data", (data: Buffer) => {
        out += data.toString();
      });
      child.stderr.on("data", (data: Buffer) => {
        err += data.toString();
      });
      const result = new Promise<{ code: number | null; out: string; err: string }>((resolve) =>
        child.once("close", (code) => resolve({ code, out, err })),
      );
      return { child, result, seen: () => out };
    };

    /** What the tracers hold in the kernel: attachments, programs and maps. */
    const held = (): string[] =>
      tracers.flatMap(({ pid }) =>
        readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
          try {
            const target = readlinkSync(`/proc/${pid}/fd/${fd}`);
            return /perf_event|bpf/.test(target) ? [target] : [];
          } catch {
            // Closed since it was listed.
            return [];
          }
        }),
      );
    const nothingHeld = async (): Promise<void> => {
      const until = performance.now() + 5_000;
      while (held().length > 0 && performance.now() < until)
        await new Promise((resolve) => setTimeout(resolve, 20));
      expect(held()).toEqual([]);
    };

    it("counts every event of every node, exactly", async () => {
      const { result, seen } = ask(
        'BEGIN { printf("ready\\n"); } tracepoint:syscalls:sys_enter_setpriority /pid == $1/ { @calls = count(); @who = hist(args.niceval); }',
        [String(process.pid)],
        ["--for", "3s"],
      );
      while (seen().split("ready").length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
      // Attached everywhere once both have begun.
      await new Promise((resolve) => setTimeout(resolve, 500));
      for (let i = 0; i < 50; i++) setPriority(0, 0);
      const { code, out, err } = await result;
      expect(err).toContain("2/2 nodes answered (dc1 2/2), 0 events lost");
      // Both nodes are this kernel: each has seen all fifty.
      expect(out).toContain("@calls: 100");
      expect(out).toContain("n1: ready");
      expect(code).toBe(0);
    });

    it("a field that does not exist is told with its place, by node, and nothing is attached", async () => {
      const { code, err } = await ask("tracepoint:sock:inet_sock_set_state { @ = args.nope; }").result;
      expect(err).toContain("n1, n2");
      expect(err).toMatch(/^stdin:1:\d+-\d+: ERROR: .*nope/m);
      expect(err).toContain("attached nowhere");
      expect(code).toBe(1);
      await nothingHeld();
    });

    it("exit() of the script ends it everywhere and gives its code", async () => {
      const { code, out } = await ask('BEGIN { printf("%s\\n", "bye"); exit(7); }').result;
      expect(out.split("\n").sort()).toEqual(["", "n1: bye", "n2: bye"]);
      expect(code).toBe(7);
    });

    it("killed with -9, it leaves nothing in the kernel", async () => {
      const { child, result, seen } = ask(
        'BEGIN { printf("ready\\n"); } tracepoint:sched:sched_switch { @ = count(); }',
      );
      while (seen().split("ready").length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
      expect(held().length).toBeGreaterThan(0);
      child.kill("SIGKILL");
      await result;
      await nothingHeld();
    });
  },
);
