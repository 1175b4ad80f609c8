// bench: simulated nodes in one process: real agents with real caches, plans and speakers; only the datapath is a stand-in that
// takes and proves everything. Arguments: kubeconfig, number of the first node, how many, TCP port of the neighbour.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Agent } from "../src/agent/agent.ts";
import { ClusterView } from "../src/agent/cluster.ts";
import { Elsewhere } from "../src/agent/elsewhere.ts";
import type { DatapathPort, KernelRoutesPort, Log } from "../src/agent/ports.ts";
import type { SpeakerListener, SpeakerPort } from "../src/agent/speaker/client.ts";
import { StatusWriter } from "../src/agent/status-writer.ts";
import { FileStore } from "../src/agent/store.ts";
import {
  AckSchema,
  AckState,
  type DesiredState,
  HelloReplySchema,
  RouteBatchSchema,
} from "../src/api/generated/proto/speaker_pb.js";
import { systemClock as speakerClock } from "../src/bgp/daemon/clock.ts";
import { speakerConfig } from "../src/bgp/daemon/config.ts";
import { sessionMessage } from "../src/bgp/daemon/convert.ts";
import { tcpTransport } from "../src/bgp/daemon/tcp.ts";
import { Speaker } from "../src/bgp/session/speaker.ts";
import { loadKubeConfig, systemClock } from "../src/kube/index.ts";

const [kubeconfig, first, count] = process.argv.slice(2) as [string, string, string];
const quiet: Log = {
  debug() {},
  info() {},
  warn() {},
  error: (members, message) => console.error(message, members),
};
const ackStates = {
  sent: AckState.ACK_SENT,
  "peer-down": AckState.ACK_PEER_DOWN,
  timeout: AckState.ACK_TIMEOUT,
} as const;

/** The speaker of a node, in this process instead of behind a socket. */
class InProcess implements SpeakerPort {
  readonly connected = true;
  #listener: SpeakerListener | undefined;
  readonly speaker: Speaker = new Speaker({
    clock: speakerClock,
    random: Math.random,
    transport: tcpTransport,
    events: {
      acknowledged: (generation, peer, state) =>
        this.#listener?.ack(create(AckSchema, { generation, peer, state: ackStates[state] })),
      sessionChanged: (session) => this.#listener?.session(sessionMessage(session)),
      routesChanged: () => undefined,
      endOfRib: () => undefined,
      log: () => undefined,
    },
  });

  start(listener: SpeakerListener): void {
    this.#listener = listener;
    listener.connected(create(HelloReplySchema, { protocol: 1, version: "bench", pid: 1n, generation: 0n }));
    listener.routes(create(RouteBatchSchema, { sequence: 1n, snapshotDone: true }));
  }
  sendDesired(state: DesiredState): boolean {
    this.speaker.apply(speakerConfig(state));
    return true;
  }
  ackRoutes(): void {}
  askSessions(): void {
    for (const session of this.speaker.sessions) this.#listener?.session(sessionMessage(session));
  }
}

const datapath = (): DatapathPort => ({
  layout: "bench",
  sync: async (desired) => ({ generation: desired.generation, maps: [], changed: 1, refused: [] }),
  prove: async (targets) => targets.map((target) => ({ target, state: "Proven", reason: "not looked at" })),
  inspect: async () => [],
  repair: async () => ({ repaired: [], left: [] }),
  followPods: async () => 0,
  readRoutes: async () => ({ attributes: [], prefixes: [] }),
  syncRoutes: async () => ({ changed: 0, maps: [] }),
  close: () => undefined,
});

const kernelRoutes: KernelRoutesPort = {
  sync: async () => ({ installed: 0, changed: 0, refused: [] }),
  close: () => undefined,
};

const directory = mkdtempSync(join(tmpdir(), "waggle-bench-nodes-"));
process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
process.once("SIGTERM", () => process.exit(0));

for (let i = Number(first); i < Number(first) + Number(count); i++) {
  const node = `n${i}`;
  const { client: api } = await loadKubeConfig({ kubeconfig });
  const parts = { api, node, clock: systemClock, random: Math.random, log: quiet };
  let agent: Agent | undefined;
  const cluster = new ClusterView({
    ...parts,
    expectedUID: undefined,
    onChange: () => agent?.poke(),
    onRewound: () => undefined,
    onError: (error) => console.error(error),
  });
  const speaker = new InProcess();
  agent = new Agent({
    ...parts,
    nodeIndex: 0,
    version: "bench",
    cluster,
    passwords: { want() {}, settled: true, present: () => new Set(), passwords: () => new Map() },
    elsewhere: new Elsewhere(api, systemClock, quiet),
    speaker,
    datapath: datapath(),
    kernelRoutes,
    connect: async () => undefined,
    store: new FileStore(join(directory, node), node, quiet),
    host: () => ({ connected: [], apiServer: [], cniDataDir: "" }),
    cni: () => ({ state: "NotOwned" }),
    names: { write() {}, storedPeers: () => ({}) },
    status: new StatusWriter({ ...parts, current: () => cluster.nodeNetwork }),
    event: () => undefined,
  });
  cluster.start();
  agent.start();
  speaker.start(agent.listener);
}
process.stdout.write("ready\n");
