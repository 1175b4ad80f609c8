// differential tests: what a case is.
import type { Step } from "../workload.ts";

export interface Case {
  readonly name: string;
  readonly program: string;
  /** Flags of both, before the program. */
  readonly flags?: readonly string[];
  /** Positional parameters. */
  readonly arguments?: readonly string[];
  /** Run by -c; without it the program ends itself. In the program WORKLOAD is its path, WORKNAME its name, WORK how that begins. */
  readonly workload?: readonly Step[];
  /** What differs from run to run (addresses, clocks) made the same; applied to both. */
  readonly same?: (text: string) => string;
  /** The program is wrong: exit codes and places of the first error are compared, its words are not. */
  readonly error?: true;
  /** Entries of equal values come in any order. */
  readonly unordered?: true;
  /** Also run with -f json. */
  readonly json?: true;
  /** Row of docs/trace-compat.md that says why the outputs differ: then they must. */
  readonly differs?: string;
}
