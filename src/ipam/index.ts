// ipam: everything that other rooms import from here.
export { audit, type Books, type Finding, type FindingKind } from "./audit.ts";
export * from "./choose.ts";
export * from "./growth.ts";
export { type Refusal, type RefusalCode, refusals } from "./messages.ts";
export * from "./names.ts";
export * from "./pool.ts";
export { nextFree, Occupancy, type Range } from "./ranges.ts";
export * from "./sharing.ts";
