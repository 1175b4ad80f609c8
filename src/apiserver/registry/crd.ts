// apiserver/registry: CustomResourceDefinitions: what a good one is, what it registers, what its status says.
import type { ServerContext } from "../context.ts";
import { isObject, type Json, type JsonObject, listAt, objectAt, stringAt, stringsAt } from "../json.ts";
import { type FieldError, fieldErrors } from "../messages.ts";
import { type ApiObject, groupResource, timeText } from "../object.ts";
import { parseSchema } from "../schema/schema.ts";
import { customColumns } from "../table/columns.ts";
import { parseJsonPath, select } from "../table/jsonpath.ts";
import { allVerbs, type ResourceType, type ScalePaths, type Strategy } from "./resource.ts";
import { structuralErrors } from "./structural.ts";

export const crdStorage = groupResource("apiextensions.k8s.io", "customresourcedefinitions");

/** The finalizer under which a CRD that is being deleted waits for its objects to go. */
export const cleanupFinalizer = "customresourcecleanup.apiextensions.k8s.io";

const customStrategy: Strategy = { generation: "spec", unconditionalUpdate: false };

/** The resources that a CRD adds, one a served version. */
export function resourcesOf(crd: ApiObject): ResourceType[] {
  const group = stringAt(crd, "spec", "group");
  const names = objectAt(crd, "status", "acceptedNames") ?? objectAt(crd, "spec", "names") ?? {};
  const versions = listAt(crd, "spec", "versions").filter(isObject);
  const stored = versions.find((v) => v.storage === true) ?? versions[0];
  const resource = stringAt(names, "plural");
  return versions
    .filter((version) => version.served === true)
    .map((version) => {
      const scale = scaleOf(version);
      const name = stringAt(version, "name");
      return {
        group,
        version: name,
        kind: stringAt(names, "kind"),
        listKind: stringAt(names, "listKind"),
        resource,
        singular: stringAt(names, "singular"),
        shortNames: stringsAt(names, "shortNames"),
        categories: stringsAt(names, "categories"),
        namespaced: stringAt(crd, "spec", "scope") === "Namespaced",
        verbs: allVerbs,
        storage: groupResource(group, resource),
        schema: parseSchema(objectAt(version, "schema", "openAPIV3Schema")),
        custom: true,
        hasStatus: objectAt(version, "subresources", "status") !== undefined,
        ...(scale ? { scale } : {}),
        strategy: customStrategy,
        columns: customColumns(version),
        selectableFields: selectableFields(version),
        storedAs: { apiVersion: `${group}/${stringAt(stored, "name")}`, kind: stringAt(names, "kind") },
        ...(version.deprecated === true
          ? {
              deprecationWarning:
                stringAt(version, "deprecationWarning") ||
                `${group}/${name} ${stringAt(names, "kind")} is deprecated`,
            }
          : {}),
      };
    });
}

function scaleOf(version: JsonObject): ScalePaths | undefined {
  const scale = objectAt(version, "subresources", "scale");
  if (!scale) return undefined;
  return {
    specReplicas: stringAt(scale, "specReplicasPath"),
    statusReplicas: stringAt(scale, "statusReplicasPath"),
    labelSelector: stringAt(scale, "labelSelectorPath") || undefined,
  };
}

function selectableFields(version: JsonObject): ResourceType["selectableFields"] {
  const fields = new Map<string, (object: ApiObject) => string>();
  for (const field of listAt(version, "selectableFields")) {
    const text = stringAt(field, "jsonPath");
    const path = parseJsonPath(text);
    fields.set(text.replace(/^\./, ""), (object) => {
      const [value] = select(path, object);
      return value === undefined || value === null ? "" : String(value);
    });
  }
  return fields;
}

/** The old form of preserveUnknownFields and names that follow from others. */
function fillNames(crd: ApiObject): void {
  const names = objectAt(crd, "spec", "names");
  const spec = objectAt(crd, "spec");
  if (!names || !spec) return;
  const kind = stringAt(names, "kind");
  names.singular ??= kind.toLowerCase();
  names.listKind ??= `${kind}List`;
  spec.conversion ??= { strategy: "None" };
}

interface Clash {
  readonly reason: string;
  readonly message: string;
}

/** The last of the names that another CRD or a built-in kind of the group has already. */
function nameConflict(crd: ApiObject, context: ServerContext): Clash | undefined {
  const group = stringAt(crd, "spec", "group");
  const names = objectAt(crd, "spec", "names") ?? {};
  const others = context.registry
    .all()
    .filter((t) => t.group === group && groupResource(t.group, t.resource) !== crd.metadata.name);
  const resources = new Set(others.flatMap((t) => [t.resource, t.singular, ...t.shortNames]));
  const kinds = new Set(others.flatMap((t) => [t.kind, t.listKind]));
  const wanted: (readonly [reason: string, name: string, taken: ReadonlySet<string>])[] = [
    ["PluralConflict", stringAt(names, "plural"), resources],
    ["SingularConflict", stringAt(names, "singular"), resources],
    ...stringsAt(names, "shortNames").map((name) => ["ShortNamesConflict", name, resources] as const),
    ["KindConflict", stringAt(names, "kind"), kinds],
    ["ListKindConflict", stringAt(names, "listKind"), kinds],
  ];
  const clash = wanted.findLast(([, name, taken]) => taken.has(name));
  return clash && { reason: clash[0], message: `${JSON.stringify(clash[1])} is already in use` };
}

/** Fills in the status as the server's own controllers would: names accepted, established, stored versions. */
function fillStatus(crd: ApiObject, old: ApiObject | undefined, context: ServerContext): void {
  const clash = nameConflict(crd, context);
  const now = timeText(context.now());
  const before = listAt(old, "status", "conditions").filter(isObject);
  const condition = (type: string, status: string, reason: string, message: string): JsonObject => {
    const was = before.find((c) => c.type === type);
    const since = was?.status === status ? (was.lastTransitionTime ?? now) : now;
    return { lastTransitionTime: since, message, reason, status, type };
  };
  const established = before.some((c) => c.type === "Established" && c.status === "True");
  const conditions: Json[] = clash
    ? [
        condition("NamesAccepted", "False", clash.reason, clash.message),
        established
          ? condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted")
          : condition("Established", "False", "NotAccepted", "not all names are accepted"),
      ]
    : [
        condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
        condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
      ];
  for (const other of before)
    if (other.type !== "NamesAccepted" && other.type !== "Established") conditions.push(other);
  const storage = listAt(crd, "spec", "versions").find((v) => isObject(v) && v.storage === true);
  const stored = new Set([...stringsAt(old, "status", "storedVersions"), stringAt(storage, "name")]);
  crd.status = {
    conditions,
    acceptedNames: (clash ? objectAt(old, "status", "acceptedNames") : objectAt(crd, "spec", "names")) ?? {
      plural: "",
      kind: "",
    },
    storedVersions: [...stored],
  };
}

export const isEstablished = (crd: ApiObject): boolean =>
  listAt(crd, "status", "conditions").some(
    (c) => isObject(c) && c.type === "Established" && c.status === "True",
  );

function validateCrd(crd: ApiObject, old: ApiObject | undefined): FieldError[] {
  const errors: FieldError[] = [];
  const spec = objectAt(crd, "spec") ?? {};
  const group = stringAt(spec, "group");
  const plural = stringAt(spec, "names", "plural");
  if (!group) errors.push(fieldErrors.required("spec.group"));
  else if (!group.includes("."))
    errors.push(fieldErrors.invalid("spec.group", group, "should be a domain with at least one dot"));
  if (crd.metadata.name !== `${plural}.${group}`)
    errors.push(
      fieldErrors.invalid("metadata.name", crd.metadata.name, 'must be spec.names.plural+"."+spec.group'),
    );
  for (const name of ["plural", "kind"] as const)
    if (!stringAt(spec, "names", name)) errors.push(fieldErrors.required(`spec.names.${name}`));
  if (spec.scope !== "Cluster" && spec.scope !== "Namespaced")
    errors.push(
      spec.scope
        ? fieldErrors.notSupported("spec.scope", spec.scope, ['"Cluster"', '"Namespaced"'])
        : fieldErrors.required("spec.scope"),
    );
  if (stringAt(spec, "conversion", "strategy") !== "None")
    errors.push(
      fieldErrors.notSupported("spec.conversion.strategy", stringAt(spec, "conversion", "strategy"), [
        '"None"',
      ]),
    );
  errors.push(...validateVersions(spec));
  for (const [path, before, after] of [
    ["spec.group", stringAt(old, "spec", "group"), group],
    ["spec.scope", stringAt(old, "spec", "scope"), stringAt(spec, "scope")],
    ["spec.names.kind", stringAt(old, "spec", "names", "kind"), stringAt(spec, "names", "kind")],
    ["spec.names.plural", stringAt(old, "spec", "names", "plural"), plural],
  ] as const)
    if (old && before !== after) errors.push(fieldErrors.invalid(path, after, "field is immutable"));
  return errors;
}

function validateVersions(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const versions = listAt(spec, "versions").filter(isObject);
  if (versions.length === 0) return [fieldErrors.required("spec.versions")];
  const names = new Set<string>();
  versions.forEach((version, i) => {
    const path = `spec.versions[${i}]`;
    const name = stringAt(version, "name");
    if (!name) errors.push(fieldErrors.required(`${path}.name`));
    if (names.has(name)) errors.push(fieldErrors.invalid(path, name, "must contain unique version names"));
    names.add(name);
    const schema = objectAt(version, "schema", "openAPIV3Schema");
    if (!schema) errors.push(fieldErrors.required(`${path}.schema.openAPIV3Schema`, "schemas are required"));
    else errors.push(...structuralErrors(schema, `${path}.schema.openAPIV3Schema`));
    listAt(version, "additionalPrinterColumns").forEach((c, j) => {
      try {
        parseJsonPath(stringAt(c, "jsonPath"));
      } catch (error) {
        errors.push(
          fieldErrors.invalid(
            `${path}.additionalPrinterColumns[${j}].jsonPath`,
            stringAt(c, "jsonPath"),
            error instanceof Error ? error.message : "is no JSONPath",
          ),
        );
      }
    });
  });
  if (versions.filter((v) => v.storage === true).length !== 1)
    errors.push(
      fieldErrors.invalid(
        "spec.versions",
        [...listAt(spec, "versions")],
        "must have exactly one version marked as storage version",
      ),
    );
  return errors;
}

export const crdStrategy: Strategy = {
  generation: "spec",
  unconditionalUpdate: false,
  prepareCreate(next, context) {
    fillNames(next);
    fillStatus(next, undefined, context);
  },
  prepareUpdate(next, old, context) {
    fillNames(next);
    fillStatus(next, old, context);
  },
  validate: (next, old) => validateCrd(next, old),
};
