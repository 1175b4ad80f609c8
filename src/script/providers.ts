// script: the providers of probes: their names, short forms, and what each is made of.
import { say } from "./diagnostics.ts";
import { isGlob, matchNames } from "./glob.ts";
import type { ProbeOptions, Provider, ResolvedPoint } from "./probes.ts";
import type { KernelFeatures } from "./types.ts";

/** Duration or frequency of interval and profile, as period in ns; undefined if it is none. */
function period(parts: readonly string[]): bigint | undefined {
  const units: Record<string, bigint> = { s: 1_000_000_000n, ms: 1_000_000n, us: 1000n, ns: 1n };
  let unit = parts[0] ?? "";
  let count = parts[1] ?? "";
  if (parts.length === 1) {
    const match = /^([0-9_]+)(ns|us|ms|s|m|h)$/.exec(unit);
    if (!match) return undefined;
    count = match[1] ?? "";
    unit = match[2] ?? "";
    if (unit === "m" || unit === "h") {
      count = String(BigInt(count.replaceAll("_", "")) * (unit === "m" ? 60n : 3600n));
      unit = "s";
    }
  }
  if (!/^[0-9_]+$/.test(count)) return undefined;
  const n = BigInt(count.replaceAll("_", ""));
  if (n === 0n || n > 1n << 53n) return undefined;
  if (unit === "hz") return 1_000_000_000n / n || undefined;
  const scale = units[unit];
  return scale === undefined ? undefined : n * scale;
}

/** Whether what is not there is an error at once; else the script goes on without it, as its `missing_probes` says. */
const mustExist = ({ missing, old }: ProbeOptions): boolean => missing === "error" || old;

const manual = (name: "begin" | "end"): Provider => ({
  name,
  aliases: [name.toUpperCase()],
  usage: name.toUpperCase(),
  resolve: (parts, { old }) =>
    parts.length > 0
      ? undefined
      : [
          {
            text: old ? name.toUpperCase() : name,
            provider: name,
            programType: "syscall",
            context: { kind: "none" },
            attach: {},
            shareKey: name,
            manual: name,
          },
        ],
});

const timer = (name: "interval" | "profile", alias: string): Provider => ({
  name,
  aliases: [alias],
  usage: `${name}:s:1, ${name}:ms:100, ${name}:1s or ${name}:hz:99`,
  resolve: (parts) => {
    const ns = period(parts);
    if (ns === undefined) return undefined;
    return [
      {
        text: `${name}:${parts.join(":")}`,
        provider: name,
        programType: "perf_event",
        context: { kind: "none" },
        attach: { perf: { kind: name, config: 0, period: ns } },
        shareKey: name,
      },
    ];
  },
});

const tracepoint: Provider = {
  name: "tracepoint",
  aliases: ["t"],
  usage: "tracepoint:category:event",
  resolve: (parts, options, loc) => {
    const { types, diagnostics, old, alone } = options;
    const [category = "", event = ""] = parts;
    if (parts.length !== 2 || !category || !event) return undefined;
    const glob = isGlob(category) || isGlob(event);
    const names = glob ? matchNames(types, "tracepoint", `${category}:${event}`) : [`${category}:${event}`];
    const points: ResolvedPoint[] = [];
    for (const name of names) {
      const [cat = "", ev = ""] = name.split(":");
      const format = types.tracepoint(cat, ev);
      if (!format) {
        const missing = say.noTracepoint(name, types.match("tracepoint", `${cat}:*`));
        // 0.17 goes on where the probe has another attach point.
        if (!glob && mustExist(options))
          diagnostics.report(loc, old && !alone ? { ...missing, severity: "warning" } : missing);
        continue;
      }
      points.push({
        text: `tracepoint:${name}`,
        provider: "tracepoint",
        programType: "tracepoint",
        context: { kind: "tracepoint", structure: format, category: cat },
        attach: { tracepoint: { category: cat, event: ev, id: format.id } },
        shareKey: "tracepoint",
      });
    }
    return points;
  },
};

const rawTracepoint: Provider = {
  name: "rawtracepoint",
  aliases: ["rt"],
  usage: "rawtracepoint:event",
  resolve: (parts, options, loc) => {
    const { types, diagnostics } = options;
    const event = parts.at(-1) ?? "";
    if (parts.length < 1 || parts.length > 2 || !event) return undefined;
    const names = isGlob(event) ? matchNames(types, "rawtracepoint", event) : [event];
    return names.flatMap((name): ResolvedPoint[] => {
      const prototype = types.rawTracepoint(name);
      if (!prototype) {
        if (!isGlob(event) && mustExist(options))
          diagnostics.report(loc, say.noTracepoint(name, types.match("rawtracepoint", "*")));
        return [];
      }
      return [
        {
          text: `rawtracepoint:${prototype.module}:${name}`,
          provider: "rawtracepoint",
          // Not tp_btf: its programs may not read all arguments.
          programType: "raw_tracepoint",
          context: { kind: "btf", prototype, typed: false, ret: false },
          attach: { rawTracepoint: { name, btfId: prototype.btfId } },
          shareKey: "rawtracepoint",
        },
      ];
    });
  },
};

const kernelFunction = (name: string, alias: readonly string[], ret: boolean, typed: boolean): Provider => ({
  name,
  aliases: alias,
  usage: `${name}:function`,
  resolve: (parts, { types, diagnostics, missing, old, anyKernel }, loc) => {
    let symbol = parts.at(-1) ?? "";
    if (parts.length < 1 || parts.length > 2 || !symbol) return undefined;
    const feature: keyof KernelFeatures = typed ? "fentry" : "kprobe";
    const without = !types.features[feature];
    // 0.17 finds no functions for a wildcard then.
    if (without && old && !typed && isGlob(symbol)) return [];
    if (without && missing !== "error" && !old) return [];
    if (without && anyKernel !== "all" && (typed || anyKernel !== "kprobe")) {
      diagnostics.report(loc, say.noKernelSupport(typed ? "fentry/fexit" : "kprobes"));
      return [];
    }
    let offset = 0;
    const plus = /^(.+)\+(0x[0-9a-f]+|\d+)$/i.exec(symbol);
    if (plus && !typed && !ret) {
      symbol = plus[1] ?? "";
      offset = Number(plus[2]);
    }
    const names = isGlob(symbol) ? matchNames(types, typed ? "fentry" : "kprobe", symbol) : [symbol];
    return names.flatMap((fn): ResolvedPoint[] => {
      const prototype = types.function(fn);
      if (typed && !prototype) {
        if (!isGlob(symbol)) diagnostics.report(loc, say.noMatch(`${name}:${parts.join(":")}`));
        return [];
      }
      const text = `${name}:${typed ? `${prototype?.module ?? "vmlinux"}:` : ""}${fn}${offset ? `+${offset}` : ""}`;
      return [
        {
          text,
          provider: name,
          programType: typed ? (ret ? "fexit" : "fentry") : "kprobe",
          context:
            typed && prototype
              ? { kind: "btf", prototype, typed: true, ret }
              : { kind: "registers", ret, space: "kernel", ...(prototype ? { prototype } : {}) },
          attach: {
            kernelFunction: { name: fn, offset, ret, ...(prototype ? { btfId: prototype.btfId } : {}) },
          },
          shareKey: typed ? `${name}:${fn}` : name,
          ...(typed && prototype ? { attachBtfId: prototype.btfId } : {}),
        },
      ];
    });
  },
});

const userFunction = (name: string, alias: readonly string[], ret: boolean): Provider => ({
  name,
  aliases: alias,
  usage: `${name}:path:function`,
  resolve: (parts, { types, diagnostics, old }, loc) => {
    const [path = "", symbol = ""] = parts;
    if (parts.length !== 2 || !path || !symbol) return undefined;
    const names = isGlob(symbol) ? matchNames(types, name, `${path}:${symbol}`) : [`${path}:${symbol}`];
    return names.flatMap((full): ResolvedPoint[] => {
      const at = full.lastIndexOf(":");
      const found = types.userSymbol(full.slice(0, at), full.slice(at + 1).replaceAll('"', ""));
      if (!found) {
        if (!leftOut(old, path, types)) diagnostics.report(loc, say.noMatch(`${name}:${full}`));
        return [];
      }
      return [
        {
          text: `${name}:${found.path}:${full.slice(at + 1)}`,
          provider: name,
          programType: "kprobe",
          context: { kind: "registers", ret, space: "user" },
          attach: { userFunction: { path: found.path, offset: found.offset, ret } },
          shareKey: name,
        },
      ];
    });
  },
});

/** 0.17 leaves out functions that a file does not have; the file must be there. */
const leftOut = (old: boolean, path: string, types: ProbeOptions["types"]): boolean =>
  old && types.binary?.(path.replaceAll('"', "")) !== undefined;

const usdt: Provider = {
  name: "usdt",
  aliases: ["U"],
  usage: "usdt:path:provider:name",
  resolve: (parts, { types, diagnostics, old }, loc) => {
    const [path = "", ...rest] = parts.map((p) => p.replaceAll('"', ""));
    const [namespace = "", name = ""] = rest.length === 1 ? ["", ...rest] : rest;
    if (rest.length < 1 || rest.length > 2 || !path || !name) return undefined;
    // 0.17 takes no name of a library, and wants the file.
    if (old && types.binary?.(path, true) === undefined) {
      diagnostics.report(loc, say.noMatch(`usdt:${parts.join(":")}`));
      return [];
    }
    const names =
      namespace === "" || isGlob(namespace) || isGlob(name)
        ? matchNames(types, "usdt", `${path}:${namespace || "*"}:${name}`)
        : [`${path}:${namespace}:${name}`];
    return names.flatMap((full): ResolvedPoint[] => {
      const [file = "", provider = "", probe = ""] = full.split(":");
      const places = types.usdt?.(file, provider, probe) ?? [];
      if (places.length === 0 && !leftOut(old, path, types))
        diagnostics.report(loc, say.noMatch(`usdt:${parts.join(":")}`));
      return places.map((place) => ({
        text: `usdt:${place.path}:${provider}:${probe}`,
        provider: "usdt",
        programType: "kprobe",
        context: { kind: "registers", ret: false, space: "user", note: place.arguments },
        attach: {
          userFunction: {
            path: place.path,
            offset: place.offset,
            ret: false,
            ...(place.semaphore === undefined ? {} : { semaphore: place.semaphore }),
          },
        },
        shareKey: `usdt:${place.arguments}`,
        place: place.offset,
      }));
    });
  },
};

/** perf_event_attr.config of PERF_TYPE_SOFTWARE and PERF_TYPE_HARDWARE, and the default sample period (bpftrace's). */
const SOFTWARE: Readonly<Record<string, readonly [config: number, period: bigint]>> = {
  "cpu-clock": [0, 1_000_000n],
  cpu: [0, 1_000_000n],
  "task-clock": [1, 1_000_000n],
  "page-faults": [2, 100n],
  faults: [2, 100n],
  "context-switches": [3, 1000n],
  cs: [3, 1000n],
  "cpu-migrations": [4, 1n],
  "minor-faults": [5, 100n],
  "major-faults": [6, 1n],
  "alignment-faults": [7, 1n],
  "emulation-faults": [8, 1n],
  dummy: [9, 1n],
  "bpf-output": [10, 1n],
};
const HARDWARE: Readonly<Record<string, readonly [config: number, period: bigint]>> = {
  "cpu-cycles": [0, 1_000_000n],
  cycles: [0, 1_000_000n],
  instructions: [1, 1_000_000n],
  "cache-references": [2, 1_000_000n],
  "cache-misses": [3, 1_000_000n],
  "branch-instructions": [4, 100_000n],
  branches: [4, 100_000n],
  "branch-misses": [5, 100_000n],
  "bus-cycles": [6, 100_000n],
  "frontend-stalls": [7, 1_000_000n],
  "backend-stalls": [8, 1_000_000n],
  "ref-cycles": [9, 1_000_000n],
};

const counter = (name: "software" | "hardware", alias: string, events: typeof SOFTWARE): Provider => ({
  name,
  aliases: [alias],
  usage: `${name}:event:count`,
  resolve: (parts, { diagnostics }, loc) => {
    const [event = "", count] = parts;
    if (parts.length < 1 || parts.length > 2) return undefined;
    const known = events[event];
    if (!known) {
      diagnostics.report(loc, say.noMatch(`${name}:${event}`));
      return [];
    }
    if (count !== undefined && count !== "" && !/^[0-9_]+$/.test(count)) return undefined;
    const every = count ? BigInt(count.replaceAll("_", "")) : known[1];
    return [
      {
        text: `${name}:${event}:${count ?? ""}`.replace(/:$/, ":"),
        provider: name,
        programType: "perf_event",
        context: { kind: "none" },
        attach: { perf: { kind: name, config: known[0], period: every } },
        shareKey: name,
      },
    ];
  },
});

const iterator: Provider = {
  name: "iter",
  aliases: ["it"],
  usage: "iter:task",
  resolve: (parts, { types, diagnostics }, loc) => {
    const [name = ""] = parts;
    if (parts.length < 1 || parts.length > 2 || !name) return undefined;
    const structure = types.iterator(name);
    if (!structure) {
      diagnostics.report(loc, say.noMatch(`iter:${name}`));
      return [];
    }
    return [
      {
        text: `iter:${name}`,
        provider: "iter",
        programType: "iter",
        context: { kind: "iterator", structure },
        attach: { iterator: name },
        shareKey: `iter:${name}`,
      },
    ];
  },
};

const signal: Provider = {
  name: "self",
  aliases: [],
  usage: "self:signal:SIGUSR1",
  resolve: (parts) =>
    parts.length !== 2 || parts[0] !== "signal"
      ? undefined
      : [
          {
            text: `self:signal:${parts[1]}`,
            provider: "self",
            programType: "syscall",
            context: { kind: "none" },
            attach: { signal: parts[1] ?? "" },
            shareKey: "self",
            manual: "signal",
          },
        ],
};

const watchpoint = (name: "watchpoint" | "asyncwatchpoint", aliases: readonly string[]): Provider => ({
  name,
  aliases,
  usage: `${name}:0xaddress:8:w`,
  resolve: (parts) => {
    const [address = "", length = "", mode = ""] = parts;
    if (parts.length !== 3 || !/^(0x[0-9a-f]+|[0-9]+)$/i.test(address)) return undefined;
    if (!["1", "2", "4", "8"].includes(length) || !/^[rwx]+$/.test(mode)) return undefined;
    return [
      {
        text: `${name}:${parts.join(":")}`,
        provider: name,
        programType: "perf_event",
        context: { kind: "none" },
        attach: { watchpoint: { address: BigInt(address), length: Number(length), mode } },
        shareKey: name,
      },
    ];
  },
});

export const PROVIDERS: readonly Provider[] = [
  manual("begin"),
  manual("end"),
  tracepoint,
  rawTracepoint,
  kernelFunction("kprobe", ["k"], false, false),
  kernelFunction("kretprobe", ["kr"], true, false),
  kernelFunction("fentry", ["f", "kfunc"], false, true),
  kernelFunction("fexit", ["fr", "kretfunc"], true, true),
  userFunction("uprobe", ["u"], false),
  userFunction("uretprobe", ["ur"], true),
  usdt,
  timer("interval", "i"),
  timer("profile", "p"),
  counter("software", "s", SOFTWARE),
  counter("hardware", "h", HARDWARE),
  iterator,
  watchpoint("watchpoint", ["w"]),
  watchpoint("asyncwatchpoint", ["aw"]),
  signal,
];
