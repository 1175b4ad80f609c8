// apiserver: the library's door: starts an embedded Kubernetes API server and stops it.
import { rmSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { join } from "node:path";
import { Authenticator, userClaims } from "./auth/authenticate.ts";
import { Authorizer } from "./auth/rbac.ts";
import { TokenSigner } from "./auth/tokens.ts";
import { bootstrap } from "./bootstrap.ts";
import type { ServerContext } from "./context.ts";
import { CrdController } from "./controllers/crds.ts";
import { EventExpiry } from "./controllers/events.ts";
import { GarbageCollector } from "./controllers/garbage.ts";
import { NamespaceController } from "./controllers/namespaces.ts";
import { type Identity, loadIdentity, lockDirectory, readKeys, writePrivate } from "./data-dir.ts";
import { type HandlerTools, requestHandler } from "./http.ts";
import { kubeconfig } from "./kubeconfig.ts";
import { applyManifests } from "./manifests.ts";
import { type ApiServerOptions, type Normalised, normalise } from "./options.ts";
import { builtinResources } from "./registry/builtin.ts";
import { Registry } from "./registry/resource.ts";
import { Watches } from "./rest/watch.ts";
import { openFileJournal } from "./store/file-journal.ts";
import { memoryJournal } from "./store/journal.ts";
import { emptyImage, Store } from "./store/store.ts";

export { DataDirError } from "./data-dir.ts";
export { limits } from "./front-page.ts";
export { ManifestError, readManifests } from "./manifests.ts";
export { type ApiServerOptions, OptionsError } from "./options.ts";
export { JournalError } from "./store/file-journal.ts";

export interface RunningApiServer {
  /** `https://127.0.0.1:PORT`, empty where there is no TCP. */
  readonly url: string;
  readonly port: number;
  readonly socketPath: string | undefined;
  /** PEM. */
  readonly caCertificate: string;
  readonly adminToken: string;
  readonly clusterName: string;
  /** UID of the namespace kube-system: the cluster's identity, the same for ever. */
  readonly clusterUid: string;
  /** A kubeconfig of the admin, as YAML. */
  adminKubeconfig(): string;
  /** A kubeconfig of an ordinary user; lifetime in seconds, a year unless given. */
  userKubeconfig(name: string, groups?: readonly string[], seconds?: number): string;
  /** Ends watches, answers what is under way, flushes and releases everything. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const yearSeconds = 365 * 24 * 60 * 60;
/** More connections than watches may be open, plus what requests need. */
const maxConnections = 12_000;
/** Requests that are still open this long after a stop are cut off. Milliseconds. */
const closeGraceMs = 2000;

/**
 * Starts a server. Throws OptionsError for options it cannot serve, DataDirError and JournalError for a data directory
 * that it cannot use, and the system's error for an address that is taken.
 */
export async function startApiServer(options: ApiServerOptions = {}): Promise<RunningApiServer> {
  const o = normalise(options);
  const unlock = o.dataDir ? lockDirectory(o.dataDir) : () => {};
  try {
    return await start(o, unlock);
  } catch (error) {
    unlock();
    throw error;
  }
}

async function start(o: Normalised, unlock: () => void): Promise<RunningApiServer> {
  const identity = await loadIdentity(o.dataDir, `${o.clusterName}-ca`, o.now());
  const { journal, image } = o.dataDir
    ? openFileJournal(o.dataDir)
    : { journal: memoryJournal(), image: emptyImage };
  const store = new Store(journal, { historyEvents: o.historyEvents, historyBytes: o.historyBytes }, image, {
    onFailure: o.onFailure,
    onListenerError: (error) => o.log("a listener failed", { error: error.stack ?? error.message }),
  });
  const registry = new Registry();
  for (const type of builtinResources()) registry.add(type);
  const context: ServerContext = {
    store,
    registry,
    now: o.now,
    randomUUID: o.randomUUID,
    randomBelow: o.randomBelow,
    serviceCidrs: o.serviceCidrs,
    refused: { requestsTooLarge: 0, watchesOverLimit: 0, slowWatchesEnded: 0, errorsUnexpected: 0 },
    log: o.log,
  };
  const watches = new Watches();
  const stopControllers = startControllers(context, watches);
  bootstrap(context);
  await store.committed();
  await applyManifests(o.manifests, context);

  const signer = new TokenSigner(identity.signingKey);
  const authenticator = new Authenticator(identity.adminToken, signer, store, o.now);
  let url = "";
  const tools: HandlerTools = {
    context,
    watches,
    maxBodyBytes: o.maxBodyBytes,
    signer,
    authenticator,
    authorizer: new Authorizer(store),
    serverAddress: () => url.replace("https://", ""),
  };
  const servers = await listen(o, identity, tools);
  const port = servers.port;
  if (o.listen) url = `https://${o.listen.host.includes(":") ? `[${o.listen.host}]` : o.listen.host}:${port}`;
  if (o.dataDir)
    writePrivate(
      join(o.dataDir, "address.json"),
      JSON.stringify({ server: url, socketPath: o.socketPath ?? null, clusterName: o.clusterName }),
    );

  const config = (userName: string, token: string): string =>
    kubeconfig({
      clusterName: o.clusterName,
      userName,
      server: url || "https://localhost",
      socketPath: o.socketPath,
      caCertificate: identity.authority.certificate,
      token,
    });
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= (async () => {
      watches.endAll();
      await servers.close();
      stopControllers();
      await store.close();
      unlock();
    })();
    return closing;
  };
  return {
    url,
    port,
    socketPath: o.socketPath,
    caCertificate: identity.authority.certificate,
    adminToken: identity.adminToken,
    clusterName: o.clusterName,
    clusterUid: store.get("namespaces", "kube-system")?.object.metadata.uid ?? "",
    adminKubeconfig: () => config("admin", identity.adminToken),
    userKubeconfig: (name, groups = [], seconds = yearSeconds) =>
      config(name, signer.sign(userClaims(name, groups, seconds, o.now()))),
    close,
    [Symbol.asyncDispose]: close,
  };
}

function startControllers(context: ServerContext, watches: Watches): () => void {
  const { store } = context;
  let garbage: GarbageCollector | undefined;
  const crds = new CrdController(context, watches, (storage) => garbage?.adopt(storage));
  garbage = new GarbageCollector(context);
  const namespaces = new NamespaceController(context);
  const expiry = new EventExpiry(context);
  const stop = store.watchAll((event) => {
    crds.hear(event);
    garbage.hear(event);
    namespaces.hear(event);
    expiry.hear(event);
  });
  return () => {
    stop();
    garbage.stop();
    namespaces.stop();
    expiry.stop();
  };
}

interface Listening {
  readonly port: number;
  close(): Promise<void>;
}

async function listen(o: Normalised, identity: Identity, tools: HandlerTools): Promise<Listening> {
  const handler = requestHandler(tools);
  const make = (): Server => {
    const server = createServer(
      {
        key: identity.server.privateKey,
        cert: identity.server.certificate,
        minVersion: "TLSv1.2",
        keepAlive: true,
        // Longer than clients keep idle connections, so that it is they who close.
        keepAliveTimeout: 120_000,
        noDelay: true,
        maxHeaderSize: 64 * 1024,
      },
      handler,
    );
    server.maxConnections = maxConnections;
    // Somebody who speaks no TLS or does not trust us: his affair.
    server.on("tlsClientError", () => {});
    return server;
  };
  const open = (server: Server, where: { port: number; host: string } | { path: string }): Promise<void> =>
    new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(where, () => {
        server.off("error", reject);
        resolve();
      });
    });
  const servers: Server[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(servers.map(closeServer));
    if (o.socketPath) rmSync(o.socketPath, { force: true });
  };
  let port = 0;
  try {
    if (o.listen) {
      const server = make();
      await open(server, o.listen);
      servers.push(server);
      const address = server.address();
      if (address && typeof address === "object") port = address.port;
    }
    if (o.socketPath) {
      // A socket file that a killed server left behind would make listening fail.
      rmSync(o.socketPath, { force: true });
      const server = make();
      await open(server, { path: o.socketPath });
      servers.push(server);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return { port, close };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), closeGraceMs);
    timer.unref();
    server.close(() => {
      clearTimeout(timer);
      resolve();
    });
    server.closeIdleConnections();
  });
}

/** A kubeconfig of an ordinary user from the keys in a data directory; the server may be running or not. */
export function makeUserKubeconfig(
  dataDir: string,
  name: string,
  groups: readonly string[],
  seconds = yearSeconds,
  nowMs = Date.now(),
): string {
  const keys = readKeys(dataDir);
  const { server, socketPath, clusterName } = JSON.parse(keys.address) as {
    server: string;
    socketPath: string | null;
    clusterName: string;
  };
  return kubeconfig({
    clusterName,
    userName: name,
    server: server || "https://localhost",
    socketPath: socketPath ?? undefined,
    caCertificate: keys.caCertificate,
    token: new TokenSigner(keys.signingKey).sign(userClaims(name, groups, seconds, nowMs)),
  });
}
