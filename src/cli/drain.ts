// cli: waggle drain: sets or takes away the taint that drains a node, and shows the drain's phases as the agent reports them.
import { Command, Option } from "commander";
import { drainTaint, type Node, type NodeNetwork } from "../api/index.ts";
import { isConflict, isNotFound, kinds } from "../kube/index.ts";
import { type ChosenCluster, type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import {
  CliError,
  exitCode,
  formatDuration,
  type OutputFormat,
  outputOption,
  Progress,
  parseDuration,
  printJson,
  usageError,
} from "./output.ts";

interface DrainFlags extends ClusterFlags {
  readonly force?: boolean;
  readonly undo?: boolean;
  readonly wait?: boolean;
  readonly timeout: number;
  readonly output: OutputFormat;
}

type Taints = NonNullable<NonNullable<Node["spec"]>["taints"]>;
type Drain = NonNullable<NonNullable<NodeNetwork["status"]>["drain"]>;

/** The taints with ours set to a value, or taken away; the same list where nothing changes. */
export function withDrainTaint(taints: Taints, value: string | undefined): Taints {
  const others = taints.filter((t) => t.key !== drainTaint);
  if (value === undefined) return others.length === taints.length ? taints : others;
  const own = taints.find((t) => t.key === drainTaint);
  if (own && (own.value ?? "") === value) return taints;
  return [...others, { key: drainTaint, value, effect: "NoSchedule" }];
}

/** Writes the taint on condition that nobody has changed the node since it was read; tries again where somebody has. */
async function setTaint(
  { client }: ChosenCluster,
  name: string,
  value: string | undefined,
): Promise<boolean> {
  for (let attempt = 0; ; attempt++) {
    const node = await client.get(kinds.Node, name);
    const before = node.spec?.taints ?? [];
    const after = withDrainTaint(before, value);
    if (after === before) return false;
    const { resourceVersion } = node.metadata;
    try {
      await client.patch(
        kinds.Node,
        name,
        "merge",
        { metadata: { resourceVersion }, spec: { taints: after } },
        { fieldManager: "waggle-drain" },
      );
      return true;
    } catch (error) {
      if (!isConflict(error) || attempt >= 8) throw error;
    }
  }
}

/** The cluster that has the node. @throws CliError where none or several have */
async function clusterOf(clusters: readonly ChosenCluster[], node: string): Promise<ChosenCluster> {
  const found = await Promise.all(
    clusters.map(async (cluster) => {
      try {
        await cluster.client.get(kinds.Node, node);
        return [cluster];
      } catch (error) {
        if (isNotFound(error)) return [];
        throw error;
      }
    }),
  );
  const [only, ...more] = found.flat();
  if (!only)
    throw new CliError(`no node ${node} in ${clusters.map((c) => c.name).join(", ")}`, {
      hint: "waggle status lists the nodes",
    });
  if (more.length > 0)
    throw usageError(
      `${[only, ...more].map((c) => c.name).join(" and ")} have a node ${node}`,
      "name one cluster with --context",
    );
  return only;
}

async function drainOf({ client }: ChosenCluster, node: string): Promise<NodeNetwork | undefined> {
  try {
    return await client.get(kinds.NodeNetwork, node);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** How a phase is told while it lasts. */
const lineOf = (drain: Drain | undefined): string =>
  drain
    ? `${drain.phase ?? "None"}${drain.message ? `: ${drain.message}` : ""}`
    : "the agent has not reported";

interface Outcome {
  readonly node: string;
  readonly cluster: string;
  readonly changed: boolean;
  readonly phase: string;
  readonly message: string;
  readonly done: boolean;
  readonly ms: number;
  /** What the node still announces. */
  readonly announced: readonly string[];
}

/** Follows the phases until the wanted one, at most until `deadline` (ms of performance.now()). */
async function follow(
  cluster: ChosenCluster,
  node: string,
  wanted: (drain: Drain | undefined) => boolean,
  deadline: number,
  begun: number,
  progress: Progress,
): Promise<{ readonly network: NodeNetwork | undefined; readonly done: boolean }> {
  let shown = "";
  for (;;) {
    const network = await drainOf(cluster, node);
    const drain = network?.status?.drain;
    const phase = drain?.phase ?? "None";
    if (phase !== shown) {
      shown = phase;
      progress.line(`${formatDuration(performance.now() - begun).padStart(8)}  ${lineOf(drain)}`);
    } else progress.now(`${formatDuration(performance.now() - begun).padStart(8)}  ${lineOf(drain)}`);
    if (wanted(drain)) return { network, done: true };
    if (performance.now() >= deadline) return { network, done: false };
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

async function drain(name: string, flags: DrainFlags): Promise<void> {
  if (flags.undo && flags.force)
    throw usageError("--undo takes the drain back; --force has no meaning with it");
  const outcome = await withClusters(flags, async (clusters): Promise<Outcome> => {
    using progress = new Progress(process.stderr, flags.output === "json");
    const cluster = await clusterOf(clusters, name);
    const begun = performance.now();
    const changed = await setTaint(cluster, name, flags.undo ? undefined : flags.force ? "force" : "");
    const wanted = (d: Drain | undefined): boolean =>
      (d?.phase ?? "None") === (flags.undo ? "None" : "Released");
    const deadline = flags.wait ? begun + flags.timeout : begun;
    const { network, done } = await follow(cluster, name, wanted, deadline, begun, progress);
    const status = network?.status;
    return {
      node: name,
      cluster: cluster.name,
      changed,
      phase: status?.drain?.phase ?? "None",
      message: status?.drain?.message ?? "",
      done,
      ms: Math.round(performance.now() - begun),
      announced: (status?.announced ?? []).filter((a) => a.state !== "Withdrawn").map((a) => a.prefix),
    };
  });
  if (flags.output === "json") printJson(outcome);
  else console.log(sentenceOf(outcome, flags));
  if (flags.wait && !outcome.done) process.exitCode = exitCode.partial;
}

/** The result for people. */
function sentenceOf(o: Outcome, flags: DrainFlags): string {
  const after = formatDuration(o.ms);
  if (flags.undo)
    return o.done
      ? `${o.node} announces again`
      : `${o.node}: the drain is taken back; it announces again as soon as its agent has heard of it`;
  if (o.done) return `${o.node} is drained after ${after}: withdrawn, acknowledged and unprogrammed`;
  if (flags.wait)
    return `${o.node} is not drained after ${after}; ${o.phase}${o.message ? `: ${o.message}` : ""}`;
  return `${o.node} drains${o.changed ? "" : " already"}; follow it: waggle drain ${o.node} --wait`;
}

export function command(): Command {
  return clusterOptions(new Command("drain"))
    .description(
      "take a node out of the network: its routes are de-preferred, withdrawn and acknowledged before its datapath is unprogrammed",
    )
    .argument("<node>", "name of the Node")
    .option("--force", "withdraw also the virtual IPs that no other node announces")
    .option("--undo", "take the drain back")
    .option("--wait", "wait until the node is drained, and show the phases")
    .addOption(
      new Option("--timeout <duration>", "with --wait, how long")
        .argParser(parseDuration)
        .default(60_000, "60s"),
    )
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
It sets the taint ${drainTaint}:NoSchedule, which GitOps or a cluster autoscaler may set instead; with --force its value is
"force". Cordon alone changes nothing. Exit code 3: --wait and --timeout have passed, and the node is not drained yet.`,
    )
    .action(drain);
}
