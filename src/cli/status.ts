// cli: waggle status: one picture of clusters, nodes, sessions and Services, and what is not as it should be.
import { Command } from "commander";
import type { Condition, KubernetesObject, NodeNetwork, Service } from "../api/index.ts";
import { loadBalancerClass } from "../api/index.ts";
import { kinds } from "../kube/index.ts";
import { askEach, type ChosenCluster, type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import { exitCode, outputOption, painter, printJson, table } from "./output.ts";

interface Problem {
  readonly object: string;
  readonly reason: string;
  readonly message: string;
}

interface NodeRow {
  readonly name: string;
  readonly ready: string;
  readonly sessions: string;
  readonly announced: number;
  readonly learned: number;
  readonly drain: string;
  readonly blocks: readonly string[];
}

interface RollOutRow {
  readonly object: string;
  readonly reason: string;
  readonly message: string;
}

interface Picture {
  readonly nodes: readonly NodeRow[];
  readonly services: readonly { readonly name: string; readonly addresses: readonly string[] }[];
  /** Changes on their way that are as they should be. */
  readonly rollouts: readonly RollOutRow[];
  readonly problems: readonly Problem[];
}

const conditionOf = (
  object: { readonly status?: { readonly conditions?: readonly Condition[] } },
  type: string,
) => object.status?.conditions?.find((c) => c.type === type);

/** Conditions whose False (or Unknown) is worth a line; those that are bad when True are listed apart. */
const badWhenTrue = new Set(["TagMissing", "Overlap", "Paused", "PlanHeld"]);

type WithConditions = KubernetesObject & {
  readonly status?: { readonly conditions?: readonly Condition[] };
};

/** A change on its way; where it has stopped, that is a problem. */
const isOnItsWay = (c: Condition): boolean =>
  c.type === "RolledOut" && c.status === "False" && (c.reason === "Progressing" || c.reason === "Soaking");

const rolloutsOf = (objects: readonly WithConditions[]): RollOutRow[] =>
  objects.flatMap((object) =>
    (object.status?.conditions ?? []).filter(isOnItsWay).map(({ reason, message }) => ({
      object: `${object.kind}/${object.metadata.name}`,
      reason,
      message,
    })),
  );

function problemsOf(objects: readonly WithConditions[]): Problem[] {
  return objects.flatMap((object) =>
    (object.status?.conditions ?? [])
      .filter((c) => !isOnItsWay(c))
      .filter((c) => (badWhenTrue.has(c.type) ? c.status === "True" : c.status !== "True"))
      .map((c) => ({
        object: `${object.kind}/${object.metadata.name}`,
        reason: `${c.type}: ${c.reason}`,
        message: c.message,
      })),
  );
}

const owned = (service: Service): boolean =>
  service.spec.type === "LoadBalancer" &&
  [undefined, loadBalancerClass].includes(service.spec.loadBalancerClass);

function nodeRow(network: NodeNetwork): NodeRow {
  const sessions = network.status?.sessions ?? [];
  const up = sessions.filter((s) => s.state === "Established").length;
  return {
    name: network.metadata.name,
    ready: conditionOf(network, "Ready")?.status ?? "Unknown",
    sessions: `${up}/${sessions.length}`,
    announced: network.status?.announced?.filter((a) => a.state === "Announced").length ?? 0,
    learned: network.status?.routes?.learned ?? 0,
    drain: network.status?.drain?.phase ?? "None",
    blocks: (network.spec.podBlocks ?? []).map((b) => b.prefix),
  };
}

async function pictureOf({ client }: ChosenCluster): Promise<Picture> {
  const [networks, nodes, services, ...configuration] = await Promise.all([
    client.list(kinds.NodeNetwork),
    client.list(kinds.Node),
    client.list(kinds.Service),
    client.list(kinds.ClusterNetwork),
    client.list(kinds.IPPool),
    client.list(kinds.BGPPeer),
    client.list(kinds.BGPPolicy),
    client.list(kinds.BGPAdvertisement),
    client.list(kinds.ClusterPeering),
  ]);
  const balanced = services.items.filter(owned);
  const known = new Set(networks.items.map((n) => n.metadata.name));
  return {
    nodes: networks.items.map(nodeRow),
    services: balanced.map((s) => ({
      name: `${s.metadata.namespace}/${s.metadata.name}`,
      addresses: (s.status?.loadBalancer?.ingress ?? []).flatMap((i) => (i.ip ? [i.ip] : [])),
    })),
    rollouts: configuration.flatMap((list) => rolloutsOf(list.items)),
    problems: [
      ...nodes.items
        .filter((n) => !known.has(n.metadata.name))
        .map((n) => ({
          object: `Node/${n.metadata.name}`,
          reason: "NoNodeNetwork",
          message: "no rule of the ClusterNetwork matches it, or the operator has not come to it",
        })),
      ...networks.items
        .filter((n) => n.status === undefined)
        .map((n) => ({
          object: `NodeNetwork/${n.metadata.name}`,
          reason: "NoReport",
          message: "its agent has not reported",
        })),
      ...problemsOf(networks.items),
      ...configuration.flatMap((list) => problemsOf(list.items)),
      ...problemsOf(balanced),
    ],
  };
}

export function command(): Command {
  return clusterOptions(new Command("status"))
    .description(
      "clusters, nodes, sessions and addresses in one picture; what is not as it should be comes last",
    )
    .addOption(outputOption())
    .action(async (flags: ClusterFlags & { output: "table" | "json" }) => {
      await withClusters(flags, async (clusters) => {
        const { answers, failed } = await askEach(clusters, pictureOf);
        if (flags.output === "json") printJson(Object.fromEntries(answers.map((a) => [a.cluster, a.answer])));
        else for (const { cluster, answer } of answers) print(cluster, answer);
        const problems = answers.some((a) => a.answer.problems.length > 0);
        process.exitCode =
          failed > 0
            ? answers.length > 0
              ? exitCode.partial
              : exitCode.failed
            : problems
              ? exitCode.failed
              : exitCode.ok;
      });
    });
}

function print(cluster: string, picture: Picture): void {
  const paint = painter(process.stdout);
  process.stdout.write(`${paint("bold", cluster)}\n`);
  process.stdout.write(
    table(
      picture.nodes,
      [
        { title: "node", value: (r) => r.name },
        { title: "ready", value: (r) => r.ready },
        { title: "sessions", value: (r) => r.sessions },
        { title: "announced", value: (r) => r.announced, align: "right" },
        { title: "learned", value: (r) => r.learned, align: "right" },
        { title: "drain", value: (r) => r.drain },
        { title: "pod blocks", value: (r) => r.blocks.join(" ") || undefined },
      ],
      paint,
    ),
  );
  for (const service of picture.services)
    process.stdout.write(`Service ${service.name}: ${service.addresses.join(" ") || "no address"}\n`);
  for (const { object, reason, message } of picture.rollouts)
    process.stdout.write(`${paint("yellow", object)}: roll-out ${reason}: ${message}\n`);
  for (const problem of picture.problems)
    process.stdout.write(`${paint("red", problem.object)}: ${problem.reason}: ${problem.message}\n`);
  if (picture.problems.length === 0) process.stdout.write(`${paint("green", "nothing to complain of")}\n`);
  process.stdout.write("\n");
}
