// fleet/client: kubectl's selector text as a LabelSelector.
import type { LabelSelector } from "../../api/index.ts";

type Requirement = NonNullable<LabelSelector["matchExpressions"]>[number];

const key = "(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?";
const value = "[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?";
const equality = new RegExp(`^(${key})\\s*(==|=|!=)\\s*(${value})?$`);
const inSet = new RegExp(`^(${key})\\s+(in|notin)\\s*\\(([^()]*)\\)$`);
const exists = new RegExp(`^(!?)\\s*(${key})$`);

/** Commas part requirements, but not the values of a set. */
const split = (text: string): string[] => text.split(/,(?![^(]*\))/).map((part) => part.trim());

function requirement(part: string): Requirement {
  const eq = equality.exec(part);
  if (eq) return { key: eq[1]!, operator: eq[2] === "!=" ? "NotIn" : "In", values: [eq[3] ?? ""] };
  const set = inSet.exec(part);
  if (set) {
    const values = set[3]!.split(",").map((v) => v.trim());
    return { key: set[1]!, operator: set[2] === "in" ? "In" : "NotIn", values };
  }
  const ex = exists.exec(part);
  if (ex) return { key: ex[2]!, operator: ex[1] ? "DoesNotExist" : "Exists" };
  throw new RangeError(
    `${JSON.stringify(part)} is not a requirement; write key=value, key!=value, key in (a,b), key, or !key`,
  );
}

/** `zone=a,disk in (ssd,nvme),!spot`; an empty text selects all. @throws RangeError that names the bad part */
export function parseSelector(text: string): LabelSelector {
  if (text.trim() === "") return {};
  const matchLabels: Record<string, string> = {};
  const matchExpressions: Requirement[] = [];
  for (const each of split(text).map(requirement))
    if (each.operator === "In" && each.values?.length === 1 && matchLabels[each.key] === undefined)
      matchLabels[each.key] = each.values[0]!;
    else matchExpressions.push(each);
  return {
    ...(Object.keys(matchLabels).length > 0 ? { matchLabels } : {}),
    ...(matchExpressions.length > 0 ? { matchExpressions } : {}),
  };
}
