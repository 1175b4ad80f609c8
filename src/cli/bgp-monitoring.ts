// cli: waggle bgp stations, dumps, mrt and bmp: who monitors the speakers here, what they dump, and what is in a dump or comes from a router.
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import type { Command } from "commander";
import { type BmpStationStatus, type MrtStatus, QueryKind } from "../api/generated/proto/speaker_pb.js";
import type { BmpMessage } from "../bgp/bmp/message.ts";
import type { MrtRecord } from "../bgp/mrt/record.ts";
import { flatten } from "../bgp/wire/aspath.ts";
import type { PathAttributes } from "../bgp/wire/attributes.ts";
import { afiName, HEADER_BYTES, MessageType } from "../bgp/wire/constants.ts";
import { decodeNotification } from "../bgp/wire/frame.ts";
import { describeNotification } from "../bgp/wire/notification.ts";
import type { SeenPrefix, SeenUpdate } from "../bgp/wire/routes.ts";
import { type Address, formatAddress, formatPrefix, fromBytes } from "../net/address.ts";
import { addressText, askAll, collectReplies, common, community, type Flags } from "./bgp.ts";
import {
  CliError,
  type Column,
  exitCode,
  formatAge,
  type OutputFormat,
  outputOption,
  printRows,
  usageError,
} from "./output.ts";

function stationRow(node: string, s: BmpStationStatus) {
  return {
    node,
    station: s.name,
    address: addressText(s.address),
    port: s.port,
    connected: s.connected,
    since: new Date(Number(s.sinceUnixMs)).toISOString(),
    messages: Number(s.messages),
    waiting: s.waiting,
    overflows: s.overflows,
    reason: s.reason,
  };
}
type StationRow = ReturnType<typeof stationRow>;

const stationColumns: readonly Column<StationRow>[] = [
  { title: "node", value: (r) => r.node },
  { title: "station", value: (r) => r.station },
  { title: "address", value: (r) => r.address },
  { title: "port", value: (r) => r.port, align: "right" },
  { title: "state", value: (r) => (r.connected ? "connected" : "down") },
  { title: "for", value: (r) => formatAge(Date.now() - Date.parse(r.since)) },
  { title: "messages", value: (r) => r.messages, align: "right" },
  { title: "waiting", value: (r) => r.waiting, align: "right" },
  { title: "overflows", value: (r) => r.overflows, align: "right" },
  { title: "why", value: (r) => r.reason || undefined },
];

async function stations(flags: Flags): Promise<void> {
  const rows = await askAll(flags, async (client, target) => {
    const out: StationRow[] = [];
    await collectReplies(client.query({ kind: QueryKind.QUERY_MONITORING }), (reply) => {
      for (const s of reply.stations) out.push(stationRow(target.node, s));
    });
    return out;
  });
  printRows(flags.output, rows, stationColumns, "no stations are configured");
}

function dumpRow(node: string, m: MrtStatus) {
  return {
    node,
    directory: m.directory,
    files: Number(m.files),
    bytes: Number(m.bytes),
    dropped: Number(m.dropped),
    problem: m.problem,
  };
}
type DumpRow = ReturnType<typeof dumpRow>;

const dumpColumns: readonly Column<DumpRow>[] = [
  { title: "node", value: (r) => r.node },
  { title: "directory", value: (r) => r.directory },
  { title: "files", value: (r) => r.files, align: "right" },
  { title: "bytes", value: (r) => r.bytes, align: "right" },
  { title: "dropped", value: (r) => r.dropped, align: "right" },
  { title: "problem", value: (r) => r.problem || undefined },
];

async function dumps(flags: Flags): Promise<void> {
  const rows = await askAll(flags, async (client, target) => {
    const out: DumpRow[] = [];
    await collectReplies(client.query({ kind: QueryKind.QUERY_MONITORING }), (reply) => {
      if (reply.mrt) out.push(dumpRow(target.node, reply.mrt));
    });
    return out;
  });
  printRows(flags.output, rows, dumpColumns, "nothing is dumped");
}

/** One thing that a record or a message says. */
type Fact = Readonly<Record<string, unknown>> & { readonly event: string; readonly text: string };

const nextHopText = (b: Uint8Array): string =>
  b.length === 4 || b.length >= 16 ? formatAddress(fromBytes(b.slice(0, b.length === 4 ? 4 : 16))) : "";
const originNames = ["IGP", "EGP", "incomplete"] as const;

const attributeFields = (a: PathAttributes) => ({
  nextHop: nextHopText(a.nextHop),
  asPath: flatten(a.asPath),
  origin: originNames[a.origin],
  ...(a.med !== undefined && { med: a.med }),
  ...(a.localPref !== undefined && { localPreference: a.localPref }),
  communities: (a.communities ?? []).map(community),
  largeCommunities: (a.large ?? []).map((l) => l.join(":")),
});

function announced(seen: SeenPrefix, a: PathAttributes): Fact {
  const prefix = formatPrefix(seen.prefix);
  const fields = attributeFields(a);
  return {
    event: "announce",
    prefix,
    ...(seen.pathId !== 0 && { pathId: seen.pathId }),
    ...fields,
    text: `+ ${prefix} via ${fields.nextHop} [${fields.asPath.join(" ")}]`,
  };
}

function updateFacts(update: SeenUpdate | string): Fact[] {
  if (typeof update === "string")
    return [{ event: "unreadable", reason: update, text: `unreadable: ${update}` }];
  const out: Fact[] = update.withdrawn.map((seen) => {
    const prefix = formatPrefix(seen.prefix);
    return {
      event: "withdraw",
      prefix,
      ...(seen.pathId !== 0 && { pathId: seen.pathId }),
      text: `- ${prefix}`,
    };
  });
  for (const { attributes, prefixes } of update.announced)
    for (const seen of prefixes) out.push(announced(seen, attributes));
  for (const family of update.skipped)
    out.push({ event: "skipped", family, text: `routes of AFI/SAFI ${family}` });
  if (update.endOfRib !== undefined) {
    const family = afiName[update.endOfRib];
    out.push({ event: "end-of-rib", family, text: `End-of-RIB ${family}` });
  }
  return out;
}

const messageNames: Readonly<Record<number, string>> = {
  [MessageType.open]: "open",
  [MessageType.keepalive]: "keepalive",
  [MessageType.routeRefresh]: "route-refresh",
};

function messageFacts(message: Uint8Array, update: SeenUpdate | string | undefined): Fact[] {
  if (update !== undefined) return updateFacts(update);
  const type = message[18]!;
  if (type === MessageType.notification) {
    const error = describeNotification(decodeNotification(message, HEADER_BYTES, message.length));
    return [{ event: "notification", error, text: `NOTIFICATION ${error}` }];
  }
  const name = messageNames[type] ?? `message of type ${type}`;
  return [{ event: name, text: name.toUpperCase() }];
}

const stateNames = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];
const stateName = (n: number): string => stateNames[n - 1] ?? String(n);

/** What a record says; the peers of a table are remembered for the records that follow. */
function recordFacts(
  r: MrtRecord | string,
  peers: { readonly address: Address; readonly asn: number }[],
): Fact[] {
  if (typeof r === "string") return [{ event: "unreadable", reason: r, text: `unreadable: ${r}` }];
  const time = new Date(r.timeMs).toISOString();
  const at = (facts: readonly Fact[], more: object, who: string): Fact[] =>
    facts.map(({ text, ...fact }) => ({ time, ...more, ...fact, text: `${time} ${who} ${text}` }));
  switch (r.kind) {
    case "peer-index":
      peers.splice(0, peers.length, ...r.peers);
      return r.peers.map(({ address, asn, routerId }, index) => {
        const peer = formatAddress(address);
        const id = formatAddress({ family: 4, hi: 0n, lo: BigInt(routerId) });
        const fields = { time, event: "peer", peer, peerASN: asn, routerID: id, index };
        return { ...fields, text: `${time} peer ${index}: ${peer} AS ${asn} ${id}` };
      });
    case "rib":
      return r.entries.flatMap((e) => {
        const from = peers[e.peer];
        const peer = from ? formatAddress(from.address) : `peer ${e.peer}`;
        const fact = announced({ prefix: r.prefix, pathId: e.pathId }, e.attributes);
        return at([{ ...fact, event: "rib" }], { peer, peerASN: from?.asn }, peer);
      });
    case "state": {
      const peer = formatAddress(r.session.peerAddress);
      const [from, to] = [stateName(r.from), stateName(r.to)];
      return at(
        [{ event: "state", from, to, text: `${from} -> ${to}` }],
        { peer, peerASN: r.session.peerAsn },
        peer,
      );
    }
    case "message": {
      const peer = formatAddress(r.session.peerAddress);
      const direction = r.local ? "sent" : "received";
      const facts = messageFacts(r.message, r.update);
      return at(facts, { peer, peerASN: r.session.peerAsn, direction }, `${peer} ${r.local ? "<" : ">"}`);
    }
    default:
      return [
        {
          event: "unknown",
          type: r.type,
          subtype: r.subtype,
          text: `${time} record of type ${r.type}/${r.subtype}`,
        },
      ];
  }
}

/** What a message of a router says. */
function bmpFacts(router: string, m: BmpMessage, update: SeenUpdate | string | undefined): Fact[] {
  const who =
    "peer" in m
      ? {
          peer: m.peer.address ? formatAddress(m.peer.address) : "loc-rib",
          peerASN: m.peer.asn,
          view: m.peer.address
            ? `${m.peer.adjRibOut ? "adj-rib-out-" : ""}${m.peer.postPolicy ? "post" : "pre"}-policy`
            : "loc-rib",
        }
      : {};
  const say = (fact: Fact): Fact => {
    const { text, ...rest } = fact;
    const peer = "peer" in who ? ` ${who.peer} ${who.view}` : "";
    return { router, ...who, ...rest, text: `${router}${peer} ${text}` };
  };
  switch (m.kind) {
    case "route-monitoring":
      return messageFacts(m.update, update).map(say);
    case "peer-up": {
      const localAddress = m.localAddress ? formatAddress(m.localAddress) : "";
      return [say({ event: "peer-up", localAddress, text: "peer up" })];
    }
    case "peer-down":
      return [say({ event: "peer-down", reason: m.reason, text: `peer down, reason ${m.reason}` })];
    case "statistics": {
      const stats = m.stats.map((s) => ({
        type: s.type,
        ...(s.afi !== undefined && { family: `${s.afi}/${s.safi}` }),
        value: s.value.toString(),
      }));
      return [
        say({
          event: "statistics",
          stats,
          text: `statistics ${stats.map((s) => `${s.type}=${s.value}`).join(" ")}`,
        }),
      ];
    }
    case "initiation": {
      const of = (type: number): string =>
        new TextDecoder().decode(m.information.find((t) => t.type === type)?.value ?? new Uint8Array(0));
      return [
        say({ event: m.kind, sysName: of(2), sysDescription: of(1), text: `initiation ${of(2)}: ${of(1)}` }),
      ];
    }
    default:
      return [say({ event: m.kind, text: m.kind })];
  }
}

/** One line; JSON in the same form, one object a line, so that a dump of any size can be read as it comes. */
const lineOf = ({ text, ...fact }: Fact, output: OutputFormat): string =>
  output === "json" ? `${JSON.stringify(fact)}\n` : `${text}\n`;

async function write(text: string): Promise<void> {
  if (text !== "" && !process.stdout.write(text))
    await new Promise<void>((resolve) => process.stdout.once("drain", () => resolve()));
}

async function printMrt(files: readonly string[], output: OutputFormat): Promise<void> {
  const { MrtReader } = await import("../bgp/mrt/record.ts");
  for (const file of files) {
    const reader = new MrtReader();
    const peers: { address: Address; asn: number }[] = [];
    const raw = createReadStream(file);
    const stream = file.endsWith(".gz") ? raw.pipe(createGunzip()) : raw;
    raw.on("error", (error) => stream.destroy(error));
    try {
      for await (const chunk of stream) {
        const lines: string[] = [];
        const wrong = reader.push(chunk as Uint8Array, (record) => {
          for (const fact of recordFacts(record, peers)) lines.push(lineOf(fact, output));
        });
        await write(lines.join(""));
        if (wrong !== undefined) throw new CliError(`${file}: ${wrong}: not an MRT file, or a damaged one`);
      }
    } catch (error) {
      if (error instanceof CliError) throw error;
      throw new CliError(`${file}: ${(error as Error).message}`);
    }
    if (reader.unfinished > 0) {
      process.stderr.write(`waggle bgp: ${file}: the last record is cut off\n`);
      process.exitCode = exitCode.partial;
    }
  }
}

/** "192.0.2.1:11019", "[2001:db8::1]:11019", ":11019" or "11019". @throws CliError */
export function listenAddress(text: string): { address: string | undefined; port: number } {
  const m = /^(?:\[([^\]]+)\]:|([^:[\]]*):)?(\d{1,5})$/.exec(text);
  const port = Number(m?.[3]);
  if (!m || port > 65535) throw usageError(`--listen ${text}: expected ADDRESS:PORT, [ADDRESS]:PORT or PORT`);
  return { address: m[1] || m[2] || undefined, port };
}

async function printBmp(listen: string, output: OutputFormat): Promise<void> {
  const { BmpReceiver } = await import("../bgp/daemon/bmp-receiver.ts");
  const { BmpCollector } = await import("../bgp/bmp/collector.ts");
  const { address, port } = listenAddress(listen);
  const routers = new Map<string, InstanceType<typeof BmpCollector>>();
  using receiver = await BmpReceiver.open(address, port, {
    message(router, m) {
      let collector = routers.get(router);
      if (!collector) {
        collector = new BmpCollector();
        routers.set(router, collector);
      }
      const update = m.kind === "route-monitoring" ? collector.read(m.peer, m.update) : undefined;
      // Sessions alone: what negotiation says of the form of their routes.
      if (m.kind !== "route-monitoring") collector.take(m);
      process.stdout.write(
        bmpFacts(router, m, update)
          .map((f) => lineOf(f, output))
          .join(""),
      );
    },
    gone(router, reason) {
      routers.delete(router);
      process.stderr.write(`waggle bgp: ${router} is gone${reason ? `: ${reason}` : ""}\n`);
    },
  });
  process.stderr.write(`waggle bgp: listening on port ${receiver.port}\n`);
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
}

export function addMonitoring(bgp: Command): void {
  common(bgp.command("stations"))
    .description("stations that monitor the speaker by BMP: connected or why not, what waits for them")
    .action((flags: Flags) => stations(flags));
  common(bgp.command("dumps"))
    .description("MRT dumps that the speaker writes: how much, what was dropped")
    .action((flags: Flags) => dumps(flags));
  bgp
    .command("mrt")
    .argument("<file...>", "MRT files (RFC 6396), also gzipped ones (.gz)")
    .description("prints what is in MRT dumps; -o json: one object a line")
    .addOption(outputOption())
    .action((files: string[], flags: { output: OutputFormat }) => printMrt(files, flags.output));
  bgp
    .command("bmp")
    .requiredOption("--listen <address:port>", "where routers connect to")
    .description("prints what routers say by BMP (RFC 7854), until interrupted; -o json: one object a line")
    .addOption(outputOption())
    .action((flags: { listen: string; output: OutputFormat }) => printBmp(flags.listen, flags.output));
}
