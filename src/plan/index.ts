// plan: everything that other rooms import from here.
export * from "./canonical.ts";
export * from "./conflist.ts";
export * from "./desired.ts";
export * from "./difference.ts";
export * from "./drain.ts";
export * from "./explain.ts";
export { gracefulShutdown } from "./fields.ts";
export { isAnnounced } from "./guard.ts";
export * from "./hears.ts";
export { type Reason, type ReasonCode, reasons } from "./messages.ts";
export { addressesOf, hashedRouterID } from "./noderule.ts";
export type { PausedObject } from "./paused.ts";
export { drainOrder, inForceOf, plan } from "./plan.ts";
export { originatedPolicy } from "./policies.ts";
export * from "./retire.ts";
export { addressText, hostOf, prefixText, toAddress } from "./text.ts";
export * from "./types.ts";
