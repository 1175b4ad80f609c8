// apiserver: counters at /metrics, above all of what a bound has refused.
import type { ResourceTools } from "./rest/resources.ts";

export function metricsText({ context, watches }: ResourceTools): string {
  const { store, refused, registry } = context;
  const rows: [name: string, type: "counter" | "gauge", help: string, value: number][] = [
    ["waggle_apiserver_revision", "gauge", "Revision of the newest write.", store.revision],
    [
      "waggle_apiserver_history_oldest_revision",
      "gauge",
      "Watches may start at this revision or later.",
      store.oldest,
    ],
    [
      "waggle_apiserver_objects",
      "gauge",
      "Objects in the store.",
      store.resources().reduce((n, r) => n + store.collection(r).size, 0),
    ],
    ["waggle_apiserver_resources", "gauge", "Served resources.", registry.all().length],
    ["waggle_apiserver_watches", "gauge", "Open watches.", watches.size],
    [
      "waggle_apiserver_requests_too_large_total",
      "counter",
      "Bodies over the limit.",
      refused.requestsTooLarge,
    ],
    [
      "waggle_apiserver_watches_refused_total",
      "counter",
      "Watches over the limit.",
      refused.watchesOverLimit,
    ],
    [
      "waggle_apiserver_slow_watches_ended_total",
      "counter",
      "Watches ended because their client did not read.",
      refused.slowWatchesEnded,
    ],
    [
      "waggle_apiserver_unexpected_errors_total",
      "counter",
      "Requests that failed by a fault of the server.",
      refused.errorsUnexpected,
    ],
  ];
  return rows
    .map(([name, type, help, value]) => `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name} ${value}\n`)
    .join("");
}
