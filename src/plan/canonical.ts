// plan: canonical text of plain data, its hash, and the form in which plans and snapshots are stored.
import { hash } from "node:crypto";

/** Marks a bigint in stored text; no name in Kubernetes may hold a control character. */
const mark = "\u0001n";

/** Sorted keys by the keys as they come: objects of one kind share an order. */
const sortedKeys = new Map<string, readonly string[]>();
/** Orders that are remembered; maps with data for keys would fill it. */
const ordersLimit = 4096;

function keysOf(value: object): readonly string[] {
  const keys = Object.keys(value);
  if (keys.length < 2) return keys;
  const order = keys.join("\u0000");
  let sorted = sortedKeys.get(order);
  if (!sorted) {
    sorted = keys.sort();
    if (sortedKeys.size >= ordersLimit) sortedKeys.clear();
    sortedKeys.set(order, sorted);
  }
  return sorted;
}

/** JSON with sorted keys, without undefined members; bigints survive {@link parseCanonical}. */
export function canonical(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "bigint":
      return `"\\u0001n${value}"`;
    case "object":
      break;
    default:
      return JSON.stringify(value) ?? "null";
  }
  if (value === null) return "null";
  if (Array.isArray(value)) {
    let out = "[";
    for (let i = 0; i < value.length; i++) out += (i > 0 ? "," : "") + canonical(value[i]);
    return `${out}]`;
  }
  let out = "{";
  for (const key of keysOf(value)) {
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    out += `${out.length > 1 ? "," : ""}${JSON.stringify(key)}:${canonical(member)}`;
  }
  return `${out}}`;
}

/** Inverse of {@link canonical}. @throws SyntaxError */
export const parseCanonical = (text: string): unknown =>
  JSON.parse(text, (_, value: unknown) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );

/** The first 16 hex digits of SHA-256 over the canonical text. */
export const hashOf = (value: unknown): string => hash("sha256", canonical(value), "hex").slice(0, 16);

/** Digests of items of lists, for as long as the items live. */
const digests = new WeakMap<object, string>();

/** {@link canonical}, with the digests of frozen items in lists in place of the items. */
function digestText(value: unknown): string {
  if (Array.isArray(value)) {
    let out = "[";
    for (let i = 0; i < value.length; i++) out += (i > 0 ? "," : "") + digestOf(value[i]);
    return `${out}]`;
  }
  if (typeof value !== "object" || value === null) return canonical(value);
  let out = "{";
  for (const key of keysOf(value)) {
    const member = (value as Record<string, unknown>)[key];
    if (member === undefined) continue;
    out += `${out.length > 1 ? "," : ""}${JSON.stringify(key)}:${digestText(member)}`;
  }
  return `${out}}`;
}

function digestOf(item: unknown): string {
  if (typeof item !== "object" || item === null || !Object.isFrozen(item)) return digestText(item);
  let digest = digests.get(item);
  if (digest === undefined) digests.set(item, (digest = hash("sha256", canonical(item), "base64")));
  return digest;
}

/**
 * 16 hex digits by which plain data is told apart. Items of lists that are frozen all the way down are looked at once in
 * their life, so that data which shares them with data that was hashed before costs little.
 */
export const listsHashOf = (value: unknown): string => hash("sha256", digestText(value), "hex").slice(0, 16);

/** Freezes plain data all the way down. */
export function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === "object" && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
