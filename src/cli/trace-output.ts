// cli: what `waggle trace` prints: a node's lines under its name, merged maps as bpftrace writes them, and who answered.
import type { NodeFailure, TraceEvent, TraceOutcome } from "../fleet/client/index.ts";
import { lineJson, mapJson, mapText, mergedSchema, printJson, printText } from "../results/index.ts";
import type { ResultSchema } from "../results/types.ts";
import type { Painter } from "./output.ts";

/** Longest unfinished line that is kept for a node; then it is printed as it is. */
const longestLine = 65_536;

/**
 * Lines of several nodes, each under its node's name. printf need not end a line, and other nodes print in between: what a node has
 * not ended waits.
 */
export class NodeLines {
  readonly #write: (text: string) => void;
  readonly #waiting = new Map<string, string>();
  /** Off where there is one node: then the output is bpftrace's own. */
  named = true;

  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  add(node: string, text: string): void {
    if (!this.named) {
      this.#write(text);
      return;
    }
    const all = (this.#waiting.get(node) ?? "") + text;
    const end = all.length > longestLine ? all.length : all.lastIndexOf("\n") + 1;
    if (end > 0) this.#write(prefixed(node, all.slice(0, end)));
    this.#waiting.set(node, all.slice(end));
  }

  flush(): void {
    for (const [node, text] of this.#waiting) if (text !== "") this.#write(prefixed(node, text));
    this.#waiting.clear();
  }
}

const prefixed = (node: string, text: string): string =>
  text.replace(/\n$/, "").replaceAll(/^/gm, `${node}: `).concat("\n");

export interface Printer {
  event(event: TraceEvent): void;
  end(outcome: TraceOutcome): void;
}

/** The site's own arguments of print(). */
function optionsOf(schema: ResultSchema, site: number): { top: number; divide: number } {
  const round = schema.rounds.find((r) => r.site === site);
  return { top: round?.top ?? 0, divide: round?.divide ?? 1 };
}

/** bpftrace's text on stdout. */
export function textPrinter(write: (text: string) => void): Printer {
  const lines = new NodeLines(write);
  let schema: ResultSchema | undefined;
  let nodes = 0;
  return {
    event(event) {
      if (event.kind === "compiled") nodes += event.asked;
      if (event.kind === "running") {
        schema = mergedSchema(event.schema);
        lines.named = nodes > 1;
      }
      if (event.kind === "line") lines.add(event.node, event.line.text);
      if (event.kind === "round" && schema) {
        const { map, site } = event.round;
        const of = schema.maps.find((m) => m.name === map.name);
        if (of) write(mapText(of, map, optionsOf(schema, site)));
      }
    },
    end(outcome) {
      lines.flush();
      if (schema) write(printText(schema.maps, outcome.maps));
    },
  };
}

/** JSON lines in bpftrace's form; lines carry their node, and the last object says who answered. */
export function jsonPrinter(write: (text: string) => void): Printer {
  let schema: ResultSchema | undefined;
  return {
    event(event) {
      if (event.kind === "running") schema = mergedSchema(event.schema);
      if (event.kind === "line")
        write(lineJson(event.line).replace(/\}\n$/, `, "node": ${JSON.stringify(event.node)}}\n`));
      if (event.kind === "round" && schema) {
        const { map, site } = event.round;
        const of = schema.maps.find((m) => m.name === map.name);
        if (of) write(mapJson(of, map, optionsOf(schema, site)));
      }
    },
    end(outcome) {
      if (schema) write(printJson(schema.maps, outcome.maps));
      const { coverage, clusters } = outcome;
      write(`${JSON.stringify({ type: "coverage", data: { ...coverage, clusters } })}\n`);
    },
  };
}

const plural = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

/** `4/4 nodes answered (dc1 2/2, dc2 2/2), 0 events lost` */
export function coverageLine({ coverage, clusters }: TraceOutcome): string {
  const each = clusters.map(({ cluster, asked, answered, error }) => {
    if (asked > 0 || error === undefined) return `${cluster} ${answered}/${asked}`;
    return `${cluster} ${error.startsWith("refused") ? "refused" : "did not answer"}`;
  });
  const more = [
    ...(coverage.mapFull > 0
      ? [
          `${plural(coverage.mapFull, "update")} did not fit into ${coverage.mapFull === 1 ? "its map" : "their maps"}`,
        ]
      : []),
    ...(coverage.unattributed > 0 ? [`${plural(coverage.unattributed, "event")} belonged to no node`] : []),
  ];
  return [
    `${coverage.answered}/${coverage.asked} nodes answered (${each.join(", ")})`,
    `${plural(coverage.lostEvents, "event")} lost`,
    ...more,
  ].join(", ");
}

/** Nodes do not know what the script is called here. */
export const named = (text: string, script: string): string =>
  text.replaceAll(/^script:(?=\d)/gm, `${script}:`);

/** The same trouble on many nodes is said once, with their names. */
export function failureLines(failures: readonly NodeFailure[], paint: Painter): readonly string[] {
  const nodesOf = new Map<string, string[]>();
  for (const { node, error } of failures) nodesOf.set(error, [...(nodesOf.get(error) ?? []), node]);
  return [...nodesOf].map(([error, unsorted]) => {
    const nodes = unsorted.toSorted();
    const few = nodes.slice(0, 4).join(", ");
    const who = nodes.length > 4 ? `${few} and ${nodes.length - 4} more` : few;
    // A compiler's message has lines of its own, which point at the script.
    return error.includes("\n")
      ? `${paint("bold", who)}:\n${error.trimEnd()}`
      : `${paint("bold", who)}: ${error}`;
  });
}
