// trace: what agents, the lab and the command line call. `local.ts` is loaded by itself, so that nobody else pays for it.
export { Names } from "./names.ts";
export { type Owner, type Owners, openOwners, ownerLimit, ownerMapNames } from "./owners.ts";
export { defaultLimits, ProcessTracer, type ProcessTracerOptions } from "./tracer.ts";
export type * from "./types.ts";
