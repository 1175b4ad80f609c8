// import: label selectors as sets: intersection, difference, and whether two can meet. Ours has one selector where others have a list.
import type { LabelSelector } from "../api/index.ts";

type Expression = NonNullable<LabelSelector["matchExpressions"]>[number];

/** Selects everything. */
export const everything: LabelSelector = {};

export const selectsAll = (s: LabelSelector): boolean =>
  Object.keys(s.matchLabels ?? {}).length === 0 && (s.matchExpressions ?? []).length === 0;

const sorted = (values: Iterable<string>): readonly string[] => [...new Set(values)].sort();

/** One requirement for each label, in a form in which equal ones are equal. */
const requirementsOf = (s: LabelSelector): readonly Expression[] => [
  ...Object.entries(s.matchLabels ?? {}).map(([key, v]) => ({ key, operator: "In" as const, values: [v] })),
  ...(s.matchExpressions ?? []).map((e) => ({ ...e, ...(e.values && { values: sorted(e.values) }) })),
];

const negated: Readonly<Record<Expression["operator"], Expression["operator"]>> = {
  In: "NotIn",
  NotIn: "In",
  Exists: "DoesNotExist",
  DoesNotExist: "Exists",
};
const not = (e: Expression): Expression => ({ ...e, operator: negated[e.operator] });

/** Whether no set of labels satisfies all requirements on one key. */
function contradicts(list: readonly Expression[]): boolean {
  const absent = list.some((e) => e.operator === "DoesNotExist");
  const present = list.some((e) => e.operator === "Exists" || e.operator === "In");
  if (absent) return present;
  const lists = list.filter((e) => e.operator === "In").map((e) => new Set(e.values ?? []));
  const allowed = lists[0] && [...lists[0]].filter((v) => lists.every((l) => l.has(v)));
  const refused = new Set(list.flatMap((e) => (e.operator === "NotIn" ? (e.values ?? []) : [])));
  return allowed?.every((v) => refused.has(v)) ?? false;
}

/** A selector of these requirements; undefined where nothing can satisfy it. */
function selectorOf(requirements: readonly Expression[]): LabelSelector | undefined {
  const byKey = new Map<string, Expression[]>();
  for (const e of requirements) byKey.set(e.key, [...(byKey.get(e.key) ?? []), e]);
  if ([...byKey.values()].some(contradicts)) return undefined;
  const unique = [
    ...new Map(requirements.map((e) => [JSON.stringify([e.key, e.operator, e.values]), e])).values(),
  ];
  const single = (e: Expression): boolean => e.operator === "In" && e.values?.length === 1;
  const labels = new Map<string, string>();
  const rest: Expression[] = [];
  for (const e of unique)
    if (single(e) && !labels.has(e.key)) labels.set(e.key, e.values![0]!);
    else if (!(single(e) && labels.get(e.key) === e.values![0])) rest.push(e);
  return {
    ...(labels.size > 0 && { matchLabels: Object.fromEntries(labels) }),
    ...(rest.length > 0 && { matchExpressions: rest }),
  };
}

/** What both select; undefined where that is provably nothing. */
export const intersect = (a: LabelSelector, b: LabelSelector): LabelSelector | undefined =>
  selectorOf([...requirementsOf(a), ...requirementsOf(b)]);

/** What `a` selects and `b` does not, as selectors that exclude one another. */
function minus(a: LabelSelector, b: LabelSelector): readonly LabelSelector[] {
  const own = requirementsOf(a);
  const other = requirementsOf(b);
  return other.flatMap((e, i) => selectorOf([...own, ...other.slice(0, i), not(e)]) ?? []);
}

/**
 * Selectors that together select what any of `list` does, of which no two select the same thing: one neighbour must not
 * become two on a node that matches two selectors.
 */
export function disjoint(list: readonly LabelSelector[]): readonly LabelSelector[] {
  const merged = joined(list);
  if (merged) return [merged];
  const out: LabelSelector[] = [];
  for (const selector of list) {
    let left: readonly LabelSelector[] = [selector];
    for (const before of out) left = left.flatMap((s) => minus(s, before));
    out.push(...left);
  }
  return out;
}

/** One selector for a list of which any may hold, where one can say it. */
export function joined(list: readonly LabelSelector[]): LabelSelector | undefined {
  if (list.length === 0) return undefined;
  if (list.some(selectsAll)) return everything;
  if (list.length === 1) return selectorOf(requirementsOf(list[0]!)) ?? list[0]!;
  const each = list.map(requirementsOf);
  const key = each[0]![0]!.key;
  if (!each.every((r) => r.length === 1 && r[0]!.key === key && r[0]!.operator === "In")) return undefined;
  const values = sorted(each.flatMap((r) => r[0]!.values ?? []));
  return values.length === 1
    ? { matchLabels: { [key]: values[0]! } }
    : { matchExpressions: [{ key, operator: "In", values }] };
}
