// apiserver/ssa: keeps metadata.managedFields: who owns which field after an update or an apply, and who conflicts.
import { canonical, isObject, type Json, type JsonObject, stringAt } from "../json.ts";
import { ApiError } from "../messages.ts";
import type { ApiObject, ManagedFieldsEntry } from "../object.ts";
import { fillZeros } from "../schema/prune.ts";
import type { Schema } from "../schema/schema.ts";
import {
  difference,
  emptySet,
  type FieldSet,
  fromFieldsV1,
  intersection,
  isEmpty,
  pathTexts,
  recursiveDifference,
  setsEqual,
  toFieldsV1,
  union,
} from "./fieldset.ts";
import {
  type Comparison,
  compare,
  fieldsOf,
  isSame,
  merge,
  removeFields,
  withNamedParents,
} from "./typed.ts";

/** Who writes, and through which door. `time` is metav1.Time. */
export interface Writer {
  readonly manager: string;
  readonly apiVersion: string;
  readonly subresource: string;
  readonly time: string;
}

interface Managed {
  readonly entry: ManagedFieldsEntry;
  readonly set: FieldSet;
}

type Managers = Map<string, Managed>;

/** Updates of more managers than this are put together as one, so that the list stays bounded. */
const maxUpdateManagers = 10;
const ancient = "ancient-changes";

const identity = (e: ManagedFieldsEntry): string =>
  canonical([e.manager ?? "", e.operation ?? "", e.apiVersion ?? "", e.subresource ?? ""]);

function decode(entries: readonly ManagedFieldsEntry[] | undefined): Managers {
  const managers: Managers = new Map();
  for (const entry of entries ?? []) {
    const set = fromFieldsV1(entry.fieldsV1);
    if (isEmpty(set) || (entry.operation !== "Apply" && entry.operation !== "Update")) continue;
    const id = identity(entry);
    const other = managers.get(id);
    managers.set(id, { entry, set: other ? union(other.set, set) : set });
  }
  return managers;
}

/** Within one second the entry that was just written comes last, as the newest. */
function encode(managers: Managers, written: string): ManagedFieldsEntry[] {
  const order = (id: string, e: ManagedFieldsEntry): string[] => [
    e.operation ?? "",
    `${e.time ?? ""}${id === written ? "~" : ""}`,
    e.manager ?? "",
    e.apiVersion ?? "",
    e.subresource ?? "",
  ];
  return [...managers]
    .sort(([idA, a], [idB, b]) => {
      const [x, y] = [order(idA, a.entry), order(idB, b.entry)];
      const i = x.findIndex((v, n) => v !== y[n]);
      return i < 0 ? 0 : x[i]! < y[i]! ? -1 : 1;
    })
    .map(([, { entry, set }]) => ({ ...entry, fieldsType: "FieldsV1", fieldsV1: toFieldsV1(set) }));
}

/** Fields that the server owns and nobody manages. */
const serverMetadata = [
  "name",
  "namespace",
  "creationTimestamp",
  "selfLink",
  "uid",
  "generation",
  "managedFields",
  "resourceVersion",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
];
const serverFields: FieldSet = {
  members: new Set(["f:apiVersion", "f:kind", "f:metadata"]),
  children: new Map([
    ["f:metadata", { members: new Set(serverMetadata.map((f) => `f:${f}`)), children: new Map() }],
  ]),
};

/** What a door does not write: the main one leaves status alone, the status door spec. */
export interface Door {
  /** Takes out the paths that writing through this door resets. */
  readonly keep: (set: FieldSet) => FieldSet;
}

const field = (name: string): FieldSet => ({ members: new Set([`f:${name}`]), children: new Map() });

export const doors = {
  whole: { keep: (set: FieldSet) => set } satisfies Door,
  main: { keep: (set: FieldSet) => recursiveDifference(set, field("status")) } satisfies Door,
  status: { keep: (set: FieldSet) => recursiveDifference(set, field("spec")) } satisfies Door,
} as const;

const ownable = (set: FieldSet, door: Door): FieldSet => door.keep(difference(set, serverFields));

function filtered(c: Comparison, door: Door): Comparison {
  return {
    added: ownable(c.added, door),
    modified: ownable(c.modified, door),
    removed: ownable(c.removed, door),
  };
}

function setManager(managers: Managers, id: string, managed: Managed): void {
  if (isEmpty(managed.set)) managers.delete(id);
  else managers.set(id, managed);
}

/** Takes from everybody but `self` what has changed hands; returns what others owned of it. */
function takeFromOthers(managers: Managers, self: string, c: Comparison): Map<string, FieldSet> {
  const conflicts = new Map<string, FieldSet>();
  const changed = union(c.modified, c.added);
  for (const [id, managed] of [...managers]) {
    if (id === self) continue;
    const conflict = intersection(managed.set, changed);
    if (!isEmpty(conflict)) conflicts.set(id, conflict);
    const rest = difference(difference(managed.set, conflict), c.removed);
    if (!setsEqual(rest, managed.set)) setManager(managers, id, { ...managed, set: rest });
  }
  return conflicts;
}

const bare = (object: ApiObject): Json => {
  const { managedFields: _, ...metadata } = object.metadata;
  return { ...object, metadata };
};

/** A live object for a creation: what every object of the kind has before anybody owns anything. */
function nothing(object: ApiObject, schema: Schema): Json {
  const empty: JsonObject = { apiVersion: object.apiVersion, kind: object.kind, metadata: {} };
  fillZeros(empty, schema);
  return empty;
}

/** Whether a writer cleared managedFields by sending one empty entry. */
const isReset = (entries: readonly ManagedFieldsEntry[] | undefined): boolean =>
  entries?.length === 1 && Object.keys(entries[0]!).length === 0;

/**
 * managedFields of `next` after a create, update or patch other than apply. `live` is undefined for a create. A list
 * that the writer sent itself is taken as it is first: that is how kubectl moves fields from one manager to another.
 */
export function updateManagers(
  live: ApiObject | undefined,
  next: ApiObject,
  schema: Schema,
  door: Door,
  writer: Writer,
): ManagedFieldsEntry[] | undefined {
  const sent = next.metadata.managedFields;
  if (isReset(sent)) return undefined;
  const fromNext = writer.subresource ? new Map<string, Managed>() : decode(sent);
  const managers = fromNext.size > 0 ? fromNext : decode(live?.metadata.managedFields);
  const change = filtered(compare(live ? bare(live) : nothing(next, schema), bare(next), schema), door);
  takeFromOthers(managers, "", change);
  const gained = difference(union(change.modified, change.added), change.removed);
  let written = "";
  if (!isEmpty(gained)) {
    const entry: ManagedFieldsEntry = {
      manager: writer.manager,
      operation: "Update",
      apiVersion: writer.apiVersion,
      time: writer.time,
      ...(writer.subresource ? { subresource: writer.subresource } : {}),
    };
    written = identity(entry);
    managers.set(written, { entry, set: union(managers.get(written)?.set ?? emptySet, gained) });
  }
  capUpdates(managers, writer.apiVersion);
  return managers.size > 0 ? encode(managers, written) : undefined;
}

function capUpdates(managers: Managers, apiVersion: string): void {
  const updates = [...managers].filter(([, m]) => m.entry.operation === "Update");
  if (updates.length <= maxUpdateManagers) return;
  updates.sort(([, a], [, b]) => ((a.entry.time ?? "") < (b.entry.time ?? "") ? -1 : 1));
  for (const [id, managed] of updates.slice(0, updates.length - maxUpdateManagers + 1)) {
    managers.delete(id);
    const entry: ManagedFieldsEntry = {
      manager: ancient,
      operation: "Update",
      apiVersion: managed.entry.apiVersion ?? apiVersion,
      ...(managed.entry.time ? { time: managed.entry.time } : {}),
    };
    const bucket = identity(entry);
    managers.set(bucket, { entry, set: union(managers.get(bucket)?.set ?? emptySet, managed.set) });
  }
}

export interface Applied {
  readonly object: ApiObject;
  /** True: neither the object nor anybody's set of fields has changed, so that nothing is to be written. */
  readonly unchanged: boolean;
}

/**
 * Server-side apply of `config` onto `live` (undefined: the object is being made). Fields that the manager applied before
 * and leaves out now are removed unless somebody else owns them. Throws 409 with every conflict unless `force`.
 */
export function apply(
  live: ApiObject | undefined,
  config: JsonObject,
  schema: Schema,
  door: Door,
  writer: Writer,
  force: boolean,
): Applied {
  const metadata = isObject(config.metadata) ? config.metadata : {};
  const base = live
    ? bare(live)
    : { apiVersion: config.apiVersion ?? "", kind: config.kind ?? "", metadata: {} };
  const managers = decode(live?.metadata.managedFields);
  const entry: ManagedFieldsEntry = {
    manager: writer.manager,
    operation: "Apply",
    apiVersion: writer.apiVersion,
    ...(writer.subresource ? { subresource: writer.subresource } : {}),
  };
  const id = identity(entry);
  const previous = managers.get(id);
  const set = ownable(fieldsOf(config, schema), door);
  managers.set(id, { entry: { ...entry, time: writer.time }, set });
  const wanted: JsonObject = { ...config, metadata };
  const pruned = pruneDropped(merge(base, wanted, schema), managers, previous?.set, schema);
  // Once more: an empty list in the configuration has no item that would have kept it.
  const merged = merge(pruned, wanted, schema);
  const change = filtered(compare(base, merged, schema), door);
  const conflicts = takeFromOthers(managers, id, change);
  if (conflicts.size > 0 && !force) throw conflictError(conflicts, decode(live?.metadata.managedFields));
  if (isEmpty(set)) managers.delete(id);
  const object = merged as ApiObject;
  const unchanged = isSame(change) && setsEqual(previous?.set ?? emptySet, set) && conflicts.size === 0;
  if (unchanged) object.metadata = { ...object.metadata, managedFields: live?.metadata.managedFields ?? [] };
  else if (managers.size > 0) object.metadata = { ...object.metadata, managedFields: encode(managers, id) };
  return { object, unchanged };
}

/** Removes what the manager applied last time and not now, and then puts back what others own. */
function pruneDropped(merged: Json, managers: Managers, last: FieldSet | undefined, schema: Schema): Json {
  if (!last || isEmpty(last)) return merged;
  const named = (set: FieldSet): FieldSet => withNamedParents(set, schema);
  const pruned = removeFields(merged, named(last), schema);
  let owned: FieldSet = emptySet;
  for (const { set } of managers.values()) owned = union(owned, set);
  const gone = difference(named(fieldsOf(merged, schema)), named(fieldsOf(pruned, schema)));
  // Only what the manager itself once applied may go; what dangles without an owner stays.
  const removable = intersection(difference(gone, named(owned)), named(last));
  return removeFields(merged, removable, schema, owned);
}

function managerText(e: ManagedFieldsEntry): string {
  if (e.operation !== "Update") return JSON.stringify(e.manager);
  const subresource = e.subresource ? ` with subresource "${e.subresource}"` : "";
  return `${JSON.stringify(e.manager)}${subresource} using ${e.apiVersion}`;
}

function conflictError(conflicts: ReadonlyMap<string, FieldSet>, managers: Managers): ApiError {
  const found = [...conflicts].flatMap(([id, set]) => {
    const who = managerText(managers.get(id)?.entry ?? {});
    return pathTexts(set).map((path) => ({ who, path }));
  });
  const names = [...new Set(found.map((f) => f.who))].sort();
  const text =
    found.length === 1
      ? `Apply failed with 1 conflict: conflict with ${found[0]!.who}: ${found[0]!.path}`
      : `Apply failed with ${found.length} conflicts: ${names
          .map((who) =>
            [`conflicts with ${who}:`, ...found.filter((f) => f.who === who).map((f) => `- ${f.path}`)].join(
              "\n",
            ),
          )
          .join("\n")}`;
  return new ApiError(409, "Conflict", text, {
    causes: found.map((f) => ({
      reason: "FieldManagerConflict",
      message: `conflict with ${f.who}`,
      field: f.path,
    })),
  });
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration";

/**
 * Apply as kubectl does it: its first server-side apply of an object that it applied client-side before takes over the
 * fields of the annotation without a conflict, and the annotation, where there is one, follows what was applied last.
 */
export function applyAsKubectl(
  live: ApiObject | undefined,
  config: JsonObject,
  schema: Schema,
  door: Door,
  writer: Writer,
  force: boolean,
): Applied {
  if (writer.manager !== "kubectl") return apply(live, config, schema, door, writer, force);
  const applied = applyTakingOver(live, config, schema, door, writer, force);
  const { annotations } = applied.object.metadata;
  if (annotations?.[lastApplied] === undefined) return applied;
  const text = lastAppliedText(config);
  if (annotations[lastApplied] === text) return applied;
  const metadata = { ...applied.object.metadata, annotations: { ...annotations, [lastApplied]: text } };
  return { object: { ...applied.object, metadata }, unchanged: false };
}

function lastAppliedText(config: JsonObject): string {
  const metadata = isObject(config.metadata) ? { ...config.metadata } : {};
  if (isObject(metadata.annotations)) {
    const { [lastApplied]: _, ...others } = metadata.annotations;
    delete metadata.annotations;
    if (Object.keys(others).length > 0) metadata.annotations = others;
  }
  return `${canonical({ ...config, metadata })}\n`;
}

function applyTakingOver(
  live: ApiObject | undefined,
  config: JsonObject,
  schema: Schema,
  door: Door,
  writer: Writer,
  force: boolean,
): Applied {
  try {
    return apply(live, config, schema, door, writer, force);
  } catch (error) {
    const annotation = live?.metadata.annotations?.[lastApplied];
    if (!(error instanceof ApiError) || !annotation) throw error;
    const allowed = new Set(pathTexts(fieldsOf(JSON.parse(annotation) as Json, schema)));
    const causes = Array.isArray(error.details?.causes) ? error.details.causes : [];
    if (causes.some((cause) => !allowed.has(stringAt(cause, "field")))) throw error;
    return apply(live, config, schema, door, writer, true);
  }
}
