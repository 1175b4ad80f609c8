// script, lowering: collects what the programs of a script share: maps, actions, counters.
import type { Loc } from "../ast.ts";
import { align8, alignOf, sizeOf } from "../layout.ts";
import type { LineMap } from "../text.ts";
import type { ActionKind, MapInfo } from "../typed.ts";
import type { CompiledMap, KernelFeatures, OutputAction, OutputPlan, Type } from "../types.ts";
import { planStorage, type Storage } from "./storage.ts";

/** Counters, as u64 words of the per-CPU array's only element. */
export const COUNTER = { ringLost: 0, mapFull: 8, unattributed: 16, runtimeErrors: 24 } as const;

export interface Plan {
  readonly counters: number;
  readonly gate: number;
  /** Index of the ring buffer; made on first use. */
  ring(): number;
  /** Index of the per-CPU scratch map; `bytes` is the largest element asked for so far. */
  scratch(bytes: number): number;
  /** Index of the array that holds the script's start in ns. */
  start(): number;
  storage(map: MapInfo): Storage & { readonly index: number };
  action(kind: ActionKind, types: readonly Type[], loc: Loc): OutputAction;
  /** Number of the attach point, for the `probe` builtin. */
  maps(): CompiledMap[];
  output(
    more: Pick<OutputPlan, "enums" | "old" | "structures" | "trailer" | "source" | "catBytes">,
  ): OutputPlan;
  usesStart(): boolean;
  /** Actions planned since a mark are forgotten: the program is lowered again. */
  mark(): number;
  rewind(mark: number): void;
}

export function createPlan(
  lines: LineMap,
  maxKeys: number,
  ringBytes: number,
  features: Pick<KernelFeatures, "ktimeGetTaiNs">,
): Plan {
  const maps: CompiledMap[] = [];
  const storages = new Map<MapInfo, Storage & { index: number }>();
  const actions: OutputAction[] = [];
  const sites = new Map<string, number>();
  let ringIndex = -1;
  let scratchIndex = -1;
  let startIndex = -1;
  const add = (map: CompiledMap): number => maps.push(map) - 1;
  const array = (name: string, type: "array" | "percpu_array", valueSize: number): number =>
    add({ name, type, keySize: 4, valueSize, maxEntries: 1, flags: 0 });
  const counters = array("counters", "percpu_array", 32);
  const gate = array("gate", "array", 8);

  /** print(@m) and print(value) sites are numbered in source order, whatever attach points they are compiled for. */
  const site = (loc: Loc): number => {
    const key = `${loc.start}:${loc.end}`;
    const known = sites.get(key);
    if (known !== undefined) return known;
    sites.set(key, sites.size);
    return sites.size - 1;
  };

  return {
    counters,
    gate,
    ring: () => {
      if (ringIndex < 0)
        ringIndex = add({
          name: "ring",
          type: "ringbuf",
          keySize: 0,
          valueSize: 0,
          maxEntries: ringBytes,
          flags: 0,
        });
      return ringIndex;
    },
    scratch: (bytes) => {
      if (scratchIndex < 0) scratchIndex = array("scratch", "percpu_array", align8(bytes));
      const had = maps[scratchIndex];
      if (had && had.valueSize < bytes) maps[scratchIndex] = { ...had, valueSize: align8(bytes) };
      return scratchIndex;
    },
    start: () => {
      if (startIndex < 0) startIndex = array("start", "array", 8);
      return startIndex;
    },
    usesStart: () => startIndex >= 0,
    mark: () => actions.length,
    rewind: (mark) => {
      actions.length = mark;
    },
    storage: (map) => {
      let storage = storages.get(map);
      if (!storage) {
        const planned = planStorage(map, maxKeys, features);
        storage = { ...planned, index: add({ ...planned.kernel, name: map.name }) };
        storages.set(map, storage);
      }
      return storage;
    },
    action: (kind, types, loc) => {
      let offset = 8;
      const args = types.map((type) => {
        const a = alignOf(type);
        offset = Math.ceil(offset / a) * a;
        const placed = { offset, type };
        offset += sizeOf(type);
        return placed;
      });
      const common = { id: actions.length, span: lines.span(loc), arguments: args, size: align8(offset) };
      const action = ((): OutputAction => {
        switch (kind.kind) {
          case "print_map":
            return { ...common, ...kind, map: kind.map.name, site: site(loc) };
          case "print_value":
            return { ...common, ...kind, site: site(loc) };
          case "clear":
          case "zero":
            return { ...common, ...kind, map: kind.map.name };
          default:
            return { ...common, ...kind };
        }
      })();
      actions.push(action);
      return action;
    },
    maps: () => maps,
    output: (more) => ({
      maps: [...storages.values()].map((s) => ({ ...s.output, map: s.index })),
      actions,
      ring: ringIndex,
      counters,
      gate,
      ...more,
    }),
  };
}
