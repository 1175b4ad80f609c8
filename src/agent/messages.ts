// agent: sentences of conditions and Events of a NodeNetwork, and errors of the command line. One place.
import { pausedAnnotation } from "../api/index.ts";

/** What goes wrong once a change that is being rolled out has come into force. */
export const rolloutFailures = {
  sessionLost: (peer: string) => `session ${peer} was lost`,
  sessionFlapped: (peer: string) => `session ${peer} was lost and is back`,
  rejected: (peer: string) => `every route of ${peer} is rejected`,
  silenced: (peer: string) => `${peer} hears nothing any more`,
  proofs: (prefixes: readonly string[]) => `the proof of ${prefixes.slice(0, 4).join(", ")} fails`,
  held: (hash: string) => `the withdraw guard holds the plan ${hash}`,
} as const;

export const conditionReasons = {
  ready: () => ["Ready", "programmed, proven and announced as asked"] as const,
  observing: (mode: string) =>
    ["NotAnnouncing", `the ClusterNetwork says mode ${mode} for this node`] as const,
  notSelected: () => ["NodeNotSelected", "no rule of the ClusterNetwork matches this node"] as const,
  noSnapshot: (why: string) =>
    ["NoSnapshot", `the cluster has not been read in full yet${why ? `: ${why}` : ""}`] as const,
  noSpeaker: (why: string) => ["SpeakerAway", `no connection to the speaker: ${why}`] as const,
  speakerConnected: (version: string, pid: string) =>
    ["Connected", `speaker ${version}, process ${pid}`] as const,
  speakerRefuses: (why: string) =>
    ["DesiredStateRefused", `the speaker keeps what it has, because it refuses the rest: ${why}`] as const,
  sessionsDown: (names: readonly string[]) =>
    ["SessionsDown", `not Established: ${names.join("; ")}`] as const,
  datapathFailed: (why: string) => ["DatapathFailed", why] as const,
  datapathDamaged: (what: readonly string[]) => ["Damaged", what.join("; ")] as const,
  datapathRefused: (what: readonly string[]) => ["Refused", what.join("; ")] as const,
  datapathRepaired: (what: readonly string[], at: string) =>
    ["Repaired", `repaired at ${at}: ${what.join("; ")}`] as const,
  datapathHealthy: () => ["AsProgrammed", "links, programs and maps are as they were programmed"] as const,
  datapathIdle: () => ["NotProgrammed", "nothing is to be programmed on this node"] as const,
  proven: (count: number) => ["Proven", `synthetic packets went through for ${count} of ${count}`] as const,
  unproven: (what: readonly string[]) => ["Unproven", what.join("; ")] as const,
  proofFails: (what: readonly string[]) => ["ProofFails", what.join("; ")] as const,
  nothingToProve: () => ["NothingToProve", "this node has no address to announce"] as const,
  snapshotFresh: () => ["Fresh", "the API server's state is followed"] as const,
  snapshotStale: (why: string) =>
    ["Stale", `the last known state is in force, because it cannot be followed: ${why}`] as const,
  tagMissing: (clusters: readonly string[]) =>
    [
      "TagMissing",
      `routes of ${clusters.join(", ")} arrive without their tag; the declared prefixes name the cluster`,
    ] as const,
  tagsPresent: () => ["TagsPresent", "learned routes carry their clusters' tags"] as const,
  configAccepted: () => ["Accepted", "every object of this node's configuration is in force"] as const,
  configInvalid: (what: readonly string[]) => ["InvalidObject", what.join("; ")] as const,
  held: (hash: string, withdraws: readonly string[]) =>
    [
      "PlanHeld",
      `a plan that withdraws ${withdraws.join(", ")} is held; approve it: kubectl annotate nodenetwork NODE --overwrite waggle.dev/approve=${hash}`,
    ] as const,
  notHeld: () => ["Applied", "the plan is in force; nothing is held"] as const,
  paused: (what: readonly string[]) =>
    [
      "Paused",
      `annotation ${pausedAnnotation} is "true" on ${what.join("; ")}; take it away to go on`,
    ] as const,
  notPaused: () => ["NotPaused", "nothing that concerns this node is paused"] as const,
  cniWritten: (path: string) => ["Written", `${path} is this node's CNI configuration`] as const,
  cniForeign: (owner: string) =>
    ["ForeignConflist", `${owner} is there already; Waggle's own is not written beside it`] as const,
  cniWaits: () => ["NoPodBlock", "no pod block is allocated to this node yet"] as const,
  cniNotOwned: () => ["NotOwned", "the ClusterNetwork does not give Pods to Waggle"] as const,
  cniFailed: (why: string) => ["WriteFailed", why] as const,
  draining: (phase: string, message: string) => ["Draining", `${phase}: ${message}`] as const,
} as const;

/** What it means that an object is paused. */
export const pausedText = {
  Present: "(it is in force as it is written)",
  Earlier: "(its form before the change stays in force)",
  Nothing: "(nothing of it was in force here, and nothing is)",
} as const;

export const drainMessages = {
  none: () => "",
  dePreferred: (waiting: readonly string[], seconds: number) =>
    waiting.length > 0
      ? `announced as least preferred; ${waiting.join(", ")} has not acknowledged it yet`
      : `announced as least preferred; withdrawing ${seconds} s after the neighbours heard it`,
  quietKept: (kept: readonly string[]) =>
    `waits: no other node announces ${kept.join(", ")}; --force withdraws it all the same`,
  quietUnknown: (kept: readonly string[]) =>
    `asks the API server whether another node announces ${kept.join(", ")}`,
  quiet: (pending: readonly string[]) =>
    pending.length > 0
      ? `withdrawal sent; not acknowledged yet: ${pending.join(", ")}`
      : "withdrawal sent and acknowledged",
  withdrawn: (seconds: number) =>
    `withdrawn and acknowledged; unprogramming ${seconds} s after the last acknowledgement`,
  released: () =>
    "withdrawn everywhere, entries unprogrammed; pods of this node stay reachable through the tunnel",
} as const;

export const missingSecret = (name: string): string =>
  `Secret waggle-system/${name} with key password is not there; the session is kept down`;

export const startErrors = {
  noNode: (node: string) => `--node ${JSON.stringify(node)} is not a node name`,
  socketPath: (path: string) => `${path} is longer than a unix socket's path may be (107 bytes)`,
} as const;

export const snapshotKept = (seconds: number): string =>
  `the API server's data is older than what is in force here, as after a restore from a backup; what is in force stays for ${seconds} s, and until the operator knows what is in use`;

export const nothingToReport = (): string => "nothing is known yet that could be reported";
