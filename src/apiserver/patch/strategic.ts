// apiserver/patch: strategic merge patch, as kubectl sends it for built-in kinds.
import { canonical, clone, equal, isObject, type Json, type JsonObject } from "../json.ts";
import { badRequest } from "../messages.ts";
import { fieldSchema, type Schema } from "../schema/schema.ts";

const orderPrefix = "$setElementOrder/";
const deletePrefix = "$deleteFromPrimitiveList/";

/** Applies a strategic merge patch to a copy. Lists merge by the key that the type declares, else they are replaced. */
export function strategicPatch(target: Json | undefined, patch: Json, schema: Schema | undefined): Json {
  if (!isObject(patch)) return clone(patch);
  return mergeObject(isObject(target) ? target : {}, patch, schema) ?? {};
}

/** Undefined: the patch says that the whole object goes. */
function mergeObject(
  target: JsonObject,
  patch: JsonObject,
  schema: Schema | undefined,
): JsonObject | undefined {
  const directive = patch.$patch;
  if (directive === "delete") return undefined;
  if (directive === "replace") {
    const { $patch: _, ...rest } = patch;
    return clone(rest);
  }
  if (directive !== undefined && directive !== "merge")
    throw badRequest(`Unknown patch type found: ${String(directive)}`);
  const result = retain(target, patch.$retainKeys);
  for (const [key, value] of Object.entries(patch)) {
    if (key === "$patch" || key === "$retainKeys" || key.startsWith(orderPrefix)) continue;
    if (key.startsWith(deletePrefix)) deletePrimitives(result, key.slice(deletePrefix.length), value);
    else if (value === null) delete result[key];
    else mergeField(result, key, value, patch[`${orderPrefix}${key}`], schema && fieldSchema(schema, key));
  }
  for (const [key, order] of Object.entries(patch)) {
    const field = key.startsWith(orderPrefix) ? key.slice(orderPrefix.length) : "";
    if (field && Array.isArray(order) && !(field in patch))
      reorder(result, field, order, schema && fieldSchema(schema, field));
  }
  return result;
}

function retain(target: JsonObject, keys: Json | undefined): JsonObject {
  if (!Array.isArray(keys)) return { ...target };
  const kept = new Set(keys);
  return Object.fromEntries(Object.entries(target).filter(([key]) => kept.has(key)));
}

function deletePrimitives(result: JsonObject, field: string, values: Json): void {
  const list = result[field];
  if (!Array.isArray(list) || !Array.isArray(values)) return;
  result[field] = list.filter((item) => !values.some((v) => equal(v, item)));
}

function mergeField(
  result: JsonObject,
  key: string,
  value: Json,
  order: Json | undefined,
  schema: Schema | undefined,
): void {
  const current = result[key];
  if (isObject(value)) {
    const merged = mergeObject(isObject(current) ? current : {}, value, schema);
    if (merged === undefined) delete result[key];
    else result[key] = merged;
    return;
  }
  if (!Array.isArray(value) || !schema?.patchStrategy?.includes("merge")) {
    result[key] = Array.isArray(value) ? withoutDirectives(value) : clone(value);
    return;
  }
  result[key] = mergeList(Array.isArray(current) ? current : [], value, schema);
  if (Array.isArray(order)) reorder(result, key, order, schema);
}

const withoutDirectives = (list: Json[]): Json[] =>
  clone(list.filter((item) => !(isObject(item) && item.$patch !== undefined)));

function mergeList(current: Json[], patch: Json[], schema: Schema): Json[] {
  if (patch.some((item) => isObject(item) && item.$patch === "replace")) return withoutDirectives(patch);
  const key = schema.patchMergeKey;
  if (!key) return [...current, ...patch.filter((p) => !current.some((c) => equal(c, p)))];
  const result = [...current];
  for (const item of patch) {
    if (!isObject(item))
      throw badRequest(`expected a map in the list of a strategic merge patch, got ${JSON.stringify(item)}`);
    const wanted = item[key];
    if (wanted === undefined) throw badRequest(`map: map[] does not contain declared merge key: ${key}`);
    const index = result.findIndex((c) => isObject(c) && equal(c[key], wanted));
    const existing = index < 0 ? {} : result[index]!;
    const merged = mergeObject(isObject(existing) ? existing : {}, item, schema.items);
    if (merged === undefined) {
      for (let i = result.length - 1; i >= 0; i--) {
        const c = result[i];
        if (isObject(c) && equal(c[key], wanted)) result.splice(i, 1);
      }
    } else if (index < 0) result.push(merged);
    else result[index] = merged;
  }
  return result;
}

/** Puts the items that `order` names into that order; others keep their place after them. */
function reorder(result: JsonObject, field: string, order: Json[], schema: Schema | undefined): void {
  const list = result[field];
  if (!Array.isArray(list)) return;
  const key = schema?.patchMergeKey;
  const keyOf = (item: Json): string => canonical((key && isObject(item) ? item[key] : item) ?? null);
  const position = new Map(order.map((item, i) => [keyOf(item), i]));
  const rank = (item: Json): number => position.get(keyOf(item)) ?? order.length;
  result[field] = list
    .map((item, i) => ({ item, i }))
    .sort((a, b) => rank(a.item) - rank(b.item) || a.i - b.i)
    .map((x) => x.item);
}
