// cli: waggle bgp explain: for each node and each neighbour, whether it hears a prefix or a Service, and why.
import { Command } from "commander";
import type { Explanation, HeardRoute, PeerExplanation, Question, Verdict } from "../plan/index.ts";
import { askEach, type ChosenCluster, type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import {
  CliError,
  exitCode,
  type OutputFormat,
  outputOption,
  type Painter,
  painter,
  printJson,
  usageError,
} from "./output.ts";

interface Flags extends ClusterFlags {
  readonly node?: readonly string[];
  readonly peer?: readonly string[];
  readonly output: OutputFormat;
}

interface Answer {
  readonly explanations: readonly Explanation[];
  /** Nodes that were looked at. */
  readonly nodes: readonly string[];
  /** Why there is nothing to explain; absent where there is. */
  readonly nothing?: Verdict;
}

const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

async function explainIn({ client }: ChosenCluster, question: Question, flags: Flags): Promise<Answer> {
  const { foretold, liveNode, nodesOf, readCluster } = await import("../agent/live.ts");
  const { explain, nothingRemembered, whyNothing } = await import("../plan/index.ts");
  const { snapshotOf } = await import("../agent/snapshot.ts");
  const live = await readCluster(client);
  const now = Date.now();
  const nodes = nodesOf(live, flags.node);
  const explanations = nodes.flatMap((name) => {
    const node = liveNode(live, name, now);
    return explain(foretold(node), node.facts, question).map((e) => ({
      ...e,
      peers: e.peers.filter((p) => !flags.peer || flags.peer.includes(p.peer)),
    }));
  });
  if (explanations.length > 0) return { explanations, nodes };
  return {
    explanations,
    nodes,
    nothing: whyNothing(snapshotOf(live.uid, live.objects, undefined, nothingRemembered), question),
  };
}

/** `AS path 64601, next hop 172.30.1.11, MED 7, communities 64601:1:2`: a route for people. */
export function routeText(route: HeardRoute): string {
  const communities = [...route.communities, ...route.largeCommunities, ...(route.extendedCommunities ?? [])];
  return [
    `AS path ${route.asPath.join(" ") || "empty"}`,
    ...(route.nextHop ? [`next hop ${route.nextHop}`] : []),
    ...(route.med !== undefined ? [`MED ${route.med}`] : []),
    ...(route.localPreference !== undefined ? [`local preference ${route.localPreference}`] : []),
    ...(communities.length > 0 ? [`communities ${communities.join(" ")}`] : []),
  ].join(", ");
}

const subjectOf = (e: Explanation): string =>
  e.kind === "Pods"
    ? `pod block of Node ${e.owner.name}${e.pool ? `, from IPPool ${e.pool}` : ""}`
    : `${e.pool ? `VIP from IPPool ${e.pool}` : "address"} of Service ${e.owner.namespace}/${e.owner.name}${e.sharedBy ? `, shared by ${e.sharedBy.join(", ")}` : ""}`;

function peerLines(p: PeerExplanation, width: number, paint: Painter): readonly string[] {
  const verdict = p.hears ? paint("green", "hears it       ") : paint("yellow", "does not hear it");
  const head = `    ${p.peer.padEnd(width)}  ${verdict}  ${p.why.message}`;
  if (!p.route) return [head];
  const lead = p.hears ? "" : "would hear ";
  return [head, `    ${" ".repeat(width)}  ${lead}${routeText(p.route)}`];
}

/** One prefix on one node. */
function lines(e: Explanation, paint: Painter): readonly string[] {
  const width = Math.max(0, ...e.peers.map((p) => p.peer.length));
  return [
    `  ${paint("bold", e.node)}  ${e.state}: ${e.why.message}`,
    ...(e.proof ? [`    proof ${e.proof.state}: ${e.proof.reason}`] : []),
    ...e.peers.flatMap((p) => peerLines(p, width, paint)),
    ...e.refusals.map((r) => `    ${r.object} does not ask for it: ${r.reason.message}`),
    ...(e.rollouts ?? []).map((r) =>
      paint(
        "yellow",
        `    ${r.object}: its change (generation ${r.target}) is being rolled out and has not come to ${r.step}; ${r.inForce === 0 ? "nothing of it" : `generation ${r.inForce}`} is in force here`,
      ),
    ),
    ...(e.agrees === false
      ? [
          paint(
            "red",
            `    the agent reports ${e.reported ? `${e.reported.state}${e.reported.reason ? `: ${e.reported.reason}` : ""}` : "nothing of it"}; it has not come to this yet, or something older is in force`,
          ),
        ]
      : []),
  ];
}

function print(answers: readonly { readonly cluster: string; readonly answer: Answer }[]): void {
  const paint = painter(process.stdout);
  for (const { cluster, answer } of answers) {
    const subjects = new Map<string, Explanation[]>();
    for (const e of answer.explanations) {
      const key = `${e.prefix ?? "no address"}: ${subjectOf(e)}`;
      subjects.set(key, [...(subjects.get(key) ?? []), e]);
    }
    for (const [subject, list] of subjects) {
      const where = answers.length > 1 ? ` in ${cluster}` : "";
      process.stdout.write(`${paint("bold", subject)}${where}\n`);
      process.stdout.write(`${list.flatMap((e) => lines(e, paint)).join("\n")}\n`);
    }
  }
}

async function explainCommand(text: string, flags: Flags): Promise<void> {
  const { questionOf } = await import("../plan/index.ts");
  const question = questionOf(text);
  if (!question)
    throw usageError(
      `${JSON.stringify(text)} is no prefix, address or namespace/service`,
      "write 10.101.0.5, 10.1.0.0/26 or default/web",
    );
  await withClusters(flags, async (clusters) => {
    const { answers, failed } = await askEach(clusters, (c) => explainIn(c, question, flags));
    const missing = flags.node?.filter((n) => !answers.some((a) => a.answer.nodes.includes(n))) ?? [];
    if (failed === 0 && missing.length > 0)
      throw usageError(
        `no node ${missing.join(", ")} in ${answers.map((a) => a.cluster).join(", ")}`,
        "waggle status lists the nodes",
      );
    const found = answers.filter((a) => a.answer.explanations.length > 0);
    if (flags.output === "json")
      printJson(found.flatMap((a) => a.answer.explanations.map((e) => ({ cluster: a.cluster, ...e }))));
    else print(found);
    if (failed > 0) process.exitCode = answers.length > 0 ? exitCode.partial : exitCode.failed;
    else if (found.length === 0)
      throw new CliError(
        `${text}: ${answers.map((a) => `${a.cluster}: ${a.answer.nothing?.message}`).join("; ")}`,
      );
  });
}

/** `waggle bgp explain`. */
export function explain(): Command {
  return clusterOptions(new Command("explain"))
    .argument("<prefix|namespace/service>", "a prefix, an address or a Service")
    .description(
      "for each node and each neighbour, whether it hears the prefix and why: claim, endpoints, advertisement, proof, export policy, session",
    )
    .option("--node <name>", "only this node; repeat for several", collect)
    .option("--peer <name>", "only this BGPPeer; repeat for several", collect)
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
It asks the API server with your own credentials, makes the plan that each node's agent makes, and asks the speaker's own
export what would be sent. Where the agent reports something else, that is said. Exit code 1: nothing has that address.`,
    )
    .action(explainCommand);
}
