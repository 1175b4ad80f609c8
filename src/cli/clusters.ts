// cli: which clusters a command speaks to: kubeconfigs and contexts as kubectl takes them, or all clusters of a running lab.
import { readFileSync } from "node:fs";
import type { Command } from "commander";
import type { KubeClient } from "../kube/index.ts";
import { CliError, usageError } from "./output.ts";

export interface ClusterFlags {
  readonly kubeconfig?: readonly string[];
  readonly context?: readonly string[];
}

/** One cluster that was named; nothing is connected yet. */
export interface ClusterChoice {
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** A cluster that a command speaks to. */
export interface ChosenCluster {
  /** The kubeconfig's context, as people know it. */
  readonly name: string;
  readonly client: KubeClient;
}

/** Written by `waggle lab up`. */
const labFile = "/run/waggle/lab/default/lab.json";

const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

/** Adds --kubeconfig and --context, both repeatable. */
export const clusterOptions = (command: Command): Command =>
  command
    .option(
      "--kubeconfig <file>",
      "kubeconfig of a cluster; repeat for several (default: KUBECONFIG)",
      collect,
    )
    .option("--context <name>", "context of the kubeconfig; repeat for several clusters", collect);

function labChoices(): readonly ClusterChoice[] {
  try {
    const lab = JSON.parse(readFileSync(labFile, "utf8")) as { clusters: { kubeconfig: string }[] };
    return lab.clusters.map((c) => ({ kubeconfig: c.kubeconfig }));
  } catch (error) {
    if (["ENOENT", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}

/**
 * What was named: every kubeconfig with each context, or every context of the one kubeconfig. Where nothing is named and
 * KUBECONFIG is not set, the clusters of the running lab.
 */
export function chooseClusters(flags: ClusterFlags, say: (text: string) => void): readonly ClusterChoice[] {
  const files = flags.kubeconfig ?? [];
  const contexts = flags.context ?? [];
  if (files.length > 1 && contexts.length > 1 && files.length !== contexts.length)
    throw usageError(
      `${files.length} kubeconfigs and ${contexts.length} contexts`,
      "give one context for each kubeconfig, or several contexts of one",
    );
  if (files.length > 1)
    return files.map((kubeconfig, i) => ({
      kubeconfig,
      ...(contexts.length > 0 ? { context: contexts[Math.min(i, contexts.length - 1)]! } : {}),
    }));
  if (contexts.length > 0)
    return contexts.map((context) => ({ context, ...(files[0] ? { kubeconfig: files[0] } : {}) }));
  if (files[0]) return [{ kubeconfig: files[0] }];
  if (process.env["KUBECONFIG"]) return [{}];
  const lab = labChoices();
  if (lab.length > 0) {
    say("asking the clusters of the lab; --kubeconfig or KUBECONFIG names others");
    return lab;
  }
  return [{}];
}

/** Connects to each cluster that was named. @throws CliError where there is no configuration or two have one name */
export async function openClusters(flags: ClusterFlags): Promise<readonly ChosenCluster[]> {
  const { loadKubeConfig } = await import("../kube/index.ts");
  const out: ChosenCluster[] = [];
  for (const choice of chooseClusters(flags, (text) => process.stderr.write(`${text}\n`))) {
    try {
      const { client, context } = await loadKubeConfig(choice, { name: "waggle" });
      out.push({ name: context, client });
    } catch (error) {
      throw new CliError((error as Error).message, {
        cause: error,
        hint: "name a cluster with --kubeconfig or KUBECONFIG, or bring up a lab: waggle lab up",
      });
    }
  }
  const names = out.map((c) => c.name);
  const twice = names.find((n, i) => names.indexOf(n) !== i);
  if (twice)
    throw usageError(
      `two of the clusters are called ${twice}`,
      "rename a context: kubectl config rename-context",
    );
  return out;
}

/** Opens clusters, does the work, closes them. */
export async function withClusters<T>(
  flags: ClusterFlags,
  work: (clusters: readonly ChosenCluster[]) => Promise<T>,
): Promise<T> {
  const clusters = await openClusters(flags);
  try {
    return await work(clusters);
  } finally {
    await Promise.all(clusters.map((c) => c.client[Symbol.asyncDispose]()));
  }
}

/** Asks every cluster; one that does not answer is told on stderr and does not keep the others' answers back. */
export async function askEach<T>(
  clusters: readonly ChosenCluster[],
  question: (cluster: ChosenCluster) => Promise<T>,
): Promise<{
  readonly answers: readonly { readonly cluster: string; readonly answer: T }[];
  readonly failed: number;
}> {
  const settled = await Promise.allSettled(clusters.map(question));
  const answers: { cluster: string; answer: T }[] = [];
  let failed = 0;
  for (const [i, result] of settled.entries()) {
    const { name } = clusters[i]!;
    if (result.status === "fulfilled") answers.push({ cluster: name, answer: result.value });
    else {
      failed++;
      process.stderr.write(`${name}: ${(result.reason as Error).message}\n`);
    }
  }
  return { answers, failed };
}
