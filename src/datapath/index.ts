// datapath: everything that other rooms import from here.
export * from "./types.ts";
