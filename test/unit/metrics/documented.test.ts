// The table of metrics against all that speaks of it: the page, alerts with their runbooks, the dashboard, and the sources.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { dashboard } from "../../../scripts/dashboard.ts";
import { metricsDocs } from "../../../scripts/metrics-docs.ts";
import { findAssets } from "../../../src/lab/real.ts";
import { type Definition, metrics } from "../../../src/metrics/table.ts";

const root = join(import.meta.dirname, "../../..");
const text = (path: string): string => readFileSync(join(root, path), "utf8");
const table: Readonly<Record<string, Definition>> = metrics;

/** Labels that Prometheus itself adds, by the chart's monitors. */
const targetLabels = ["job", "instance", "node", "le"];
/** Series that Prometheus itself makes. */
const scraped = new Set(["up"]);

/** Mistakes of a query: series and labels that are not in the table, parentheses that do not fit. */
function mistakes(expr: string): string[] {
  const found: string[] = [];
  const named = [...expr.matchAll(/\b((?:waggle|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?/g)];
  if (named.length === 0) found.push(`no series in ${expr}`);
  for (const [, name = "", selector = ""] of named) {
    const family = name.replace(/_(bucket|sum|count)$/, "");
    const definition = table[name] ?? (table[family]?.type === "histogram" ? table[family] : undefined);
    if (!definition && !scraped.has(name)) found.push(`no metric ${name}`);
    const known = [...(definition?.labels ?? []), ...targetLabels];
    for (const [, label = ""] of selector.matchAll(/(\w+)\s*[=!]/g))
      if (!known.includes(label)) found.push(`${name} has no label ${label}`);
  }
  const labels = new Set([
    ...targetLabels,
    ...named.flatMap(([, n = ""]) => table[n.replace(/_bucket$/, "")]?.labels ?? []),
  ]);
  for (const [, list = ""] of expr.matchAll(/\b(?:by|on) \(([^)]*)\)/g))
    for (const label of list.split(/,\s*/)) if (!labels.has(label)) found.push(`by ${label}`);
  let depth = 0;
  for (const c of expr.replace(/"[^"]*"/g, "")) {
    depth += { "(": 1, ")": -1, "[": 1, "]": -1, "{": 1, "}": -1 }[c] ?? 0;
    if (depth < 0) break;
  }
  if (depth !== 0) found.push(`parentheses of ${expr}`);
  return found;
}

describe("the table", () => {
  it("follows the conventions of names and is documented", () => {
    for (const [name, { type, labels, help }] of Object.entries(table)) {
      expect(name).toMatch(/^(waggle|process)_[a-z_]+$/);
      expect([name, name.endsWith("_total")]).toEqual([name, type === "counter"]);
      if (type === "histogram") expect(name).toMatch(/_seconds$/);
      expect([name, /_(ms|milliseconds|kib|mib)$/.test(name)]).toEqual([name, false]);
      for (const label of labels) expect(label).not.toMatch(/prefix|address|service|namespace|uid/);
      expect(help).toMatch(/^[A-Z0-9].*\.$/);
    }
  });

  it("is what docs/metrics.md says (run node scripts/metrics-docs.ts)", () => {
    expect(text("docs/metrics.md")).toBe(metricsDocs());
  });

  it("is what the sources emit: every metric somewhere, with as many labels", () => {
    const sources = [...readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })]
      .filter((f) => /metrics\/.*\.ts$|metrics\.ts$/.test(f) && !f.endsWith("table.ts"))
      .map((f) => text(join("src", f)))
      .join("\n");
    const missing = Object.keys(table).filter((name) => !sources.includes(`emit("${name}"`));
    expect(missing).toEqual([]);
  });
});

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for: string;
  readonly labels: { readonly severity: string };
  readonly annotations: Readonly<Record<"summary" | "description" | "runbook_url", string>>;
}

describe("alerts", () => {
  const { groups } = parse(text("deploy/chart/files/alerts.yaml")) as {
    groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
  };
  const rules = groups.flatMap((g) => g.rules);

  it("ask for what there is", () => {
    expect(rules.length).toBeGreaterThan(20);
    expect(rules.flatMap((r) => mistakes(r.expr))).toEqual([]);
    expect(mistakes('sum by (nonsense) (waggle_nothing{peer="a"}')).toHaveLength(4);
  });

  it("have a runbook each, and each runbook an alert", () => {
    const page = text("docs/alerts.md");
    const chapters = page
      .split(/^## /m)
      .slice(1)
      .map((c) => [c.split("\n", 1)[0]!, c] as const);
    expect(chapters.map(([name]) => name)).toEqual(rules.map((r) => r.alert));
    for (const [name, chapter] of chapters)
      for (const part of ["- **Effect**: ", "- **Look**: ", "- **Do**: "])
        expect([name, chapter.includes(part)]).toEqual([name, true]);
    for (const { alert, annotations } of rules)
      expect(annotations.runbook_url).toBe(`docs/alerts.md#${alert.toLowerCase()}`);
  });

  it("say how bad it is, and wait before they ring", () => {
    for (const rule of rules) {
      expect(["critical", "warning"]).toContain(rule.labels.severity);
      expect(rule.for).toMatch(/^\d+m$/);
    }
  });

  const promtool = join(findAssets() ?? "", "promtool");
  it.skipIf(!existsSync(promtool))(
    "pass promtool, and ring when they should (skipped: needs make assets)",
    () => {
      const run = (...args: string[]): string =>
        execFileSync(promtool, args, { cwd: root, encoding: "utf8" });
      expect(run("check", "rules", "--lint=all", "--lint-fatal", "deploy/chart/files/alerts.yaml")).toContain(
        "SUCCESS",
      );
      expect(run("test", "rules", "test/fixtures/alerts.test.yaml")).toContain("SUCCESS");
    },
  );
});

describe("the dashboard", () => {
  const json = text("deploy/chart/files/dashboard.json");

  it("is what scripts/dashboard.ts writes, and asks for what there is", () => {
    expect(json).toBe(dashboard());
    const { panels } = JSON.parse(json) as {
      panels: readonly { readonly targets?: readonly { readonly expr: string }[]; readonly id: number }[];
    };
    const targets = panels.flatMap((p) => p.targets ?? []);
    expect(targets.length).toBeGreaterThan(25);
    expect(targets.flatMap((t) => mistakes(t.expr))).toEqual([]);
    expect(new Set(panels.map((p) => p.id)).size).toBe(panels.length);
  });
});
