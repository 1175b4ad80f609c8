// test: compiles a script, runs its programs in the machine of test/support, prints what a user would see.
import { decodeMap, decodeRecord, printText, schemaOf } from "../../../src/results/index.ts";
import type { Resolvers } from "../../../src/results/types.ts";
import { compile, renderDiagnostics } from "../../../src/script/index.ts";
import type { CompiledScript, CompileOptions } from "../../../src/script/types.ts";
import { Vm, type VmOptions } from "../../support/bpf-vm.ts";
import { options } from "./fixture.ts";

export const resolvers: Resolvers = {
  name: (dictionary, id) => (id === 0 ? undefined : `${dictionary}${id}`),
  kernelSymbol: (address) => `ksym_${address.toString(16)}`,
  userSymbol: (_pid, address) => `usym_${address.toString(16)}`,
  userName: (uid) => (uid === 0 ? "root" : undefined),
  stack: () => undefined,
  now: () => 1_700_000_000_000_000_000n,
  bootOffset: () => 1_700_000_000_000_000_000n,
  probe: (index) => `probe${index}`,
};

export function compiled(source: string, more: Partial<CompileOptions> = {}): CompiledScript {
  const { diagnostics, script } = compile(source, options(more));
  if (!script) throw new Error(renderDiagnostics(source, "stdin", diagnostics));
  return script;
}

export interface Outcome {
  readonly vm: Vm;
  readonly script: CompiledScript;
  /** What printf and print gave, in order. */
  output(): string;
  /** The maps as at the end of the script. */
  maps(): string;
  /** Runs program `n` (or the only attached one). */
  fire(context?: Uint8Array, n?: number): Outcome;
}

/** BEGIN has been run. */
export function start(source: string, more: Partial<CompileOptions> = {}, machine: VmOptions = {}): Outcome {
  const script = compiled(source, more);
  const vm = new Vm(script, machine);
  for (const index of script.begin) vm.run(index);
  const read = (map: CompiledScript["output"]["maps"][number]) =>
    decodeMap(script.output, map, vm.read(map.map), resolvers);
  const schema = schemaOf(script.output);
  const outcome: Outcome = {
    vm,
    script,
    output: () =>
      vm.ring
        .map((bytes) => {
          const record = decodeRecord(script.output, bytes, resolvers);
          // What went wrong in a program is told elsewhere.
          if (record.kind === "line" && record.said?.kind === "runtime_error") return "";
          return record.kind === "line" ? record.text : `<${record.kind}>`;
        })
        .join(""),
    maps: () => printText(schema.maps, script.output.maps.map(read), { old: more.compat === "0.17" }),
    fire: (context, n) => {
      vm.run(n ?? script.attach[0]?.program ?? 0, context);
      return outcome;
    },
  };
  return outcome;
}

/** Bytes of a tracepoint record: values by field name. */
export function record(
  point: string,
  values: Readonly<Record<string, bigint | number | string | readonly number[]>>,
): Uint8Array {
  const [category = "", event = ""] = point.split(":");
  const format = options().types.tracepoint(category, event);
  const out = new Uint8Array(1024);
  const view = new DataView(out.buffer);
  for (const field of format?.fields ?? []) {
    const value = values[field.name];
    if (value === undefined) continue;
    if (typeof value === "string") out.set(new TextEncoder().encode(value), field.offset);
    else if (typeof value === "object") out.set(value, field.offset);
    else {
      const size = field.type.kind === "int" || field.type.kind === "enum" ? field.type.size : 8;
      for (let i = 0; i < size; i++)
        view.setUint8(field.offset + i, Number((BigInt(value) >> BigInt(8 * i)) & 255n));
    }
  }
  return out;
}
