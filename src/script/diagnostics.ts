// script: the catalogue of messages and how they are drawn. No other file of this room words a message for the user.
import type { Loc } from "./ast.ts";
import { type LineMap, nearest } from "./text.ts";
import type { Diagnostic } from "./types.ts";

/** Most messages that are kept; more help nobody. */
const LIMIT = 1000;

/** Collects the messages of the passes. */
export interface Diagnostics {
  /** The same message at the same place (another attach point of the same probe) is kept once. */
  report(loc: Loc, message: Message): void;
  errors(): number;
  /** In the order of the source. */
  list(): readonly Diagnostic[];
}

export function createDiagnostics(lines: LineMap): Diagnostics {
  const list: Diagnostic[] = [];
  const seen = new Set<string>();
  let errors = 0;
  return {
    report(loc, message) {
      const severity = message.severity ?? "error";
      const key = `${loc.start}:${loc.end}:${message.code}:${message.text}`;
      if (severity === "error") errors++;
      if (seen.has(key) || list.length >= LIMIT) return;
      seen.add(key);
      list.push({
        severity,
        code: message.code,
        message: message.text,
        span: lines.span(loc),
        ...(message.hint === undefined ? {} : { hint: message.hint }),
      });
    },
    errors: () => errors,
    list: () => [...list].sort((a, b) => a.span.start - b.span.start || a.span.end - b.span.end),
  };
}

export interface Message {
  readonly code: string;
  readonly text: string;
  readonly severity?: "error" | "warning";
  readonly hint?: string;
}

const message = (code: string, text: string, hint?: string): Message =>
  hint === undefined ? { code, text } : { code, text, hint };
const warning = (code: string, text: string, hint?: string): Message => ({
  ...message(code, text, hint),
  severity: "warning",
});
const didYouMean = (name: string, candidates: Iterable<string>): string | undefined => {
  const near = nearest(name, candidates);
  return near === undefined ? undefined : `did you mean '${near}'?`;
};
const plural = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

/** Every message. The functions take the facts, the wording stays here. */
export const say = {
  syntax: (found: string | undefined, expected: readonly string[]) =>
    message(
      "syntax",
      `syntax error, unexpected ${found === undefined ? "end of file" : found}`,
      expected.length > 0 && expected.length <= 6 ? `expected ${expected.join(", ")}` : undefined,
    ),
  parser: (text: string) => message("syntax", text),
  preprocessor: (text: string) => message("preprocessor", text),
  tooLong: (limit: number) => message("too-long", `the script is longer than ${limit} characters`),
  noProbes: () => message("no-probes", "No probes to attach"),
  unsupported: (what: string, hint?: string) => message("unsupported", `${what} is not supported`, hint),
  internal: (detail: string) =>
    message("internal", `the compiler failed: ${detail}`, "please report this script"),

  // probes
  unknownProvider: (name: string, known: Iterable<string>) =>
    message("provider", `Invalid probe type: ${name}`, didYouMean(name, known)),
  attachPoint: (provider: string, usage: string) =>
    message("attach-point", `Invalid ${provider} attach point`, `write ${usage}`),
  noTracepoint: (name: string, known: Iterable<string>) =>
    message("no-probe", `tracepoint not found: ${name}`, didYouMean(name, known)),
  noMatch: (text: string) => message("no-probe", `No matches for ${text}.`),
  noMatchSkipped: (text: string) => warning("no-probe", `No matches for ${text}. Skipping.`),
  probeRemoved: () =>
    warning("no-probe", "Probe has no valid attach points. It is being removed from the program."),
  tooManyProbes: (n: number, limit: number) =>
    message(
      "max-probes",
      `Too many probes: ${n} match, at most ${limit} are allowed`,
      "narrow the pattern or raise max_probes",
    ),
  unexpectedOptions: (names: readonly string[]) =>
    message("unexpected-option", `Unexpected command line options: ${names.join(", ")}`),
  noKernelSupport: (what: string) => message("kernel", `this kernel has no ${what}`),

  // names
  unknownName: (name: string, known: Iterable<string>) =>
    message("unknown-name", `Unknown identifier: '${name}'`, didYouMean(name, known)),
  unknownFunction: (name: string, known: Iterable<string>) =>
    message("unknown-function", `Unknown function: '${name}'`, didYouMean(name, known)),
  unknownType: (name: string, hint?: string) =>
    message("unknown-type", `Cannot resolve unknown type "${name}"`, hint),
  unknownField: (structure: string, field: string, known: Iterable<string>) =>
    message(
      "unknown-field",
      `Struct/union of type '${structure}' does not contain a field named '${field}'`,
      didYouMean(field, known),
    ),
  undefinedVariable: (name: string, known: Iterable<string>) =>
    message("undefined-variable", `Undefined or undeclared variable: ${name}`, didYouMean(name, known)),
  undefinedMap: (name: string, known: Iterable<string>) =>
    message("undefined-map", `Undefined map: ${name}`, didYouMean(name, known)),
  redeclared: (name: string) =>
    message(
      "redeclared",
      `Variable ${name} was already declared.`,
      "it is declared further up in this scope",
    ),
  notHere: (what: string, probe: string, hint?: string) =>
    message("not-here", `The ${what} builtin can not be used with '${probe}' probes`, hint),
  noArguments: (probe: string) => message("no-args", `Probe ${probe} does not have arguments`),
  commonField: (name: string) => message("common-field", `The common field ${name} cannot be accessed`),

  // types
  mapMismatch: (name: string, got: string, had: string) =>
    message(
      "type-mismatch",
      `Type mismatch for ${name}: trying to assign value of type '${got}' when map already contains a value of type '${had}'`,
    ),
  keyMismatch: (name: string, got: string, had: string) =>
    message(
      "key-mismatch",
      `Argument mismatch for ${name}: trying to access with arguments: '${got}' when map expects arguments: '${had}'`,
    ),
  needsKey: (name: string) =>
    message("needs-key", `${name} is used with a key elsewhere`, `write ${name}[...]`),
  takesNoKey: (name: string) => message("takes-no-key", `${name} is used without a key elsewhere`),
  variableMismatch: (name: string, got: string, had: string) =>
    message(
      "type-mismatch",
      `Type mismatch for ${name}: trying to assign value of type '${got}' when variable already contains a value of type '${had}'`,
    ),
  operands: (operator: string, left: string, right: string) =>
    message("operands", `Type mismatch for '${operator}': comparing/combining '${left}' with '${right}'`),
  operatorType: (operator: string, type: string) =>
    message("operator-type", `The ${operator} operator can not be used on expressions of type '${type}'`),
  notCondition: (type: string) => message("condition", `Invalid condition of type '${type}'`),
  ternaryMismatch: (left: string, right: string) =>
    message("type-mismatch", `Branches must return the same type: have '${left}' and '${right}'`),
  noValue: (what: string) => message("no-value", `${what} returns no value`),
  notAssignable: () =>
    message("not-assignable", "This cannot be assigned to", "assign to a $variable or an @map"),
  cannotAssign: (type: string, what: string) =>
    message("cannot-assign", `A value of type '${type}' cannot be stored in ${what}`),
  cannotCast: (from: string, to: string) => message("cast", `Cannot cast from "${from}" to "${to}"`),
  cannotDeref: (type: string) =>
    message("deref", `Can not dereference type '${type}'. It needs to be a pointer`),
  notStruct: (type: string, field: string) =>
    message("not-struct", `Can not access field '${field}' on expression of type '${type}'`),
  notIndexable: (type: string) =>
    message("index", `The array index operator [] can not be used on type '${type}'`),
  indexRange: (index: bigint, length: number) =>
    message("index", `the index ${index} is out of bounds for array of size ${length}`),
  tupleIndex: (index: number, length: number) =>
    message("tuple-index", `Invalid tuple index: ${index}. Found ${plural(length, "element")}`),
  divisionByZero: () => message("div-zero", "Division or modulo by 0"),
  literalRange: (value: bigint, type: string) =>
    message("literal-range", `${value} is too large for type '${type}'`),
  integerRange: (text: string) =>
    message("literal-range", `Failed to parse integer: ${text} does not fit 64 bits`),
  signMix: (operator: string) =>
    warning(
      "sign-mix",
      `comparison of integers of different signs: '${operator}' can give unexpected results`,
      "cast one side",
    ),
  tooLarge: (what: string, size: number, limit: number) =>
    message("too-large", `${what} is ${size} bytes, at most ${limit} are possible`),

  // calls
  argumentCount: (name: string, least: number, most: number, got: number) =>
    message(
      "argument-count",
      least === most
        ? `${name}() requires ${plural(least, "argument")} (${got} provided)`
        : got < least
          ? `${name}() requires at least ${plural(least, "argument")} (${got} provided)`
          : `${name}() takes up to ${plural(most, "argument")} (${got} provided)`,
    ),
  argumentType: (name: string, n: number, want: string, got: string) =>
    message("argument-type", `${name}() only supports ${want} as argument ${n} ('${got}' provided)`),
  literalArgument: (name: string, what: string) =>
    message("literal-argument", `${name}() expects a ${what} literal`),
  mapArgument: (name: string) => message("map-argument", `${name}() expects a map to be provided`),
  argumentValue: (name: string, text: string) => message("argument-value", `${name}: ${text}`),
  assertion: (text: string) => message("assertion", text),
  oneOnly: (probe: string) => message("attach-point", `More than one ${probe} probe defined`),
  tupleKey: () =>
    message("map-key", "tuple cannot be used as a map key", "0.17 wants its parts as keys: @map[$1, $2]"),
  printOne: (aggregate: string, map: string) =>
    message(
      "map-argument",
      `Map type ${aggregate}_t cannot print the value of individual keys. You must print the whole map.`,
      `write print(${map})`,
    ),
  printKeyed: () =>
    message(
      "map-argument",
      "The map passed to print() should not be indexed by a key",
      "print((@x[1])) prints one value",
    ),
  onlyAssigned: (name: string) =>
    message("only-assigned", `${name}() must be assigned directly to a map`, `write @x = ${name}(...)`),
  unsafe: (name: string) => message("unsafe", `${name}() is an unsafe function`, "pass --unsafe to allow it"),
  formatCount: (name: string, want: number, got: number) =>
    message(
      "format-count",
      `${name}: Not enough arguments for format string (${want} expected, ${got} found)`.replace(
        "Not enough",
        got > want ? "Too many" : "Not enough",
      ),
    ),
  formatSpecifier: (name: string, specifier: string) =>
    message("format-specifier", `${name}: unknown specifier: ${specifier}`),
  formatType: (name: string, specifier: string, want: string, got: string) =>
    message(
      "format-type",
      `${name}: ${specifier} specifier expects a value of type ${want} (${got} supplied)`,
    ),
  noAddress: (type: string) =>
    message(
      "address",
      `'${type}' is not an address`,
      "pass a field of 4 or 16 bytes, a u32 in network order, or what ntop() gives",
    ),
  debugOnly: () =>
    warning(
      "debugf",
      "debugf() prints to the kernel's trace, which everybody on the machine shares and which costs much more than printf()",
    ),
  discarded: (name: string) => warning("discarded", `Return value discarded for ${name}()`, "assign it to _"),

  // statements
  notInLoop: (what: string) => message("not-in-loop", `${what} statement needs to be inside a loop`),
  unrollLiteral: () => message("unroll", "unroll needs a literal between 1 and 100"),
  unrollRange: (least: boolean) =>
    message("unroll", least ? "unroll minimum value is 1" : "unroll maximum value is 100"),
  shadowed: (name: string) =>
    message(
      "shadowed",
      `Variable ${name} was already declared.`,
      "a block cannot have a variable of an outer block's name",
    ),
  unusedMap: (name: string) => warning("unused-map", `Unused map: ${name}`),
  license: (license: string) =>
    message(
      "license",
      `Your bpftrace program cannot load because you are using a license that is non-GPL compatible. License: ${license}`,
    ),
  mapWithoutKey: (name: string) =>
    message("map-argument", `${name}() expects a map with no keys for the first argument`),
  config: (name: string, known: Iterable<string>) =>
    message("config", `Unrecognized config variable: ${name}`, didYouMean(name, known)),
  configValue: (name: string, text: string) => message("config", `Invalid value for ${name}: ${text}`),
  unstableWarning: (setting: string) =>
    warning(
      "unstable",
      "this feature is unstable in bpftrace: it may change in its next version",
      `config = { ${setting} = enable } silences this`,
    ),
  unstableOff: (setting: string) =>
    message("unstable", `${setting} = error forbids this feature`, `set ${setting} to warn or enable`),
  mapDeclaration: (type: string) =>
    message(
      "map-declaration",
      `Invalid bpf map type: ${type}`,
      "one of hash, lruhash, percpuhash, percpulruhash",
    ),
  macroArguments: (name: string, want: number, got: number) =>
    message("macro", `Call to macro ${name} has wrong number arguments. Expected: ${want} but got ${got}`),
  macroArgument: (name: string, n: number, want: string) =>
    message("macro", `Call to macro ${name} expects a ${want} as argument ${n}`),
  callDepth: (name: string, most: number) =>
    message(
      "call-depth",
      `the call stack is too deep: ${name}() is called by ${most} functions within one another`,
      "recursion must end by its literal arguments",
    ),
  callsInAll: (most: number) =>
    message(
      "call-depth",
      `calls of functions come to more than ${most} in this probe`,
      "each is the code of its body",
    ),
  returnsNothing: (name: string) =>
    message("return", `Function ${name} is of type void, it cannot return a value`),
  returnValue: (name: string, type: string) =>
    message("return", `Function ${name} is of type ${type}, return needs a value`),
  macroRecursion: (name: string) => message("macro", `Recursive macro call: ${name}`),
  duplicate: (what: string, name: string) => message("duplicate", `Redefinition of ${what} '${name}'`),
  programSize: (probe: string, size: number, limit: number) =>
    message("program-size", `${probe} compiles to ${size} instructions, at most ${limit} are possible`),
  stack: (probe: string) =>
    message(
      "stack",
      `${probe} needs more than the 512 bytes of stack that a program has`,
      "split the expression",
    ),
};

/** What is told while a script runs. */
export const RUNTIME = {
  division:
    "Divide or modulo by 0 detected. This can lead to unexpected results. 1 is being used as the result.",
  loop: "A loop was cut short: the kernel makes no more turns.",
} as const;

/**
 * `name:line:from-to: ERROR: text`, the source line, carets under the span, then the hint.
 * Columns are 1-based, the end is exclusive.
 */
export function renderDiagnostics(source: string, name: string, diagnostics: readonly Diagnostic[]): string {
  const lines = source.split("\n");
  return diagnostics.map((d) => renderOne(lines, name, d)).join("");
}

function renderOne(lines: readonly string[], name: string, d: Diagnostic): string {
  const { span } = d;
  const one = span.line === span.endLine;
  const place = one ? `${span.line}:${span.column}-${span.endColumn}` : `${span.line}-${span.endLine}`;
  const severity = d.severity === "error" ? "ERROR" : "WARNING";
  let out = `${name}:${place}: ${severity}: ${d.message}\n`;
  const line = lines[span.line - 1];
  if (line !== undefined) {
    const end = one ? span.endColumn : line.length + 1;
    const lead = line.slice(0, span.column - 1).replace(/[^\t]/g, " ");
    out += `${line}\n${lead}${"~".repeat(Math.max(1, end - span.column))}\n`;
  }
  if (d.hint !== undefined) out += `HINT: ${d.hint}\n`;
  return out;
}
