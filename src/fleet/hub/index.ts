// fleet/hub: a cluster's hub: agents dial in and keep a stream, callers join for one run. It knows one cluster, and no caller's token.
import type { ConnectRouter } from "@connectrpc/connect";
import { AgentHub, CallerHub } from "../../api/generated/proto/hub_pb.js";
import { type Clock, describeError, type KubeApi, type Random } from "../../kube/index.ts";
import { keepPublished, withdraw } from "../discovery.ts";
import { defaultTiming, type HubEndpoint, type Log, splitAddress, type Timing } from "../protocol.ts";
import { every } from "../watchdog.ts";
import { AgentRegistry, type AgentStats } from "./agents.ts";
import { type Authenticator, tokenReviewer } from "./authenticate.ts";
import { CallerRegistry, type CallerStats } from "./callers.ts";
import { leafDays, makeCertificates } from "./certificate.ts";
import { serve } from "./server.ts";
import { TraceKeeper } from "./traces.ts";

export interface HubOptions {
  /** A client with the operator's rights (deploy/base.yaml). */
  readonly client: KubeApi;
  /** host:port; port 0 takes any. Omitted: the socket only. */
  readonly listen?: string;
  /** What agents and callers dial, where it is not `listen`: host:port of a Service or a host port. */
  readonly advertise?: string;
  /** Path of a unix socket. */
  readonly socket?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** This cluster's name, for messages. */
  readonly cluster: string;
  readonly timing?: Partial<Timing>;
}

export interface Hub extends AsyncDisposable {
  readonly address: string | undefined;
  readonly socket: string | undefined;
  /** PEM. */
  readonly caBundle: string;
  /** Nodes with a live agent, sorted. */
  nodes(): readonly string[];
  /** Agents and callers are sent here. */
  readonly active: boolean;
  readonly stats: { readonly agents: AgentStats; readonly callers: CallerStats; readonly runs: number };
  /** Ends runs and streams. Agents detach at once. */
  close(): Promise<void>;
}

/** The parts of a hub without its listeners; a simulation serves them over any transport. */
export interface HubCore extends AsyncDisposable {
  readonly agents: AgentRegistry;
  readonly callers: CallerRegistry;
  readonly traces: TraceKeeper;
  readonly routes: (router: ConnectRouter) => void;
}

export interface HubCoreOptions extends Omit<HubOptions, "listen" | "advertise" | "socket" | "timing"> {
  readonly endpoint: HubEndpoint;
  readonly timing: Timing;
  /** Default: the API server reviews tokens. */
  readonly authenticator?: Authenticator;
}

const routesOf =
  (core: () => Pick<HubCore, "agents" | "callers">) =>
  (router: ConnectRouter): void => {
    router.service(AgentHub, {
      join: (requests, { requestHeader, signal }) =>
        core().agents.join(requests, requestHeader.get("authorization"), signal),
    });
    router.service(CallerHub, { run: (requests, { signal }) => core().callers.run(requests, signal) });
  };

export function hubCore(options: HubCoreOptions): HubCore {
  const { client: api, clock, random, timing, log, cluster, endpoint } = options;
  const authenticator = options.authenticator ?? tokenReviewer(api, timing.helloMs);
  const agents = new AgentRegistry({ authenticator, cluster, clock, timing, log });
  const traces: TraceKeeper = new TraceKeeper({
    api,
    endpoint,
    clock,
    random,
    timing,
    log,
    onDeleted: (uid) => callers.deleted(uid),
  });
  const callers = new CallerRegistry({ api, agents, traces, clock, timing, log });
  return {
    agents,
    callers,
    traces,
    routes: routesOf(() => ({ agents, callers })),
    async [Symbol.asyncDispose]() {
      callers.close();
      agents.close();
      await traces[Symbol.asyncDispose]();
    },
  };
}

/**
 * Starts the hub of one cluster: listeners first, then the ConfigMap for agents and the status of Traces for callers.
 * An API server that does not answer delays those two and nothing else.
 * @throws Error when an address is taken
 */
export async function startHub(options: HubOptions): Promise<Hub> {
  const { client, clock, log, cluster } = options;
  const timing = { ...defaultTiming, ...options.timing };
  const hosts = [options.listen, options.advertise].flatMap((a) =>
    a === undefined ? [] : [splitAddress(a).host],
  );
  const certificates = await makeCertificates(cluster, [...new Set(hosts)], () => clock.now());
  // The address is known once it is bound, and nobody can have asked before.
  let core: HubCore | undefined;
  const server = await serve({
    ...(options.listen === undefined ? {} : { listen: options.listen }),
    ...(options.socket === undefined ? {} : { socket: options.socket }),
    tls: await certificates.issue(),
    routes: routesOf(() => core!),
    log,
  });
  const address = options.advertise ?? server.address;
  const endpoint: HubEndpoint = {
    ca: certificates.ca,
    ...(address === undefined ? {} : { address }),
    ...(options.socket === undefined ? {} : { socket: options.socket }),
  };
  core = hubCore({ ...options, endpoint, timing });
  const { agents, callers, traces } = core;
  traces.active = false;
  traces.start();

  let active = false;
  const onActive = (now: boolean): void => {
    active = now;
    log.info({ cluster }, now ? "this is the cluster's hub" : "another hub has taken over");
    traces.active = now;
    if (now) agents.active = true;
    // Runs that have begun here end here.
    else
      void callers.idle().then(() => {
        if (!active) agents.active = false;
      });
  };
  const stop = new AbortController();
  const { random } = options;
  const published = keepPublished({ client, endpoint, clock, random, log, onActive }, stop.signal);
  const renewal = every(clock, (leafDays / 2) * 86_400_000, () => {
    void certificates.issue().then(
      (tls) => server.renew(tls),
      (error: unknown) => log.error({ error: describeError(error) }, "certificate not renewed"),
    );
  });
  log.info({ address, socket: options.socket, cluster }, "hub listens");
  const close = async (): Promise<void> => {
    stop.abort();
    renewal[Symbol.dispose]();
    callers.close();
    // Agents are told while their streams are still there.
    await callers.idle();
    await published;
    if (active)
      await withdraw(client, endpoint).catch((error: unknown) =>
        log.info({ error: describeError(error) }, "agents cannot be told that this hub goes"),
      );
    await core[Symbol.asyncDispose]();
    await server.close();
  };
  return {
    address,
    socket: options.socket,
    caBundle: certificates.ca,
    nodes: () => agents.nodes(),
    get active() {
      return active;
    },
    get stats() {
      return { agents: agents.stats, callers: callers.stats, runs: callers.size };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
