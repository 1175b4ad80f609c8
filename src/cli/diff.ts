// cli: waggle diff: what each neighbour would hear differently if manifests were applied. Nothing is applied.
import { Command, Option } from "commander";
import type { KubernetesObject, NodeNetwork } from "../api/index.ts";
import type { NodeDifference, RouteDifference } from "../plan/index.ts";
import { type AgainstFlags, type Gathered, gather, type Source, sources } from "./against.ts";
import { type ChosenCluster, type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import { type Manifest, pathOf, readManifests } from "./documents.ts";
import { routeText } from "./explain.ts";
import {
  CliError,
  type OutputFormat,
  outputOption,
  type Painter,
  painter,
  parseDuration,
  printJson,
  usageError,
} from "./output.ts";

interface Flags extends ClusterFlags, Partial<AgainstFlags> {
  readonly for: number;
  readonly birdc: string;
  readonly mrt?: string;
  readonly filename?: readonly string[];
  readonly delete?: readonly string[];
  readonly namespace: string;
  readonly serverSide?: boolean;
  readonly fieldManager: string;
  readonly forceConflicts?: boolean;
  readonly node?: readonly string[];
  readonly peer?: readonly string[];
  readonly output: OutputFormat;
}

/** As kubectl diff has them: 0 no difference, 1 differences, above 1 an error. */
export const diffExit = { same: 0, differs: 1, failed: 2 } as const;

const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

const nameOf = ({ kind, metadata }: KubernetesObject): string =>
  `${kind}/${metadata.namespace ? `${metadata.namespace}/` : ""}${metadata.name}`;

interface RefusedField {
  readonly field?: string;
  readonly message?: string;
}

/** What the API server has against an object, a line for each field that it names. */
function refusalText({ object, source, at }: Manifest, error: Error): string {
  const causes = (error as { causes?: readonly RefusedField[] }).causes ?? [];
  // A server that has not come to its rules says so of no field at all.
  const named = causes.filter((c) => c.field && c.field !== "<nil>");
  if (named.length === 0) return `${source.place(at)}: ${nameOf(object)}: ${error.message}`;
  return named
    .map((c) => {
      const field = c.field!;
      return `${source.place([...at, ...pathOf(field)])}: ${nameOf(object)}: ${field}: ${c.message}`;
    })
    .join("\n");
}

interface Outcome {
  readonly nodes: readonly NodeDifference[];
  /** Objects that no plan depends on. */
  readonly ignored: readonly string[];
  /** What has to be known to read it. */
  readonly notes: readonly string[];
}

/** What a guard holds already goes out as only its agent remembers. */
const heldNotes = (networks: readonly NodeNetwork[], names: ReadonlySet<string>): readonly string[] =>
  networks.flatMap(({ metadata, status }) =>
    status?.heldPlan && names.has(metadata.name)
      ? [
          `${metadata.name}: the withdraw guard holds ${(status.heldPlan.withdraws ?? []).slice(0, 8).join(", ")} now: they go out as before, whatever stands here, until that is approved (${status.heldPlan.hash}) or nothing withdraws them any more`,
        ]
      : [],
  );

async function differencesIn({ client }: ChosenCluster, flags: Flags): Promise<Outcome> {
  const { deletion, dryRun, withChanges } = await import("../agent/edit.ts");
  const { liveNode, nodesOf, readCluster } = await import("../agent/live.ts");
  const { difference } = await import("../plan/index.ts");
  const live = await readCluster(client);
  const changes = [];
  const ignored: string[] = [];
  const refused: string[] = [];
  for (const manifest of readManifests(flags.filename ?? [])) {
    try {
      const change = await dryRun(client, manifest.object, {
        namespace: flags.namespace,
        ...(flags.serverSide && {
          serverSide: { manager: flags.fieldManager, force: flags.forceConflicts ?? false },
        }),
      });
      if (change) changes.push(change);
      else ignored.push(nameOf(manifest.object));
    } catch (error) {
      refused.push(refusalText(manifest, error as Error));
    }
  }
  if (refused.length > 0) throw new CliError(`the API server refuses\n${refused.join("\n")}`);
  for (const text of flags.delete ?? []) {
    const change = deletion(live, text);
    if (!change)
      throw new CliError(`--delete ${text}: there is no such object, or no plan depends on its kind`, {
        hint: "write kind/name or kind/namespace/name, as in BGPAdvertisement/all",
      });
    changes.push(change);
  }
  const edited = withChanges(live, changes);
  const now = Date.now();
  // A node that the change would make is not there before it, and the other way round.
  const names = new Set([...nodesOf(live, flags.node), ...nodesOf(edited, flags.node)]);
  const missing = flags.node?.filter((n) => !names.has(n)) ?? [];
  if (missing.length > 0) throw usageError(`no node ${missing.join(", ")}`, "waggle status lists the nodes");
  const nodes = [...names].sort().map((name) => {
    const { snapshot, inputs, facts } = liveNode(live, name, now);
    const after = liveNode(edited, name, now).snapshot;
    return difference({ node: name, before: snapshot, after, inputs, localAddress: facts.localAddress });
  });
  return {
    nodes: nodes.map((n) => onlyPeers(n, flags.peer)),
    ignored,
    notes: heldNotes(live.networks, names),
  };
}

/** What neighbours hear today, node by node, beside what Waggle would tell them. */
async function differencesToday(
  { client }: ChosenCluster,
  flags: Flags,
  source: Source,
  gathered: readonly Gathered[],
): Promise<Outcome> {
  const { liveNode, nodesOf, readCluster } = await import("../agent/live.ts");
  const { addressesOf, addressText, against } = await import("../plan/index.ts");
  const live = await readCluster(client);
  const names = nodesOf(live, flags.node);
  const missing = flags.node?.filter((n) => !names.includes(n)) ?? [];
  if (missing.length > 0) throw usageError(`no node ${missing.join(", ")}`, "waggle status lists the nodes");
  if (names.length !== 1 && gathered.some((g) => g.from === undefined))
    throw usageError(
      "this is what one node tells its neighbours, and the cluster has several",
      "name the node with --node",
    );
  const now = Date.now();
  const claimed = new Set<Gathered>();
  const nodes = names.flatMap((name) => {
    const { snapshot, inputs, facts } = liveNode(live, name, now);
    const own = addressesOf(snapshot.nodes.find((n) => n.metadata.name === name)).map(addressText);
    const mine = gathered.filter((g) => g.from === undefined || own.includes(g.from));
    for (const g of mine) claimed.add(g);
    if (mine.length === 0) return [];
    const today = mine.map((g) => g.today);
    const fields = source === "birdc" ? ("policy" as const) : ("sent" as const);
    return [against({ node: name, snapshot, inputs, localAddress: facts.localAddress, today, fields })];
  });
  const strangers = gathered.filter((g) => !claimed.has(g)).flatMap((g) => g.from ?? []);
  if (strangers.length > 0 && !flags.node)
    process.stderr.write(
      `not of a node of this cluster, and left out: ${[...new Set(strangers)].join(", ")}\n`,
    );
  if (nodes.length === 0) throw new CliError("nothing of what was heard is from a node of this cluster");
  return { nodes: nodes.map((n) => onlyPeers(n, flags.peer)), ignored: [], notes: [] };
}

const onlyPeers = (n: NodeDifference, peers: readonly string[] | undefined): NodeDifference =>
  peers
    ? {
        ...n,
        routes: n.routes.filter((r) => peers.includes(r.peer)),
        peers: n.peers.filter((p) => peers.includes(p.peer)),
      }
    : n;

const waits = {
  Proof: "once it is proven",
  Approval: "once the withdraw guard's hold is approved",
  RollOut: "once the roll-out has come to the node",
} as const;

function routeLines(r: RouteDifference, paint: Painter): readonly string[] {
  const when = r.waitsFor.map((w) => `, ${waits[w]}`).join("");
  return [
    ...(r.before ? [paint("red", `  - ${r.prefix}  ${routeText(r.before)}`)] : []),
    ...(r.after ? [paint("green", `  + ${r.prefix}  ${routeText(r.after)}`)] : []),
    ...(r.meanwhile ? [paint("green", `  + ${r.prefix}  ${routeText(r.meanwhile)}  until then`)] : []),
    paint("dim", `      ${r.why.message}${when}`),
  ];
}

function print(nodes: readonly NodeDifference[]): void {
  const paint = painter(process.stdout);
  const out: string[] = [];
  for (const { node, routes, peers, turn } of nodes) {
    const step = turn === undefined ? "" : paint("dim", `  (roll-out step ${turn})`);
    for (const { peer, change, fields, restarts } of peers) {
      const what = change === "Changed" ? `${fields.join(", ")} changed` : change.toLowerCase();
      out.push(
        `${paint("bold", `${node} -> ${peer}`)}: neighbour ${what}${restarts ? "; the session is made anew" : ""}`,
      );
    }
    for (const peer of new Set(routes.map((r) => r.peer))) {
      out.push(`${paint("bold", `${node} -> ${peer}`)}${step}`);
      out.push(...routes.filter((r) => r.peer === peer).flatMap((r) => routeLines(r, paint)));
    }
  }
  if (out.length > 0) process.stdout.write(`${out.join("\n")}\n`);
}

async function diff(flags: Flags): Promise<void> {
  const source = flags.against;
  if (source && (flags.filename || flags.delete))
    throw usageError("--against compares with today's speaker, -f and --delete with an edit: one at a time");
  const gathered =
    source &&
    (await gather({ ...flags, against: source, ...(flags.mrt !== undefined && { file: flags.mrt }) }));
  if (!source && !flags.filename && !flags.delete)
    throw usageError(
      "there is nothing to compare with",
      "name manifests with -f, or an object with --delete",
    );
  const { nodes, ignored, notes } = await withClusters(flags, async (clusters) => {
    if (clusters.length > 1)
      throw usageError(
        `manifests are for one cluster, and ${clusters.map((c) => c.name).join(" and ")} are named`,
        "name one with --context or --kubeconfig",
      );
    return source
      ? differencesToday(clusters[0]!, flags, source, gathered ?? [])
      : differencesIn(clusters[0]!, flags);
  });
  for (const note of notes) process.stderr.write(`${note}\n`);
  for (const name of ignored) process.stderr.write(`${name}: no route depends on it\n`);
  const changed = nodes.filter((n) => n.routes.length + n.peers.length > 0);
  if (flags.output === "json")
    printJson(nodes.filter((n) => n.routes.length + n.peers.length + n.problems.length > 0));
  else print(changed);
  const problems = nodes.flatMap((n) =>
    n.problems.map(
      (p) =>
        `${n.node}: ${p.object}: ${p.path} ${p.message}${p.lastGoodInForce ? " (its last good configuration stays in force)" : ""}`,
    ),
  );
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  process.exitCode =
    problems.length > 0 ? diffExit.failed : changed.length > 0 ? diffExit.differs : diffExit.same;
}

/** Every failure is above 1: 1 says that there are differences. */
async function diffOrFail(flags: Flags): Promise<void> {
  try {
    await diff(flags);
  } catch (error) {
    const { message, hint } = error as CliError;
    throw new CliError(message, { exitCode: diffExit.failed, cause: error, ...(hint && { hint }) });
  }
}

export function command(): Command {
  return clusterOptions(new Command("diff"))
    .description(
      "what each neighbour would hear differently if manifests were applied, from live state; nothing is applied",
    )
    .option("-f, --filename <file>", "manifests; - is standard input; repeat for several", collect)
    .option("--delete <kind/name>", "as if this object were deleted; repeat for several", collect)
    .option("-n, --namespace <namespace>", "of manifests that name none", "default")
    .option("--server-side", "as kubectl apply --server-side would do it, not as kubectl apply")
    .option("--field-manager <name>", "with --server-side, who applies", "kubectl")
    .option("--force-conflicts", "with --server-side, take fields over from other managers")
    .option("--node <name>", "only this node; repeat for several", collect)
    .option("--peer <name>", "only this BGPPeer; repeat for several", collect)
    .addOption(
      new Option(
        "--against <source>",
        "instead of an edit: what today's speaker announces (-) and Waggle would not, and the reverse (+)",
      ).choices(sources),
    )
    .option("--birdc <program>", "with --against birdc: where it is", "birdc")
    .option("--bird-socket <path>", "with --against birdc: BIRD's control socket")
    .option("--listen <address:port>", "with --against bmp: where routers connect to")
    .option("--for <duration>", "with --against bmp: how long to listen", parseDuration, 10_000)
    .option("--mrt <file>", "with --against mrt: the dump, of a neighbour or of today's speaker")
    .option("--neighbor <address>", "whose table a dump or a router's BMP is: the BGPPeer's address")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
The API server validates the manifests (dry run), each node's plan is made twice, before and after, and the speaker's own
export says what would be sent. Addresses that the operator would only then allocate are not foretold.
Exit codes, as kubectl diff has them: 0 no difference, 1 differences, above 1 an error.`,
    )
    .action(diffOrFail);
}
