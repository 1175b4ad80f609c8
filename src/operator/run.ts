// operator: the daemon: a client from a kubeconfig, the operator, and the cluster's hub beside it.
import { randomUUID } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { systemNamespace } from "../api/index.ts";
import type { Hub } from "../fleet/hub/index.ts";
import { hubSource } from "../fleet/hub/metrics.ts";
import {
  backoff,
  describeError,
  type KubeClient,
  kubeSource,
  loadKubeConfig,
  sleep,
  systemClock,
} from "../kube/index.ts";
import { listenMetrics, type MetricsOptions, processSource } from "../metrics/index.ts";
import { allCaches, clusterNetworkOf, type Log } from "./context.ts";
import { operatorSource } from "./metrics.ts";
import { Operator } from "./operator.ts";

export interface RunOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly socket?: string;
  /** host:port. */
  readonly hubListen?: string;
  /** host:port that agents and callers dial. */
  readonly hubAdvertise?: string;
  readonly hubSocket?: string;
  /** Remembers which cluster this is (without it the first one that answers is believed) and this replica's name. */
  readonly stateDir?: string;
  readonly logLevel: string;
  readonly version: string;
  readonly metrics?: Pick<MetricsOptions, "listen" | "tls">;
  /** Unique among replicas; default one that is made up. */
  readonly identity?: string;
}

/** A small fact that outlives the process. */
function recall(directory: string | undefined, name: string): string | undefined {
  if (directory === undefined) return undefined;
  try {
    return readFileSync(join(directory, name), "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Written by rename: a killed writer never leaves half a file. */
function remember(directory: string, name: string, value: string): void {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, name);
  writeFileSync(`${path}.new`, `${value}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** A replica that comes back under its old name has its lease back at once, instead of waiting until it has run out. */
function identityOf(options: RunOptions): string {
  const known = options.identity ?? recall(options.stateDir, "identity");
  if (known !== undefined) return known;
  const made = `${hostname()}_${randomUUID()}`;
  if (options.stateDir !== undefined) remember(options.stateDir, "identity", made);
  return made;
}

/** Starts the hub as soon as the cluster's name is known, and again if it cannot start yet. Never rejects. */
async function keepHub(
  options: RunOptions,
  client: KubeClient,
  clusterName: () => string | undefined,
  log: Log,
  signal: AbortSignal,
  told: (hub: Hub | undefined) => void,
): Promise<void> {
  if (options.hubListen === undefined && options.hubSocket === undefined) return;
  const { startHub } = await import("../fleet/hub/index.ts");
  const pause = backoff(500, 30_000, Math.random);
  while (!signal.aborted) {
    try {
      await using hub = await startHub({
        client,
        clock: systemClock,
        random: Math.random,
        log,
        cluster: clusterName() ?? "",
        ...(options.hubListen !== undefined && { listen: options.hubListen }),
        ...(options.hubAdvertise !== undefined && { advertise: options.hubAdvertise }),
        ...(options.hubSocket !== undefined && { socket: options.hubSocket }),
      });
      told(hub);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
    } catch (error) {
      log.error({ error: describeError(error) }, "the hub could not start; traces across nodes wait for it");
      await sleep(systemClock, pause.next(), signal);
    }
  }
}

/**
 * Runs until the signal aborts. An API server that is away delays everything and ends nothing.
 * @throws TransportError where there is no kubeconfig to begin with
 */
export async function run(options: RunOptions, signal: AbortSignal): Promise<void> {
  const log = pino({ level: options.logLevel, base: { component: "operator" } }, pino.destination(2));
  const { client, server } = await loadKubeConfig(
    {
      ...(options.kubeconfig !== undefined && { kubeconfig: options.kubeconfig }),
      ...(options.context !== undefined && { context: options.context }),
      ...(options.socket !== undefined && { socket: options.socket }),
    },
    { name: "waggle-operator" },
  );
  await using _client = client;
  const expectedUID = recall(options.stateDir, "cluster-uid");
  const identity = identityOf(options);
  await using operator = new Operator({
    api: client,
    identity,
    namespace: systemNamespace,
    ...(expectedUID !== undefined && { expectedUID }),
    clock: systemClock,
    random: Math.random,
    log,
  });
  let hub: Hub | undefined;
  await using _metrics =
    options.metrics &&
    (await listenMetrics({
      ...options.metrics,
      sources: [
        processSource("operator", options.version),
        kubeSource(client, allCaches(operator.caches), operator.events),
        operatorSource(operator),
        hubSource(() => hub),
      ],
      // A replica that stands by is ready, too.
      notReady: () => Object.entries(operator.state.stale).map(([kind, why]) => `${kind}: ${why}`)[0],
      log,
    }));
  operator.start();
  log.info({ server, identity }, "started");
  const ended = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
  await Promise.race([operator.caches.clusterNetworks.synced, ended]);
  const { clusterUID } = operator.state;
  if (options.stateDir !== undefined && clusterUID !== undefined && expectedUID === undefined)
    remember(options.stateDir, "cluster-uid", clusterUID);
  const cluster = (): string | undefined => clusterNetworkOf(operator.caches)?.spec.clusterName;
  await Promise.all([ended, keepHub(options, client, cluster, log, signal, (now) => void (hub = now))]);
  log.info({}, "stopping");
}
