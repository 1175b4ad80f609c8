// cli: all code of `waggle trace --local` in one piece, as its quick start loads it.
export { exercise } from "../trace/exercise.ts";
export { hasAttached } from "../trace/local.ts";
export { localMain } from "./local.ts";
export { isLocal } from "./local-options.ts";
