// api: everything that other rooms import from here.
export * from "./generated/crds.ts";
export * from "./object.ts";
