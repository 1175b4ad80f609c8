// agent: `waggle agent`: wires the loop to the real cluster, speaker, datapath and disk, and lives until it is told to stop.
import { join } from "node:path";
import pino from "pino";
import { systemNamespace } from "../api/index.ts";
import {
  describeError,
  EventRecorder,
  Heartbeat,
  kubeSource,
  loadKubeConfig,
  systemClock,
} from "../kube/index.ts";
import { listenMetrics, processSource } from "../metrics/index.ts";
import { Agent } from "./agent.ts";
import { ClusterView } from "./cluster.ts";
import { syncConflist } from "./conflist-file.ts";
import { tcpConnect } from "./connect-proof.ts";
import { Elsewhere } from "./elsewhere.ts";
import { hostFacts } from "./host.ts";
import { nothingToReport, startErrors } from "./messages.ts";
import { agentSource } from "./metrics.ts";
import { Names } from "./names.ts";
import { NodeDatapath, NodeKernelRoutes } from "./node-datapath.ts";
import { type AgentOptions, passwordDirectories } from "./options.ts";
import { firstInMemory, Passwords } from "./secrets.ts";
import { SpeakerClient } from "./speaker/client.ts";
import { StatusWriter } from "./status-writer.ts";
import { FileStore } from "./store.ts";
import { startTracing } from "./tracing.ts";

/** sun_path of struct sockaddr_un, without its closing zero. */
const socketPathLimit = 107;
/** How long ending traces may hold up a stop, ms. */
const stopWithinMs = 1_500;

/** Runs until SIGTERM or SIGINT. What is in force on the node stays in force. @throws Error for options that cannot work */
export async function runAgent(options: AgentOptions): Promise<void> {
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(options.node))
    throw new Error(startErrors.noNode(options.node));
  if (Buffer.byteLength(options.speakerSocket) > socketPathLimit)
    throw new Error(startErrors.socketPath(options.speakerSocket));
  const stopped = new Promise<string>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  });
  const clock = systemClock;
  const random = Math.random;
  const log = pino(
    { level: options.logLevel, base: { pid: process.pid, name: "agent", node: options.node } },
    pino.destination(2),
  );
  log.info({ version: options.version }, "agent starts");
  const { client: api, server } = await loadKubeConfig(
    {
      ...(options.kubeconfig !== undefined && { kubeconfig: options.kubeconfig }),
      ...(options.apiSocket !== undefined && { socket: options.apiSocket }),
    },
    { name: "waggle-agent" },
  );

  await using stack = new AsyncDisposableStack();
  stack.use(api);
  const store = new FileStore(options.stateDir, options.node, log);
  let agent: Agent | undefined;
  const poke = (): void => agent?.poke();
  const cluster = stack.use(
    new ClusterView({
      api,
      node: options.node,
      expectedUID: store.readSnapshot()?.clusterUID,
      clock,
      random,
      onChange: poke,
      onError: (error) => log.error({ error: String(error) }, "a change could not be handled"),
      onRewound: () => log.warn({}, "the API server's data went back; what is in force stays for a while"),
    }),
  );
  const passwordDir = firstInMemory(passwordDirectories(options));
  if (passwordDir === undefined)
    log.info({}, "no directory on tmpfs: passwords are kept in this process only");
  const passwords = stack.use(
    new Passwords({ api, clock, random, log, directory: passwordDir, onChange: poke }),
  );
  const datapath = stack.adopt(
    new NodeDatapath(
      {
        bpffs: options.bpffs,
        node: options.node,
        objectDirectory: options.objectDir,
        stateDirectory: options.stateDir,
      },
      log,
    ),
    (d) => d.close(),
  );
  const kernelRoutes = stack.adopt(new NodeKernelRoutes(), (k) => k.close());
  const names = new Names({ stateDir: options.stateDir, ownerNames: options.ownerNames, log });
  const status = stack.use(
    new StatusWriter({
      api,
      node: options.node,
      clock,
      random,
      log,
      current: () => cluster.nodeNetwork,
    }),
  );
  const recorder = new EventRecorder({
    api,
    controller: "waggle.dev/agent",
    instance: options.node,
    clock,
    onError: (message) => log.warn({}, message),
  });
  const speaker = stack.use(new SpeakerClient({ path: options.speakerSocket, clock, random, log }));
  agent = stack.use(
    new Agent({
      node: options.node,
      nodeIndex: options.nodeIndex,
      version: options.version,
      clock,
      log,
      cluster,
      passwords,
      elsewhere: new Elsewhere(api, clock, log),
      speaker,
      datapath,
      kernelRoutes,
      connect: tcpConnect,
      store,
      host: hostFacts({
        server,
        cniDataDir: options.cniDataDir,
        ...(options.podMTU !== undefined && { podMTU: options.podMTU }),
      }),
      cni: (owns, wanted) => syncConflist(options.cniConfDir, owns, wanted),
      names,
      status,
      event: (event) => {
        const network = cluster.nodeNetwork;
        if (network) recorder.record(network, event);
      },
    }),
  );
  let tracing: ReturnType<typeof startTracing> | undefined;
  if (options.metrics)
    stack.use(
      await listenMetrics({
        ...options.metrics,
        sources: [
          processSource("agent", options.version),
          kubeSource(api, cluster.informers, recorder),
          agentSource({ agent, speaker, status, member: () => tracing?.member }),
        ],
        notReady: () => (agent?.plan ? undefined : "there is no plan yet"),
        log,
      }),
    );
  cluster.start();
  agent.start();
  speaker.start(agent.listener);
  const heartbeat = stack.use(
    new Heartbeat({
      api,
      namespace: systemNamespace,
      name: `waggle-agent-${options.node}`,
      kind: "agent",
      holder: options.node,
      clock,
      random,
      // Without a plan it is not known what is in use here.
      settle: () => (agent?.plan ? status.settle() : Promise.reject(new Error(nothingToReport()))),
      seen: () => cluster.seen,
      onRewound: () => cluster.rewound(),
      onError: (message) => log.debug({ message }, "heartbeat"),
    }),
  );
  heartbeat.start();
  tracing = startTracing(options, {
    api,
    clock,
    random,
    log,
    mapDirectory: mapDirectoryOf(datapath, log),
    namesFile: join(options.stateDir, "names.json"),
  });

  const signal = await stopped;
  log.info({ signal }, "agent stops; links, programs, maps and sessions stay as they are");
  await Promise.race([
    tracing[Symbol.asyncDispose](),
    new Promise((resolve) => setTimeout(resolve, stopWithinMs).unref()),
  ]);
}

/** The tracer is told at its start where the route maps will be; without the datapath's object it runs without them. */
function mapDirectoryOf(datapath: NodeDatapath, log: pino.Logger): string | undefined {
  try {
    return datapath.mapDirectory;
  } catch (error) {
    log.error({ error: describeError(error) }, "the datapath's object cannot be read");
    return undefined;
  }
}
