// agent: its samples: the loop, the plan, proofs, datapath, speaker and hub.
import type { Member } from "../fleet/member.ts";
import type { Source } from "../metrics/index.ts";
import type { Agent } from "./agent.ts";
import type { SpeakerClient } from "./speaker/client.ts";
import type { StatusInputs } from "./status.ts";
import type { StatusWriter } from "./status-writer.ts";

export interface AgentMetricParts {
  readonly agent: Pick<Agent, "rounds" | "durations" | "sent" | "view" | "malformedRoutes">;
  readonly speaker: Pick<SpeakerClient, "connected" | "stats">;
  readonly status: Pick<StatusWriter, "stats">;
  /** Where this node takes part in traces. */
  readonly member: () => Pick<Member, "state" | "stats"> | undefined;
}

const announced = ["Announced", "DePreferred", "Held", "Withdrawn"] as const;
const proofStates = ["Proven", "Unproven", "Failed"] as const;
const drainPhases = ["None", "DePreferred", "Quiet", "Withdrawn", "Released"] as const;

const count = <T extends string>(states: readonly T[], found: Iterable<T>): ReadonlyMap<T, number> => {
  const out = new Map(states.map((s) => [s, 0]));
  for (const state of found) out.set(state, (out.get(state) ?? 0) + 1);
  return out;
};

const viewSource =
  (view: StatusInputs): Source =>
  (emit) => {
    const { plan, proofs, datapath, routes, drain, staleBecause } = view;
    emit("waggle_agent_snapshot_fresh", staleBecause === undefined);
    const states = (plan?.announcements ?? []).map((a) => a.state);
    for (const [state, n] of count(announced, states)) emit("waggle_agent_announcements", n, state);
    const proven = [...proofs.values()].map((p) => p.state);
    for (const [state, n] of count(proofStates, proven)) emit("waggle_agent_proofs", n, state);
    emit("waggle_agent_plan_held", plan?.held !== undefined);
    emit("waggle_agent_config_problems", plan?.problems.length ?? 0);
    for (const phase of drainPhases) emit("waggle_agent_drain_phase", drain.phase === phase, phase);
    emit("waggle_agent_datapath_healthy", datapath.failure === undefined && datapath.findings.length === 0);
    emit("waggle_agent_datapath_refused", datapath.refused.length);
    for (const map of datapath.maps) {
      emit("waggle_agent_map_entries", map.used, map.name);
      emit("waggle_agent_map_capacity", map.max, map.name);
    }
    emit("waggle_agent_routes", routes.counts.learned, "learned");
    emit("waggle_agent_routes", routes.counts.inMap, "map");
    emit("waggle_agent_routes", datapath.inFIB, "fib");
    emit("waggle_agent_routes_refused", routes.counts.refused + datapath.fibRefused.length);
  };

export const agentSource =
  ({ agent, speaker, status, member }: AgentMetricParts): Source =>
  (emit) => {
    emit("waggle_agent_rounds_total", agent.rounds.count);
    emit("waggle_agent_round_failures_total", agent.rounds.failures);
    emit("waggle_agent_round_duration_seconds", agent.durations);
    if (agent.view) viewSource(agent.view)(emit);
    emit("waggle_agent_desired_states_total", agent.sent);
    emit("waggle_agent_speaker_connected", speaker.connected);
    emit("waggle_agent_speaker_connects_total", speaker.stats.connects);
    emit("waggle_agent_speaker_disconnects_total", speaker.stats.failures);
    emit("waggle_agent_routes_malformed_total", agent.malformedRoutes);
    emit("waggle_agent_status_writes_total", status.stats.writes);
    emit("waggle_agent_status_conflicts_total", status.stats.conflicts);
    emit("waggle_agent_status_failures_total", status.stats.failures);
    const hub = member();
    if (!hub) return;
    emit("waggle_agent_hub_connected", hub.state.connected);
    emit("waggle_agent_hub_losses_total", hub.stats.losses);
    emit("waggle_agent_runs_lost_total", hub.stats.runsLost);
    emit("waggle_agent_runs_refused_total", hub.stats.refused);
    emit("waggle_agent_trace_lines_dropped_total", hub.stats.linesDropped);
  };
