// cli: waggle diff --against: where today's routes come from: BIRD's command line, routers' BMP, an MRT dump.
import { execFile } from "node:child_process";
import { createReadStream } from "node:fs";
import { promisify } from "node:util";
import { createGunzip } from "node:zlib";
import type { BmpCollector, CollectedPeer } from "../bgp/bmp/collector.ts";
import type { MrtRecord } from "../bgp/mrt/record.ts";
import type { SeenPrefix, SeenUpdate } from "../bgp/wire/routes.ts";
import { type Address, formatAddress } from "../net/address.ts";
import type { HeardRoute, HeardToday } from "../plan/index.ts";
import { listenAddress } from "./bgp-monitoring.ts";
import { CliError, usageError } from "./output.ts";

export const sources = ["birdc", "bmp", "mrt"] as const;
export type Source = (typeof sources)[number];

export interface AgainstFlags {
  readonly against: Source;
  readonly birdSocket?: string;
  readonly birdc: string;
  readonly listen?: string;
  readonly for: number;
  readonly file?: string;
  /** Address of the neighbour that wrote the dump, or whose table is told of, where that does not say so itself. */
  readonly neighbor?: string;
}

/** What was heard, and from which address of a node; undefined: from the one node that is asked about. */
export interface Gathered {
  readonly from: string | undefined;
  readonly today: HeardToday;
}

/** Why nothing can be compared: said where a source says something else than what is needed. */
const noNeighbor =
  "a dump says what its writer heard, and not who its writer is: name the writer's address with --neighbor, as the BGPPeer has it";

/** @throws CliError */
export async function gather(flags: AgainstFlags): Promise<readonly Gathered[]> {
  if (flags.against === "birdc") return fromBird(flags.birdc, flags.birdSocket);
  return flags.against === "bmp" ? fromRouters(flags) : fromDump(flags);
}

async function fromBird(program: string, socket: string | undefined): Promise<readonly Gathered[]> {
  const { birdNeighbors, birdRoutes } = await import("../plan/index.ts");
  const birdc = async (...words: string[]): Promise<string> => {
    try {
      const args = [...(socket === undefined ? [] : ["-s", socket]), ...words];
      return (await promisify(execFile)(program, args, { maxBuffer: 1024 * 1024 * 1024 })).stdout;
    } catch (error) {
      const { stderr, message } = error as { stderr?: string; message: string };
      throw new CliError(`birdc: ${stderr?.trim() || message}`, {
        hint: "run it on the node where BIRD runs; --bird-socket names its control socket",
      });
    }
  };
  const out: Gathered[] = [];
  for (const [name, neighbor] of birdNeighbors(await birdc("show", "protocols", "all")))
    out.push({
      from: undefined,
      today: { neighbor, routes: birdRoutes(await birdc("show", "route", "export", name, "all")) },
    });
  return out;
}

/** Routes by the address of the node that sent them. */
type Table = Map<string, Map<string, HeardRoute>>;

const routesOf = (table: Table, node: string): Map<string, HeardRoute> => {
  let routes = table.get(node);
  if (!routes) {
    routes = new Map();
    table.set(node, routes);
  }
  return routes;
};

async function fromRouters(flags: AgainstFlags): Promise<readonly Gathered[]> {
  const { BmpReceiver } = await import("../bgp/daemon/bmp-receiver.ts");
  const { BmpCollector } = await import("../bgp/bmp/collector.ts");
  if (flags.listen === undefined)
    throw usageError(
      "--against bmp needs --listen ADDRESS:PORT",
      "routers connect to it, for as long as --for says",
    );
  const { address, port } = listenAddress(flags.listen);
  const routers = new Map<string, BmpCollector>();
  {
    using receiver = await BmpReceiver.open(address, port, {
      message(router, m) {
        let collector = routers.get(router);
        if (!collector) {
          collector = new BmpCollector();
          routers.set(router, collector);
        }
        collector.take(m);
      },
      gone: (router, reason) => {
        if (reason !== undefined) process.stderr.write(`waggle diff: ${router}: ${reason}\n`);
      },
    });
    process.stderr.write(`waggle diff: routers may connect to port ${receiver.port}\n`);
    await new Promise((resolve) => setTimeout(resolve, flags.for));
  }
  if (routers.size === 0) throw new CliError(`no router connected within ${flags.for / 1000} s`);
  const { heardRoute } = await import("../plan/index.ts");
  return [...routers.values()].flatMap((c) =>
    [...c.peers.values()].flatMap((peer): readonly Gathered[] => {
      const view = peer.views.get("pre-policy") ?? peer.views.get("post-policy");
      const neighbor = flags.neighbor ?? textOf(peer.localAddress);
      if (!peer.up || !peer.address || neighbor === undefined) return [];
      const routes = new Map<string, HeardRoute>();
      for (const [key, attributes] of view?.routes ?? [])
        routes.set(key.split(" ")[0]!, heardRoute(attributes));
      return [{ from: formatAddress(peer.address), today: { neighbor, routes } }];
    }),
  );
}

const textOf = (a: CollectedPeer["localAddress"]): string | undefined => a && formatAddress(a);

async function fromDump(flags: AgainstFlags): Promise<readonly Gathered[]> {
  const { MrtReader } = await import("../bgp/mrt/record.ts");
  const { heardRoute } = await import("../plan/index.ts");
  const { formatPrefix } = await import("../net/address.ts");
  const { file } = flags;
  if (file === undefined) throw usageError("--against mrt needs --mrt FILE");
  /** What the writer heard, and what it said itself, by the other end's address. */
  const heard: Table = new Map();
  const said: Table = new Map();
  let peers: readonly { readonly address: Address }[] = [];
  const apply = (routes: Map<string, HeardRoute>, update: SeenUpdate): void => {
    const key = ({ prefix }: SeenPrefix): string => formatPrefix(prefix);
    for (const seen of update.withdrawn) routes.delete(key(seen));
    for (const { attributes, prefixes } of update.announced)
      for (const seen of prefixes) routes.set(key(seen), heardRoute(attributes));
  };
  const take = (r: MrtRecord | string): void => {
    if (typeof r === "string") throw new CliError(`${file}: ${r}`);
    if (r.kind === "peer-index") peers = r.peers;
    else if (r.kind === "rib")
      for (const e of r.entries) {
        const from = peers[e.peer];
        if (from)
          routesOf(heard, formatAddress(from.address)).set(formatPrefix(r.prefix), heardRoute(e.attributes));
      }
    else if (r.kind === "message" && typeof r.update === "object")
      apply(routesOf(r.local ? said : heard, formatAddress(r.session.peerAddress)), r.update);
    // The end of a session takes its routes with it.
    else if (r.kind === "state" && r.from === 6)
      for (const table of [heard, said]) table.delete(formatAddress(r.session.peerAddress));
  };
  const reader = new MrtReader();
  const raw = createReadStream(file);
  const stream = file.endsWith(".gz") ? raw.pipe(createGunzip()) : raw;
  raw.on("error", (error) => stream.destroy(error));
  try {
    for await (const chunk of stream) {
      const wrong = reader.push(chunk as Uint8Array, take);
      if (wrong !== undefined) throw new CliError(`${file}: ${wrong}: not an MRT file, or a damaged one`);
    }
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`${file}: ${(error as Error).message}`);
  }
  const own = [...said].map(
    ([neighbor, routes]): Gathered => ({ from: undefined, today: { neighbor, routes } }),
  );
  const { neighbor } = flags;
  if (neighbor === undefined) {
    if (own.length === 0) throw usageError(noNeighbor);
    return own;
  }
  return [...heard].map(([from, routes]): Gathered => ({ from, today: { neighbor, routes } }));
}
