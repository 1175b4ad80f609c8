// routes: everything that other rooms import from here.
export * from "./fib.ts";
export * from "./intern.ts";
export * from "./messages.ts";
export * from "./origin.ts";
export * from "./table.ts";
export * from "./types.ts";
