// apiserver/rest: nobody gives away by a role or a binding what he does not have himself.
import { type Authorizer, type Rule, readRule } from "../auth/rbac.ts";
import type { User } from "../auth/user.ts";
import { equal, isObject, listAt, stringAt } from "../json.ts";
import { forbidden } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import type { ResourceType } from "../registry/resource.ts";

const rbacGroup = "rbac.authorization.k8s.io";

/**
 * Throws 403 for a role with rules, or a binding to a role, that the writer does not hold (RBAC's prevention of privilege
 * escalation). An update that changes no permission is let through.
 */
export function checkEscalation(
  type: ResourceType,
  next: ApiObject,
  old: ApiObject | undefined,
  user: User,
  authorizer: Authorizer,
): void {
  if (type.group !== rbacGroup || user.groups.includes("system:masters")) return;
  const parts = ["rules", "aggregationRule", "roleRef", "subjects"];
  if (old && parts.every((part) => equal(next[part], old[part]))) return;
  const { name, namespace } = next.metadata;
  const isBinding = type.resource.endsWith("bindings");
  const role = isBinding ? stringAt(next, "roleRef", "name") : name;
  const resource = !isBinding
    ? type.resource
    : stringAt(next, "roleRef", "kind") === "Role"
      ? "roles"
      : "clusterroles";
  const verb = isBinding ? "bind" : "escalate";
  if (
    authorizer.allows(user, {
      kind: "resource",
      verb,
      group: rbacGroup,
      resource,
      subresource: "",
      namespace,
      name: role,
    })
  )
    return;
  const wanted: readonly Rule[] = isBinding
    ? authorizer.rulesOfRef(next)
    : listAt(next, "rules").filter(isObject).map(readRule);
  const missing = wanted.filter((rule) => !authorizer.coversRule(user, namespace, rule));
  if (missing.length === 0) return;
  const lines = missing.map((r) => {
    const shown = [
      ["APIGroups", r.apiGroups],
      ["Resources", r.resources],
      ["NonResourceURLs", r.nonResourceURLs],
      ["Verbs", r.verbs],
    ] as const;
    return `{${shown
      .filter(([, v]) => v.length > 0)
      .map(([k, v]) => `${k}:${JSON.stringify(v)}`)
      .join(", ")}}`;
  });
  const groups = user.groups.map((g) => JSON.stringify(g)).join(" ");
  throw forbidden(
    type,
    name,
    `user ${JSON.stringify(user.name)} (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${lines.join("\n")}`,
  );
}
