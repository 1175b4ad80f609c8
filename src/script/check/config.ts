// script, checker: the config block. One table of what can be set; some of bpftrace's settings have no meaning here and are accepted.
import type { Loc } from "../ast.ts";
import { type Diagnostics, say } from "../diagnostics.ts";
import type { CompileOptions } from "../types.ts";
import type { Checking, Settings } from "./state.ts";

export const defaultSettings = (options: CompileOptions): Settings => ({
  maxStrlen: options.maxStrlen ?? (options.compat === "0.17" ? 64 : 1024),
  maxMapKeys: options.maxMapKeys ?? 4096,
  maxProbes: options.maxProbes ?? 1024,
  missingProbes: options.compat === "0.17" ? "warn" : "error",
  printMapsOnExit: true,
  strTruncTrailer: "..",
  stackMode: "bpftrace",
  license: "GPL",
  unstable: {},
});

type Setter = (settings: Settings, value: string | bigint) => string | undefined;

const number =
  (set: (settings: Settings, value: number) => void, least: bigint, most: bigint): Setter =>
  (settings, value) => {
    if (typeof value !== "bigint") return "an integer is wanted";
    if (value < least || value > most) return `${least}..${most} are possible`;
    set(settings, Number(value));
    return undefined;
  };
const ignored: Setter = () => undefined;

/** What bpftrace calls unstable: used silently, with a warning (the default), or not at all. */
const unstableFeature =
  (name: string): Setter =>
  (settings, value) => {
    // The older form was a boolean.
    const word = { true: "enable", "1": "enable", false: "error", "0": "error" }[String(value)] ?? value;
    if (word !== "enable" && word !== "warn" && word !== "error") return "one of error, warn, enable";
    settings.unstable = { ...settings.unstable, [name]: word };
    return undefined;
  };

/** Those that the newest bpftrace calls stable: no word unless a script asks for it. */
const STABLE_SINCE: ReadonlySet<string> = new Set(["unstable_addr", "unstable_map_decl"]);

/** Whether an unstable feature may be used; a message if it may not, or not silently. */
export function unstable(c: Checking, name: string, loc: Loc): boolean {
  const how = c.settings.unstable[name] ?? (STABLE_SINCE.has(name) ? "enable" : "warn");
  if (how === "enable") return true;
  c.report(loc, how === "warn" ? say.unstableWarning(name) : say.unstableOff(name));
  return how === "warn";
}

const SETTINGS: Readonly<Record<string, Setter>> = {
  max_strlen: number((s, v) => (s.maxStrlen = v), 1n, 1024n),
  max_map_keys: number((s, v) => (s.maxMapKeys = v), 1n, 1n << 24n),
  max_probes: number((s, v) => (s.maxProbes = v), 1n, 65536n),
  missing_probes: (s, value) => {
    if (value !== "error" && value !== "warn" && value !== "ignore") return "one of error, warn, ignore";
    s.missingProbes = value;
    return undefined;
  },
  print_maps_on_exit: (s, value) => {
    s.printMapsOnExit = value === "true" || value === 1n;
    return undefined;
  },
  str_trunc_trailer: (s, value) => {
    s.strTruncTrailer = String(value);
    return undefined;
  },
  license: (s, value) => {
    s.license = String(value);
    return undefined;
  },
  cache_user_symbols: ignored,
  cpp_demangle: ignored,
  lazy_symbolication: ignored,
  log_size: ignored,
  max_bpf_progs: ignored,
  max_cat_bytes: number((s, v) => (s.maxCatBytes = v), 1n, 1n << 20n),
  max_type_res_iterations: ignored,
  on_stack_limit: ignored,
  perf_rb_pages: ignored,
  show_debug_info: ignored,
  stack_mode: (s, value) => {
    if (value !== "bpftrace" && value !== "perf" && value !== "raw") return "one of bpftrace, perf, raw";
    s.stackMode = value;
    return undefined;
  },
  use_blazesym: ignored,
  unstable_import: ignored,
  unstable_macro: ignored,
  unstable_map_decl: unstableFeature("unstable_map_decl"),
  unstable_tseries: unstableFeature("unstable_tseries"),
  unstable_addr: unstableFeature("unstable_addr"),
};

export function applySettings(
  settings: Settings,
  given: readonly { readonly name: string; readonly value: string | bigint; readonly loc: Loc }[],
  diagnostics: Diagnostics,
): void {
  for (const { name, value, loc } of given) {
    const set = SETTINGS[name.toLowerCase().replace(/^bpftrace_/, "")];
    if (!set) {
      diagnostics.report(loc, say.config(name, Object.keys(SETTINGS)));
      continue;
    }
    const problem = set(settings, value);
    if (problem !== undefined) diagnostics.report(loc, say.configValue(name, problem));
  }
}

/** Settings from outside the script; numbers are written in digits. */
export function applyOutside(
  settings: Settings,
  given: Readonly<Record<string, string>>,
  diagnostics: Diagnostics,
): void {
  const values = Object.entries(given).map(([name, text]) => ({
    name,
    value: /^\d+$/.test(text) ? BigInt(text) : text,
    loc: { start: 0, end: 1 },
  }));
  applySettings(settings, values, diagnostics);
}

/** Names of all settings. */
export const knownSettings: ReadonlySet<string> = new Set(Object.keys(SETTINGS));

/** Settings that config() can be asked for; those without a meaning here have bpftrace's defaults. */
const VALUES: Readonly<Record<string, (s: Settings) => string | number | boolean>> = {
  max_strlen: (s) => s.maxStrlen,
  max_map_keys: (s) => s.maxMapKeys,
  max_probes: (s) => s.maxProbes,
  missing_probes: (s) => s.missingProbes,
  print_maps_on_exit: (s) => s.printMapsOnExit,
  str_trunc_trailer: (s) => s.strTruncTrailer,
  stack_mode: (s) => s.stackMode,
  license: (s) => s.license,
  cpp_demangle: () => true,
  lazy_symbolication: () => true,
  show_debug_info: () => false,
  on_stack_limit: () => 32,
  max_cat_bytes: (s) => s.maxCatBytes ?? 10240,
  log_size: () => 1_000_000,
  max_bpf_progs: () => 1024,
};

export const settingNames = Object.keys(VALUES);
export const settingValue = (s: Settings, name: string): string | number | boolean | undefined =>
  VALUES[name]?.(s);
