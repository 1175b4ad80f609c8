// kube: from a kubeconfig (or a pod's ServiceAccount) to a transport. The only file that loads @kubernetes/client-node.
import { createHash } from "node:crypto";
import { accessSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import type { KubeConfig } from "@kubernetes/client-node";
import type { Dispatcher } from "undici";
import { parse } from "yaml";
import { describeError, TransportError } from "./errors.ts";
import {
  type Endpoint,
  exchange,
  type HttpRequest,
  type HttpResponse,
  openPool,
  type Transport,
} from "./transport.ts";

export interface KubeConfigOptions {
  /** Path; default the files of KUBECONFIG, else ~/.kube/config, else the pod's ServiceAccount. */
  readonly kubeconfig?: string;
  /** Context; default the file's current one. */
  readonly context?: string;
  /** Unix socket to connect through; default WAGGLE_API_SOCKET, else the kubeconfig's extension waggle.dev/socket. */
  readonly socket?: string;
}

/** Name of the extension in a kubeconfig's cluster entry: `{name: waggle.dev/socket, extension: {path: /run/api.sock}}`. */
export const socketExtension = "waggle.dev/socket";

interface RawConfig {
  clusters?: { name?: string; cluster?: { extensions?: { name?: string; extension?: unknown }[] } }[];
  users?: { name?: string; user?: Record<string, unknown> }[];
}

interface Loaded {
  readonly config: KubeConfig;
  readonly source: string;
  readonly socket: string | undefined;
}

/** How long credentials are reused before files and plugins are asked again. */
const credentialsMs = 10_000;
/** A kubeconfig is read again after a 401, but no more often than this. */
const reloadMs = 5_000;

const exists = (path: string): boolean => {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
};

function findFiles(options: KubeConfigOptions): readonly string[] {
  if (options.kubeconfig) return [options.kubeconfig];
  const listed = (process.env.KUBECONFIG ?? "").split(delimiter).filter((f) => f !== "");
  if (listed.length > 0) return listed;
  const home = join(homedir(), ".kube", "config");
  return exists(home) ? [home] : [];
}

const inClusterToken = "/var/run/secrets/kubernetes.io/serviceaccount/token";

function socketOf(raw: RawConfig, cluster: string | undefined): string | undefined {
  const entry = raw.clusters?.find((c) => c.name === cluster)?.cluster?.extensions;
  const extension = entry?.find((e) => e.name === socketExtension)?.extension;
  const path =
    typeof extension === "string" ? extension : (extension as { path?: unknown } | undefined)?.path;
  return typeof path === "string" ? path : undefined;
}

/** kubectl's field is tokenFile; client-node re-reads such a file only if it is written as an auth provider. */
function withTokenFiles(raw: RawConfig, directory: string): RawConfig {
  const users = raw.users?.map((u) => {
    const file = u.user?.["tokenFile"];
    if (typeof file !== "string") return u;
    const tokenFile = file.startsWith("/") ? file : join(directory, file);
    return { ...u, user: { ...u.user, "auth-provider": { name: "tokenFile", config: { tokenFile } } } };
  });
  return { ...raw, ...(users && { users }) };
}

async function load(options: KubeConfigOptions): Promise<Loaded> {
  const { KubeConfig } = await import("@kubernetes/client-node/dist/config.js");
  const config = new KubeConfig();
  const files = findFiles(options);
  const raws: RawConfig[] = [];
  for (const [i, file] of files.entries()) {
    let raw: RawConfig;
    try {
      raw = withTokenFiles((parse(readFileSync(file, "utf8")) ?? {}) as RawConfig, dirname(file));
    } catch (error) {
      throw new TransportError("credentials", `kubeconfig ${file}: ${describeError(error)}`, {
        cause: error,
      });
    }
    raws.push(raw);
    const one = i === 0 ? config : new KubeConfig();
    one.loadFromString(JSON.stringify(raw));
    one.makePathsAbsolute(dirname(file));
    if (i > 0) config.mergeConfig(one, true);
  }
  if (files.length === 0) {
    if (!exists(inClusterToken))
      throw new TransportError(
        "credentials",
        "no cluster to talk to: give --kubeconfig, set KUBECONFIG, or run in a pod with a ServiceAccount",
      );
    config.loadFromCluster();
  }
  if (options.context !== undefined) {
    if (!config.getContextObject(options.context))
      throw new TransportError(
        "credentials",
        `no context ${JSON.stringify(options.context)} in ${files.join(", ")}; there are: ${
          config
            .getContexts()
            .map((c) => c.name)
            .join(", ") || "none"
        }`,
      );
    config.setCurrentContext(options.context);
  }
  const cluster = config.getCurrentCluster();
  if (!cluster)
    throw new TransportError(
      "credentials",
      `${files.join(", ")}: no current context; choose one with --context`,
    );
  const socket =
    options.socket ||
    process.env.WAGGLE_API_SOCKET ||
    raws.map((raw) => socketOf(raw, cluster.name)).find((s) => s !== undefined);
  return { config, source: files.join(delimiter) || "in-cluster", socket };
}

interface Connection {
  readonly endpoint: Endpoint;
  readonly headers: Readonly<Record<string, string>>;
  readonly digest: string;
}

async function connectionOf({ config, socket }: Loaded): Promise<Connection> {
  const cluster = config.getCurrentCluster();
  const user = config.getCurrentUser();
  if (!cluster) throw new TransportError("credentials", "the kubeconfig has no current cluster");
  const url = new URL(cluster.server);
  if (url.protocol === "http:" && !cluster.skipTLSVerify)
    throw new TransportError(
      "credentials",
      `${cluster.server}: plain HTTP is refused unless the kubeconfig says insecure-skip-tls-verify`,
    );
  const options: Parameters<KubeConfig["applyToHTTPSOptions"]>[0] = {};
  try {
    // It also makes an https.Agent (once for cluster and user), which stays unused: connections are undici's.
    await config.applyToHTTPSOptions(options);
  } catch (error) {
    throw new TransportError("credentials", `credentials of user ${user?.name}: ${describeError(error)}`, {
      cause: error,
    });
  }
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries((options.headers ?? {}) as Record<string, unknown>))
    headers[name] = String(value).trim();
  if (user?.username)
    headers["Authorization"] =
      `Basic ${Buffer.from(`${user.username}:${user.password ?? ""}`).toString("base64")}`;
  if (cluster.proxyUrl?.startsWith("socks"))
    throw new TransportError("credentials", `${cluster.proxyUrl}: SOCKS proxies are not supported`);
  // Through a unix socket the peer's name is still the server's, and an IP address is checked as such.
  const endpoint: Endpoint = {
    origin: url.origin,
    basePath: url.pathname.replace(/\/$/, ""),
    ...(options.ca && { ca: options.ca as Buffer }),
    ...(options.cert && { cert: options.cert as Buffer | string }),
    ...(options.key && { key: options.key as Buffer | string }),
    ...(options.servername && { servername: options.servername }),
    ...(options.rejectUnauthorized !== undefined && { rejectUnauthorized: options.rejectUnauthorized }),
    ...(socket && { socketPath: socket }),
    ...(cluster.proxyUrl && !socket && { proxy: cluster.proxyUrl }),
  };
  const digest = createHash("sha256");
  for (const part of [endpoint.origin, endpoint.ca, endpoint.cert, endpoint.key, endpoint.socketPath])
    digest.update(part ?? "").update("\0");
  return { endpoint, headers, digest: digest.digest("hex") };
}

/** One cluster with one identity: its name for people, and the transport that reaches it. */
export class ClusterTransport implements Transport {
  readonly #options: KubeConfigOptions;
  #loaded: Loaded;
  #connection: Connection | undefined;
  #pool: Dispatcher | undefined;
  #checkedAt = Number.NEGATIVE_INFINITY;
  #loadedAt = performance.now();
  #refreshing: Promise<Connection> | undefined;
  #closed = false;

  constructor(options: KubeConfigOptions, loaded: Loaded) {
    this.#options = options;
    this.#loaded = loaded;
  }

  /** Name of the context. */
  get context(): string {
    return this.#loaded.config.getCurrentContext();
  }
  get server(): string {
    return this.#loaded.config.getCurrentCluster()?.server ?? "";
  }
  /** Namespace of the context, or `default`. */
  get namespace(): string {
    return this.#loaded.config.getContextObject(this.context)?.namespace || "default";
  }
  /** Where the configuration came from: paths, or `in-cluster`. */
  get source(): string {
    return this.#loaded.source;
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    const connection = await this.#current();
    if (this.#closed || !this.#pool) throw new TransportError("aborted", "the client is closed");
    const answer = await exchange(this.#pool, connection.endpoint, connection.headers, request);
    if (answer.status === 401) this.#checkedAt = Number.NEGATIVE_INFINITY;
    return answer;
  }

  /** The credentials now; renewed at most every 10 s, and the kubeconfig itself is read again after a 401. */
  #current(): Promise<Connection> {
    if (this.#connection && performance.now() - this.#checkedAt < credentialsMs)
      return Promise.resolve(this.#connection);
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<Connection> {
    const refused = this.#connection !== undefined && this.#checkedAt === Number.NEGATIVE_INFINITY;
    if (refused && performance.now() - this.#loadedAt > reloadMs) {
      this.#loadedAt = performance.now();
      this.#loaded = await load(this.#options);
    }
    const next = await connectionOf(this.#loaded);
    if (!this.#pool || this.#connection?.digest !== next.digest) {
      const old = this.#pool;
      this.#pool = openPool(next.endpoint);
      // Running exchanges of the old identity finish on it; a pool that fails to close has nothing left to lose.
      old?.close().catch(() => undefined);
    }
    this.#connection = next;
    this.#checkedAt = performance.now();
    return next;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pool?.destroy();
  }
}

/** Loads a kubeconfig. @throws TransportError when there is none, or it cannot be read */
export async function openCluster(options: KubeConfigOptions = {}): Promise<ClusterTransport> {
  return new ClusterTransport(options, await load(options));
}
