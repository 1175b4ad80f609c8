// cli: waggle rollout: changes on their way from node to node: how far they are, going on after a stop, and going back.
import { Command } from "commander";
import { approveAnnotation, type BGPAdvertisement, type BGPPolicy, type Condition } from "../api/index.ts";
import { isNotFound, kinds, mergePatch, type Resource } from "../kube/index.ts";
import { askEach, type ChosenCluster, type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import {
  CliError,
  exitCode,
  type OutputFormat,
  outputOption,
  painter,
  printJson,
  table,
  usageError,
} from "./output.ts";

interface Flags extends ClusterFlags {
  readonly output: OutputFormat;
}

type Staged = BGPPolicy | BGPAdvertisement;

/** One object whose changes go in steps. */
interface Row {
  readonly object: string;
  readonly phase: string;
  /** Absent where nothing is on its way. */
  readonly from?: number;
  readonly to: number;
  readonly reached: readonly string[];
  readonly nodes: number;
  readonly taken: number;
  readonly failing: number;
  readonly message: string;
}

const conditionOf = (o: Staged): Condition | undefined =>
  (o.status?.conditions as readonly Condition[] | undefined)?.find((c) => c.type === "RolledOut");

function rowOf(o: Staged): readonly Row[] {
  const r = o.status?.rollout;
  if (!r) return [];
  const active = r.target !== undefined;
  return [
    {
      object: `${o.kind}/${o.metadata.name}`,
      phase: r.phase ?? "",
      ...(active && { from: r.generation ?? 0 }),
      to: r.target ?? r.generation ?? 0,
      reached: r.reached ?? [],
      nodes: r.nodes ?? 0,
      taken: r.taken ?? 0,
      failing: r.failing ?? 0,
      message: conditionOf(o)?.message ?? "",
    },
  ];
}

async function rowsIn({ client }: ChosenCluster): Promise<readonly Row[]> {
  const [policies, advertisements] = await Promise.all([
    client.list(kinds.BGPPolicy),
    client.list(kinds.BGPAdvertisement),
  ]);
  return [...policies.items, ...advertisements.items].flatMap(rowOf);
}

async function statusCommand(flags: Flags): Promise<void> {
  await withClusters(flags, async (clusters) => {
    const { answers, failed } = await askEach(clusters, rowsIn);
    const rows = answers.flatMap((a) => a.answer.map((r) => ({ cluster: a.cluster, ...r })));
    if (flags.output === "json") printJson(rows);
    else {
      const paint = painter(process.stdout);
      const columns = [
        { title: "object", value: (r: (typeof rows)[number]) => r.object },
        { title: "phase", value: (r: (typeof rows)[number]) => r.phase },
        {
          title: "generation",
          value: (r: (typeof rows)[number]) => (r.from === undefined ? `${r.to}` : `${r.from} -> ${r.to}`),
        },
        {
          title: "nodes",
          value: (r: (typeof rows)[number]) => (r.from === undefined ? undefined : `${r.taken}/${r.nodes}`),
        },
        { title: "what", value: (r: (typeof rows)[number]) => r.message },
      ];
      if (clusters.length > 1)
        columns.unshift({ title: "cluster", value: (r: (typeof rows)[number]) => r.cluster });
      if (rows.length === 0)
        process.stderr.write("no change goes in steps: see spec.rollout of the ClusterNetwork\n");
      else process.stdout.write(table(rows, columns, paint));
    }
    if (failed > 0) process.exitCode = answers.length > 0 ? exitCode.partial : exitCode.failed;
    else if (rows.some((r) => r.phase === "Stopped")) process.exitCode = exitCode.failed;
  });
}

/** The object behind `BGPPolicy/name`, in any case and by its short name, too. @throws CliError */
async function find(clusters: readonly ChosenCluster[], text: string) {
  const [kind = "", name = "", ...rest] = text.split("/");
  const known: Readonly<Record<string, Resource>> = {
    bgppolicy: kinds.BGPPolicy,
    bgppol: kinds.BGPPolicy,
    bgpadvertisement: kinds.BGPAdvertisement,
    bgpadv: kinds.BGPAdvertisement,
  };
  const wanted = known[kind.toLowerCase()];
  if (!wanted || name === "" || rest.length > 0)
    throw usageError(`${text} is no BGPPolicy/NAME or BGPAdvertisement/NAME`, "waggle rollout lists them");
  if (clusters.length !== 1)
    throw usageError(
      `${clusters.map((c) => c.name).join(" and ")} are named`,
      "name one cluster with --context or --kubeconfig",
    );
  const { client } = clusters[0]!;
  try {
    const object: Staged =
      wanted.kind === kinds.BGPPolicy.kind
        ? await client.get(kinds.BGPPolicy, name)
        : await client.get(kinds.BGPAdvertisement, name);
    return { client, resource: wanted, object };
  } catch (error) {
    if (isNotFound(error)) throw new CliError(`there is no ${wanted.kind} ${name}`);
    throw error;
  }
}

async function goOn(text: string, flags: Flags): Promise<void> {
  await withClusters(flags, async (clusters) => {
    const { client, resource, object } = await find(clusters, text);
    const approve = object.status?.rollout?.approve;
    if (approve === undefined)
      throw new CliError(`the roll-out of ${text} has not stopped`, {
        hint: "waggle rollout shows where it is",
      });
    const { resourceVersion } = object.metadata;
    const metadata = { resourceVersion, annotations: { [approveAnnotation]: approve } };
    await client.patch(
      resource,
      object.metadata.name,
      "merge",
      { metadata },
      { fieldManager: "waggle-rollout" },
    );
    process.stderr.write(`${text} goes on, in spite of: ${conditionOf(object)?.message ?? ""}\n`);
  });
}

async function undo(text: string, flags: Flags): Promise<void> {
  await withClusters(flags, async (clusters) => {
    const { client, resource, object } = await find(clusters, text);
    const r = object.status?.rollout;
    if (r?.target === undefined)
      throw new CliError(`no change of ${text} is on its way`, {
        hint: "what is in force everywhere is undone by applying what was there before",
      });
    if (!r.spec)
      throw new CliError(
        r.generation === 0
          ? `${text} is new: nothing was in force before it`
          : `the form of ${text} before is too long to be kept in its status`,
        { hint: r.generation === 0 ? "delete it" : "apply it again from where it is kept" },
      );
    const before = JSON.parse(r.spec) as Readonly<Record<string, unknown>>;
    const spec = mergePatch(object.spec as Readonly<Record<string, unknown>>, before);
    if (!spec) throw new CliError(`${text} is what it was before already`);
    const { resourceVersion } = object.metadata;
    await client.patch(
      resource,
      object.metadata.name,
      "merge",
      { metadata: { resourceVersion }, spec },
      { fieldManager: "waggle-rollout" },
    );
    process.stderr.write(
      `${text} has the spec of generation ${r.generation} again, on all nodes; put it back in your repository, too\n`,
    );
  });
}

export function command(): Command {
  const object = "<BGPPolicy/NAME | BGPAdvertisement/NAME>";
  const all = clusterOptions(new Command("rollout"))
    .description("changes of BGPPolicies and BGPAdvertisements on their way from node to node")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
ClusterNetwork spec.rollout says by which label of Nodes changes go, and how long each step is watched. Without it they are
everywhere at once. Exit code 1: one has stopped.`,
    )
    .action(statusCommand);
  all
    .command("continue")
    .argument(object)
    .description("goes on after a stop: the failing nodes are put up with")
    .action((text: string, _: unknown, c: Command) => goOn(text, c.optsWithGlobals()));
  all
    .command("undo")
    .argument(object)
    .description(
      "goes back: the spec from before the roll-out is written again, and is in force everywhere at once",
    )
    .action((text: string, _: unknown, c: Command) => undo(text, c.optsWithGlobals()));
  return all;
}
