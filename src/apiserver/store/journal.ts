// apiserver/store: where writes go before they are acknowledged. The in-memory journal keeps nothing.

/** One write, in the order of its revision. A deletion carries no object: replaying finds it. */
export type JournalRecord =
  | {
      readonly op: "put";
      readonly revision: number;
      readonly resource: string;
      readonly key: string;
      readonly json: string;
    }
  | { readonly op: "delete"; readonly revision: number; readonly resource: string; readonly key: string };

/** State at one revision, as a journal hands it back at start and takes it for a snapshot. */
export interface StateEntry {
  readonly resource: string;
  readonly key: string;
  readonly revision: number;
  readonly json: string;
}

export interface Journal {
  /** Takes a record; it is durable once a later {@link sync} has resolved. */
  append(record: JournalRecord): void;
  /** Resolves when everything appended before the call is durable; rejects for good once a write has failed. */
  sync(): Promise<void>;
  /** Offers a chance to compact: called after commits, with a function that yields the state as it is now. */
  compact(revision: number, state: () => readonly StateEntry[]): void;
  close(): Promise<void>;
}

const resolved = Promise.resolve();

/** For tests and throw-away servers: nothing survives the process. */
export const memoryJournal = (): Journal => ({
  append() {},
  sync: () => resolved,
  compact() {},
  close: () => resolved,
});
