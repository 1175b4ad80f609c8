// agent: Events for people: what is different between two reports, each said once.
import type { NewEvent } from "./ports.ts";
import type { StatusInputs } from "./status.ts";

const warning = (reason: string, action: string, note: string): NewEvent => ({
  type: "Warning",
  reason,
  action,
  note,
});
const normal = (reason: string, action: string, note: string): NewEvent => ({
  type: "Normal",
  reason,
  action,
  note,
});

function sessionNews(before: StatusInputs, now: StatusInputs): readonly NewEvent[] {
  return [...now.sessions].flatMap(([name, session]) => {
    const old = before.sessions.get(name);
    const up = session.state === "Established";
    if (up && old?.state !== "Established")
      return [normal("SessionUp", "Peer", `session ${name} is Established`)];
    if (!up && old?.state === "Established") {
      const why = session.reason || session.lastErrorReceived || session.lastErrorSent || "no reason given";
      return [warning("SessionDown", "Peer", `session ${name} is down: ${why}`)];
    }
    return [];
  });
}

function datapathNews(before: StatusInputs, now: StatusInputs): readonly NewEvent[] {
  const out: NewEvent[] = [];
  const known = new Set(before.datapath.findings.map((f) => `${f.kind} ${f.subject}`));
  for (const finding of now.datapath.findings)
    if (!known.has(`${finding.kind} ${finding.subject}`))
      out.push(warning(finding.kind, "Inspect", finding.message));
  if (now.datapath.repairedAt !== before.datapath.repairedAt)
    for (const finding of now.datapath.repaired)
      out.push(warning(finding.kind, "Repair", `repaired: ${finding.message}`));
  if (now.datapath.failure !== undefined && now.datapath.failure !== before.datapath.failure)
    out.push(warning("DatapathFailed", "Program", now.datapath.failure));
  for (const [prefix, proof] of now.proofs)
    if (proof.state !== "Proven" && before.proofs.get(prefix)?.state === "Proven")
      out.push(warning("ProofFails", "Prove", `${prefix}: ${proof.reason}`));
  return out;
}

function planNews(before: StatusInputs, now: StatusInputs): readonly NewEvent[] {
  const out: NewEvent[] = [];
  const held = now.plan?.held;
  if (held && held.hash !== before.plan?.held?.hash)
    out.push(
      warning(
        "PlanHeld",
        "Plan",
        `a plan that withdraws ${held.withdraws.slice(0, 8).join(", ")} is held; approve with annotation waggle.dev/approve=${held.hash}`,
      ),
    );
  const known = new Set(before.plan?.problems.map((p) => `${p.object} ${p.path} ${p.message}`));
  for (const p of now.plan?.problems ?? [])
    if (!known.has(`${p.object} ${p.path} ${p.message}`))
      out.push(warning("InvalidObject", "Plan", `${p.object}: ${p.path} ${p.message}`));
  if (now.drain.phase !== before.drain.phase)
    out.push(normal("DrainPhase", "Drain", `drain: ${before.drain.phase} -> ${now.drain.phase}`));
  return out;
}

/** Nothing for the first report after a start: what is so then is in the status. */
export function eventsOf(before: StatusInputs | undefined, now: StatusInputs): readonly NewEvent[] {
  if (!before) return [];
  const out = [...sessionNews(before, now), ...datapathNews(before, now), ...planNews(before, now)];
  if (before.staleBecause === undefined && now.staleBecause !== undefined && before.plan)
    out.push(warning("SnapshotStale", "Follow", now.staleBecause));
  if (before.speaker.connected && !now.speaker.connected)
    out.push(warning("SpeakerAway", "Announce", now.speaker.reason));
  return out;
}
