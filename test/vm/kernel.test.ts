// test, vm: what Linux 6.1 is found to be able to do, and its verifier's word on random well-typed programs: "if it type-checks, it loads".
import { beforeAll, describe, expect, test } from "vitest";
import type { Verdicts } from "./guest/programs.ts";
import { Observations } from "./guest/say.ts";
import { bootVm, canBoot, how } from "./vm.ts";

/** Random programs; with more of them the seeds go on from where these end. */
const programs = Number(process.env["WAGGLE_VM_PROGRAMS"] ?? 300);
/** An emulated machine compiles and verifies a few a second where it has a core to itself. */
const msEach = 4_000;
const timeoutMs = 300_000 + programs * msEach;

describe.skipIf(!canBoot)(`kernel and verifier of Linux 6.1 (${how})`, () => {
  let seen = new Observations("");

  beforeAll(async () => {
    const { output } = await bootVm({
      memoryMb: 768,
      run: `node test/vm/guest/features.ts\nnode test/vm/guest/programs.ts 1 ${programs}`,
      timeoutMs,
    });
    seen = new Observations(output);
  }, 1_900_000 + timeoutMs);

  test("features are asked of the kernel itself", () => {
    expect(seen.get("kernel")).toEqual({
      bpf: true,
      btf: true,
      tcx: false,
      ringBuffer: true,
      lpmBatch: true,
    });
    expect(seen.get("preflight")).toMatchObject({
      kernel: expect.stringMatching(/^ok: 6\.1\./),
      BTF: expect.stringMatching(/^ok/),
      tcx: "note: this kernel has none; clsact is used (tcx came with Linux 6.6)",
    });
  });

  test("the tracer knows what it may use", () => {
    expect(seen.get("tracer")).toMatchObject({
      bpfLoop: true,
      ringBuffer: true,
      probeReadKernelStr: true,
      tpBtf: true,
      fentry: true,
      kprobe: true,
      currentTaskBtf: true,
      forEachMapElem: true,
      mapLookupPercpuElem: true,
      ktimeGetTaiNs: true,
      cpus: 1,
    });
  });

  test("probes are found by wildcards", () => {
    expect(seen.get("matches")).toEqual({
      kprobes: expect.arrayContaining(["vfs_read", "vfs_readlink"]),
      iterators: expect.arrayContaining(["task", "task_file", "task_vma", "tcp"]),
      rawTracepoints: ["sys_enter", "sys_exit"],
      tracepoints: ["tcp:tcp_retransmit_skb", "tcp:tcp_retransmit_synack"],
    });
  });

  test("every script of tools/ loads, but for one whose reason this kernel does not have", () => {
    const tools = seen.get("tools") as Readonly<Record<string, string>>;
    expect(Object.keys(tools).length).toBeGreaterThan(8);
    expect(Object.entries(tools).filter(([, what]) => what !== "loads")).toEqual([
      ["listen-overflows.bt", "Unknown identifier: 'SKB_DROP_REASON_TCP_LISTEN_OVERFLOW'"],
    ]);
  });

  test("the verifier takes every program that the checker takes", () => {
    const { loaded, refusals, refusedByKernel, refusedByChecker } = seen.get("random programs") as Verdicts;
    const told = refusedByKernel.map((r) => `seed ${r.seed}: ${r.source}\n${r.reason}`).join("\n\n");
    expect(refusals, told).toBe(0);
    // Fields of tracepoints that this kernel does not have yet are all that may be wrong with a program.
    for (const message of Object.keys(refusedByChecker))
      expect(message).toMatch(/does not contain a field named/);
    expect(loaded).toBeGreaterThan(programs * 0.8);
  });
});
