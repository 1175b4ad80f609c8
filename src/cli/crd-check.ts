// cli: objects of our kinds checked against their CustomResourceDefinitions without a cluster, defaults filled in.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import type { KubernetesObject } from "../api/index.ts";
import type { Json } from "../apiserver/json.ts";
import type { Schema } from "../apiserver/schema/schema.ts";

/** A field that is wrong. */
export interface FieldProblem {
  /** `spec.rules[0].action`; empty for the object as a whole. */
  readonly field: string;
  readonly message: string;
}

export interface CrdCheck {
  /** The object with its defaults, and what is wrong with it. Kinds that are not ours pass as they are. */
  check(object: KubernetesObject): {
    readonly object: KubernetesObject;
    readonly problems: readonly FieldProblem[];
  };
}

/** The bundle lies in build/, beside crds/; a source lies two levels below the checkout. */
const crdDirectory = (): string =>
  fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "../../crds" : "../crds", import.meta.url));

interface Definition {
  readonly spec: {
    readonly group: string;
    readonly names: { readonly kind: string };
    readonly versions: readonly {
      readonly name: string;
      readonly schema: { readonly openAPIV3Schema: Json };
    }[];
  };
}

/** Reads the definitions. @throws Error where the installation has none */
export async function crdCheck(): Promise<CrdCheck> {
  const [{ applyDefaults, prune }, { parseSchema }, { validateSchema }, { validateRules }] =
    await Promise.all([
      import("../apiserver/schema/prune.ts"),
      import("../apiserver/schema/schema.ts"),
      import("../apiserver/schema/validate.ts"),
      import("../apiserver/schema/cel.ts"),
    ]);
  const schemas = new Map<string, Schema>();
  const directory = crdDirectory();
  for (const file of readdirSync(directory).filter((f) => f.endsWith(".yaml"))) {
    const { spec } = parse(readFileSync(join(directory, file), "utf8")) as Definition;
    for (const version of spec.versions)
      schemas.set(
        `${spec.group}/${version.name} ${spec.names.kind}`,
        parseSchema(version.schema.openAPIV3Schema),
      );
  }
  return {
    check(object) {
      const schema = schemas.get(`${object.apiVersion} ${object.kind}`);
      if (!schema) return { object, problems: [] };
      const value = structuredClone(object) as unknown as Json;
      const unknown = prune(value, schema).map((field) => ({ field, message: "there is no such field" }));
      applyDefaults(value, schema);
      const errors = validateSchema(value, schema);
      const rules = errors.length > 0 ? [] : validateRules(value, schema, undefined).errors;
      return {
        object: value as unknown as KubernetesObject,
        problems: [...unknown, ...[...errors, ...rules].map((e) => ({ field: e.path, message: e.body }))],
      };
    },
  };
}
