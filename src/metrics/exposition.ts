// metrics: samples as text, in Prometheus' text format 0.0.4 or OpenMetrics 1.0, whichever the scraper prefers. Pure.
import { bucketBounds, type Definition, type LabelValues, type MetricName, metrics } from "./table.ts";

/** Durations counted by bucket; fixed size whatever happens. */
export class Histogram {
  readonly counts = new Float64Array(bucketBounds.length + 1);
  sum = 0;

  observe(seconds: number): void {
    const i = bucketBounds.findIndex((bound) => seconds <= bound);
    this.counts[i < 0 ? bucketBounds.length : i]! += 1;
    this.sum += seconds;
  }
}

/** Takes one sample. A sample with a name twice under the same labels is a mistake of the source. */
export type Emit = <N extends MetricName>(
  name: N,
  value: number | boolean | Histogram,
  ...labels: LabelValues<N>
) => void;

/** Tells its samples when it is asked; reads what others count anyway, so that nothing is done while nobody asks. */
export type Source = (emit: Emit) => void;

export type Format = "text" | "openmetrics";

export const contentTypes: Readonly<Record<Format, string>> = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** What an Accept header prefers; text where it says nothing of either. Versions are not looked at: both formats are compatible. */
export function negotiate(accept: string | undefined): Format {
  let best: Format = "text";
  let weight = 0;
  for (const part of (accept ?? "").split(",")) {
    const [type, ...parameters] = part.split(";").map((p) => p.trim().toLowerCase());
    const q = Number(parameters.find((p) => p.startsWith("q="))?.slice(2) ?? 1);
    const format = type === "application/openmetrics-text" ? "openmetrics" : "text";
    const known = format === "openmetrics" || type === "text/plain" || type === "*/*" || type === "text/*";
    if (!known || !(q > weight)) continue;
    best = format;
    weight = q;
  }
  return best;
}

/** Samples in one answer. Beyond that they are counted, not shown. */
export const samplesMax = 20_000;

export interface Exposition {
  readonly text: string;
  readonly dropped: number;
}

const escaped = (text: string): string => text.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));

const labelText = (names: readonly string[], values: readonly string[]): string =>
  names.map((name, i) => `${name}="${escaped(values[i] ?? "")}"`).join(",");

const line = (name: string, labels: string, value: number): string =>
  `${name}${labels === "" ? "" : `{${labels}}`} ${value}\n`;

function histogramLines(name: string, labels: string, { counts, sum }: Histogram): string {
  let text = "";
  let total = 0;
  for (const [i, count] of counts.entries()) {
    total += count;
    const bound = bucketBounds[i];
    const le = bound === undefined ? "+Inf" : Number.isInteger(bound) ? `${bound}.0` : `${bound}`;
    text += line(`${name}_bucket`, `${labels}${labels === "" ? "" : ","}le="${le}"`, total);
  }
  return text + line(`${name}_sum`, labels, sum) + line(`${name}_count`, labels, total);
}

/** Lines before a metric's samples. OpenMetrics names a counter's family without `_total`. */
function heading(name: string, { type, help }: Definition, format: Format): string {
  const family = format === "openmetrics" ? name.replace(/_total$/, "") : name;
  return `# HELP ${family} ${help}\n# TYPE ${family} ${type}\n`;
}

/** Asks every source once. */
export function expose(sources: readonly Source[], format: Format): Exposition {
  const lines = new Map<MetricName, string>();
  let samples = 0;
  let dropped = 0;
  const emit: Emit = (name, value, ...values) => {
    if (samples >= samplesMax) {
      dropped += 1;
      return;
    }
    samples += 1;
    const labels = labelText(metrics[name].labels, values);
    const text =
      value instanceof Histogram ? histogramLines(name, labels, value) : line(name, labels, Number(value));
    lines.set(name, (lines.get(name) ?? "") + text);
  };
  for (const source of sources) source(emit);
  let text = "";
  for (const name of Object.keys(metrics) as MetricName[]) {
    const body = lines.get(name);
    if (body !== undefined) text += heading(name, metrics[name], format) + body;
  }
  return { text: format === "openmetrics" ? `${text}# EOF\n` : text, dropped };
}
