// apiserver: what one server is started with, and the bounds it keeps.
import { randomInt, randomUUID } from "node:crypto";
import { isIP } from "node:net";
import type { JsonObject } from "./json.ts";

export interface ApiServerOptions {
  /** Where objects, keys and tokens are kept. Without it everything is in memory and gone with the process. */
  readonly dataDir?: string;
  /** `127.0.0.1:PORT` or `[::1]:PORT`; port 0 takes a free one. Default `127.0.0.1:0`. `null`: no TCP at all. */
  readonly listen?: string | null;
  /** A unix socket that serves the same TLS and takes the same tokens, for other network namespaces. */
  readonly socketPath?: string;
  /** Names the cluster in kubeconfigs. Default `waggle`. */
  readonly clusterName?: string;
  /** Ranges of cluster addresses of Services, at most one a family. Default 10.96.0.0/16 and fd00:10:96::/112. */
  readonly serviceCidrs?: readonly string[];
  /** Objects that are applied at the start, CRDs before all others. */
  readonly manifests?: readonly JsonObject[];
  /** How far back watches may start. Defaults 10,000 events and 64 MiB of JSON. */
  readonly historyEvents?: number;
  readonly historyBytes?: number;
  /** Longest body. Default 3 MiB. */
  readonly maxBodyBytes?: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly randomUUID?: () => string;
  /** A whole number in [0, limit). */
  readonly randomBelow?: (limit: number) => number;
  readonly log?: (message: string, fields?: Readonly<Record<string, string | number>>) => void;
  /** Called once when the journal cannot be written any more; the server then refuses writes. */
  readonly onFailure?: (error: Error) => void;
}

export interface Normalised {
  readonly dataDir: string | undefined;
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  readonly socketPath: string | undefined;
  readonly clusterName: string;
  readonly serviceCidrs: readonly string[];
  readonly manifests: readonly JsonObject[];
  readonly historyEvents: number;
  readonly historyBytes: number;
  readonly maxBodyBytes: number;
  readonly now: () => number;
  readonly randomUUID: () => string;
  readonly randomBelow: (limit: number) => number;
  readonly log: NonNullable<ApiServerOptions["log"]>;
  readonly onFailure: (error: Error) => void;
}

/** Options that cannot be served; the message is for the user. */
export class OptionsError extends Error {}

/** Splits `host:port` and refuses hosts that are not loopback: the server is for this machine only. */
export function parseListen(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3]);
  if (!match || port > 65_535)
    throw new OptionsError(
      `${JSON.stringify(text)} is no address to listen on; write 127.0.0.1:PORT, 0 for a free port`,
    );
  const loopback = host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
  if (!loopback)
    throw new OptionsError(
      `${host} is not a loopback address; this server listens on loopback and unix sockets only`,
    );
  return { host: host === "localhost" ? "127.0.0.1" : host, port };
}

export function normalise(o: ApiServerOptions): Normalised {
  const listen = o.listen === null ? undefined : parseListen(o.listen ?? "127.0.0.1:0");
  if (!listen && !o.socketPath)
    throw new OptionsError("give an address to listen on, a socket path, or both");
  return {
    dataDir: o.dataDir,
    listen,
    socketPath: o.socketPath,
    clusterName: o.clusterName ?? "waggle",
    serviceCidrs: o.serviceCidrs ?? ["10.96.0.0/16", "fd00:10:96::/112"],
    manifests: o.manifests ?? [],
    historyEvents: o.historyEvents ?? 10_000,
    historyBytes: o.historyBytes ?? 64 * 1024 * 1024,
    maxBodyBytes: o.maxBodyBytes ?? 3 * 1024 * 1024,
    now: o.now ?? Date.now,
    randomUUID: o.randomUUID ?? randomUUID,
    randomBelow: o.randomBelow ?? ((limit) => randomInt(limit)),
    log: o.log ?? (() => {}),
    onFailure: o.onFailure ?? (() => {}),
  };
}
