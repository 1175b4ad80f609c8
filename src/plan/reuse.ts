// plan: what two plans have in common is one object: a plan differs from the one before in little, and whatever is made of its
// parts (texts, digests, programmed entries) is then made for that little alone.

const isPlain = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null;

/** Items that came or went within this many are found; beyond it the rest of a list is taken as new. */
const lookahead = 8;

/**
 * A value equal to `next` that is, wherever it can be, made of parts of `previous`; it is `previous` itself where the two are
 * equal. Lists are in step with one another but for items that came or went. Plain data only; `previous` is frozen.
 */
export function reuse<T>(next: T, previous: unknown): T {
  if (next === previous || !isPlain(next) || !isPlain(previous)) return next;
  if (Array.isArray(next) !== Array.isArray(previous)) return next;
  return (Array.isArray(next)
    ? reuseList(next, previous as unknown as readonly unknown[])
    : reuseMembers(next, previous)) as unknown as T;
}

function reuseMembers(
  next: Readonly<Record<string, unknown>>,
  previous: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  let out: Record<string, unknown> | undefined;
  let same = true;
  let members = 0;
  for (const key in next) {
    members += 1;
    const value = next[key];
    const known = previous[key];
    const kept = reuse(value, known);
    same &&= kept === known && (known !== undefined || key in previous);
    if (kept !== value) (out ??= { ...next })[key] = kept;
  }
  if (same) for (const _ in previous) members -= 1;
  return same && members === 0 ? previous : (out ?? next);
}

function reuseList(next: readonly unknown[], previous: readonly unknown[]): readonly unknown[] {
  const out: unknown[] = [];
  let same = next.length === previous.length;
  let at = 0;
  for (const [i, item] of next.entries()) {
    let kept = reuse(item, previous[at]);
    if (kept !== previous[at] && isPlain(item)) {
      // Whole items only: half of another item is no gain.
      const gone = at < previous.length ? indexIn(previous, at + 1, item) : -1;
      if (gone >= 0) {
        at = gone;
        kept = previous[gone];
      } else if (
        i + 1 < next.length &&
        at < previous.length &&
        reuse(next[i + 1], previous[at]) === previous[at]
      )
        // This one came; what was here is the next one's.
        at -= 1;
    }
    same &&= at === i && kept === previous[i];
    out.push(kept);
    at += 1;
  }
  return same ? previous : out;
}

/** Where within reach an equal item is; -1 where it is not. */
function indexIn(list: readonly unknown[], from: number, item: unknown): number {
  const end = Math.min(list.length, from + lookahead);
  for (let i = from; i < end; i++) if (reuse(item, list[i]) === list[i]) return i;
  return -1;
}
