// trace: names behind the ids that scripts see; the agent writes them, a run reads them again when it meets a new id.
import { readFileSync, statSync } from "node:fs";
import type { NameDictionary } from "../script/types.ts";
import type { NameTables } from "./types.ts";

const emptyTables: NameTables = {
  node: "",
  cluster: "",
  nodes: {},
  pods: {},
  namespaces: {},
  clusters: {},
  peers: {},
};

type Tables = "nodes" | "pods" | "namespaces" | "clusters" | "peers";

const tableOf: Readonly<Record<NameDictionary, Tables>> = {
  cluster: "clusters",
  node: "nodes",
  pod: "pods",
  namespace: "namespaces",
  peer: "peers",
};

/** The names file. Absent or unreadable: every id is unknown. */
export class Names {
  readonly #file: string | undefined;
  #tables: NameTables = emptyTables;
  #stamp = "";

  constructor(file: string | undefined) {
    this.#file = file;
  }

  #refresh(): void {
    if (this.#file === undefined) return;
    try {
      const info = statSync(this.#file, { bigint: true });
      const stamp = `${info.ino}:${info.mtimeNs}`;
      if (stamp === this.#stamp) return;
      this.#tables = {
        ...emptyTables,
        ...(JSON.parse(readFileSync(this.#file, "utf8")) as Partial<NameTables>),
      };
      this.#stamp = stamp;
    } catch (error) {
      // The agent has not written it yet; it is written by rename, so nothing else passes.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  /** undefined: no such id is known. */
  name(dictionary: NameDictionary, id: number): string | undefined {
    if (id === 0 && dictionary !== "node") return undefined;
    const table = tableOf[dictionary];
    const known = this.#tables[table][id];
    if (known !== undefined) return known;
    this.#refresh();
    return this.#tables[table][id];
  }

  /** Id of a name, for comparisons in scripts. */
  id(dictionary: NameDictionary, name: string): number | undefined {
    this.#refresh();
    for (const [id, known] of Object.entries(this.#tables[tableOf[dictionary]]))
      if (known === name) return Number(id);
    return undefined;
  }
}
