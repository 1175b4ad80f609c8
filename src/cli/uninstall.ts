// cli: waggle uninstall --withdraw: the deliberate way out: every node lets go of everything, in the order of a drain.
import { Command, Option } from "commander";
import { type ClusterNetwork, isPaused, type KubernetesObject, withdrawAnnotation } from "../api/index.ts";
import { isNotFound, type KubeApi, kinds } from "../kube/index.ts";
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
  table,
  usageError,
} from "./output.ts";

interface Flags extends ClusterFlags {
  readonly withdraw?: boolean;
  readonly undo?: boolean;
  readonly yes?: boolean;
  readonly timeout: number;
  readonly output: OutputFormat;
}

/** How far a node is. */
interface NodeState {
  readonly node: string;
  readonly phase: string;
  readonly announced: number;
  readonly message: string;
}

interface Outcome {
  readonly cluster: string;
  readonly done: boolean;
  readonly nodes: readonly NodeState[];
}

/** The ClusterNetwork. @throws CliError where there is none: then nothing says what the nodes are to let go of */
async function networkOf(api: KubeApi, cluster: string): Promise<ClusterNetwork> {
  try {
    return await api.get(kinds.ClusterNetwork, "default");
  } catch (error) {
    if (!isNotFound(error)) throw error;
    throw new CliError(`${cluster} has no ClusterNetwork: Waggle does nothing in it`, { cause: error });
  }
}

const nameOf = (o: KubernetesObject): string => `${o.kind.toLowerCase()}/${o.metadata.name}`;

/** What is paused would stay in force. */
async function refuseIfPaused(api: KubeApi, network: ClusterNetwork): Promise<void> {
  const { items: nodes } = await api.list(kinds.Node);
  const paused = [network, ...nodes].filter(isPaused).map(nameOf);
  if (paused.length > 0)
    throw new CliError(`${paused.join(", ")} is paused: what is in force there would stay`, {
      hint: `take the annotation away first: kubectl annotate ${paused[0]} waggle.dev/paused-`,
    });
}

async function annotate(api: KubeApi, value: string | null): Promise<void> {
  await api.patch(
    kinds.ClusterNetwork,
    "default",
    "merge",
    { metadata: { annotations: { [withdrawAnnotation]: value } } },
    { fieldManager: "waggle-uninstall" },
  );
}

async function statesOf(api: KubeApi): Promise<readonly NodeState[]> {
  const [{ items: networks }, { items: nodes }] = await Promise.all([
    api.list(kinds.NodeNetwork),
    api.list(kinds.Node),
  ]);
  const there = new Set(nodes.map((n) => n.metadata.name));
  return networks
    .filter((n) => there.has(n.metadata.name))
    .map(({ metadata, status }) => ({
      node: metadata.name,
      phase: status?.drain?.phase ?? "None",
      announced: (status?.announced ?? []).filter((a) => a.state !== "Withdrawn").length,
      message: status?.drain?.message ?? "",
    }));
}

const isDone =
  (undo: boolean) =>
  (n: NodeState): boolean =>
    undo ? n.phase === "None" : n.phase === "Released";

async function follow(
  { name, client }: ChosenCluster,
  undo: boolean,
  timeout: number,
  progress: Progress,
): Promise<Outcome> {
  const begun = performance.now();
  for (;;) {
    const nodes = await statesOf(client);
    const left = nodes.filter((n) => !isDone(undo)(n));
    if (left.length === 0) return { cluster: name, done: true, nodes };
    const [first] = left;
    progress.now(
      `${formatDuration(performance.now() - begun)}  ${nodes.length - left.length} of ${nodes.length} nodes; ${first!.node}: ${first!.phase}${first!.message ? `: ${first!.message}` : ""}`,
    );
    if (performance.now() - begun >= timeout) return { cluster: name, done: false, nodes };
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** What follows, for people. */
const whatIsLeft = `Nothing is announced any more. What is left, in this order:
  waggle agent cleanup --node NODE    on each node, after its agent has stopped: programs, maps, kernel routes, CNI configuration
  helm uninstall waggle               or whatever has installed agents, speakers and operator
  kubectl get crd -o name | grep '[.]waggle[.]dev$' | xargs kubectl delete    every object of ours goes with its definition`;

async function uninstall(flags: Flags): Promise<void> {
  if (!flags.withdraw)
    throw usageError(
      "say what is meant",
      "waggle uninstall --withdraw makes every node of a cluster let go of all it announces; --undo takes it back",
    );
  const undo = flags.undo ?? false;
  const outcome = await withClusters(flags, async (clusters) => {
    if (clusters.length > 1)
      throw usageError(
        `${clusters.map((c) => c.name).join(" and ")} are named; one at a time is uninstalled`,
        "name one with --context or --kubeconfig",
      );
    const cluster = clusters[0]!;
    const { client } = cluster;
    const network = await networkOf(client, cluster.name);
    const { clusterName } = network.spec;
    if (!undo) {
      await refuseIfPaused(client, network);
      const states = await statesOf(client);
      const announced = states.reduce((sum, n) => sum + n.announced, 0);
      if (!flags.yes)
        throw usageError(
          `${states.length} nodes of ${clusterName} would withdraw ${announced} routes; nothing has been done`,
          `say so: waggle uninstall --withdraw --yes${flags.context ? ` --context ${flags.context.join(" ")}` : ""}`,
        );
    }
    using progress = new Progress(process.stderr, flags.output === "json");
    await annotate(client, undo ? null : clusterName);
    return follow(cluster, undo, flags.timeout, progress);
  });
  if (flags.output === "json") printJson(outcome);
  else {
    process.stdout.write(
      table(outcome.nodes, [
        { title: "node", value: (n) => n.node },
        { title: "drain", value: (n) => n.phase },
        { title: "announced", value: (n) => n.announced, align: "right" },
        { title: "why", value: (n) => n.message || undefined },
      ]),
    );
    if (outcome.done)
      process.stdout.write(`${undo ? "Every node announces again as it is asked to." : whatIsLeft}\n`);
  }
  if (!outcome.done) process.exitCode = exitCode.partial;
}

export function command(): Command {
  return clusterOptions(new Command("uninstall"))
    .description("the deliberate way out of a cluster: its nodes let go of everything they announce")
    .option("--withdraw", "de-prefer, withdraw, wait for the neighbours and unprogram, on every node at once")
    .option("--yes", "do it; without it only what would be withdrawn is said")
    .option("--undo", "with --withdraw, take it back")
    .addOption(
      new Option("--timeout <duration>", "how long to wait for the nodes")
        .argParser(parseDuration)
        .default(120_000, "120s"),
    )
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
It puts annotation ${withdrawAnnotation}=<clusterName> on the ClusterNetwork: a drain of every node that also withdraws what no other
node announces. The withdraw guard does not hold it. Deleting objects, definitions or the chart instead withdraws
nothing by itself: nodes keep what is in force. Exit code 3: the time has passed and some node is not done.`,
    )
    .action(uninstall);
}
