// datapath: the object into the kernel: maps of an earlier run taken over, those of another layout carried over, pinned.
import { join } from "node:path";
import { BpfObject } from "../kernel/libbpf.ts";
import { BpfMap } from "../kernel/maps.ts";
import { BpfProgram } from "../kernel/programs.ts";
import { copyConnections } from "./connections.ts";
import type { ProgramName } from "./hooks.ts";
import { converter, layoutHash, type MapLayout, mapLayout, objectLayouts, sameLayout } from "./layout.ts";
import { layoutUnmovable } from "./messages.ts";
import { assertBpffs, nodeDirectory, PinTree, pinTrees } from "./pins.ts";
import type { DatapathOptions } from "./types.ts";

/** Maps whose contents mean something to a next layout. The rest is filled again, or counts from zero. */
const carried: readonly string[] = ["connections", "routes", "route_attributes"];

export interface OldConnections {
  readonly map: BpfMap;
  readonly convert: (value: Uint8Array) => Uint8Array;
  /** The new table was made just now; otherwise an earlier move was interrupted, and it may know better. */
  readonly fresh: boolean;
}

export interface LoadedDatapath {
  readonly tree: PinTree;
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<ProgramName, BpfProgram>;
  /** Trees of other layouts: their links are in force until the first sync moves them. */
  readonly old: readonly PinTree[];
  /** The old connection table and how to read it, if it could not simply be shared. */
  readonly oldConnections: OldConnections | undefined;
  /** What was lost between layouts, as sentences. */
  readonly notes: readonly string[];
}

interface Opening {
  readonly tree: PinTree;
  readonly old: readonly PinTree[];
  readonly notes: string[];
  /** Maps to give to the object before it is loaded. */
  readonly shared: Map<string, BpfMap>;
  /** Maps of an old tree whose contents must be converted. */
  readonly convert: Map<
    string,
    { readonly map: BpfMap; readonly convert: (value: Uint8Array) => Uint8Array }
  >;
}

/** A map from the old trees: shared where its layout is the same, else noted for conversion. */
function takeFromOld(layout: MapLayout, opening: Opening): void {
  if (!carried.includes(layout.name)) return;
  for (const tree of opening.old) {
    const map = BpfMap.openPinnedIfAny(tree.map(layout.name));
    const known = map && mapLayout(map);
    if (!map || !known) {
      map?.[Symbol.dispose]();
      continue;
    }
    if (sameLayout(known, layout)) {
      opening.shared.set(layout.name, map);
      return;
    }
    const convert = converter(known, layout);
    if (convert) {
      opening.convert.set(layout.name, { map, convert });
      return;
    }
    map[Symbol.dispose]();
    opening.notes.push(layoutUnmovable(layout.name));
  }
}

function collectMaps(layouts: readonly MapLayout[], opening: Opening): void {
  for (const layout of layouts) {
    const pinned = BpfMap.openPinnedIfAny(opening.tree.map(layout.name));
    const known = pinned && mapLayout(pinned);
    if (pinned && known && sameLayout(known, layout)) {
      opening.shared.set(layout.name, pinned);
      // As long as an old tree is there its links are in force, and so is its connection table.
      if (layout.name === "connections") takeFromOld(layout, { ...opening, shared: new Map() });
    } else {
      // The directory's name says that it is this layout: anything else there is debris.
      pinned?.[Symbol.dispose]();
      takeFromOld(layout, opening);
    }
  }
}

const isPinned = (path: string): boolean => {
  using map = BpfMap.openPinnedIfAny(path);
  return map !== undefined;
};

/** Programs that are pinned already and are the same code stay: then nothing that is attached changes. */
function settlePrograms(tree: PinTree, fresh: ReadonlyMap<string, BpfProgram>): Map<ProgramName, BpfProgram> {
  const programs = new Map<ProgramName, BpfProgram>();
  for (const [name, program] of fresh) {
    const path = tree.program(name);
    const pinned = BpfProgram.openPinnedIfAny(path);
    if (pinned && pinned.info().tag === program.info().tag && sameMaps(pinned, program)) {
      program[Symbol.dispose]();
      programs.set(name as ProgramName, pinned);
      continue;
    }
    pinned?.[Symbol.dispose]();
    tree.replaceProgram(name, program.fd);
    programs.set(name as ProgramName, program);
  }
  return programs;
}

/** Whether both use the same maps. An object's constants are a map of its own each time: there the contents count. */
function sameMaps(a: BpfProgram, b: BpfProgram): boolean {
  const [ours, theirs] = [a.info().mapIds, b.info().mapIds];
  const left = ours.filter((id) => !theirs.includes(id)).map(constantsOf);
  const right = theirs.filter((id) => !ours.includes(id)).map(constantsOf);
  return left.length === right.length && left.every((text, i) => text !== undefined && text === right[i]);
}

function constantsOf(mapId: number): string | undefined {
  using map = BpfMap.openById(mapId);
  if (!map?.name.includes(".")) return undefined;
  return Buffer.from(map.lookup(new Uint8Array(4)) ?? []).toString("hex");
}

type LoaderOptions = Pick<DatapathOptions, "bpffs" | "node" | "objectDirectory">;

const openObject = (options: LoaderOptions): BpfObject =>
  BpfObject.open(join(options.objectDirectory, "datapath.bpf.o"));

const treeOf = (options: LoaderOptions, layouts: readonly MapLayout[]): PinTree =>
  new PinTree(nodeDirectory(options.bpffs, options.node), layoutHash(layouts));

/** Where the maps are pinned once the datapath is loaded. Loads nothing. @throws Error where the object is missing */
export function mapDirectoryOf(options: LoaderOptions): string {
  using object = openObject(options);
  return treeOf(options, objectLayouts(object)).directory;
}

/**
 * Loads the datapath of a node. What is attached stays as it is; the caller fills the maps and then attaches.
 * @throws Error (no bpffs, no BTF), KernelError, VerifierError
 */
export function loadDatapath(options: LoaderOptions): LoadedDatapath {
  assertBpffs(options.bpffs);
  using object = openObject(options);
  const layouts = objectLayouts(object);
  const tree = treeOf(options, layouts);
  const old = pinTrees(options.bpffs, options.node).filter((t) => t.layout !== tree.layout);
  tree.create();
  const opening: Opening = { tree, old, notes: [], shared: new Map(), convert: new Map() };
  collectMaps(layouts, opening);
  for (const [name, map] of opening.shared) object.reuseMap(name, map);
  object.load();
  const maps = new Map<string, BpfMap>();
  for (const { name } of layouts) {
    const map = opening.shared.get(name) ?? object.openMap(name);
    if (!isPinned(tree.map(name))) map.pin(tree.map(name));
    maps.set(name, map);
  }
  // Routes are needed at once, by the caller who reads them back. Connections still change: they are copied at the move.
  for (const [name, { map, convert }] of opening.convert) {
    if (name === "connections") continue;
    copyConnections(map, maps.get(name)!, convert);
    map[Symbol.dispose]();
  }
  const connections = opening.convert.get("connections");
  return {
    tree,
    maps,
    programs: settlePrograms(tree, object.openPrograms()),
    old,
    oldConnections: connections && { ...connections, fresh: !opening.shared.has("connections") },
    notes: opening.notes,
  };
}
