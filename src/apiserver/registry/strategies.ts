// apiserver/registry: what the server does for built-in kinds beyond what it does for all kinds.
import {
  clone,
  equal,
  isObject,
  type Json,
  listAt,
  numberAt,
  objectAt,
  stringAt,
  stringsAt,
} from "../json.ts";
import { type FieldError, fieldErrors } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import { configKeyProblems, labelProblems, pathSegmentProblems, qualifiedProblems } from "../schema/names.ts";
import type { Strategy } from "./resource.ts";

export const plainStrategy: Strategy = { generation: "none", unconditionalUpdate: true };

export const leaseStrategy: Strategy = {
  generation: "none",
  unconditionalUpdate: false,
  validate(next) {
    const errors: FieldError[] = [];
    const seconds = numberAt(next, "spec", "leaseDurationSeconds");
    if (seconds !== undefined && seconds <= 0)
      errors.push(fieldErrors.invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0"));
    const transitions = numberAt(next, "spec", "leaseTransitions");
    if (transitions !== undefined && transitions < 0)
      errors.push(
        fieldErrors.invalid("spec.leaseTransitions", transitions, "must be greater than or equal to 0"),
      );
    return errors;
  },
};

/** Every namespace carries its own name as a label, so that selectors can name it. */
function labelWithName(namespace: ApiObject): void {
  const { metadata } = namespace;
  if (metadata.name) metadata.labels = { ...metadata.labels, "kubernetes.io/metadata.name": metadata.name };
}

export const namespaceStrategy: Strategy = {
  ...plainStrategy,
  defaults: labelWithName,
  prepareCreate(next) {
    next.spec = { finalizers: ["kubernetes"] };
    next.status = { phase: "Active" };
    labelWithName(next);
  },
  prepareUpdate(next, old) {
    next.spec = old.spec ?? {};
  },
  validateName: labelProblems,
};

export const nodeStrategy: Strategy = {
  ...plainStrategy,
  statusOnCreate: true,
  metadataWithStatus: true,
  defaults(next) {
    completePodCidrs(next);
    const status = objectAt(next, "status");
    if (status?.capacity !== undefined) status.allocatable ??= clone(status.capacity);
  },
  validate(next, old) {
    const errors: FieldError[] = listAt(next, "spec", "taints").flatMap(validateTaint);
    const before = stringsAt(old, "spec", "podCIDRs");
    if (before.length > 0 && !equal([...before], [...listAt(next, "spec", "podCIDRs")]))
      errors.push(
        fieldErrors.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'),
      );
    return errors;
  },
};

const taintEffects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

function validateTaint(taint: Json, i: number): FieldError[] {
  const path = `metadata.taints[${i}]`;
  const key = stringAt(taint, "key");
  const effect = stringAt(taint, "effect");
  const errors = qualifiedProblems(key).map((problem) => fieldErrors.invalid(`${path}.key`, key, problem));
  if (!taintEffects.includes(effect))
    errors.push(
      effect
        ? fieldErrors.notSupported(
            `${path}.effect`,
            effect,
            taintEffects.map((e) => JSON.stringify(e)),
          )
        : fieldErrors.required(`${path}.effect`),
    );
  return errors;
}

/** podCIDR is the first of podCIDRs; where the two disagree the older field counts, as in the real server. */
function completePodCidrs(node: ApiObject): void {
  const spec = objectAt(node, "spec");
  if (!spec) return;
  const first = stringAt(spec, "podCIDR");
  const all = stringsAt(spec, "podCIDRs");
  if (first && all[0] !== first) spec.podCIDRs = [first];
  else if (!first && all.length > 0) spec.podCIDR = all[0]!;
}

const secretTypes: Readonly<Record<string, readonly string[]>> = {
  "kubernetes.io/dockerconfigjson": [".dockerconfigjson"],
  "kubernetes.io/tls": ["tls.crt", "tls.key"],
  "kubernetes.io/ssh-auth": ["ssh-privatekey"],
};

export const secretStrategy: Strategy = {
  ...plainStrategy,
  prepareCreate: (next) => {
    next.type ??= "Opaque";
    moveStringData(next);
  },
  prepareUpdate: (next, old) => {
    next.type ??= old.type ?? "Opaque";
    moveStringData(next);
  },
  validate(next, old) {
    const errors = [
      ...validateData(next, ["data"], "data", "data"),
      ...validateImmutable(next, old, ["data"]),
    ];
    if (old && old.type !== next.type)
      errors.push(fieldErrors.invalid("type", next.type, "field is immutable"));
    const data = objectAt(next, "data") ?? {};
    const missing = (key: string): boolean => !Object.hasOwn(data, key);
    for (const key of secretTypes[stringAt(next, "type")] ?? [])
      if (missing(key)) errors.push(fieldErrors.required(`data[${key}]`));
    if (next.type === "kubernetes.io/basic-auth" && missing("username") && missing("password"))
      for (const key of ["username", "password"]) errors.push(fieldErrors.required(`data[${key}]`));
    return errors;
  },
};

function moveStringData(secret: ApiObject): void {
  const text = objectAt(secret, "stringData");
  delete secret.stringData;
  if (!text) return;
  const data = objectAt(secret, "data") ?? {};
  for (const [key, value] of Object.entries(text))
    if (typeof value === "string") data[key] = Buffer.from(value).toString("base64");
  secret.data = data;
}

function validateImmutable(
  next: ApiObject,
  old: ApiObject | undefined,
  fields: readonly string[],
): FieldError[] {
  if (old?.immutable !== true) return [];
  const errors: FieldError[] = [];
  if (next.immutable !== true)
    errors.push(fieldErrors.forbidden("immutable", "field is immutable when `immutable` is set"));
  for (const field of fields)
    if (!equal(next[field], old[field]))
      errors.push(fieldErrors.forbidden(field, "field is immutable when `immutable` is set"));
  return errors;
}

/** Bytes of all values of one ConfigMap or Secret. */
const maxDataBytes = 1024 * 1024;

/** Keys must do as file names, and all values together must not be too long; those of `encoded` fields are base64. */
function validateData(
  next: ApiObject,
  fields: readonly string[],
  path: string,
  encoded: string,
): FieldError[] {
  const errors: FieldError[] = [];
  let bytes = 0;
  for (const field of fields)
    for (const [key, value] of Object.entries(objectAt(next, field) ?? {})) {
      for (const problem of configKeyProblems(key))
        errors.push(fieldErrors.invalid(`${field}[${key}]`, key, problem));
      if (typeof value === "string")
        bytes += field === encoded ? (value.length * 3) / 4 : Buffer.byteLength(value);
    }
  if (bytes > maxDataBytes) errors.push(fieldErrors.tooLong(path, maxDataBytes));
  return errors;
}

export const configMapStrategy: Strategy = {
  ...plainStrategy,
  validate: (next, old) => [
    ...validateData(next, ["data", "binaryData"], "[]", "binaryData"),
    ...validateImmutable(next, old, ["data", "binaryData"]),
  ],
};

export const podStrategy: Strategy = {
  ...plainStrategy,
  metadataWithStatus: true,
  defaults(next) {
    const spec = objectAt(next, "spec");
    if (!spec) return;
    spec.securityContext ??= {};
    for (const container of listAt(spec, "containers"))
      if (isObject(container)) container.imagePullPolicy ??= pullPolicy(stringAt(container, "image"));
  },
  prepareCreate(next) {
    next.status = { phase: "Pending", qosClass: "BestEffort" };
    const spec = objectAt(next, "spec");
    if (!spec) return;
    spec.serviceAccountName ??= "default";
    spec.serviceAccount ??= spec.serviceAccountName;
  },
  validate(next) {
    const containers = listAt(next, "spec", "containers");
    return containers.length === 0 ? [fieldErrors.required("spec.containers")] : [];
  },
};

const pullPolicy = (image: string): string =>
  /:[^/]+$/.test(image) && !image.endsWith(":latest") ? "IfNotPresent" : "Always";

export const endpointSliceStrategy: Strategy = {
  generation: "spec",
  unconditionalUpdate: true,
  validate(next, old) {
    const errors: FieldError[] = [];
    const addressType = stringAt(next, "addressType");
    if (!addressType) errors.push(fieldErrors.required("addressType"));
    if (old && old.addressType !== next.addressType)
      errors.push(fieldErrors.invalid("addressType", next.addressType, "field is immutable"));
    listAt(next, "endpoints").forEach((endpoint, i) => {
      if (listAt(endpoint, "addresses").length === 0)
        errors.push(fieldErrors.required(`endpoints[${i}].addresses`, "must contain at least 1 address"));
    });
    return errors;
  },
};

export const eventStrategy: Strategy = {
  ...plainStrategy,
  validate(next) {
    const about = stringAt(next, "involvedObject", "namespace");
    const expected = about || "default";
    return next.metadata.namespace === expected || (!about && next.metadata.namespace === "kube-system")
      ? []
      : [fieldErrors.invalid("involvedObject.namespace", about, "does not match event.namespace")];
  },
};

const bindingRoleRef = (next: ApiObject, old: ApiObject | undefined): FieldError[] => {
  if (!stringAt(next, "roleRef", "name")) return [fieldErrors.required("roleRef.name")];
  return old && !equal(old.roleRef, next.roleRef)
    ? [fieldErrors.invalid("roleRef", next.roleRef, "cannot change roleRef")]
    : [];
};

export const roleStrategy: Strategy = {
  ...plainStrategy,
  validateName: pathSegmentProblems,
  validate: (next) => listAt(next, "rules").flatMap((rule, i) => validateRule(rule, `rules[${i}]`)),
};

function validateRule(rule: Json, path: string): FieldError[] {
  if (listAt(rule, "verbs").length === 0)
    return [fieldErrors.required(`${path}.verbs`, "verbs must contain at least one value")];
  if (listAt(rule, "nonResourceURLs").length > 0) return [];
  const errors: FieldError[] = [];
  for (const [field, word] of [
    ["apiGroups", "api group"],
    ["resources", "resource"],
  ] as const)
    if (listAt(rule, field).length === 0)
      errors.push(
        fieldErrors.required(`${path}.${field}`, `resource rules must supply at least one ${word}`),
      );
  return errors;
}

export const bindingStrategy: Strategy = {
  ...plainStrategy,
  validateName: pathSegmentProblems,
  defaults: fillSubjects,
  validate: bindingRoleRef,
};

const rbacGroup = "rbac.authorization.k8s.io";

function fillSubjects(binding: ApiObject): void {
  for (const subject of listAt(binding, "subjects")) {
    if (!isObject(subject)) continue;
    if (subject.kind === "User" || subject.kind === "Group") subject.apiGroup ??= rbacGroup;
  }
  const ref = objectAt(binding, "roleRef");
  if (ref && !stringAt(ref, "apiGroup")) ref.apiGroup = rbacGroup;
}
