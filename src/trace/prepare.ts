// trace: source text to a script in the kernel, attached to nothing: phase 1 of a run, here and in the tracer's child.
import { join } from "node:path";
import { BpfMap } from "../kernel/maps.ts";
import { KernelSymbols } from "../kernel/symbols.ts";
import { compile } from "../script/index.ts";
import type {
  CompiledScript,
  CompileOptions,
  Diagnostic,
  ExternalMap,
  OutputAction,
} from "../script/types.ts";
import { type LoadedScript, loadScript, ScriptLoadError } from "./load.ts";
import { say } from "./messages.ts";
import { Names } from "./names.ts";
import { ownerMapNames } from "./owners.ts";
import { forProcess } from "./pid-filter.ts";
import { KernelTypes } from "./type-source.ts";
import type { TracerOptions } from "./types.ts";

/** Names of the pinned maps that an agent fills from BGP. */
export const routeMapNames = { routes: "routes", attributes: "route_attributes" } as const;

export type EnvironmentOptions = Partial<TracerOptions> & {
  readonly tracefs: string | undefined;
  readonly pid?: number;
};

/** What all scripts of a process share: the kernel's types and symbols, names, and where the node's maps are. */
export class TraceEnvironment {
  readonly types: KernelTypes;
  readonly symbols: KernelSymbols;
  readonly names: Names;
  readonly #options: EnvironmentOptions;

  constructor(options: EnvironmentOptions) {
    this.#options = options;
    this.symbols = new KernelSymbols();
    this.types = new KernelTypes({
      tracefs: options.tracefs,
      cacheDirectory: options.cacheDirectory,
      symbols: this.symbols,
      ...(options.pid === undefined ? {} : { pid: options.pid }),
    });
    this.names = new Names(options.namesFile);
  }

  /** Opens a map that scripts share with the agent; undefined where it is not pinned. */
  openExternal(name: ExternalMap): BpfMap | undefined {
    const { mapDirectory, ownerDirectory } = this.#options;
    const isOwner = name === ownerMapNames.netns || name === ownerMapNames.cgroup;
    const directory = isOwner ? ownerDirectory : mapDirectory;
    return directory === undefined ? undefined : BpfMap.openPinnedIfAny(join(directory, name));
  }

  /** What the compiler is told of this node. `routes`: whether the route maps are there. */
  compileOptions(routes: boolean): Pick<CompileOptions, "types" | "network" | "ownership" | "nameId"> {
    const { ownerDirectory, nodeIndex, unownedIsNode, countsUnattributed } = this.#options;
    return {
      types: this.types,
      network: routes,
      nameId: (dictionary, name) => this.names.id(dictionary, name),
      ...(ownerDirectory === undefined
        ? {}
        : {
            ownership: {
              node: nodeIndex ?? 0,
              unownedIsNode: unownedIsNode ?? true,
              countsUnattributed: countsUnattributed ?? true,
            },
          }),
    };
  }
}

export interface PrepareOptions {
  /** What messages call the source. */
  readonly name: string;
  readonly positional: readonly string[];
  /** Kernel memory that the script's maps may take, ring included. */
  readonly mapBytes?: number;
  readonly compile?: Partial<
    Pick<
      CompileOptions,
      | "compat"
      | "unsafe"
      | "maxStrlen"
      | "maxMapKeys"
      | "maxProbes"
      | "ringBytes"
      | "childPid"
      | "anyKernel"
      | "checkHelpers"
    >
  >;
  readonly verifierLog?: boolean;
  /** Shown what was compiled before it is loaded. */
  readonly compiled?: (script: CompiledScript) => void;
  /** Compile only. */
  readonly compileOnly?: boolean;
  /** Only events of this process. */
  readonly pid?: number;
  /** Bytes of the ring where the script's own settings do not say, a power of two. */
  readonly ringBytes?: number;
}

export type PreparedScript =
  | { readonly ok: true; readonly loaded: LoadedScript; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: true; readonly loaded: undefined; readonly warnings: readonly Diagnostic[] }
  | {
      readonly ok: false;
      readonly diagnostics: readonly Diagnostic[];
      /** What has no place in the source: a limit, a missing capability. */
      readonly problem?: string;
      /** The verifier's log, where it was the verifier who refused. */
      readonly log?: string;
    };

/** Records of these kinds come now and then; a script that has no others needs no large ring. */
const seldom: ReadonlySet<OutputAction["kind"]> = new Set([
  "exit",
  "print_map",
  "clear",
  "zero",
  "time",
  "runtime_error",
]);
const smallRing = 256 << 10;

/** The script with a ring of the size that its records want: all of it counts as memory of this process. */
function fittedRing(script: CompiledScript, most: number | undefined): CompiledScript {
  const { ring, actions } = script.output;
  const map = script.maps[ring];
  const size = actions.every((a) => seldom.has(a.kind)) ? smallRing : most;
  if (!map || size === undefined || map.maxEntries <= size) return script;
  return {
    ...script,
    maps: script.maps.with(ring, { ...map, maxEntries: size }),
    mapBytes: script.mapBytes - map.maxEntries + size,
  };
}

/** Whether a tracepoint is attached to by the raw one below it. */
const usesEquivalents = (script: CompiledScript): boolean =>
  script.attach.some((p) => p.tracepoint !== undefined && script.programs[p.program]?.type === "tp_btf");

/** Compiles and loads. Nothing is attached; the caller owns what is loaded. @throws Error for a broken kernel or file system */
export function prepareScript(
  environment: TraceEnvironment,
  source: string,
  options: PrepareOptions,
): PreparedScript {
  if (!environment.types.hasBtf) return { ok: false, diagnostics: [], problem: say.noBtf() };
  const external = new Map<ExternalMap, BpfMap | undefined>();
  const open = (name: ExternalMap): BpfMap | undefined => {
    if (!external.has(name)) external.set(name, environment.openExternal(name));
    return external.get(name);
  };
  try {
    const routes = open("routes") !== undefined && open("route_attributes") !== undefined;
    const make = (equivalents: boolean) => {
      const { diagnostics, script: compiled } = compile(source, {
        name: options.name,
        positional: options.positional,
        ...environment.compileOptions(routes),
        ...options.compile,
        equivalents,
      });
      if (!compiled) return { diagnostics };
      const fitted =
        options.compile?.ringBytes === undefined ? fittedRing(compiled, options.ringBytes) : compiled;
      return {
        diagnostics,
        script: options.pid === undefined ? fitted : forProcess(fitted, options.pid),
      };
    };
    const { diagnostics, script } = make(true);
    if (!script) return { ok: false, diagnostics };
    options.compiled?.(script);
    if (options.mapBytes !== undefined && script.mapBytes > options.mapBytes)
      return { ok: false, diagnostics, problem: say.mapsTooLarge(script.mapBytes, options.mapBytes) };
    if (options.compileOnly) return { ok: true, loaded: undefined, warnings: diagnostics };
    const load = (what: CompiledScript): LoadedScript =>
      loadScript(what, {
        name: options.name,
        source,
        external: open,
        iteratorFunction: (name) => environment.types.iteratorFunction(name),
        ...(options.verifierLog === undefined ? {} : { verifierLog: options.verifierLog }),
      });
    try {
      return { ok: true, loaded: load(script), warnings: diagnostics };
    } catch (first) {
      let error = first;
      // A kernel may refuse typed programs altogether (lockdown does, on some), or not have a row's fields as the table knows them.
      const plain = usesEquivalents(script) ? make(false).script : undefined;
      try {
        if (plain) return { ok: true, loaded: load(plain), warnings: diagnostics };
      } catch (second) {
        error = second;
      }
      if (error instanceof ScriptLoadError)
        return { ok: false, diagnostics: [...diagnostics, ...error.diagnostics], log: error.log };
      return { ok: false, diagnostics, problem: (error as Error).message };
    }
  } finally {
    for (const map of external.values()) map?.[Symbol.dispose]();
  }
}
