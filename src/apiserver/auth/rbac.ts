// apiserver/auth: role-based access control, evaluated for every request from the roles and bindings in the store.
import { isObject, type JsonObject, listAt, objectAt, stringAt, stringsAt } from "../json.ts";
import type { ApiObject } from "../object.ts";
import type { Entry, Store } from "../store/store.ts";
import { serviceAccountName, type User } from "./user.ts";

/** What somebody wants to do, to an object of the API or to a path outside it. */
export type Action =
  | {
      readonly kind: "resource";
      readonly verb: string;
      readonly group: string;
      readonly resource: string;
      readonly subresource: string;
      readonly namespace: string | undefined;
      readonly name: string;
    }
  | { readonly kind: "path"; readonly verb: string; readonly path: string };

export interface Rule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames: readonly string[];
  readonly nonResourceURLs: readonly string[];
}

const rbac = "rbac.authorization.k8s.io";
const storages = {
  roles: `roles.${rbac}`,
  clusterRoles: `clusterroles.${rbac}`,
  roleBindings: `rolebindings.${rbac}`,
  clusterRoleBindings: `clusterrolebindings.${rbac}`,
} as const;

/** How far ClusterRoles may aggregate others that aggregate. */
const maxAggregation = 4;

export const readRule = (source: JsonObject): Rule => ({
  verbs: stringsAt(source, "verbs"),
  apiGroups: stringsAt(source, "apiGroups"),
  resources: stringsAt(source, "resources"),
  resourceNames: stringsAt(source, "resourceNames"),
  nonResourceURLs: stringsAt(source, "nonResourceURLs"),
});

const compiledRules = new WeakMap<Entry, readonly Rule[]>();

function ownRules(entry: Entry): readonly Rule[] {
  let rules = compiledRules.get(entry);
  if (!rules) {
    rules = listAt(entry.object, "rules").filter(isObject).map(readRule);
    compiledRules.set(entry, rules);
  }
  return rules;
}

const has = (list: readonly string[], value: string): boolean => list.includes(value) || list.includes("*");

function covers(rule: Rule, action: Action): boolean {
  if (!has(rule.verbs, action.verb)) return false;
  if (action.kind === "path")
    return rule.nonResourceURLs.some(
      (url) =>
        url === action.path || url === "*" || (url.endsWith("*") && action.path.startsWith(url.slice(0, -1))),
    );
  if (!has(rule.apiGroups, action.group)) return false;
  const wanted = action.subresource ? `${action.resource}/${action.subresource}` : action.resource;
  const matches = rule.resources.some(
    (r) => r === "*" || r === wanted || (action.subresource !== "" && r === `*/${action.subresource}`),
  );
  if (!matches) return false;
  return rule.resourceNames.length === 0 || (action.name !== "" && rule.resourceNames.includes(action.name));
}

function isSubject(subject: JsonObject, user: User, bindingNamespace: string): boolean {
  const name = stringAt(subject, "name");
  switch (subject.kind) {
    case "User":
      return name === user.name;
    case "Group":
      return user.groups.includes(name);
    case "ServiceAccount":
      return user.name === serviceAccountName(stringAt(subject, "namespace") || bindingNamespace, name);
    default:
      return false;
  }
}

export class Authorizer {
  readonly #store: Store;
  constructor(store: Store) {
    this.#store = store;
  }

  allows(user: User, action: Action): boolean {
    if (user.groups.includes("system:masters")) return true;
    const namespace = action.kind === "resource" ? action.namespace : undefined;
    for (const rule of this.rulesFor(user, namespace)) if (covers(rule, action)) return true;
    return false;
  }

  /** Every rule that the user has cluster-wide and, where one is given, in a namespace. */
  *rulesFor(user: User, namespace: string | undefined): Generator<Rule> {
    for (const { object } of this.#store.collection(storages.clusterRoleBindings).range(""))
      if (bindsUser(object, user)) yield* this.rulesOfRef(object);
    if (!namespace) return;
    for (const { object } of this.#store.collection(storages.roleBindings).range(`${namespace}/`))
      if (bindsUser(object, user)) yield* this.rulesOfRef(object);
  }

  /** The rules of the role that a binding refers to. */
  rulesOfRef(binding: ApiObject): readonly Rule[] {
    const ref = objectAt(binding, "roleRef");
    const name = stringAt(ref, "name");
    if (stringAt(ref, "kind") === "Role") {
      const role = this.#store.get(storages.roles, `${binding.metadata.namespace ?? ""}/${name}`);
      return role ? ownRules(role) : [];
    }
    const role = this.#store.get(storages.clusterRoles, name);
    return role ? this.#withAggregated(role, 0) : [];
  }

  #withAggregated(role: Entry, depth: number): readonly Rule[] {
    const selectors = listAt(role.object, "aggregationRule", "clusterRoleSelectors");
    if (selectors.length === 0 || depth >= maxAggregation) return ownRules(role);
    const rules = [...ownRules(role)];
    for (const other of this.#store.collection(storages.clusterRoles).range("")) {
      if (other === role) continue;
      const chosen = selectors.some((s) => matchesLabels(objectAt(s, "matchLabels"), other.object));
      if (chosen) rules.push(...this.#withAggregated(other, depth + 1));
    }
    return rules;
  }

  /** Whether somebody who has these rules may give `wanted` away: only what one has oneself. */
  coversRule(user: User, namespace: string | undefined, wanted: Rule): boolean {
    if (user.groups.includes("system:masters")) return true;
    const own = [...this.rulesFor(user, namespace)];
    const allPaths = wanted.nonResourceURLs.every((path) =>
      wanted.verbs.every((verb) => own.some((r) => covers(r, { kind: "path", verb, path }))),
    );
    if (!allPaths) return false;
    const names = wanted.resourceNames.length > 0 ? wanted.resourceNames : [""];
    return wanted.verbs.every((verb) =>
      wanted.apiGroups.every((group) =>
        wanted.resources.every((text) =>
          names.every((name) => {
            const [resource = "", subresource = ""] = text.split("/");
            return own.some((r) =>
              covers(r, { kind: "resource", verb, group, resource, subresource, namespace, name }),
            );
          }),
        ),
      ),
    );
  }
}

const bindsUser = (binding: ApiObject, user: User): boolean =>
  listAt(binding, "subjects").some(
    (s) => isObject(s) && isSubject(s, user, binding.metadata.namespace ?? ""),
  );

function matchesLabels(labels: JsonObject | undefined, object: ApiObject): boolean {
  const own = object.metadata.labels ?? {};
  return labels !== undefined && Object.entries(labels).every(([key, value]) => own[key] === value);
}
