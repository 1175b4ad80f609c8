// agent: names behind the ids that scripts and answers use, for the tracer (src/trace/types.ts NameTables).
import { statSync } from "node:fs";
import { join } from "node:path";
import type { NameTables } from "../trace/types.ts";
import { readIfThere, writeByRename } from "./files.ts";
import type { Log } from "./ports.ts";

export const namesFile = "names.json";

/** Names of owners as whoever registers them writes them: nodes, pods and namespaces by id. */
type OwnerNames = Pick<NameTables, "nodes" | "pods" | "namespaces">;

/** The table of names as the loop sees it. */
export interface NamesPort {
  /** Peer numbers of an earlier run, so that ids in pinned maps keep their meaning. */
  storedPeers(): Readonly<Record<number, string>>;
  /** Writes the file if anything in it has changed. */
  write(
    own: { readonly node: string; readonly cluster: string; readonly nodeIndex: number },
    clusters: Readonly<Record<number, string>>,
    peers: Readonly<Record<number, string>>,
  ): void;
}

export interface NamesOptions {
  readonly stateDir: string;
  /** JSON file with owners' names; absent where this agent alone registers owners. */
  readonly ownerNames: string | undefined;
  readonly log: Log;
}

/** Keeps names.json in step. */
export class Names implements NamesPort {
  readonly #o: NamesOptions;
  #owners: OwnerNames = { nodes: {}, pods: {}, namespaces: {} };
  #ownersAt = -1;
  #written = "";

  constructor(options: NamesOptions) {
    this.#o = options;
  }

  get path(): string {
    return join(this.#o.stateDir, namesFile);
  }

  storedPeers(): Readonly<Record<number, string>> {
    const text = readIfThere(this.path);
    if (text === undefined) return {};
    try {
      return (JSON.parse(text) as Partial<NameTables>).peers ?? {};
    } catch (error) {
      this.#o.log.warn({ path: this.path, error: String(error) }, "the table of names cannot be read");
      return {};
    }
  }

  write(
    own: { readonly node: string; readonly cluster: string; readonly nodeIndex: number },
    clusters: Readonly<Record<number, string>>,
    peers: Readonly<Record<number, string>>,
  ): void {
    this.#readOwners();
    const tables: NameTables = {
      node: own.node,
      cluster: own.cluster,
      nodes: { ...this.#owners.nodes, ...(own.nodeIndex > 0 && { [own.nodeIndex]: own.node }) },
      pods: this.#owners.pods,
      namespaces: this.#owners.namespaces,
      clusters,
      peers,
    };
    const text = JSON.stringify(tables);
    if (text === this.#written) return;
    writeByRename(this.path, text);
    this.#written = text;
  }

  #readOwners(): void {
    const { ownerNames, log } = this.#o;
    if (ownerNames === undefined) return;
    try {
      const at = statSync(ownerNames).mtimeMs;
      if (at === this.#ownersAt) return;
      const read = JSON.parse(readIfThere(ownerNames) ?? "{}") as Partial<OwnerNames>;
      this.#owners = { nodes: read.nodes ?? {}, pods: read.pods ?? {}, namespaces: read.namespaces ?? {} };
      this.#ownersAt = at;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      log.warn({ path: ownerNames, error: String(error) }, "names of owners cannot be read");
    }
  }
}
