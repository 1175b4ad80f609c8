// script: where a member lies in a structure of the kernel, through the structures that it is embedded in.
import type { Field, Structure, TypeSource } from "./types.ts";

const structureNamed = (types: TypeSource, name: string): Structure | undefined =>
  types.structure(name) ?? types.structure(`struct ${name}`);

/** A member by name, also where it is one of an anonymous structure's. */
function findDeep(types: TypeSource, structure: Structure, name: string): Field | undefined {
  for (const field of structure.fields) {
    if (field.name === name) return field;
    if (field.name !== "" || field.type.kind !== "struct") continue;
    const inner = types.structure(field.type.name);
    const found = inner && findDeep(types, inner, name);
    if (found) return { ...found, offset: found.offset + field.offset };
  }
  return undefined;
}

/** A member of a structure by both names. */
function member(types: TypeSource, structure: string, name: string): Field | undefined {
  if (types.member) return types.member(structure, name) ?? types.member(`struct ${structure}`, name);
  const inside = structureNamed(types, structure);
  return inside && findDeep(types, inside, name);
}

/** The member at the end of a path of embedded structures, its offset counted from the first; undefined where this kernel has none. */
export function memberOf(types: TypeSource, structure: string, path: readonly string[]): Field | undefined {
  let inside = structure;
  let offset = 0;
  for (const [i, name] of path.entries()) {
    const field = member(types, inside, name);
    if (!field) return undefined;
    offset += field.offset;
    if (i === path.length - 1) return { ...field, offset };
    if (field.type.kind !== "struct") return undefined;
    inside = field.type.name;
  }
  return undefined;
}
