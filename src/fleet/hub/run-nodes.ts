// fleet/hub: what a run knows of each of its nodes, which form of answer it takes, and what went wrong where.
import type { NodeError } from "../../api/generated/proto/hub_pb.js";
import type { MapData } from "../../results/types.ts";
import { messages } from "../messages.ts";
import { bounds } from "../protocol.ts";
import type { AgentSession } from "./agents.ts";

export type NodePhase =
  /** Prepare was sent. */
  | "preparing"
  /** Compiled and loaded, nothing attached. */
  | "compiled"
  /** Attach was sent. */
  | "attaching"
  | "attached"
  /** It has handed in its answer. */
  | "answered"
  /** Anything else: did not compile, another schema, lost, late. It has an entry in `errors`. */
  | "out";

export interface NodeState {
  readonly session: AgentSession;
  phase: NodePhase;
  schemaHash: string;
  schemaJson: Uint8Array;
  warnings: readonly string[];
  maps: (readonly MapData[])[];
}

/** One of the nodes with the schema that most have; among equals the smallest hash, so that it does not depend on who was first. */
export function majority(nodes: Iterable<NodeState>): NodeState | undefined {
  const byHash = new Map<string, NodeState[]>();
  for (const state of nodes)
    if (state.phase === "compiled")
      byHash.set(state.schemaHash, [...(byHash.get(state.schemaHash) ?? []), state]);
  const groups = [...byHash].sort(([a, x], [b, y]) => y.length - x.length || (a < b ? -1 : 1));
  return groups[0]?.[1][0];
}

/** What a run tells of trouble, by node; empty names speak of the run. Beyond the bound it is a number. */
export class RunErrors {
  readonly #errors: NodeError[] = [];
  #more = 0;

  add(node: string, error: string): void {
    if (this.#errors.length < bounds.errors)
      this.#errors.push({ $typeName: "waggle.hub.v1.NodeError", node, error });
    else this.#more += 1;
  }

  list(): NodeError[] {
    if (this.#more === 0) return [...this.#errors];
    return [
      ...this.#errors,
      { $typeName: "waggle.hub.v1.NodeError", node: "", error: messages.moreErrors(this.#more) },
    ];
  }
}
