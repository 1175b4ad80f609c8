// metrics: every metric there is, in one table: exposition, docs/metrics.md, alerts and dashboard follow from it. Pure.

/** Who shows it. The hub runs inside the operator's process and shares its listener. */
export type Component = "operator" | "hub" | "agent" | "speaker";

export interface Definition {
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  /** Each has few values: names of peers, pools, controllers and kinds, never a prefix, an address or a Service. */
  readonly labels: readonly string[];
  readonly of: readonly Component[];
}

const processes = ["operator", "agent", "speaker"] as const;
const clients = ["operator", "agent"] as const;
const operator = ["operator"] as const;
const hub = ["hub"] as const;
const agent = ["agent"] as const;
const speaker = ["speaker"] as const;

const define = <const L extends readonly string[]>(
  type: Definition["type"],
  of: readonly Component[],
  labels: L,
  help: string,
) => ({ type, of, labels, help });

/** In the order in which they are shown. Names: unit as suffix, `_total` for counters. */
export const metrics = {
  waggle_build_info: define(
    "gauge",
    processes,
    ["component", "version"],
    "Always 1; says which version runs.",
  ),
  process_cpu_seconds_total: define("counter", processes, [], "User and system time of the process."),
  process_resident_memory_bytes: define("gauge", processes, [], "Resident set of the process."),
  process_start_time_seconds: define("gauge", processes, [], "Start of the process, since 1970."),
  process_open_fds: define("gauge", processes, [], "Open file descriptors of the process."),
  waggle_heap_used_bytes: define("gauge", processes, [], "JavaScript objects of the process."),
  waggle_event_loop_busy_seconds_total: define(
    "counter",
    processes,
    [],
    "Time in which the event loop was not waiting.",
  ),
  waggle_metrics_requests_refused_total: define(
    "counter",
    processes,
    [],
    "Requests to this listener beyond its bounds.",
  ),
  waggle_metrics_samples_dropped_total: define(
    "counter",
    processes,
    [],
    "Samples beyond the bound of one answer.",
  ),

  waggle_kube_requests_total: define(
    "counter",
    clients,
    [],
    "Requests to the API server, watches among them.",
  ),
  waggle_kube_writes_total: define("counter", clients, [], "Those of them that write."),
  waggle_kube_request_retries_total: define("counter", clients, [], "Requests that were sent again."),
  waggle_kube_request_failures_total: define(
    "counter",
    clients,
    [],
    "Requests without an answer, and answers that are errors.",
  ),
  waggle_kube_cache_fresh: define(
    "gauge",
    clients,
    ["kind"],
    "1: the cache of this kind follows the API server. 0: what is known stays in force.",
  ),
  waggle_kube_cache_objects: define("gauge", clients, ["kind"], "Objects in the cache of this kind."),
  waggle_kube_lists_total: define("counter", clients, ["kind"], "LISTs of this kind."),
  waggle_kube_watch_events_total: define(
    "counter",
    clients,
    ["kind"],
    "Changes heard of by watches of this kind.",
  ),
  waggle_kube_watch_errors_total: define(
    "counter",
    clients,
    ["kind"],
    "LISTs and watches of this kind that failed.",
  ),
  waggle_events_written_total: define("counter", clients, [], "Kubernetes Events written."),
  waggle_events_refused_total: define("counter", clients, [], "Events beyond what one object may cause."),
  waggle_events_failed_total: define("counter", clients, [], "Events that the API server did not take."),

  waggle_operator_leading: define("gauge", operator, [], "1: this replica holds the Lease."),
  waggle_operator_serving: define(
    "gauge",
    operator,
    [],
    "1: what is in use is claimed, and new addresses are given out.",
  ),
  waggle_operator_reconciles_total: define(
    "counter",
    operator,
    ["controller"],
    "Reconciles begun in this term of office.",
  ),
  waggle_operator_reconcile_errors_total: define(
    "counter",
    operator,
    ["controller"],
    "Reconciles that failed, and are tried again.",
  ),
  waggle_operator_reconcile_timeouts_total: define(
    "counter",
    operator,
    ["controller"],
    "Reconciles that were given up because they took too long.",
  ),
  waggle_operator_reconcile_duration_seconds: define(
    "histogram",
    operator,
    ["controller"],
    "From taking a key to having done with it.",
  ),
  waggle_operator_queue_keys: define("gauge", operator, ["controller"], "Keys waiting, delayed and in work."),
  waggle_operator_queue_retries_total: define(
    "counter",
    operator,
    ["controller"],
    "Keys put back after a failure.",
  ),
  waggle_operator_queue_refused_total: define(
    "counter",
    operator,
    ["controller"],
    "Keys that did not fit; all are looked at again later.",
  ),
  waggle_operator_services_waiting: define(
    "gauge",
    operator,
    [],
    "Services that are ours and lack an address.",
  ),
  waggle_operator_nodes_waiting: define("gauge", operator, [], "Nodes that lack a pod block."),
  waggle_ipam_claims: define(
    "gauge",
    operator,
    ["phase"],
    "IPAllocations by phase: Bound, Releasing, Cooling, Pending for one without a status.",
  ),
  waggle_ipam_pool_capacity: define(
    "gauge",
    operator,
    ["pool"],
    "Addresses, or blocks, that the pool can give.",
  ),
  waggle_ipam_pool_allocated: define("gauge", operator, ["pool"], "Those that are claimed."),
  waggle_ipam_pool_cooling: define(
    "gauge",
    operator,
    ["pool"],
    "Those that are being released or cool down.",
  ),
  waggle_ipam_pool_accepted: define(
    "gauge",
    operator,
    ["pool"],
    "0: the pool is refused, and its condition Accepted says why.",
  ),

  waggle_hub_active: define("gauge", hub, [], "1: agents and callers are sent to this hub."),
  waggle_hub_agents: define("gauge", hub, [], "Agents with a live stream."),
  waggle_hub_agents_joined_total: define("counter", hub, [], "Streams of agents that were taken."),
  waggle_hub_agents_replaced_total: define(
    "counter",
    hub,
    [],
    "Streams that a newer one of the same node ended.",
  ),
  waggle_hub_agents_refused_total: define(
    "counter",
    hub,
    [],
    "Streams of agents that were not taken: identity, version or number.",
  ),
  waggle_hub_agents_silent_total: define("counter", hub, [], "Agents given up because they said nothing."),
  waggle_hub_messages_unheard_total: define(
    "counter",
    hub,
    [],
    "Messages of agents about runs that have ended.",
  ),
  waggle_hub_runs: define("gauge", hub, [], "Callers that have joined now."),
  waggle_hub_runs_total: define("counter", hub, [], "Runs begun."),
  waggle_hub_callers_refused_total: define(
    "counter",
    hub,
    [],
    "Callers that were not taken: key, state of the Trace or number.",
  ),
  waggle_hub_callers_gone_total: define(
    "counter",
    hub,
    [],
    "Callers that went away before the end of their run.",
  ),

  waggle_agent_rounds_total: define("counter", agent, [], "Rounds of the loop."),
  waggle_agent_round_failures_total: define(
    "counter",
    agent,
    [],
    "Rounds that failed; the next one begins from the newest state.",
  ),
  waggle_agent_round_duration_seconds: define(
    "histogram",
    agent,
    [],
    "From the begin of a round to its end.",
  ),
  waggle_agent_snapshot_fresh: define(
    "gauge",
    agent,
    [],
    "0: the API server is not followed, and the last complete snapshot is in force.",
  ),
  waggle_agent_announcements: define(
    "gauge",
    agent,
    ["state"],
    "Routes of the plan by state: Announced, DePreferred, Withdrawn and so on.",
  ),
  waggle_agent_proofs: define(
    "gauge",
    agent,
    ["state"],
    "Proofs of announced routes by state: Proven, Failed, Unproven.",
  ),
  waggle_agent_plan_held: define(
    "gauge",
    agent,
    [],
    "1: a plan withdraws more than is allowed at once, and waits for an approval.",
  ),
  waggle_agent_config_problems: define(
    "gauge",
    agent,
    [],
    "Objects with mistakes; the last good configuration of each is in force.",
  ),
  waggle_agent_drain_phase: define("gauge", agent, ["phase"], "1 for the phase that the node is in."),
  waggle_agent_desired_states_total: define("counter", agent, [], "Desired states sent to the speaker."),
  waggle_agent_speaker_connected: define("gauge", agent, [], "1: the speaker takes what this agent says."),
  waggle_agent_speaker_connects_total: define("counter", agent, [], "Connections to the speaker."),
  waggle_agent_speaker_disconnects_total: define(
    "counter",
    agent,
    [],
    "Connections that ended, and attempts that failed.",
  ),
  waggle_agent_status_writes_total: define("counter", agent, [], "Writes of NodeNetwork.status."),
  waggle_agent_status_conflicts_total: define("counter", agent, [], "Writes that lost against another one."),
  waggle_agent_status_failures_total: define("counter", agent, [], "Writes that failed otherwise."),
  waggle_agent_datapath_healthy: define(
    "gauge",
    agent,
    [],
    "0: the datapath failed, or is not as it was left.",
  ),
  waggle_agent_datapath_refused: define(
    "gauge",
    agent,
    [],
    "Services that do not fit into the datapath, wholly or in part.",
  ),
  waggle_agent_map_entries: define("gauge", agent, ["map"], "Entries of a map of the datapath."),
  waggle_agent_map_capacity: define("gauge", agent, ["map"], "Entries that the map has room for."),
  waggle_agent_routes: define(
    "gauge",
    agent,
    ["where"],
    "Learned routes: learned, map (datapath), fib (kernel).",
  ),
  waggle_agent_routes_refused: define(
    "gauge",
    agent,
    [],
    "Learned routes that do not fit or may not be installed.",
  ),
  waggle_agent_routes_malformed_total: define(
    "counter",
    agent,
    [],
    "Routes of the speaker that could not be read.",
  ),
  waggle_agent_hub_connected: define("gauge", agent, [], "1: traces across nodes reach this node."),
  waggle_agent_hub_losses_total: define("counter", agent, [], "Streams to the hub that broke."),
  waggle_agent_runs_lost_total: define("counter", agent, [], "Runs that ended because the hub was lost."),

  waggle_agent_runs_refused_total: define("counter", agent, [], "Runs that this node's ceilings refused."),
  waggle_agent_trace_lines_dropped_total: define(
    "counter",
    agent,
    [],
    "Lines of traces beyond what the hub took.",
  ),

  waggle_bgp_session_up: define("gauge", speaker, ["peer"], "1: the session is Established."),
  waggle_bgp_session_flaps_total: define("counter", speaker, ["peer"], "Ends of an established session."),
  waggle_bgp_updates_sent_total: define("counter", speaker, ["peer"], "UPDATEs sent."),
  waggle_bgp_updates_received_total: define("counter", speaker, ["peer"], "UPDATEs received."),
  waggle_bgp_update_errors_total: define(
    "counter",
    speaker,
    ["peer", "action"],
    "UPDATEs with mistakes by what was done (RFC 7606): treat_as_withdraw, attribute_discard, unroutable, family_ignored.",
  ),
  waggle_bgp_prefixes_received: define("gauge", speaker, ["peer", "family"], "Paths in Adj-RIB-In."),
  waggle_bgp_prefixes_accepted: define(
    "gauge",
    speaker,
    ["peer", "family"],
    "Those that import policy took.",
  ),
  waggle_bgp_prefixes_advertised: define("gauge", speaker, ["peer", "family"], "Routes in Adj-RIB-Out."),
  waggle_bgp_prefixes_max: define(
    "gauge",
    speaker,
    ["peer", "family"],
    "Most paths that the neighbour may send; only where there is a limit.",
  ),
  waggle_bgp_prefixes_discarded_total: define(
    "counter",
    speaker,
    ["peer", "family"],
    "Paths that were not taken because the neighbour had sent as many as it may (action Discard).",
  ),
  waggle_bgp_prefixes_sent_max: define(
    "gauge",
    speaker,
    ["peer", "family"],
    "Most routes that the neighbour is sent; only where there is a limit.",
  ),
  waggle_bgp_prefixes_held_back: define(
    "gauge",
    speaker,
    ["peer", "family"],
    "Prefixes that this limit keeps back.",
  ),
  waggle_bgp_stale_families: define(
    "gauge",
    speaker,
    ["peer"],
    "Families whose routes are kept by graceful restart.",
  ),
  waggle_bgp_bfd_up: define("gauge", speaker, ["peer"], "1: BFD says that the path to the neighbour is up."),
  waggle_bgp_bfd_downs_total: define("counter", speaker, ["peer"], "How often BFD left Up."),
  waggle_bgp_bfd_packets_refused_total: define(
    "counter",
    speaker,
    ["reason"],
    "BFD packets that no session took: malformed, authenticated, or from strangers.",
  ),
  waggle_bgp_bmp_connected: define("gauge", speaker, ["station"], "1: the monitoring station is connected."),
  waggle_bgp_bmp_waiting_paths: define(
    "gauge",
    speaker,
    ["station"],
    "Changed paths that a station has still to be told of.",
  ),
  waggle_bgp_bmp_overflows_total: define(
    "counter",
    speaker,
    ["station"],
    "How often a station was so slow that its connection was begun anew.",
  ),
  waggle_bgp_mrt_bytes_total: define("counter", speaker, [], "Octets of MRT dumps written."),
  waggle_bgp_mrt_records_dropped_total: define(
    "counter",
    speaker,
    [],
    "Records that found no room, or a disk that failed.",
  ),
  waggle_bgp_origins: define("gauge", speaker, [], "Routes that this node originates."),
  waggle_bgp_generation: define("gauge", speaker, [], "Number of the desired state in force."),
  waggle_bgp_connections_refused_total: define(
    "counter",
    speaker,
    [],
    "TCP connections from strangers, or whose protection could not be had.",
  ),
  waggle_bgp_control_clients: define("gauge", speaker, [], "Connections on the control socket."),
  waggle_bgp_control_clients_refused_total: define(
    "counter",
    speaker,
    [],
    "Connections on the control socket beyond its bound.",
  ),
  waggle_bgp_desired_refused_total: define(
    "counter",
    speaker,
    [],
    "Desired states that made no sense; the last one stays in force.",
  ),
} as const satisfies Readonly<Record<string, Definition>>;

export type MetricName = keyof typeof metrics;

type Strings<T extends readonly string[]> = { readonly [K in keyof T]: string };

/** Label values in the table's order; none where the metric has no labels. */
export type LabelValues<N extends MetricName> = Strings<(typeof metrics)[N]["labels"]>;

/** Upper bounds of histograms' buckets, seconds. */
export const bucketBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10] as const;
