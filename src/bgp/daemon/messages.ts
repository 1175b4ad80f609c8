// bgp/daemon: what the speaker says to agents, commands and people, in one place.

export const refusal = {
  protocol: (wanted: number) => `protocol ${wanted} is not spoken here; this speaker speaks 1`,
  helloFirst: "the first message must be a hello",
  controllerOnly: "only the controlling agent may send this",
  replaced: "another controller has taken over",
  fileControlled: "this speaker runs from a file; edit it and send SIGHUP",
  tooManyClients: "too many connections to the speaker's socket",
  tooLong: "message is longer than allowed",
  malformed: "message cannot be read",
  busy: "too many queries at once on this connection",
} as const;

export const queryError = {
  noPeer: (name: string) => `no neighbour is called ${JSON.stringify(name)}`,
  peerDown: (name: string, reason: string) => `the session with ${name} is not established: ${reason}`,
} as const;

export const linkProblem = {
  cannotOpen: (link: string, reason: string): string =>
    `cannot look for neighbours on ${link}: ${reason}; tried again until it works`,
  cannotSend: (link: string, reason: string): string => `router advertisement on ${link}: ${reason}`,
} as const;

export const startError = {
  socketInUse: (path: string) => `another speaker answers at ${path}`,
  notASocket: (path: string) => `${path} exists and is not a socket`,
  pathTooLong: (path: string) => `${path} is longer than the 107 octets that a unix socket's path may have`,
} as const;

export const bfdProblem = {
  send: (reason: string) => `cannot send BFD packets: ${reason}`,
  listen: (where: string, reason: string) =>
    `BFD cannot listen on ${where}: ${reason}; sessions by that address stay down, and with them nothing is decided`,
  thread: (reason: string) => `the BFD thread failed and is begun anew: ${reason}`,
} as const;

export const mrtProblem = (directory: string, reason: string): string =>
  `MRT dumps cannot be written to ${directory}: ${reason}; records are dropped meanwhile`;

export const listenProblem = (where: string, reason: string): string =>
  `cannot listen on ${where}: ${reason}; sessions that we open are not affected`;
