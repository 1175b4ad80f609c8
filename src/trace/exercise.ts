// trace: scripts that are compiled, loaded and decoded without being run, so that V8 has compiled the code of a usual start. What it
// made is kept by the command line's quick start.
import { decodeMap, decodeRecord, printJson, printText, schemaOf } from "../results/index.ts";
import { renderDiagnostics } from "../script/index.ts";
import type { CompiledScript, OutputMap } from "../script/types.ts";
import { prepareScript, TraceEnvironment } from "./prepare.ts";
import { createResolvers } from "./resolvers.ts";

/** What people write, by what it takes: each construct once. */
const scripts: readonly string[] = [
  `BEGIN { printf("%-16s %6d %x %s\\n", comm, pid, 255, "text"); @start = nsecs; time("%H:%M:%S\\n"); exit(); }
   END { printf("%d\\n", elapsed); print(@start); clear(@start); }`,
  `tracepoint:syscalls:sys_enter_openat /comm == "nobody"/ { @[comm, str(args.filename)] = count(); printf("%d %s %s\\n", pid, comm, str(args.filename)); }
   tracepoint:syscalls:sys_exit_openat /args.ret < 0/ { @errors[args.ret] = count(); @size = hist(args.ret); @last[tid] = nsecs; }
   interval:s:1 { print(@, 5); clear(@); }`,
  `tracepoint:syscalls:sys_enter_read { @t[tid] = nsecs; @bytes = sum(args.count); }
   tracepoint:syscalls:sys_exit_read /@t[tid]/ { $d = (nsecs - @t[tid]) / 1000; @us[comm] = hist($d); @l = lhist($d, 0, 1000, 100); @s = stats($d); @a = avg($d); @max = max($d); @min = min($d); delete(@t, tid); if ($d > 1000) { @slow[comm, pid] = count(); } else if ($d == 0) { @none++; } }`,
  `tracepoint:sched:sched_switch { @next[args.next_comm] = count(); @stack[kstack(5)] = count(); $i = 0; while ($i < 3) { $i++; } @x = ($i, comm); }
   profile:hz:49 { @[ustack(3), cpu] = count(); }`,
  `tracepoint:tcp:tcp_retransmit_skb { @[ntop(args.saddr), args.sport] = count(); }
   tracepoint:sock:inet_sock_set_state /args.dport == 179 || args.sport == 179/ { printf("%s %d %d\\n", ntop(args.daddr), args.oldstate, args.newstate); }
   tracepoint:net:net_dev_queue { @[str(args.name), args.len] = count(); }`,
  `BEGIN { $task = (struct task_struct *)curtask; @[$task->comm, $task->real_parent->tgid] = 1; unroll(2) { @u++; } $s = "a" == "b" ? 1 : 2; for ($kv : @) { print($kv.1); } }`,
  `BEGIN { nonsense(); }`,
];

/** Zeroes as the entries of a map: as many bytes as its layout can ask for. */
const entryOf = (script: CompiledScript, map: OutputMap) => {
  const { keySize = 8, valueSize = 8 } = script.maps[map.map] ?? {};
  return { key: new Uint8Array(keySize + 8), values: [new Uint8Array(valueSize + 8).fill(1)] };
};

/** Runs through all of it. What fails on this kernel is left out: nobody waits for a result. */
export function exercise(cacheDirectory?: string, tracefs = "/sys/kernel/tracing"): void {
  const environment = new TraceEnvironment({
    tracefs,
    ...(cacheDirectory === undefined ? {} : { cacheDirectory }),
  });
  for (const source of scripts) {
    const prepared = prepareScript(environment, source, { name: "stdin", positional: [] });
    if (!prepared.ok) {
      renderDiagnostics(source, "stdin", prepared.diagnostics);
      continue;
    }
    if (!prepared.loaded) continue;
    using loaded = prepared.loaded;
    const { output } = loaded.script;
    const resolvers = createResolvers({ loaded, names: environment.names, symbols: environment.symbols });
    const schemas = schemaOf(output).maps;
    const maps = output.maps.map((map) => decodeMap(output, map, [entryOf(loaded.script, map)], resolvers));
    printText(schemas, maps);
    printJson(schemas, maps);
    for (const action of output.actions) {
      const record = new Uint8Array(action.size + 8);
      new DataView(record.buffer).setBigUint64(0, BigInt(action.id), true);
      decodeRecord(output, record, resolvers);
    }
  }
}
