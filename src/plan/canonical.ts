// plan: canonical text of plain data, its hash, and the form in which plans and snapshots are stored.
import { createHash } from "node:crypto";

/** Marks a bigint in stored text; no name in Kubernetes may hold a control character. */
const mark = "\u0001n";

/** JSON with sorted keys, without undefined members; bigints survive {@link parseCanonical}. */
export function canonical(value: unknown): string {
  if (typeof value === "bigint") return JSON.stringify(`${mark}${value}`);
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const members = Object.entries(value)
    .filter(([, v]) => v !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([k, v]) => `${JSON.stringify(k)}:${canonical(v)}`);
  return `{${members.join(",")}}`;
}

/** Inverse of {@link canonical}. @throws SyntaxError */
export const parseCanonical = (text: string): unknown =>
  JSON.parse(text, (_, value: unknown) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );

/** The first 16 hex digits of SHA-256 over the canonical text. */
export const hashOf = (value: unknown): string =>
  createHash("sha256").update(canonical(value)).digest("hex").slice(0, 16);

/** Freezes plain data all the way down. */
export function deepFreeze<T>(value: T): T {
  if (value !== null && typeof value === "object" && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const member of Object.values(value)) deepFreeze(member);
  }
  return value;
}
