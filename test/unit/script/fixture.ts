// test: a TypeSource made of real formats and BTF of one kernel (6.18), cut down to what the tests name.
import { readFileSync } from "node:fs";
import { globMatches } from "../../../src/script/glob.ts";
import type { CompileOptions, Structure, Type, TypeSource } from "../../../src/script/types.ts";

interface Fixture {
  readonly tracepoints: Readonly<Record<string, Structure & { readonly id: number }>>;
  readonly structures: Readonly<Record<string, Structure>>;
  readonly enums: Readonly<
    Record<
      string,
      { readonly size: 4; readonly signed: boolean; readonly values: Readonly<Record<string, number>> }
    >
  >;
}

const fixture = JSON.parse(
  readFileSync(new URL("../../fixtures/script/kernel-types.json", import.meta.url), "utf8"),
) as Fixture;

export const types: TypeSource = {
  tracepoint: (category, event) => fixture.tracepoints[`${category}:${event}`],
  match: (provider, pattern) =>
    provider === "tracepoint" ? Object.keys(fixture.tracepoints).filter((n) => globMatches(pattern, n)) : [],
  structure: (name) => fixture.structures[name] ?? fixture.structures[`struct ${name}`],
  typeByName: (name): Type | undefined => {
    const known = fixture.enums[name.replace(/^enum /, "")];
    if (known)
      return { kind: "enum", name: name.replace(/^enum /, ""), size: known.size, signed: known.signed };
    if (name === "pid_t") return { kind: "int", size: 4, signed: true };
    if (name === "size_t") return { kind: "int", size: 8, signed: false };
    return undefined;
  },
  enumValue: (name) => {
    for (const [type, e] of Object.entries(fixture.enums)) {
      const value = e.values[name];
      if (value !== undefined)
        return { value: BigInt(value), type: { kind: "enum", name: type, size: e.size, signed: e.signed } };
    }
    return undefined;
  },
  enumName: (type, value) =>
    Object.entries(fixture.enums[type]?.values ?? {}).find(([, v]) => BigInt(v) === value)?.[0],
  function: (name) =>
    name === "vfs_read"
      ? {
          name,
          module: "vmlinux",
          btfId: 1,
          parameters: [
            { name: "file", type: { kind: "pointer", to: { kind: "none" }, space: "kernel" } },
            { name: "count", type: { kind: "int", size: 8, signed: false } },
          ],
          returns: { kind: "int", size: 8, signed: true },
        }
      : undefined,
  rawTracepoint: (name) =>
    name === "sched_switch"
      ? {
          name,
          module: "vmlinux",
          btfId: 0,
          parameters: [
            { name: "preempt", type: { kind: "bool" } },
            { name: "prev", type: taskPointer },
            { name: "next", type: taskPointer },
          ],
          returns: { kind: "none" },
        }
      : undefined,
  iterator: () => undefined,
  kernelSymbol: () => undefined,
  userSymbol: () => undefined,
  features: {
    bpfLoop: true,
    ringBuffer: true,
    probeReadKernelStr: true,
    // The machine of these tests makes records of tracepoints, not the arguments below them.
    tpBtf: false,
    fentry: false,
    kprobe: true,
    currentTaskBtf: true,
    forEachMapElem: true,
    mapLookupPercpuElem: true,
    ktimeGetTaiNs: true,
    cpus: 2,
  },
};

const taskPointer: Type = {
  kind: "pointer",
  to: { kind: "struct", name: "struct task_struct", size: 0, union: false },
  space: "kernel",
};

export const options = (more: Partial<CompileOptions> = {}): CompileOptions => ({
  name: "stdin",
  types,
  network: true,
  ...more,
});
