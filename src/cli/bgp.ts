// cli: waggle bgp: neighbours and routes as speakers on this machine see them, asked over their unix sockets.
import { existsSync, readFileSync } from "node:fs";
import { Command } from "commander";
import {
  Family,
  type FromSpeaker,
  type LargeCommunity,
  LimitState,
  type Path,
  QueryKind,
  type QueryReply,
  type Route,
  type Session,
  SessionState,
} from "../api/generated/proto/speaker_pb.js";
import { SpeakerClient } from "../bgp/daemon/speaker-client.ts";
import { formatAddress, fromBytes, parsePrefix, toBytes } from "../net/address.ts";
import { addMonitoring } from "./bgp-monitoring.ts";
import { explain } from "./explain.ts";
import {
  CliError,
  type Column,
  exitCode,
  formatAge,
  outputOption,
  printJson,
  printRows,
  usageError,
} from "./output.ts";

export interface Flags {
  readonly socket?: readonly string[];
  readonly node?: readonly string[];
  readonly output: "table" | "json";
}

/** One speaker on this machine. */
export interface Target {
  readonly node: string;
  readonly path: string;
}

/** Where the chart puts a node's socket. */
const nodeSocket = "/run/waggle/bgpd.sock";
const labFile = "/run/waggle/lab/default/lab.json";

const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

function labTargets(): readonly Target[] {
  try {
    const lab = JSON.parse(readFileSync(labFile, "utf8")) as {
      clusters: { nodes: { name: string; directory: string }[] }[];
    };
    return lab.clusters.flatMap((c) =>
      c.nodes.map((n) => ({ node: n.name, path: `${n.directory}/bgpd.sock` })),
    );
  } catch (error) {
    if (["ENOENT", "EACCES"].includes((error as NodeJS.ErrnoException).code ?? "")) return [];
    throw error;
  }
}

/** The speakers on this machine: this node's, else all of the running lab. */
export const localSpeakers = (): readonly Target[] =>
  existsSync(nodeSocket) ? [{ node: "local", path: nodeSocket }] : labTargets();

/** The speakers that were named, else those on this machine. */
function targets(flags: Flags): readonly Target[] {
  if (flags.socket) return flags.socket.map((path) => ({ node: path, path }));
  const found = localSpeakers();
  const wanted = flags.node ? found.filter((t) => flags.node!.includes(t.node)) : found;
  if (wanted.length === 0)
    throw usageError(
      flags.node
        ? `no speaker of node ${flags.node.join(", ")} on this machine`
        : "no speaker on this machine",
      "give --socket PATH as in waggle bgpd --socket PATH, or start a lab: waggle lab up",
    );
  return wanted;
}

/** Asks every speaker; one that does not answer is named on stderr and makes the answer partial. */
export async function askAll<T>(
  flags: Flags,
  ask: (client: SpeakerClient, target: Target) => Promise<readonly T[]>,
): Promise<T[]> {
  const all = targets(flags);
  const failures: string[] = [];
  const answers = await Promise.all(
    all.map(async (target) => {
      try {
        const { client } = await SpeakerClient.open({ path: target.path });
        using _ = client;
        return await ask(client, target);
      } catch (error) {
        failures.push(`${target.node}: ${(error as Error).message}`);
        return [];
      }
    }),
  );
  for (const failure of failures) process.stderr.write(`waggle bgp: ${failure}\n`);
  if (failures.length === all.length) throw new CliError("no speaker answered");
  if (failures.length > 0) process.exitCode = exitCode.partial;
  return answers.flat();
}

const stateNames: Readonly<Record<SessionState, string>> = {
  [SessionState.SESSION_IDLE]: "Idle",
  [SessionState.SESSION_CONNECT]: "Connect",
  [SessionState.SESSION_ACTIVE]: "Active",
  [SessionState.SESSION_OPEN_SENT]: "OpenSent",
  [SessionState.SESSION_OPEN_CONFIRM]: "OpenConfirm",
  [SessionState.SESSION_ESTABLISHED]: "Established",
};
const limitNames: Readonly<Record<LimitState, "ok" | "near" | "over">> = {
  [LimitState.LIMIT_OK]: "ok",
  [LimitState.LIMIT_NEAR]: "near",
  [LimitState.LIMIT_OVER]: "over",
};
const familyNames: Readonly<Record<Family, string>> = {
  [Family.FAMILY_UNSPECIFIED]: "",
  [Family.IPV4_UNICAST]: "ipv4",
  [Family.IPV6_UNICAST]: "ipv6",
};

const familyName = (family: Family): string => familyNames[family];

export const addressText = (bytes: Uint8Array): string =>
  bytes.length === 0 ? "" : formatAddress(fromBytes(bytes));
/** An address with the interface that it belongs to where it is a link's; the interface alone where the address is not known yet. */
function linkText(bytes: Uint8Array, link: string): string {
  const text = addressText(bytes);
  if (link === "" || !(text === "::" || text.startsWith("fe80:"))) return text;
  return `${text === "::" ? "" : text}%${link}`;
}
const dotted = (id: number): string => formatAddress({ family: 4, hi: 0n, lo: BigInt(id) });

function peerRow(node: string, s: Session) {
  return {
    node,
    peer: s.peer,
    address: linkText(s.address, s.interface),
    range: s.range === "" ? undefined : s.range,
    peerASN: s.peerAsn,
    localASN: s.localAsn,
    state: stateNames[s.state],
    since: new Date(Number(s.sinceUnixMs)).toISOString(),
    routerID: s.peerRouterId === 0 ? "" : dotted(s.peerRouterId),
    holdSeconds: s.holdSeconds,
    families: s.families.map((f) => familyNames[f]),
    gracefulRestart: s.gracefulRestart,
    staleRoutes: s.restartingPeer,
    addPath: { receive: s.addPathReceive.map(familyName), send: s.addPathSend.map(familyName) },
    extendedNextHop: s.extendedNextHop,
    md5: s.md5,
    ...(s.bfd && {
      bfd: {
        state: s.bfd.state,
        diagnostic: s.bfd.diagnostic,
        remoteState: s.bfd.remoteState,
        remoteDiagnostic: s.bfd.remoteDiagnostic,
        controlPlaneIndependent: s.bfd.remoteIndependent,
        since: new Date(Number(s.bfd.sinceUnixMs)).toISOString(),
        transmitMs: s.bfd.transmitMs,
        detectMs: s.bfd.detectMs,
        downs: s.bfd.downs,
        problem: s.bfd.problem,
      },
    }),
    counts: s.counts.map((c) => ({
      family: familyNames[c.family],
      received: c.received,
      accepted: c.accepted,
      advertised: c.advertised,
      endOfRIBReceived: c.endOfRibReceived,
      endOfRIBSent: c.endOfRibSent,
      limit: c.limit,
      limitState: limitNames[c.limitState],
      discarded: Number(c.discarded),
      ...(c.limitSent > 0 && { limitSent: c.limitSent, heldBack: c.heldBack }),
    })),
    updatesReceived: Number(s.updatesReceived),
    updatesSent: Number(s.updatesSent),
    flaps: Number(s.flaps),
    lastErrorSent: s.lastErrorSent,
    lastErrorReceived: s.lastErrorReceived,
    reason: s.downReason,
  };
}
type PeerRow = ReturnType<typeof peerRow>;

const counts = (row: PeerRow, field: "received" | "accepted" | "advertised"): string =>
  row.counts.map((c) => c[field]).join("/");

/** What of the limits is worth a word; nothing where there is room. */
function limitsOf(row: PeerRow): string | undefined {
  const said = row.counts.flatMap((c) => [
    ...(c.limitState === "ok" ? [] : [`${c.family} ${c.received}/${c.limit}`]),
    ...(c.limitState === "over" && c.discarded > 0 ? [`${c.discarded} discarded`] : []),
    ...(c.heldBack ? [`${c.family} ${c.heldBack} held back`] : []),
  ]);
  return said.length > 0 ? said.join(", ") : undefined;
}

const peerColumns: readonly Column<PeerRow>[] = [
  { title: "node", value: (r) => r.node },
  { title: "peer", value: (r) => r.peer },
  { title: "address", value: (r) => r.address },
  { title: "as", value: (r) => r.peerASN, align: "right" },
  { title: "state", value: (r) => (r.staleRoutes ? `${r.state} (stale routes kept)` : r.state) },
  { title: "for", value: (r) => formatAge(Date.now() - Date.parse(r.since)) },
  { title: "bfd", value: (r) => r.bfd?.state },
  { title: "families", value: (r) => r.families.join("/") || undefined },
  { title: "received", value: (r) => counts(r, "received"), align: "right" },
  { title: "accepted", value: (r) => counts(r, "accepted"), align: "right" },
  { title: "sent", value: (r) => counts(r, "advertised"), align: "right" },
  { title: "limits", value: limitsOf },
  { title: "flaps", value: (r) => r.flaps, align: "right" },
  { title: "why", value: (r) => r.reason || undefined },
];

export const community = (c: number): string => `${c >>> 16}:${c & 0xffff}`;
export const large = (l: LargeCommunity): string => `${l.global}:${l.local1}:${l.local2}`;
const origins = ["IGP", "EGP", "incomplete"] as const;

function routeRow(node: string, route: Route, path: Path) {
  return {
    node,
    prefix: `${addressText(route.prefix)}/${route.length}`,
    pathID: path.pathId === 0 ? undefined : path.pathId,
    best: path.best,
    stale: path.stale,
    from: path.peer,
    nextHop: linkText(path.nextHop, path.interface),
    asPath: [...path.asPath],
    origin: origins[path.origin] ?? String(path.origin),
    med: path.med,
    localPreference: path.localPref,
    communities: path.communities.map(community),
    largeCommunities: path.large.map(large),
    ...(path.extended.length > 0 && { extendedCommunities: path.extended }),
    decidedBy: path.decidedBy,
  };
}
type RouteRow = ReturnType<typeof routeRow>;

const routeColumns: readonly Column<RouteRow>[] = [
  { title: "node", value: (r) => r.node },
  { title: "prefix", value: (r) => r.prefix },
  { title: "", value: (r) => `${r.best ? "*" : " "}${r.stale ? "s" : ""}` },
  { title: "id", value: (r) => r.pathID, align: "right" },
  { title: "from", value: (r) => r.from || "(here)" },
  { title: "next hop", value: (r) => r.nextHop || undefined },
  { title: "as path", value: (r) => r.asPath.join(" ") || undefined },
  { title: "med", value: (r) => r.med, align: "right" },
  { title: "pref", value: (r) => r.localPreference, align: "right" },
  {
    title: "communities",
    value: (r) =>
      [...r.communities, ...r.largeCommunities, ...(r.extendedCommunities ?? [])].join(" ") || undefined,
  },
  { title: "decided by", value: (r) => r.decidedBy || undefined },
];

/** The prefix whose routes are asked for. @throws CliError */
function filterOf(text: string | undefined): { prefix?: Uint8Array; length?: number } {
  if (text === undefined) return {};
  try {
    const prefix = parsePrefix(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`);
    return { prefix: toBytes(prefix), length: prefix.length };
  } catch (error) {
    throw usageError((error as Error).message);
  }
}

export async function collectReplies(
  replies: AsyncGenerator<QueryReply>,
  take: (reply: QueryReply) => void,
): Promise<void> {
  for await (const reply of replies) take(reply);
}

/** Routes of one speaker. */
export async function askRoutes(
  client: SpeakerClient,
  node: string,
  kind: QueryKind,
  peer: string,
  filter: { prefix?: Uint8Array; length?: number } = {},
): Promise<readonly RouteRow[]> {
  const out: RouteRow[] = [];
  await collectReplies(client.query({ kind, peer, ...filter }), (reply) => {
    for (const route of reply.routes) for (const path of route.paths) out.push(routeRow(node, route, path));
  });
  return out;
}

/** Sessions of one speaker. */
export async function askPeers(client: SpeakerClient, node: string): Promise<readonly PeerRow[]> {
  const out: PeerRow[] = [];
  await collectReplies(client.query({ kind: QueryKind.QUERY_PEERS }), (reply) => {
    for (const s of reply.sessions) out.push(peerRow(node, s));
  });
  return out;
}

async function routes(
  flags: Flags,
  kind: QueryKind,
  peer: string,
  prefix: string | undefined,
): Promise<void> {
  const filter = filterOf(prefix);
  const rows = await askAll(flags, (client, target) => askRoutes(client, target.node, kind, peer, filter));
  const withIds = rows.some((r) => r.pathID !== undefined);
  const columns = withIds ? routeColumns : routeColumns.filter((c) => c.title !== "id");
  printRows(flags.output, rows, columns, "no routes");
}

async function peers(flags: Flags): Promise<void> {
  const rows = await askAll(flags, (client, target) => askPeers(client, target.node));
  printRows(flags.output, rows, peerColumns, "no neighbours are configured");
}

function printEvent(
  flags: Flags,
  target: Target,
  message: FromSpeaker["message"],
  client: SpeakerClient,
): void {
  const say = (event: string, fields: object, text: string): void => {
    if (flags.output === "json")
      printJson({ time: new Date().toISOString(), node: target.node, event, ...fields });
    else process.stdout.write(`${new Date().toISOString()} ${target.node} ${text}\n`);
  };
  if (message.case === "session" && message.value.session) {
    const row = peerRow(target.node, message.value.session);
    say("session", row, `${row.peer} ${row.state}${row.reason ? `: ${row.reason}` : ""}`);
  } else if (message.case === "routes") {
    for (const route of message.value.routes) {
      const prefix = `${addressText(route.prefix)}/${route.length}`;
      if (route.withdrawn) say("withdrawn", { prefix }, `- ${prefix}`);
      for (const path of route.paths) {
        const row = routeRow(target.node, route, path);
        say(
          "route",
          row,
          `+ ${prefix} via ${row.nextHop || "(here)"} from ${row.from || "(here)"} [${row.asPath.join(" ")}]`,
        );
      }
    }
    client.acknowledge(message.value.sequence);
  }
}

async function watch(flags: Flags): Promise<void> {
  const ended = targets(flags).map(
    (target) =>
      new Promise<string>((resolve, reject) => {
        SpeakerClient.open({
          path: target.path,
          wantRoutes: true,
          onMessage: (message, client) => printEvent(flags, target, message, client),
          onClose: (reason) => resolve(`${target.node}: ${reason}`),
        }).catch(reject);
      }),
  );
  for (const reason of await Promise.all(ended)) process.stderr.write(`waggle bgp: ${reason}\n`);
  process.exitCode = exitCode.failed;
}

export const common = (command: Command): Command =>
  command
    .option("--socket <path>", "a speaker's unix socket; repeat for several", collect)
    .option("--node <name>", "only this node of the running lab; repeat for several", collect)
    .addOption(outputOption());

export function command(): Command {
  const bgp = new Command("bgp").description(
    "What the BGP speakers on this machine know: --socket, else this node's speaker, else all nodes of the running lab. explain asks the clusters' API servers instead.",
  );
  common(bgp.command("peers"))
    .description("sessions: state, routes in and out (ipv4/ipv6), and why one is down")
    .action((flags: Flags) => peers(flags));
  common(bgp.command("routes"))
    .argument("[prefix]", "only this prefix and what is inside it")
    .description("the table after policy, all paths, best first (*; s: stale)")
    .action((prefix: string | undefined, flags: Flags) => routes(flags, QueryKind.QUERY_ROUTES, "", prefix));
  common(bgp.command("received"))
    .argument("<peer>", "name of the neighbour")
    .argument("[prefix]", "only this prefix and what is inside it")
    .description("what a neighbour sent, before policy, and what policy said")
    .action((peer: string, prefix: string | undefined, flags: Flags) =>
      routes(flags, QueryKind.QUERY_RECEIVED, peer, prefix),
    );
  common(bgp.command("advertised"))
    .argument("<peer>", "name of the neighbour")
    .argument("[prefix]", "only this prefix and what is inside it")
    .description("what a neighbour is told")
    .action((peer: string, prefix: string | undefined, flags: Flags) =>
      routes(flags, QueryKind.QUERY_ADVERTISED, peer, prefix),
    );
  addMonitoring(bgp);
  bgp.addCommand(explain());
  common(bgp.command("watch"))
    .description("sessions and best paths as they change, until interrupted")
    .action((flags: Flags) => watch(flags));
  return bgp;
}
