// cli: waggle test: routing policy tests without a cluster: reads test files and manifests, and shows what failed and where.
import { readdirSync, statSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { Ajv, type ErrorObject } from "ajv";
import { Command } from "commander";
import type { KubernetesObject } from "../api/index.ts";
import type { CaseResult, PolicyCase, TestCluster, TestNode } from "../plan/policy-test.ts";
import { type CrdCheck, crdCheck } from "./crd-check.ts";
import { pathOf, readDocuments, readManifests, type Source } from "./documents.ts";
import { routeText } from "./explain.ts";
import { CliError, exitCode, type OutputFormat, outputOption, painter, printJson } from "./output.ts";
import schema from "./policy-test.schema.json" with { type: "json" };

interface TestFile {
  readonly manifests: readonly string[];
  readonly node: TestNode;
  readonly cluster?: TestCluster;
  readonly cases: readonly PolicyCase[];
}

interface Failure {
  /** `file:line` */
  readonly place: string;
  readonly message: string;
}

interface ShownCase extends Omit<CaseResult, "failures"> {
  readonly failures: readonly Failure[];
}

interface FileResult {
  readonly file: string;
  /** What is wrong with the manifests, though it keeps no case from being tried. */
  readonly problems: readonly string[];
  readonly cases: readonly ShownCase[];
}

const invalid = (lines: readonly string[]): CliError =>
  new CliError(lines.join("\n"), { exitCode: exitCode.usage });

/** `/cases/0/expect` as a path. */
const pointer = (text: string): readonly (string | number)[] =>
  text
    .split("/")
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part.replaceAll("~1", "/").replaceAll("~0", "~")));

function schemaLine(error: ErrorObject, source: Source): string {
  const extra = error.params["additionalProperty"];
  const allowed = error.params["allowedValues"];
  const path = pointer(error.instancePath);
  const at = typeof extra === "string" ? [...path, extra] : path;
  const what =
    typeof extra === "string"
      ? `there is no field ${extra}`
      : `${error.message ?? ""}${Array.isArray(allowed) ? `: ${allowed.join(", ")}` : ""}`;
  return `${source.place(at)}: ${path.join(".") || "the test"}: ${what}`;
}

/** The one test of a file. @throws CliError with the places of what is wrong */
function readTest(file: string): { readonly test: TestFile; readonly source: Source } {
  const [source, ...more] = readDocuments(file);
  if (!source || more.length > 0) throw invalid([`${file}: a test is one YAML document`]);
  const ajv = new Ajv({ allErrors: true, useDefaults: true, allowUnionTypes: true });
  const validate = ajv.compile<TestFile>(schema);
  const value: unknown = structuredClone(source.value);
  if (!validate(value)) throw invalid((validate.errors ?? []).map((e) => schemaLine(e, source)));
  return { test: value, source };
}

const isManifest = (file: string): boolean =>
  [".yaml", ".yml", ".json"].includes(extname(file)) && !/\.test\.ya?ml$/.test(file);

/** Files that a test names; of a directory the manifests in it. */
function manifestFiles(test: TestFile, source: Source): readonly string[] {
  return test.manifests.flatMap((name, i) => {
    const path = resolve(dirname(source.file), name);
    const stat = statSync(path, { throwIfNoEntry: false });
    if (!stat) throw invalid([`${source.place(["manifests", i])}: there is no ${name}`]);
    if (!stat.isDirectory()) return [path];
    return readdirSync(path)
      .filter(isManifest)
      .sort()
      .map((f) => join(path, f));
  });
}

/** The objects of all manifests with their defaults. @throws CliError for those that the API server would refuse */
function readObjects(files: readonly string[], crds: CrdCheck): readonly KubernetesObject[] {
  const wrong: string[] = [];
  const out = readManifests(files).map(({ object, source, at }) => {
    const { object: complete, problems } = crds.check(object);
    for (const { field, message } of problems)
      wrong.push(
        `${source.place([...at, ...pathOf(field)])}: ${object.kind}/${object.metadata.name}: ${field || "the object"}: ${message}`,
      );
    return complete;
  });
  if (wrong.length > 0) throw invalid(wrong);
  return out;
}

async function run(file: string, crds: CrdCheck): Promise<FileResult> {
  const { policyBench, runPolicyCase } = await import("../plan/policy-test.ts");
  const { test, source } = readTest(file);
  const objects = readObjects(manifestFiles(test, source), crds);
  const of = <T extends KubernetesObject>(kind: T["kind"]): T[] =>
    objects.filter((o): o is T => o.kind === kind);
  const [clusterNetwork] = of<import("../api/index.ts").ClusterNetwork>("ClusterNetwork");
  const bench = policyBench(
    {
      ...(clusterNetwork && { clusterNetwork }),
      nodes: of("Node"),
      pools: of("IPPool"),
      peers: of("BGPPeer"),
      policies: of("BGPPolicy"),
      advertisements: of("BGPAdvertisement"),
      peerings: of("ClusterPeering"),
    },
    test.node,
    test.cluster,
  );
  const cases = test.cases.map((each, i): ShownCase => {
    const { failures, ...result } = runPolicyCase(bench, each);
    const shown = failures.map(({ path, message }) => ({
      place: source.place(["cases", i, ...path]),
      message,
    }));
    return { ...result, failures: shown };
  });
  return { file, problems: bench.problems.map((p) => `${p.object}: ${p.path} ${p.message}`), cases };
}

function print(results: readonly FileResult[], quiet: boolean): void {
  const paint = painter(process.stdout);
  const out: string[] = [];
  for (const { file, problems, cases } of results) {
    out.push(paint("bold", file));
    for (const problem of problems) out.push(paint("yellow", `  note  ${problem}`));
    for (const c of cases) {
      if (c.passed && quiet) continue;
      out.push(`  ${c.passed ? paint("green", "ok  ") : paint("red", "FAIL")}  ${c.name}`);
      if (c.passed) continue;
      for (const { place, message } of c.failures) out.push(`        ${place}: ${message}`);
      if (c.route) out.push(paint("dim", `        the route: ${routeText(c.route)}`));
    }
  }
  const all = results.flatMap((r) => r.cases);
  const failed = all.filter((c) => !c.passed).length;
  out.push(
    `${all.length} ${all.length === 1 ? "case" : "cases"}, ${failed === 0 ? "all as expected" : `${failed} not as expected`}`,
  );
  process.stdout.write(`${out.join("\n")}\n`);
}

interface Flags {
  readonly schema?: boolean;
  readonly quiet?: boolean;
  readonly output: OutputFormat;
}

async function test(files: readonly string[], flags: Flags): Promise<void> {
  if (flags.schema) {
    printJson(schema);
    return;
  }
  if (files.length === 0) throw invalid(["no test file is named"]);
  const crds = await crdCheck();
  const results: FileResult[] = [];
  for (const file of files) results.push(await run(file, crds));
  if (flags.output === "json") printJson(results);
  else print(results, flags.quiet ?? false);
  if (results.some((r) => r.cases.some((c) => !c.passed))) process.exitCode = exitCode.failed;
}

export function command(): Command {
  return new Command("test")
    .argument("[files...]", "policy tests, such as policies.test.yaml")
    .description(
      "routing policy tests without a cluster: what must become of a route, and which rule decides",
    )
    .option("-q, --quiet", "only what fails, and the count")
    .option("--schema", "print the JSON Schema of a test file")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
A test names manifests and cases: a route, a BGPPeer, and the verdict, rule and attributes that are expected. The manifests are
checked as the API server checks them. Exit codes: 0 all as expected, 1 some not, 2 a file that cannot be meant.`,
    )
    .action(test);
}
