// cli: the options of daemons that show metrics.
import type { Command } from "commander";
import { usageError } from "./output.ts";

export interface MetricsFlags {
  readonly metricsListen?: readonly string[];
  readonly metricsCert?: string;
  readonly metricsKey?: string;
  readonly metricsClientCa?: string;
}

export interface MetricsPlace {
  readonly listen: readonly string[];
  readonly tls?: { readonly cert: string; readonly key: string; readonly clientCa: string };
}

const collect = (value: string, previous: readonly string[] | undefined): readonly string[] => [
  ...(previous ?? []),
  value,
];

export const metricsOptions = (command: Command): Command =>
  command
    .option(
      "--metrics-listen <host:port>",
      "serve /metrics, /livez and /readyz here; plain on loopback, over TLS elsewhere; may be given again",
      collect,
    )
    .option(
      "--metrics-cert <file>",
      "certificate, where an address is not a loopback one; read again when it changes",
    )
    .option("--metrics-key <file>", "its key")
    .option("--metrics-client-ca <file>", "authorities of the certificates that scrapers must show");

/** Undefined: no metrics are asked for. */
export function metricsPlace(flags: MetricsFlags): MetricsPlace | undefined {
  const { metricsListen: listen, metricsCert: cert, metricsKey: key, metricsClientCa: clientCa } = flags;
  const tls = cert !== undefined && key !== undefined && clientCa !== undefined;
  if (!tls && (cert ?? key ?? clientCa) !== undefined)
    throw usageError("--metrics-cert, --metrics-key and --metrics-client-ca belong together");
  if (listen === undefined) return undefined;
  return { listen, ...(tls && { tls: { cert, key, clientCa } }) };
}
