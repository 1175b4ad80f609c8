// script: what other rooms call. Text in, bytecode and a plan for reading its output back out; no I/O.
export { knownSettings } from "./check/config.ts";
export { type CompileResult, checkSyntax, compile } from "./compile.ts";
export { renderDiagnostics } from "./diagnostics.ts";
export { formatSource } from "./format-source.ts";
export { languagePage } from "./language-page.ts";
export { type LanguageReference, languageReference } from "./reference.ts";
export type * from "./types.ts";
