// fleet: what hub, agents and callers agree on besides proto/hub.proto: names, times and bounds, each in one place.
import { systemNamespace } from "../api/index.ts";

/** Grows when an old side could misread a new one. */
export const protocolVersion = 1;

/** Audience of the agents' projected tokens. */
export const hubAudience = "waggle-hub";
/** What a hub's certificate names, whatever address or socket it is reached by. */
export const hubServerName = "waggle-hub";
/** ConfigMap in waggle-system from which agents learn where the hub is and which certificate it has. */
export const hubConfigMap = "waggle-hub";
/** The ServiceAccount of agents; a token of another one is refused. */
export const agentAccount = `system:serviceaccount:${systemNamespace}:waggle-agent`;
/** TokenReview's user.extra key for the node to which a token is bound (KEP-4193). */
export const nodeNameExtra = "authentication.kubernetes.io/node-name";

/** Where a hub is. Both may be there: the socket is for who runs on the same machine. */
export interface HubEndpoint {
  /** host:port */
  readonly address?: string;
  /** Path of a unix socket; it speaks TLS, too. */
  readonly socket?: string;
  /** Certificates that the hub's must be signed by, PEM. */
  readonly ca: string;
}

/** Milliseconds. Tests shorten them. */
export interface Timing {
  /** Both sides of every stream say something at least this often. */
  readonly heartbeatMs: number;
  /** A hub gives a silent agent or caller up after this long. */
  readonly peerDeadMs: number;
  /** An agent gives a silent hub up earlier, so that everything is detached 5 s after the hub's last word. */
  readonly hubDeadMs: number;
  /** For an agent to compile and load a script. */
  readonly prepareMs: number;
  /** For a caller to say "attach" once it has heard of phase 1; it may wait for other clusters. */
  readonly proceedMs: number;
  /** For an agent to attach. */
  readonly attachMs: number;
  /** Beyond a run's own duration, before the hub stops it. */
  readonly graceMs: number;
  /** For agents to hand in their answers after a stop. */
  readonly collectMs: number;
  /** For the first message of a stream, and for the answer of a token review. */
  readonly helloMs: number;
  /** A Trace that no caller has joined by then is failed. */
  readonly joinMs: number;
  /** Finished Traces are deleted after this long. */
  readonly keepMs: number;
  /** A stream's token is reviewed again this often. */
  readonly reviewMs: number;
  /** An agent's pauses between attempts to reach the hub. */
  readonly redialMinMs: number;
  readonly redialMaxMs: number;
}

export const defaultTiming: Timing = {
  heartbeatMs: 1_000,
  peerDeadMs: 5_000,
  hubDeadMs: 4_000,
  prepareMs: 5_000,
  proceedMs: 30_000,
  attachMs: 10_000,
  graceMs: 2_000,
  collectMs: 3_000,
  helloMs: 5_000,
  joinMs: 60_000,
  keepMs: 3_600_000,
  reviewMs: 600_000,
  redialMinMs: 250,
  redialMaxMs: 10_000,
};

const MiB = 1024 * 1024;

export const bounds = {
  /** Streams of agents at one hub. */
  agents: 4_096,
  /** Runs at one hub, and so callers. */
  runs: 16,
  /** Runs at one agent. */
  runsPerAgent: 8,
  /** Token reviews in flight. */
  reviews: 64,
  /** Largest message, either way. */
  messageBytes: 8 * MiB,
  /** What waits for a caller that reads slowly; lines beyond it are dropped and counted. */
  callerQueueBytes: 16 * MiB,
  /** What waits at an agent for the hub, of all its runs. */
  agentQueueBytes: 8 * MiB,
  /** One piece of a map; larger maps are sent in several. */
  chunkBytes: 1 * MiB,
  /** What a hub holds of one run's maps before they are merged. */
  runMapBytes: 256 * MiB,
  /** Rounds of one run that wait for nodes. The oldest goes out without them when there are more. */
  pendingRounds: 256,
  /** Errors that a run tells of; the rest is a number. */
  errors: 256,
  /** Finished Traces that are kept. */
  finishedTraces: 100,
  /** Traces that a hub remembers to have taken over from another one. */
  takenOver: 1_024,
  /** A run's duration at an agent, whatever the hub asks. */
  durationMs: 3_600_000,
  mapBytes: 1024 * MiB,
  ringBytes: 64 * MiB,
} as const;

/** What the fleet writes to logs: constant messages with members. */
export interface Log {
  debug(members: object, message: string): void;
  info(members: object, message: string): void;
  warn(members: object, message: string): void;
  error(members: object, message: string): void;
}

/** Splits host:port; an IPv6 host stands in brackets. @throws RangeError */
export function splitAddress(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) throw new RangeError(`${JSON.stringify(text)} is not host:port`);
  return { host: (match[1] ?? match[2])!, port };
}
