// fleet: every sentence that users read about a run across nodes, in one place.

export const messages = {
  noAgent: () => "no agent of this node is connected to the hub",
  agentLost: () => "the agent's connection was lost during the run",
  silent: (what: "compile" | "attach" | "answer", ms: number) => {
    const done = { compile: "compiled", attach: "attached", answer: "answered" }[what];
    return `the agent has not ${done} within ${ms / 1000} s`;
  },
  otherSchema: (hash: string, majority: string) =>
    `its answer has another form than the other nodes' (schema ${short(hash)}, theirs ${short(majority)}): another kernel or version; not merged`,
  badChunk: (why: string) => `sent an answer that cannot be read: ${why}`,
  mapsTooLarge: (bytes: number) =>
    `its maps did not fit into the hub's ${mebibytes(bytes)} for this run and are not in the answer`,
  lateRound: (count: number) => `${count} print() results came too late to be merged and are not shown`,
  linesDropped: (count: number) => `${count} lines were dropped: the caller reads more slowly than they come`,
  moreErrors: (count: number) => `and ${count} more errors`,
  runError: (message: string) => message || "the run ended with an error",

  // Hub to caller, as errors of the stream.
  badKey: () => "no run of this name waits for a caller with this key",
  callerTwice: () => "this run has its caller already",
  tooManyRuns: (most: number) => `${most} runs are going on; try again when one has ended`,
  firstMessage: () => "the stream must begin with the run's name and key",
  hubStops: () => "the hub is going away",

  // Hub to agents.
  noToken: () => "a bearer token is needed: a projected ServiceAccount token with audience waggle-hub",
  badToken: () => "the API server does not accept this token for audience waggle-hub",
  notAgent: (username: string) => `${username} is not the account of Waggle's agents`,
  noNode: () => "the token is not bound to a node; project it into a pod, or bind it to a Node",
  otherNode: (said: string, token: string) =>
    `the agent says it is ${JSON.stringify(said)}, its token is bound to ${JSON.stringify(token)}`,
  otherProtocol: (theirs: number, ours: number) =>
    `the agent speaks protocol ${theirs}, this hub ${ours}: upgrade the older of the two`,
  tooManyAgents: (most: number) => `${most} agents are connected; this hub takes no more`,
  busy: () => "too many tokens are being reviewed; try again",
  otherHub: () => "another hub has taken over",
  replaced: () => "a newer stream of the same node has taken over",

  // Trace status.
  waiting: () => "waiting for its caller to join the hub",
  compiledOn: (compiled: number, asked: number) => `compiles on ${compiled}/${asked} nodes`,
  running: (attached: number, asked: number) => `attached on ${attached}/${asked} nodes`,
  done: (answered: number, asked: number) => `${answered}/${asked} nodes answered`,
  nothingAttached: () => "the script was attached nowhere",
  neverJoined: (ms: number) => `no caller joined within ${ms / 1000} s`,
  hubRestarted: () => "the hub was restarted during the run",
  callerGone: () => "the caller went away; agents were told to detach",
  callerSilent: (ms: number) => `the caller did not ask to attach within ${ms / 1000} s`,
  deleted: () => "the Trace was deleted during the run",
  noNodes: () => "no node matches the selector",

  // Agents' ceilings.
  tooLong: (asked: number, most: number) =>
    `a duration of ${asked / 1000} s is over this agent's ceiling of ${most / 1000} s`,
  tooManyHere: (most: number) => `${most} runs are going on at this node; try again when one has ended`,
  unknownRun: () => "this agent has no such run prepared",
  overran: () => "the tracer did not end at its deadline and was given up",
  tracerFailed: (why: string) => `the tracer failed: ${why}`,

  // Caller.
  refused: (why: string) => `refused (${why})`,
  notInstalled: () => "has no Trace kind: Waggle is not installed there",
  noAnswer: (why: string) => `does not answer (${why})`,
  noHub: (ms: number) =>
    `no hub took the run within ${ms / 1000} s; is the operator running? (kubectl -n waggle-system get pods)`,
  hubUnreachable: (where: string, why: string) => `its hub at ${where} cannot be reached (${why})`,
  hubLost: (why: string) => `the connection to its hub was lost (${why})`,
  stoppedEarly: () => "nothing was attached",
  strict: () => "nothing was attached, because --strict asks for every node to compile the script",
} as const;

const short = (hash: string): string => hash.slice(0, 8);
const mebibytes = (bytes: number): string => `${Math.round(bytes / 1048576)} MiB`;
