// operator: what the command line starts.
export { Operator, type OperatorOptions, type OperatorState } from "./operator.ts";
export { type RunOptions, run } from "./run.ts";
