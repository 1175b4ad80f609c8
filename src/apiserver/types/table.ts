// apiserver/types: reads the tables of built-in types. One line a field gives schema, protobuf number and explain text.
import type { Json } from "../json.ts";
import type { Schema } from "../schema/schema.ts";

/** How a field travels in a protobuf body (proto2 of k8s.io/api); `message` names another type of the tables. */
export interface WireField {
  readonly name: string;
  readonly repeated: boolean;
  readonly map: boolean;
  readonly kind:
    | "string"
    | "bool"
    | "int"
    | "bytes"
    | "time"
    | "microtime"
    | "intOrString"
    | "json"
    | "message";
  readonly message?: string;
}

export interface BuiltinType {
  readonly name: string;
  readonly schema: Schema;
  /** By protobuf field number; empty for types that no client sends as protobuf. */
  readonly wire: ReadonlyMap<number, WireField>;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const scalars: Readonly<Record<string, { schema: Schema; kind: WireField["kind"] }>> = {
  string: { schema: { type: "string" }, kind: "string" },
  bool: { schema: { type: "boolean" }, kind: "bool" },
  int32: { schema: { type: "integer", format: "int32" }, kind: "int" },
  int64: { schema: { type: "integer", format: "int64" }, kind: "int" },
  double: { schema: { type: "number" }, kind: "int" },
  bytes: { schema: { type: "string", format: "byte" }, kind: "bytes" },
  Time: { schema: { type: "string", format: "date-time", nullable: true }, kind: "time" },
  MicroTime: { schema: { type: "string", format: "date-time", nullable: true }, kind: "microtime" },
  Quantity: { schema: { intOrString: true, format: "quantity" }, kind: "string" },
  IntOrString: { schema: { intOrString: true, format: "int-or-string" }, kind: "intOrString" },
  any: { schema: { preserveUnknown: true }, kind: "bytes" },
  object: { schema: { type: "object", preserveUnknown: true }, kind: "json" },
};

interface Line {
  readonly number: number;
  readonly name: string;
  readonly type: string;
  readonly required: boolean;
  readonly flags: ReadonlyMap<string, string>;
  readonly doc: string;
}

/**
 * Reads tables of this form, one block a type, the prefix giving the OpenAPI package of the names:
 *
 *     type ServicePort | One port of a Service.
 *     3 port! int32 | Where clients connect.
 *     4 targetPort IntOrString
 *
 * `!` marks a required field, `[]T` a list, `map<T>` a map; flags: `list=map:key,key|set|atomic`, `merge=key`,
 * `default=JSON`, `zero=JSON`, `enum=A,B`, `atomic`. A dash in place of the number says that the field never travels as protobuf.
 * A field whose type is another type is always there, as a Go struct is, unless it is written `*T`. `type T atomic` is
 * owned as a whole. `type T open` keeps fields that the table does not list; `T?` is a T or something that is no object.
 */
export function readTypes(tables: Readonly<Record<string, string>>): ReadonlyMap<string, BuiltinType> {
  const blocks: { name: string; openApi: string; mode: string; doc: string; lines: Line[] }[] = [];
  for (const [prefix, table] of Object.entries(tables))
    for (const raw of table.split("\n")) {
      const text = raw.trim();
      if (!text) continue;
      const head = /^type (\w+)(?: (open|atomic))?(?: \| (.*))?$/.exec(text);
      if (head)
        blocks.push({
          name: head[1]!,
          openApi: `${prefix}.${head[1]!.replace(/^EventsV1/, "")}`,
          mode: head[2] ?? "",
          doc: head[3] ?? "",
          lines: [],
        });
      else blocks.at(-1)!.lines.push(readLine(text));
    }
  const types = new Map<string, Mutable<BuiltinType>>();
  // Types refer to each other, also in circles: all shells exist, with their shared map of fields, before any is filled.
  for (const block of blocks) {
    const required = block.lines.filter((l) => l.required).map((l) => l.name);
    const schema: Schema = {
      type: "object",
      typeName: block.openApi,
      description: block.doc,
      properties: new Map<string, Schema>(),
      ...(required.length > 0 ? { required } : {}),
      ...(block.mode === "open" ? { preserveUnknown: true } : {}),
      ...(block.mode === "atomic" ? { mapType: "atomic" as const } : {}),
    };
    types.set(block.name, { name: block.name, schema, wire: new Map() });
  }
  for (const block of blocks) {
    const type = types.get(block.name)!;
    const fields = type.schema.properties as Map<string, Schema>;
    for (const line of block.lines) fields.set(line.name, lineSchema(line, types));
    type.wire = new Map(block.lines.filter((l) => l.number > 0).map((l) => [l.number, lineWire(l)]));
  }
  return types;
}

function readLine(text: string): Line {
  const match = /^(\d+|-) ([\w$-]+)(!?) (\S+)((?: [a-zA-Z]+(?:=\S*)?)*)(?: \| (.*))?$/.exec(text);
  if (!match) throw new Error(`not a line of a type table: ${text}`);
  const [, number, name, mark, type, flags, doc] = match;
  return {
    number: number === "-" ? 0 : Number(number),
    name: name!,
    type: type!,
    required: mark === "!",
    flags: new Map(
      flags!
        .trim()
        .split(" ")
        .filter(Boolean)
        .map((flag) => {
          const [key, ...value] = flag.split("=");
          return [key!, value.join("=")];
        }),
    ),
    doc: doc ?? "",
  };
}

function lineSchema(line: Line, types: ReadonlyMap<string, BuiltinType>): Schema {
  const schema: Mutable<Schema> = typeSchema(line.type, line.flags, types);
  if (line.doc) schema.description = line.doc;
  const zero = line.flags.get("zero");
  if (zero !== undefined) schema.zero = JSON.parse(zero) as Json;
  else if (types.has(line.type) && line.name !== "metadata") schema.zero = {};
  const fallback = line.flags.get("default");
  if (fallback !== undefined) schema.default = JSON.parse(fallback) as Json;
  const allowed = line.flags.get("enum");
  if (allowed) schema.enum = allowed.split(",");
  const merge = line.flags.get("merge");
  if (merge !== undefined) {
    schema.patchStrategy = line.flags.get("strategy") ?? "merge";
    if (merge) schema.patchMergeKey = merge;
  }
  if (line.flags.has("atomic")) schema.mapType = "atomic";
  return schema;
}

function typeSchema(
  text: string,
  flags: ReadonlyMap<string, string>,
  types: ReadonlyMap<string, BuiltinType>,
): Schema {
  if (text.startsWith("[]")) {
    const [listType, keys] = (flags.get("list") ?? "atomic").split(":");
    return {
      type: "array",
      items: typeSchema(text.slice(2), new Map(), types),
      listType: listType as "atomic" | "set" | "map",
      ...(keys ? { listMapKeys: keys.split(",") } : {}),
    };
  }
  const map = /^map<(.+)>$/.exec(text);
  if (map) return { type: "object", additionalProperties: typeSchema(map[1]!, new Map(), types) };
  const scalar = scalars[text];
  if (scalar) return { ...scalar.schema };
  const open = text.endsWith("?");
  const type = types.get(text.replace(/^\*|\?$/g, ""));
  if (!type) throw new Error(`unknown type in a table: ${text}`);
  if (open) {
    const { type: _, ...anything } = type.schema;
    return anything;
  }
  return { ...type.schema };
}

function lineWire(line: Line): WireField {
  const repeated = line.type.startsWith("[]");
  const map = /^map<(.+)>$/.exec(line.type);
  const base = (repeated ? line.type.slice(2) : (map?.[1] ?? line.type)).replace(/^\*/, "");
  const scalar = scalars[base];
  return {
    name: line.name,
    repeated,
    map: map !== null,
    kind: base === "Quantity" ? "message" : (scalar?.kind ?? "message"),
    ...(scalar ? {} : { message: base }),
  };
}
