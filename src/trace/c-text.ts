// trace: BTF's types written as C, for listings: "struct sock * sk", and whole structure definitions.
import { type Btf, BtfKind } from "../kernel/btf.ts";

const deepest = 16;

/** A type as C writes it before a name: "const char *", "u32", "int[4]". */
export function cType(btf: Btf, id: number, depth = 0): string {
  if (id === 0 || depth > deepest) return "void";
  const name = btf.name(id);
  switch (btf.kind(id)) {
    case BtfKind.STRUCT:
      return `struct ${name || "{...}"}`;
    case BtfKind.UNION:
      return `union ${name || "{...}"}`;
    case BtfKind.ENUM:
    case BtfKind.ENUM64:
      return `enum ${name || "{...}"}`;
    case BtfKind.FWD:
      return `struct ${name}`;
    case BtfKind.CONST:
      return qualified(btf, id, "const", depth);
    case BtfKind.VOLATILE:
      return qualified(btf, id, "volatile", depth);
    case BtfKind.RESTRICT:
    case BtfKind.TYPE_TAG:
      return cType(btf, btf.target(id), depth + 1);
    case BtfKind.PTR: {
      const target = btf.target(id);
      if (btf.kind(target) === BtfKind.FUNC_PROTO)
        return `${cType(btf, btf.target(target), depth + 1)} (*)()`;
      const inner = cType(btf, target, depth + 1);
      return inner.endsWith("*") ? `${inner}*` : `${inner} *`;
    }
    case BtfKind.ARRAY: {
      const { elementId, length } = btf.array(id);
      return `${cType(btf, elementId, depth + 1)}[${length}]`;
    }
    default:
      return name || "void";
  }
}

/** `const char`, but `char *const` where the pointer itself is constant. */
function qualified(btf: Btf, id: number, word: string, depth: number): string {
  const target = btf.target(id);
  const inner = cType(btf, target, depth + 1);
  return btf.kind(target) === BtfKind.PTR ? `${inner}${word}` : `${word} ${inner}`;
}

/** A declaration: the type, then the name, array lengths after it. */
export function cDeclaration(btf: Btf, id: number, name: string): string {
  const array = /^(.*?)((?:\[\d+\])+)$/.exec(cType(btf, id));
  return array ? `${array[1]} ${name}${array[2]}` : `${cType(btf, id)} ${name}`;
}

function* memberLines(btf: Btf, id: number, indent: string, depth: number): Generator<string> {
  for (const member of btf.members(id)) {
    const kind = btf.kind(member.typeId);
    const anonymous = (kind === BtfKind.STRUCT || kind === BtfKind.UNION) && btf.name(member.typeId) === "";
    if (anonymous && depth < deepest) {
      yield `${indent}${kind === BtfKind.UNION ? "union" : "struct"} {`;
      yield* memberLines(btf, member.typeId, `${indent}        `, depth + 1);
      yield `${indent}}${member.name ? ` ${member.name}` : ""};`;
      continue;
    }
    const bits = member.bitWidth > 0 ? `:${member.bitWidth}` : "";
    yield `${indent}${cDeclaration(btf, member.typeId, member.name)}${bits};`;
  }
}

/** The definition of a struct, union or enum. */
export function cDefinition(btf: Btf, id: number): string {
  const kind = btf.kind(id);
  const head = cType(btf, id);
  if (kind === BtfKind.ENUM || kind === BtfKind.ENUM64)
    return `${head} {\n${btf
      .enumerators(id)
      .map((e) => `        ${e.name} = ${e.value},\n`)
      .join("")}};`;
  return `${head} {\n${[...memberLines(btf, id, "        ", 0)].map((line) => `${line}\n`).join("")}};`;
}
