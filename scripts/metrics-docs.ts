// Writes docs/metrics.md from the table of metrics. A test asserts that the page is up to date.
import { writeFileSync } from "node:fs";
import { type Component, type Definition, metrics } from "../src/metrics/table.ts";

const titles: Readonly<Record<Component, string>> = {
  operator: "Operator",
  hub: "Hub (in the operator's process)",
  agent: "Agent",
  speaker: "Speaker",
};

const head = `# Metrics

Made from \`src/metrics/table.ts\` by \`node scripts/metrics-docs.ts\`.

\`waggle operator\`, \`waggle agent\` and \`waggle bgpd\` serve \`/metrics\` where \`--metrics-listen HOST:PORT\` says, in Prometheus' text
format or OpenMetrics, whichever the scraper asks for; and \`/livez\` and \`/readyz\` beside it. Without the option nothing
listens. The option may be given again.

- On a loopback address it is plain HTTP.
- On any other address it is TLS 1.3, and only for clients that show a certificate: \`--metrics-cert\`, \`--metrics-key\`,
  \`--metrics-client-ca\` (PEM files; read again within a minute of a change). Without them such an address is refused at the start.

Labels have few values: names of peers, pools, controllers, kinds and maps, never a prefix, an address or a Service. One
answer has at most 20,000 samples, a listener at most 16 connections; what is beyond is counted. Counters of controllers
begin anew with each term of office. Every bound refuses with a counter: the names end in \`_refused_total\` or
\`_dropped_total\`.

Alerts on these metrics: [alerts.md](alerts.md). A dashboard: \`deploy/chart/files/dashboard.json\`.
`;

export function metricsDocs(): string {
  const parts = [head];
  for (const component of Object.keys(titles) as Component[]) {
    parts.push(`\n## ${titles[component]}\n\n| metric | type | labels | what |\n|---|---|---|---|\n`);
    for (const [name, { type, labels, help, of }] of Object.entries<Definition>(metrics)) {
      if (!of.includes(component)) continue;
      parts.push(`| \`${name}\` | ${type} | ${labels.map((l) => `\`${l}\``).join(", ")} | ${help} |\n`);
    }
  }
  return parts.join("");
}

if (import.meta.main) writeFileSync(new URL("../docs/metrics.md", import.meta.url), metricsDocs());
