// metrics: what other rooms use.
export { type Emit, Histogram, type Source } from "./exposition.ts";
export { listenMetrics, type MetricsListener, type MetricsOptions, type TlsFiles } from "./listener.ts";
export { processSource } from "./process.ts";
