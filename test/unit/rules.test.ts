// The house rules as tests: who may import whom, first lines, file sizes, and what must not be in a file.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");

function* filesBelow(directory: string): Generator<string> {
  for (const entry of readdirSync(join(root, directory), { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== "generated" && entry.name !== "node_modules") yield* filesBelow(path);
    } else if (entry.name.endsWith(".ts")) yield path;
  }
}

/** Rooms are folders of src/; bgp/ has rooms of its own. */
function roomOf(path: string): string {
  const parts = relative("src", path).split("/");
  return parts[0] === "bgp" && parts.length > 2 ? `bgp/${parts[1]}` : parts[0]!;
}

const pure = new Set([
  "net",
  "api",
  "script",
  "results",
  "routes",
  "ipam",
  "plan",
  "import",
  "bgp/wire",
  "bgp/rib",
  "bgp/policy",
  "bgp/mrt",
]);

/** What a room may import besides itself and the pure rooms. Anything not listed here may see the pure rooms only. */
const mayUse: Readonly<Record<string, readonly string[]>> = {
  metrics: [],
  kernel: [],
  trace: ["kernel"],
  datapath: ["kernel"],
  kube: ["metrics"],
  "bgp/session": [],
  "bgp/bfd": ["bgp/session"],
  "bgp/bmp": ["bgp/session"],
  "bgp/daemon": ["metrics", "kernel", "bgp/session", "bgp/bfd", "bgp/bmp"],
  fleet: ["metrics", "kube", "trace"],
  operator: ["metrics", "kube", "fleet"],
  agent: ["metrics", "kube", "kernel", "datapath", "trace", "fleet"],
  apiserver: [],
  lab: ["kube", "kernel", "trace", "apiserver", "datapath", "cli"],
  cli: ["*"],
};

/** Only cli imports these, and only dynamically, so that a laptop's `waggle trace` loads no FFI. */
const dynamicOnly = new Set(["agent", "operator", "lab"]);

/** Node's modules without I/O; a pure room may use these. */
const harmless = new Set(["node:assert", "node:buffer", "node:util"]);

interface Import {
  readonly file: string;
  readonly target: string;
  readonly dynamic: boolean;
  readonly typeOnly: boolean;
}

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), "utf8");
  const found: Import[] = [];
  for (const m of text.matchAll(/^\s*(?:import|export)\s+(type\s+)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"/gm))
    found.push({ file, target: m[2]!, dynamic: false, typeOnly: m[1] !== undefined });
  for (const m of text.matchAll(/\bimport\(\s*"([^"]+)"/g))
    found.push({ file, target: m[1]!, dynamic: true, typeOnly: false });
  return found;
}

const sources = [...filesBelow("src")];
const imports = sources.flatMap(importsOf);

describe("import rules", () => {
  it("reads imports at all", () => {
    expect(imports.length).toBeGreaterThan(20);
  });

  it("pure rooms import pure rooms only and no I/O", () => {
    const broken = imports.filter(({ file, target }) => {
      if (!pure.has(roomOf(file))) return false;
      if (target.startsWith("node:")) return !harmless.has(target) && target !== "node:crypto";
      if (target.startsWith(".")) return !pure.has(roomOf(normalize(join(dirname(file), target))));
      return ["koffi", "undici", "pino", "@kubernetes/client-node", "@connectrpc/connect-node"].includes(
        target,
      );
    });
    expect(broken).toEqual([]);
  });

  it("each room imports only what it may", () => {
    const broken = imports.filter(({ file, target, typeOnly }) => {
      if (!target.startsWith(".")) return false;
      const from = roomOf(file);
      const to = roomOf(normalize(join(dirname(file), target)));
      if (from === to || pure.has(to) || pure.has(from) || typeOnly) return false;
      const allowed = mayUse[from] ?? [];
      return !allowed.includes("*") && !allowed.includes(to);
    });
    expect(broken).toEqual([]);
  });

  it("agent, operator and lab are imported by cli alone, dynamically", () => {
    const broken = imports.filter(({ file, target, dynamic, typeOnly }) => {
      if (!target.startsWith(".") || typeOnly) return false;
      const from = roomOf(file);
      const to = roomOf(normalize(join(dirname(file), target)));
      return dynamicOnly.has(to) && from !== to && !(from === "cli" && dynamic);
    });
    expect(broken).toEqual([]);
  });

  it("pure rooms have no cycle", () => {
    const edges = new Map<string, Set<string>>();
    for (const { file, target } of imports) {
      if (!target.startsWith(".")) continue;
      const from = roomOf(file);
      const to = roomOf(normalize(join(dirname(file), target)));
      if (from !== to && pure.has(from)) edges.set(from, (edges.get(from) ?? new Set()).add(to));
    }
    const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
      [...(edges.get(from) ?? [])].some(
        (next) => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))),
      );
    expect([...edges.keys()].filter((room) => reaches(room, room))).toEqual([]);
  });

  it("koffi is bound in one file", () => {
    const binders = new Set(imports.filter((i) => i.target === "koffi").map((i) => i.file));
    expect([...binders].filter((f) => f !== "src/kernel/ffi.ts")).toEqual([]);
  });
});

describe("files", () => {
  it("start with a line that says what they are", () => {
    const broken = sources.filter((f) => {
      const first = readFileSync(join(root, f), "utf8").split("\n", 2);
      return !first[0]!.startsWith("// ") && !(first[0]!.startsWith("#!") && first[1]!.startsWith("// "));
    });
    expect(broken).toEqual([]);
  });

  it("hold one idea each: none over 700 lines", () => {
    const broken = sources.filter((f) => readFileSync(join(root, f), "utf8").split("\n").length > 700);
    expect(broken).toEqual([]);
  });

  it("name no machine's paths and leave nothing for later", () => {
    const machinePath = new RegExp(`(^|[^\\w.])/(${["work", "farm", "root"].join("|")})/`);
    const later = new RegExp(
      `\\b(${["TO", "FIX"].map((w) => (w === "TO" ? "TODO" : "FIXME")).join("|")}|XXX|HACK)\\b`,
    );
    const broken = sources.filter((f) => {
      const text = readFileSync(join(root, f), "utf8");
      return machinePath.test(text) || later.test(text);
    });
    expect(broken).toEqual([]);
  });
});
