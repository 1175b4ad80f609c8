// docs/fields.md: every row has a home or a refusal, and every home that it names is a field of crds/.
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
}

const kinds = new Map(
  readdirSync("crds").map((file) => {
    const { spec } = parse(readFileSync(`crds/${file}`, "utf8")) as {
      spec: { names: { kind: string }; versions: { schema: { openAPIV3Schema: Schema } }[] };
    };
    return [spec.names.kind, spec.versions[0]!.schema.openAPIV3Schema] as const;
  }),
);

function exists(home: string): boolean {
  const [kind = "", ...path] = home.split(".");
  let at: Schema | undefined = kinds.get(kind);
  for (const part of path) {
    const list = part.endsWith("[]");
    at = at?.properties?.[list ? part.slice(0, -2) : part];
    if (list) at = at?.items;
  }
  return at !== undefined;
}

const rows = readFileSync("docs/fields.md", "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !/^\| (field|question) \|/.test(line))
  .map((line) => line.split(" | ").map((c) => c.replace(/^\| | \|$/g, "")));

const homesOf = (text: string): readonly string[] =>
  [...text.matchAll(/`([A-Z]\w+\.(?:spec|status)\.[^`]+)`/g)].map((m) => m[1]!);

describe("docs/fields.md", () => {
  it("has a row for what others have", () => {
    expect(rows.length).toBeGreaterThan(100);
    expect(rows.filter((r) => r.length !== 2)).toEqual([]);
  });

  it("each row has a home or a refusal", () => {
    const bare = rows.filter(
      ([, home = ""]) =>
        homesOf(home).length === 0 && !/^(Refused|Not yet|annotation `waggle\.dev\/)/.test(home),
    );
    expect(bare).toEqual([]);
  });

  it("each home is a field of crds/", () => {
    const homes = rows.flatMap(([, home = ""]) => homesOf(home));
    expect(homes.length).toBeGreaterThan(100);
    expect(homes.filter((h) => !exists(h))).toEqual([]);
    expect(exists("BGPPeer.spec.nowhere")).toBe(false);
  });
});
