// Writes deploy/chart/files/dashboard.json, a Grafana dashboard: one row of panels for each question that people come with.
import { writeFileSync } from "node:fs";

interface Query {
  readonly expr: string;
  readonly legend: string;
}

interface Panel {
  readonly title: string;
  readonly unit: "none" | "short" | "s" | "bytes" | "percentunit" | "ops" | "bool";
  readonly kind?: "stat" | "timeseries";
  readonly queries: readonly Query[];
}

const q = (expr: string, legend = ""): Query => ({ expr, legend });

const rows: readonly { readonly title: string; readonly panels: readonly Panel[] }[] = [
  {
    title: "Is everything announced?",
    panels: [
      { title: "Sessions up", unit: "none", kind: "stat", queries: [q("sum(waggle_bgp_session_up)")] },
      { title: "Sessions down", unit: "none", kind: "stat", queries: [q("sum(1 - waggle_bgp_session_up)")] },
      {
        title: "Routes by state",
        unit: "short",
        queries: [q("sum by (state) (waggle_agent_announcements)", "{{state}}")],
      },
      {
        title: "Proofs by state",
        unit: "short",
        queries: [q("sum by (state) (waggle_agent_proofs)", "{{state}}")],
      },
      { title: "Plans held", unit: "none", kind: "stat", queries: [q("sum(waggle_agent_plan_held)")] },
      {
        title: "Nodes that drain",
        unit: "none",
        kind: "stat",
        queries: [q('sum(waggle_agent_drain_phase{phase!="None"})')],
      },
    ],
  },
  {
    title: "Neighbours",
    panels: [
      {
        title: "Prefixes received",
        unit: "short",
        queries: [q("sum by (peer, family) (waggle_bgp_prefixes_received)", "{{peer}} {{family}}")],
      },
      {
        title: "Prefixes advertised",
        unit: "short",
        queries: [q("sum by (peer, family) (waggle_bgp_prefixes_advertised)", "{{peer}} {{family}}")],
      },
      {
        title: "UPDATEs",
        unit: "ops",
        queries: [
          q("sum(rate(waggle_bgp_updates_received_total[5m]))", "received"),
          q("sum(rate(waggle_bgp_updates_sent_total[5m]))", "sent"),
        ],
      },
      {
        title: "Flaps and malformed UPDATEs in an hour",
        unit: "short",
        queries: [
          q("sum by (peer) (increase(waggle_bgp_session_flaps_total[1h]))", "{{peer}} flaps"),
          q("sum by (peer) (increase(waggle_bgp_update_errors_total[1h]))", "{{peer}} malformed"),
        ],
      },
    ],
  },
  {
    title: "Addresses",
    panels: [
      {
        title: "Pools: share in use",
        unit: "percentunit",
        queries: [
          q(
            "max by (pool) ((waggle_ipam_pool_allocated + waggle_ipam_pool_cooling) / (waggle_ipam_pool_capacity > 0))",
            "{{pool}}",
          ),
        ],
      },
      {
        title: "Claims by phase",
        unit: "short",
        queries: [q("max by (phase) (waggle_ipam_claims)", "{{phase}}")],
      },
      {
        title: "Services without an address",
        unit: "none",
        kind: "stat",
        queries: [q("max(waggle_operator_services_waiting)")],
      },
      {
        title: "Nodes without a block",
        unit: "none",
        kind: "stat",
        queries: [q("max(waggle_operator_nodes_waiting)")],
      },
    ],
  },
  {
    title: "Datapath and learned routes",
    panels: [
      {
        title: "Maps: share in use",
        unit: "percentunit",
        queries: [q("max by (map) (waggle_agent_map_entries / (waggle_agent_map_capacity > 0))", "{{map}}")],
      },
      {
        title: "Learned routes",
        unit: "short",
        queries: [q("max by (where) (waggle_agent_routes)", "{{where}}")],
      },
      {
        title: "Unhealthy datapaths",
        unit: "none",
        kind: "stat",
        queries: [q("sum(1 - waggle_agent_datapath_healthy)")],
      },
      {
        title: "Services and routes refused",
        unit: "short",
        queries: [
          q("sum(waggle_agent_datapath_refused)", "Services"),
          q("sum(waggle_agent_routes_refused)", "routes"),
        ],
      },
    ],
  },
  {
    title: "Control plane",
    panels: [
      { title: "Leader serves", unit: "bool", kind: "stat", queries: [q("max(waggle_operator_serving)")] },
      {
        title: "Reconciles",
        unit: "ops",
        queries: [q("sum by (controller) (rate(waggle_operator_reconciles_total[5m]))", "{{controller}}")],
      },
      {
        title: "Reconcile duration, p99",
        unit: "s",
        queries: [
          q(
            "histogram_quantile(0.99, sum by (le, controller) (rate(waggle_operator_reconcile_duration_seconds_bucket[5m])))",
            "{{controller}}",
          ),
        ],
      },
      {
        title: "Round duration, p99",
        unit: "s",
        queries: [
          q(
            "histogram_quantile(0.99, sum by (le) (rate(waggle_agent_round_duration_seconds_bucket[5m])))",
            "agents",
          ),
        ],
      },
      {
        title: "Writes to the API server",
        unit: "ops",
        queries: [q("sum by (job) (rate(waggle_kube_writes_total[5m]))", "{{job}}")],
      },
      {
        title: "Caches that are not followed",
        unit: "none",
        kind: "stat",
        queries: [q("count(waggle_kube_cache_fresh == 0) or vector(0)")],
      },
    ],
  },
  {
    title: "Traces and processes",
    panels: [
      {
        title: "Agents at the hub",
        unit: "none",
        kind: "stat",
        queries: [q("sum(waggle_hub_agents * waggle_hub_active)")],
      },
      {
        title: "Runs",
        unit: "short",
        queries: [
          q("sum(waggle_hub_runs)", "now"),
          q("sum(increase(waggle_hub_runs_total[1h]))", "in an hour"),
        ],
      },
      {
        title: "Memory",
        unit: "bytes",
        queries: [q("max by (job) (process_resident_memory_bytes)", "{{job}}, largest")],
      },
      {
        title: "CPU",
        unit: "s",
        queries: [q("max by (job) (rate(process_cpu_seconds_total[5m]))", "{{job}}, largest")],
      },
    ],
  },
];

const columns = 24;
const height = 7;

export function dashboard(): string {
  const panels: object[] = [];
  let id = 0;
  let y = 0;
  for (const row of rows) {
    panels.push({
      id: ++id,
      type: "row",
      title: row.title,
      gridPos: { h: 1, w: columns, x: 0, y },
      collapsed: false,
      panels: [],
    });
    y += 1;
    let x = 0;
    for (const { title, unit, kind = "timeseries", queries } of row.panels) {
      const w = kind === "stat" ? 4 : 8;
      if (x + w > columns) {
        x = 0;
        y += height;
      }
      panels.push({
        id: ++id,
        type: kind,
        title,
        datasource: { type: "prometheus", uid: "$datasource" },
        gridPos: { h: height, w, x, y },
        fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
        targets: queries.map(({ expr, legend }, i) => ({
          refId: String.fromCharCode(65 + i),
          expr,
          ...(legend !== "" && { legendFormat: legend }),
        })),
      });
      x += w;
    }
    y += height;
  }
  const value = {
    title: "Waggle",
    uid: "waggle",
    tags: ["waggle", "bgp"],
    schemaVersion: 39,
    refresh: "30s",
    time: { from: "now-6h", to: "now" },
    templating: {
      list: [{ name: "datasource", type: "datasource", query: "prometheus", label: "Data source" }],
    },
    panels,
  };
  return `${JSON.stringify(value, null, 2)}\n`;
}

if (import.meta.main)
  writeFileSync(new URL("../deploy/chart/files/dashboard.json", import.meta.url), dashboard());
