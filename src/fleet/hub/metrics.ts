// fleet/hub: its samples.
import type { Source } from "../../metrics/index.ts";
import type { Hub } from "./index.ts";

/** `hub`: the one that runs now; it may start later than the listener. */
export const hubSource =
  (hub: () => Pick<Hub, "active" | "nodes" | "stats"> | undefined): Source =>
  (emit) => {
    const now = hub();
    if (!now) return;
    const { agents, callers, runs } = now.stats;
    emit("waggle_hub_active", now.active);
    emit("waggle_hub_agents", now.nodes().length);
    emit("waggle_hub_agents_joined_total", agents.joined);
    emit("waggle_hub_agents_replaced_total", agents.replaced);
    emit("waggle_hub_agents_refused_total", agents.refused);
    emit("waggle_hub_agents_silent_total", agents.silent);
    emit("waggle_hub_messages_unheard_total", agents.unheard);
    emit("waggle_hub_runs", runs);
    emit("waggle_hub_runs_total", callers.runs);
    emit("waggle_hub_callers_refused_total", callers.refused);
    emit("waggle_hub_callers_gone_total", callers.gone);
  };
