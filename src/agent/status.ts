// agent: what NodeNetwork.status says, as a pure function of what the agent knows.
import type { Condition, NodeNetworkStatus } from "../api/index.ts";
import type { Finding, MapUsage, Refusal } from "../datapath/index.ts";
import { setCondition, timestamp } from "../kube/index.ts";
import { formatAddress, formatPrefix } from "../net/address.ts";
import {
  type Announcement,
  type DrainProgress,
  isAnnounced,
  type Plan,
  type Proof,
  pendingWithdrawals,
  type Retirement,
  reasons,
} from "../plan/index.ts";
import type { RouteView } from "../routes/index.ts";
import type { CniState } from "./conflist-file.ts";
import { drainMessages, missingSecret, pausedText, conditionReasons as say } from "./messages.ts";
import type { SessionView } from "./speaker/decode.ts";

export interface SpeakerView {
  readonly connected: boolean;
  readonly version: string;
  readonly pid: string;
  /** Why it is away. */
  readonly reason: string;
  /** Why it did not take the last desired state; empty where it did. */
  readonly refused: string;
}

export interface DatapathView {
  /** Undefined: nothing has failed. */
  readonly failure?: string;
  readonly refused: readonly Refusal[];
  /** What is not as it was left, now. */
  readonly findings: readonly Finding[];
  /** What was mended last, and when (unix ms). */
  readonly repaired: readonly Finding[];
  readonly repairedAt: number;
  readonly maps: readonly MapUsage[];
  readonly inFIB: number;
  readonly fibRefused: readonly { readonly prefix: string; readonly reason: string }[];
}

export interface StatusInputs {
  readonly version: string;
  readonly startedAt: number;
  readonly layout: string;
  readonly generation: number | undefined;
  readonly plan: Plan | undefined;
  readonly staleBecause: string | undefined;
  readonly speaker: SpeakerView;
  readonly sessions: ReadonlyMap<string, SessionView>;
  readonly proofs: ReadonlyMap<string, Proof>;
  readonly datapath: DatapathView;
  readonly routes: RouteView;
  readonly drain: DrainProgress;
  /** Prefixes that a drain keeps for want of another announcer. */
  readonly kept: readonly string[];
  /** Whether it is known what other nodes announce. */
  readonly elsewhereKnown: boolean;
  readonly unacknowledged: readonly string[];
  readonly retiring: readonly Retirement[];
  readonly cni: CniState | { readonly state: "Failed"; readonly message: string };
  /** Blocks in use that nothing explains. */
  readonly inUse: NonNullable<NodeNetworkStatus["inUse"]>;
  /** How full the node's blocks are; absent where Waggle gives pods no addresses. */
  readonly podBlocks?: NonNullable<NodeNetworkStatus["podBlocks"]>;
  /** What was announced by what this node reported last: an agent without a plan has not withdrawn it. */
  readonly announcedBefore: NodeNetworkStatus["announced"];
  readonly previous: readonly Condition[] | undefined;
  readonly now: number;
}

/** Items of a list that the CRD stores, and of its shorter lists. */
const listLimit = 4096;
const shortLimit = 256;
const heldLimit = 1024;
/** Items that a message names. */
const named = 8;
/** How long a mended finding stays in the condition's message, ms. */
const repairedShownMs = 10 * 60_000;

const some = (list: readonly string[]): readonly string[] =>
  list.length > named ? [...list.slice(0, named), `and ${list.length - named} more`] : list;
const cut = (text: string, length: number): string =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text;
const optional = <K extends string>(key: K, value: string, length: number) =>
  value === "" ? {} : ({ [key]: cut(value, length) } as Readonly<Record<K, string>>);

function sessionsOf(inputs: StatusInputs): NonNullable<NodeNetworkStatus["sessions"]> {
  return (inputs.plan?.speaker.peers ?? []).slice(0, 64).map((peer) => {
    const s = inputs.speaker.connected ? inputs.sessions.get(peer.name) : undefined;
    const reason = peer.passwordMissing
      ? missingSecret(peer.passwordSecret ?? "")
      : s
        ? s.state === "Established"
          ? ""
          : s.reason
        : inputs.speaker.connected
          ? ""
          : inputs.speaker.reason;
    return {
      peer: peer.name,
      address:
        peer.ranges !== undefined
          ? cut(peer.ranges.map(formatPrefix).join(", "), 64)
          : peer.interface === undefined
            ? formatAddress(peer.address)
            : `${s?.address.replace(/^::$/, "") ?? ""}%${peer.interface}`,
      peerASN: peer.peerASN,
      state: s?.state ?? "Idle",
      ...(s && s.since > 0 && { since: timestamp(s.since) }),
      ...optional("localAddress", s?.localAddress ?? "", 64),
      ...(s && s.families.length > 0 && { families: s.families }),
      ...optional("reason", reason, 1024),
      ...optional("lastErrorSent", s?.lastErrorSent ?? "", 512),
      ...optional("lastErrorReceived", s?.lastErrorReceived ?? "", 512),
      md5: s?.md5 ?? false,
      gracefulRestart: s?.gracefulRestart ?? false,
      received: s?.received ?? 0,
      accepted: s?.accepted ?? 0,
      advertised: s?.advertised ?? 0,
      flaps: s?.flaps ?? 0,
    };
  });
}

type Announced = NonNullable<NodeNetworkStatus["announced"]>[number];

const serviceOf = ({ owner }: Announcement): string | undefined =>
  owner.kind === "Service" ? `${owner.namespace ?? ""}/${owner.name}` : undefined;

function announcedOf(inputs: StatusInputs): readonly Announced[] {
  const { plan, retiring } = inputs;
  const out = new Map<string, Announced>();
  for (const a of plan?.announcements ?? []) {
    if (a.prefix === undefined) continue;
    const service = serviceOf(a);
    out.set(a.prefix, {
      prefix: a.prefix,
      state: a.state,
      ...(service !== undefined && { service }),
      ...(a.sharedBy && { sharedBy: a.sharedBy.slice(0, 64) }),
      code: a.reason.code,
      reason: cut(a.reason.message, 512),
      peers: a.peers.slice(0, 64),
    });
  }
  // Withdrawn is said only once every neighbour knows: a claim is released on it.
  const { code, message } = reasons.awaitingAck();
  for (const r of pendingWithdrawals(retiring)) {
    const service = out.get(r.prefix)?.service ?? r.entry?.service;
    const sharedBy = out.get(r.prefix)?.sharedBy;
    out.set(r.prefix, {
      prefix: r.prefix,
      state: "Announced",
      ...(service !== undefined && { service }),
      ...(sharedBy && { sharedBy }),
      code,
      reason: message,
      peers: r.peers.slice(0, 64),
    });
  }
  // Claims wait for what is announced: where there is no room for all, it is the others that are left out.
  const rank = (a: Announced): number => (a.state === "Withdrawn" ? 1 : 0);
  return [...out.values()]
    .sort((a, b) => rank(a) - rank(b) || (a.prefix < b.prefix ? -1 : 1))
    .slice(0, listLimit);
}

/** Services that cannot be announced for want of an address. */
const unaddressedOf = ({ plan }: StatusInputs): NonNullable<NodeNetworkStatus["unaddressed"]> =>
  (plan?.announcements ?? [])
    .flatMap((a) => {
      const service = serviceOf(a);
      return a.prefix !== undefined || service === undefined
        ? []
        : [{ service, code: a.reason.code, reason: cut(a.reason.message, 512) }];
    })
    .sort((a, b) => (a.service < b.service ? -1 : 1))
    .slice(0, shortLimit);

function drainOf(inputs: StatusInputs): NonNullable<NodeNetworkStatus["drain"]> {
  const { drain, plan, kept } = inputs;
  const seconds = plan?.drainSeconds ?? 0;
  const message =
    drain.phase === "DePreferred"
      ? drainMessages.dePreferred(drain.ackedAt === undefined ? inputs.unacknowledged : [], seconds)
      : drain.phase === "Quiet"
        ? kept.length > 0
          ? inputs.elsewhereKnown
            ? drainMessages.quietKept(kept)
            : drainMessages.quietUnknown(kept)
          : drainMessages.quiet(pendingWithdrawals(inputs.retiring).map((r) => r.prefix))
        : drain.phase === "Withdrawn"
          ? drainMessages.withdrawn(seconds)
          : drain.phase === "Released"
            ? drainMessages.released()
            : drainMessages.none();
  return {
    phase: drain.phase,
    ...(drain.since > 0 && { since: timestamp(drain.since) }),
    ...optional("message", message, 1024),
  };
}

type Verdict = readonly ["True" | "False" | "Unknown", readonly [string, string]];

function datapathVerdict(inputs: StatusInputs): Verdict {
  const { datapath, plan, now } = inputs;
  if (datapath.failure !== undefined) return ["False", say.datapathFailed(datapath.failure)];
  if (plan && plan.mode !== "Announce") return ["True", say.datapathIdle()];
  if (datapath.findings.length > 0)
    return ["False", say.datapathDamaged(some(datapath.findings.map((f) => f.message)))];
  if (datapath.refused.length > 0)
    return ["False", say.datapathRefused(some(datapath.refused.map((r) => `${r.subject}: ${r.reason}`)))];
  if (datapath.repaired.length > 0 && now - datapath.repairedAt < repairedShownMs)
    return [
      "True",
      say.datapathRepaired(some(datapath.repaired.map((f) => f.message)), timestamp(datapath.repairedAt)),
    ];
  return ["True", say.datapathHealthy()];
}

function provenVerdict(inputs: StatusInputs): Verdict {
  const wanted = [...inputs.proofs];
  if (wanted.length === 0) return ["True", say.nothingToProve()];
  const line = ([prefix, proof]: readonly [string, Proof]): string => `${prefix}: ${proof.reason}`;
  const failed = wanted.filter(([, p]) => p.state === "Failed").map(line);
  if (failed.length > 0) return ["False", say.proofFails(some(failed))];
  const unproven = wanted.filter(([, p]) => p.state === "Unproven").map(line);
  if (unproven.length > 0) return ["Unknown", say.unproven(some(unproven))];
  return ["True", say.proven(wanted.length)];
}

function cniVerdict(inputs: StatusInputs): Verdict {
  const { cni } = inputs;
  switch (cni.state) {
    case "Written":
      return ["True", say.cniWritten(cni.path)];
    case "Foreign":
      return ["False", say.cniForeign(cni.owner)];
    case "Waits":
      return ["Unknown", say.cniWaits()];
    case "NotOwned":
      return ["True", say.cniNotOwned()];
    case "Failed":
      return ["False", say.cniFailed(cni.message)];
  }
}

const speakerVerdict = ({ speaker }: StatusInputs): Verdict =>
  speaker.refused !== ""
    ? ["False", say.speakerRefuses(speaker.refused)]
    : speaker.connected
      ? ["True", say.speakerConnected(speaker.version, speaker.pid)]
      : ["False", say.noSpeaker(speaker.reason)];

function configVerdict({ plan }: StatusInputs): Verdict {
  const problems = plan?.problems ?? [];
  if (problems.length === 0) return ["True", say.configAccepted()];
  const lines = problems.map(
    (p) =>
      `${p.object}: ${p.path} ${p.message}${p.lastGoodInForce ? " (its last good configuration stays in force)" : ""}`,
  );
  return ["False", say.configInvalid(some(lines))];
}

const pausedVerdict = ({ plan }: StatusInputs): Verdict =>
  plan && plan.paused.length > 0
    ? ["True", say.paused(some(plan.paused.map((p) => `${p.object} ${pausedText[p.inForce]}`)))]
    : ["False", say.notPaused()];

/** The first thing that keeps this node from doing what it is asked. */
function readyVerdict(inputs: StatusInputs, others: Readonly<Record<string, Verdict>>): Verdict {
  const { plan } = inputs;
  if (!plan) return ["False", say.noSnapshot(inputs.staleBecause ?? "")];
  if (plan.mode === "None") return ["True", say.notSelected()];
  for (const type of ["CNIConfigured"]) if (others[type]![0] === "False") return others[type]!;
  if (plan.mode !== "Announce") return ["True", say.observing(plan.mode)];
  for (const type of ["SpeakerConnected", "DatapathHealthy"])
    if (others[type]![0] === "False") return others[type]!;
  if (inputs.drain.phase !== "None")
    return ["True", say.draining(inputs.drain.phase, drainOf(inputs).message ?? "")];
  if (plan.held) return ["False", say.held(plan.held.hash, some(plan.held.withdraws))];
  // From a range nobody need come.
  const ranges = new Set(plan.speaker.peers.flatMap((p) => (p.ranges ? [p.name] : [])));
  const down = sessionsOf(inputs).filter((s) => s.state !== "Established" && !ranges.has(s.peer));
  if (down.length > 0)
    return [
      "False",
      say.sessionsDown(some(down.map((s) => (s.reason ? `${s.peer} (${s.reason})` : s.peer)))),
    ];
  const proven = others["Proven"]!;
  if (inputs.proofs.size > 0 && proven[0] !== "True") return ["False", proven[1]];
  return ["True", say.ready()];
}

function conditionsOf(inputs: StatusInputs): readonly Condition[] {
  const { plan, routes } = inputs;
  const others: Record<string, Verdict> = {
    SpeakerConnected: speakerVerdict(inputs),
    DatapathHealthy: datapathVerdict(inputs),
    Proven: provenVerdict(inputs),
    SnapshotFresh:
      inputs.staleBecause === undefined
        ? ["True", say.snapshotFresh()]
        : ["False", say.snapshotStale(inputs.staleBecause)],
    TagMissing:
      routes.tagMissing.length > 0
        ? ["True", say.tagMissing(routes.tagMissing)]
        : ["False", say.tagsPresent()],
    ConfigAccepted: configVerdict(inputs),
    PlanApplied: plan?.held
      ? ["False", say.held(plan.held.hash, some(plan.held.withdraws))]
      : ["True", say.notHeld()],
    CNIConfigured: cniVerdict(inputs),
    Paused: pausedVerdict(inputs),
  };
  let out: readonly Condition[] = inputs.previous ?? [];
  const all: [string, Verdict][] = [...Object.entries(others), ["Ready", readyVerdict(inputs, others)]];
  for (const [type, [status, [reason, message]]] of all)
    out = setCondition(
      out,
      {
        type,
        status,
        reason,
        message: cut(message, 4096),
        ...(inputs.generation !== undefined && { observedGeneration: inputs.generation }),
      },
      inputs.now,
    );
  return out.filter((c) => all.some(([type]) => type === c.type));
}

/** The whole status. */
export function statusOf(inputs: StatusInputs): NodeNetworkStatus {
  const { plan, routes, datapath } = inputs;
  return {
    ...(inputs.generation !== undefined && { observedGeneration: inputs.generation }),
    agent: {
      version: inputs.version,
      startedAt: timestamp(inputs.startedAt),
      layout: inputs.layout,
      snapshot: inputs.staleBecause === undefined ? "Fresh" : "Stale",
    },
    drain: drainOf(inputs),
    sessions: sessionsOf(inputs),
    announced: plan ? announcedOf(inputs) : (inputs.announcedBefore ?? []),
    ...(inputs.podBlocks && { podBlocks: inputs.podBlocks }),
    ...(inputs.inUse.length > 0 && { inUse: inputs.inUse }),
    unaddressed: unaddressedOf(inputs),
    proofs: [...inputs.proofs]
      .map(([prefix, p]) => ({ prefix, state: p.state, reason: cut(p.reason, 512) }))
      .sort((a, b) => (a.prefix < b.prefix ? -1 : 1))
      .slice(0, listLimit),
    routes: {
      learned: routes.counts.learned,
      inMap: routes.counts.inMap,
      inFIB: datapath.inFIB,
      refused: routes.counts.refused + datapath.fibRefused.length,
      ignoredTags: routes.counts.ignoredTags,
      tagMissing: routes.tagMissing.slice(0, 64),
      byPeering: Object.entries(routes.byPeering)
        .map(([name, learned]) => ({ name, learned }))
        .sort((x, y) => (x.name < y.name ? -1 : 1))
        .slice(0, 64),
    },
    maps: datapath.maps.slice(0, 32).map((m) => ({ ...m })),
    ...(plan?.held && {
      heldPlan: { hash: plan.held.hash, withdraws: plan.held.withdraws.slice(0, heldLimit) },
    }),
    conditions: conditionsOf(inputs),
  };
}

/** Whether a plan announces anything. */
export const announcesAnything = (plan: Plan | undefined): boolean =>
  plan?.announcements.some(isAnnounced) ?? false;
