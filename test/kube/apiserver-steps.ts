// What a step of the kubectl batteries is, how one is run, and what of its output is compared.
import { execFile } from "node:child_process";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { parse } from "yaml";
import { findAssets } from "../../src/lab/real.ts";

/** One kubectl command. `out` and `err` must match stdout and stderr: a string exactly (after normalising), a pattern anywhere. */
export interface Step {
  readonly args: string;
  readonly stdin?: string | object;
  readonly out?: string | RegExp;
  readonly err?: string | RegExp;
  readonly code?: number;
  /** More environment, such as an editor. */
  readonly env?: Readonly<Record<string, string>>;
  /** Oldest minor version of kubectl that prints this. */
  readonly since?: number;
  /** Why a real API server rightly prints something else; where it is set, only the comparison of output is left out. */
  readonly differs?: string;
}

/** For the name of a step that this kubectl is too old for. */
export const tooOld = (step: Step, minor: number): string =>
  (step.since ?? 0) > minor ? ` (skipped: needs kubectl 1.${step.since})` : "";

export interface Kubectl {
  readonly path: string;
  readonly minor: number;
}

/** kubectl, by $KUBECTL, on the path or as an asset; where versioned ones (kubectl.1.33) lie beside it, the newest and the oldest. */
export function findKubectls(): Kubectl[] {
  const assets = findAssets();
  const candidates = [
    process.env["KUBECTL"],
    ...(process.env["PATH"] ?? "").split(delimiter).map((d) => join(d, "kubectl")),
    assets && join(assets, "kubectl"),
  ];
  const found = candidates.find((path) => path !== undefined && existsSync(path));
  if (!found) return [];
  const directories = new Set([dirname(realpathSync(found)), ...(assets ? [assets] : [])]);
  const versioned = [...directories]
    .flatMap((dir) => readdirSync(dir).map((name) => join(dir, name)))
    .map((path) => ({ path, minor: Number(/\/kubectl\.1\.(\d+)$/.exec(path)?.[1]) }))
    .filter(({ minor }) => minor > 0)
    .sort((a, b) => a.minor - b.minor);
  const [oldest] = versioned;
  const newest = versioned.at(-1);
  if (!oldest || !newest || process.env["KUBECTL"]) return [{ path: found, minor: 99 }];
  return oldest === newest ? [newest] : [newest, oldest];
}

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const manifest = new URL("./apiserver-widget.yaml", import.meta.url).pathname;

/** Words are parted by spaces, or by U+0001 where one of them has a space. `home` holds kubectl's discovery cache. */
export const wordsOf = (step: Step): string[] =>
  step.args
    .split(step.args.includes("\u0001") ? "\u0001" : " ")
    .map((word) => word.replace("{widget.yaml}", manifest));

export const runStep = (step: Step, kubectl: string, kubeconfig: string, home: string): Promise<Result> =>
  new Promise((resolve) => {
    const child = execFile(
      kubectl,
      wordsOf(step),
      {
        env: { PATH: process.env["PATH"], HOME: home, KUBECONFIG: kubeconfig, ...step.env },
        timeout: 25_000,
        maxBuffer: 1 << 26,
      },
      (error, out, err) =>
        resolve({ code: error ? (typeof error.code === "number" ? error.code : 255) : 0, out, err }),
    );
    // kubectl may be done before it has read all of its input.
    child.stdin?.on("error", () => {});
    child.stdin?.end(typeof step.stdin === "object" ? JSON.stringify(step.stdin) : (step.stdin ?? ""));
  });

/** Times and ages as words. */
export const normalise = (text: string): string =>
  text
    .replace(/\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z/g, "TIME")
    .replace(/( {2,})(?:\d+s|\d+m(?:\d+s)?)(?= *$| {2,})/gm, "$1AGE");

/** Tables are padded to their widest cell, so an age of two digits moves what follows: columns are told apart by two spaces. */
export const columns = (text: string): string => text.replace(/ {2,}/g, "  ").replace(/ +$/gm, "");

/** What two clusters may differ in by chance: addresses, ports, revisions, made-up names, UIDs. */
const byChance: readonly (readonly [RegExp, string])[] = [
  [/\w{3}, \d+ \w{3} \d{4} [\d:]+ \+0000/g, "TIME"],
  [/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UID"],
  [/10\.(96|250)\.\d+\.\d+/g, "IP"],
  [/fd(00:10:96|50)::[0-9a-f:]*/g, "IP6"],
  [/\b3[0-2]\d{3}\b/g, "PORT"],
  [/(resourceVersion\\*"?: ?\\*"?)\d+/g, "$1RV"],
  [/(Resource Version: +)\d+/g, "$1RV"],
  [/\/tmp\/\S+-\d+\//g, "/tmp/"],
  [/kubectl_replace_\d+/g, "kubectl_replace"],
  [/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \+0000/g, "TIME"],
  [/\b(g|gen)-\w{5}\b/g, "$1-XXXXX"],
  [/127\.0\.0\.1:\d+/g, "ADDRESS"],
  // A refused patch shows the whole object, whose fields have no order that means anything.
  [/patch: Invalid value: "(?:[^"\\]|\\.)*"/g, 'patch: Invalid value: "OBJECT"'],
];

/** Output as it is compared between two servers. */
export function comparable(step: Step, text: string): string {
  let result = sortCauses(columns(normalise(text)));
  for (const [pattern, word] of byChance) result = result.replace(pattern, word);
  // Older kubectl ask for Endpoints, which the embedded server does not have; the real one answers with this word of warning.
  result = result.replace(/^Warning: v1 Endpoints is deprecated .*\n/m, "");
  if (!step.args.includes("--show-managed-fields")) return result;
  try {
    return JSON.stringify(sortManagers(parse(text) as Node), null, 1)
      .replace(/"(time|\w+Timestamp)": "[^"]*"/g, '"$1": "TIME"')
      .replace(byChance[1]![0], "UID")
      .replace(byChance[2]![0], "IP")
      .replace(byChance[3]![0], "IP6")
      .replace(/"(nodePort|healthCheckNodePort)": \d+/g, "PORT")
      .replace(/"resourceVersion": "\d+"/g, "RV");
  } catch {
    // What is no YAML is compared as text.
    return result;
  }
}

/** A real server checks a schema's properties in Go's map order: what is wrong with an object comes in another order each time. */
function sortCauses(text: string): string {
  return text.replace(/(?:^\* .*\n)+/gm, (causes) => `${causes.trimEnd().split("\n").sort().join("\n")}\n`);
}

type Node = null | boolean | number | string | Node[] | { [key: string]: Node };

/** Managers that wrote within one second have no order. */
function sortManagers(node: Node): Node {
  if (Array.isArray(node)) return node.map(sortManagers);
  if (typeof node !== "object" || node === null) return node;
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [
      key,
      key === "managedFields" && Array.isArray(value)
        ? value.map((m) => JSON.stringify({ ...(m as object), time: "" })).sort()
        : sortManagers(value),
    ]),
  );
}
