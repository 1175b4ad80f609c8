// script: the program after the checker: every name resolved, every expression typed, every conversion written out.
// The lowering pass needs to know nothing but this.
import type { Loc } from "./ast.ts";
import type { ResolvedPoint } from "./probes.ts";
import type { Aggregate, Field, HistLayout, SeriesLayout, Structure, Type } from "./types.ts";

/** A $variable of one scope. Its type may grow while the checker iterates. */
export interface Variable {
  readonly name: string;
  readonly id: number;
  type: Type;
  /** From `let $x : T`: assignments convert instead of widening. */
  declared: boolean;
  /** Its address is taken: it lives in memory. */
  addressed?: true;
}

/** An @map. Key and value types grow while the checker iterates and are fixed afterwards. */
export interface MapInfo {
  readonly name: string;
  readonly id: number;
  /** undefined until first used. Empty for a scalar. */
  key: readonly Type[] | undefined;
  value: Type;
  aggregate: Aggregate | undefined;
  /** Sign of an aggregate's argument. */
  signed: boolean;
  hist: Omit<HistLayout, "bucketOffset"> | undefined;
  series: Omit<SeriesLayout, "bucketOffset" | "clock"> | undefined;
  declared:
    | { readonly type: "hash" | "lru_hash" | "percpu_hash" | "lru_percpu_hash"; readonly size: number }
    | undefined;
  firstUse: Loc;
  /** Something is assigned to it, be it wrongly: then it is not "undefined". */
  assigned: boolean;
}

export type Arithmetic = "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>";
export type Comparison = "==" | "!=" | "<" | "<=" | ">" | ">=";

export type TExpr = { readonly loc: Loc; readonly type: Type } & (
  | { readonly op: "const"; readonly value: bigint; readonly literal?: boolean }
  | { readonly op: "text"; readonly value: string; readonly bytes: Uint8Array }
  | { readonly op: "builtin"; readonly name: string; readonly data?: number }
  /** The record or structure that the program's context points to. */
  | { readonly op: "context" }
  /** Word n of a BTF-typed or register context. */
  | { readonly op: "context_word"; readonly offset: number; readonly size: 1 | 2 | 4 | 8 }
  | { readonly op: "variable"; readonly variable: Variable }
  | { readonly op: "map"; readonly map: MapInfo; readonly key: readonly TExpr[] }
  | { readonly op: "negate" | "complement" | "not" | "truth"; readonly operand: TExpr }
  | {
      readonly op: "arithmetic";
      readonly operator: Arithmetic;
      readonly left: TExpr;
      readonly right: TExpr;
      /** 0.17: a division by zero is the machine's own: 0, and the whole as remainder. */
      readonly unchecked?: true;
    }
  | {
      readonly op: "compare";
      readonly operator: Comparison;
      readonly signed: boolean;
      readonly left: TExpr;
      readonly right: TExpr;
    }
  /** Equality of strings, addresses, arrays, tuples: memory against memory or a literal. */
  | { readonly op: "same"; readonly equal: boolean; readonly left: TExpr; readonly right: TExpr }
  | { readonly op: "logical"; readonly and: boolean; readonly left: TExpr; readonly right: TExpr }
  | { readonly op: "choose"; readonly condition: TExpr; readonly then: TExpr; readonly otherwise: TExpr }
  | { readonly op: "convert"; readonly operand: TExpr }
  | { readonly op: "field"; readonly base: TExpr; readonly field: Field }
  | { readonly op: "deref"; readonly pointer: TExpr }
  | { readonly op: "element"; readonly base: TExpr; readonly index: TExpr }
  | { readonly op: "address"; readonly place: TExpr }
  | { readonly op: "item"; readonly tuple: TExpr; readonly index: number }
  | { readonly op: "tuple"; readonly items: readonly TExpr[] }
  | {
      readonly op: "step";
      readonly target:
        | { readonly variable: Variable }
        | { readonly map: MapInfo; readonly key: readonly TExpr[] };
      readonly delta: bigint;
      /** Whether the value is the one after the step. */
      readonly prefix: boolean;
    }
  | { readonly op: "call"; readonly name: string; readonly args: readonly TExpr[]; readonly data?: CallData }
  | { readonly op: "block"; readonly body: readonly TStatement[]; readonly value: TExpr }
);

export type TExprOf<O extends TExpr["op"]> = Extract<TExpr, { op: O }>;

/** What a call carries besides its arguments. */
export interface CallData {
  readonly map?: MapInfo;
  readonly size?: number;
  readonly space?: "kernel" | "user";
  readonly word?: string;
}

/** An asynchronous action: what user space does with the record. */
export type ActionKind =
  | { readonly kind: "printf" | "errorf" | "warnf"; readonly format: string }
  | { readonly kind: "system" | "cat"; readonly format: string }
  | { readonly kind: "print_map"; readonly map: MapInfo; readonly top: number; readonly divide: number }
  | { readonly kind: "print_value" }
  | { readonly kind: "clear" | "zero"; readonly map: MapInfo }
  | { readonly kind: "exit" }
  | { readonly kind: "runtime_error"; readonly message: string }
  | { readonly kind: "helper_error"; readonly helper: string }
  | { readonly kind: "time"; readonly format: string }
  | { readonly kind: "join"; readonly separator: string };

export type TStatement = { readonly loc: Loc } & (
  | { readonly op: "expr"; readonly value: TExpr }
  | { readonly op: "set_variable"; readonly variable: Variable; readonly value: TExpr }
  | { readonly op: "set_map"; readonly map: MapInfo; readonly key: readonly TExpr[]; readonly value: TExpr }
  | {
      readonly op: "aggregate";
      readonly map: MapInfo;
      readonly key: readonly TExpr[];
      readonly args: readonly TExpr[];
    }
  | { readonly op: "emit"; readonly action: ActionKind; readonly args: readonly TExpr[] }
  | {
      readonly op: "if";
      readonly condition: TExpr;
      readonly then: readonly TStatement[];
      readonly otherwise: readonly TStatement[];
    }
  | { readonly op: "scope"; readonly body: readonly TStatement[] }
  /** The body of a function in place of its call: `return` in it goes on behind it. */
  | { readonly op: "inline"; readonly body: readonly TStatement[] }
  | { readonly op: "unroll"; readonly count: number; readonly body: readonly TStatement[] }
  | { readonly op: "while"; readonly condition: TExpr; readonly body: readonly TStatement[] }
  | {
      readonly op: "for_range";
      readonly variable: Variable;
      readonly from: TExpr;
      readonly to: TExpr;
      readonly body: readonly TStatement[];
    }
  | {
      readonly op: "for_map";
      readonly variable: Variable;
      readonly map: MapInfo;
      readonly body: readonly TStatement[];
    }
  | { readonly op: "break" }
  | { readonly op: "continue" }
  | { readonly op: "return"; readonly value?: TExpr }
);

/** One program to be: a probe's body, checked against the context of its attach points. */
export interface TProbe {
  readonly points: readonly ResolvedPoint[];
  readonly body: readonly TStatement[];
  readonly predicate: TExpr | undefined;
  readonly variables: readonly Variable[];
  /** Those of them that the predicate uses. */
  readonly early: readonly Variable[];
  readonly loc: Loc;
}

export interface TProgram {
  readonly probes: readonly TProbe[];
  readonly maps: readonly MapInfo[];
  readonly settings: {
    readonly maxMapKeys: number;
    readonly maxStrlen: number;
    readonly printMapsOnExit: boolean;
    readonly strTruncTrailer: string;
    readonly maxCatBytes?: number;
  };
  /** Structures that the script defines, by "struct name". */
  readonly structures: ReadonlyMap<string, Structure>;
  /** Enums that the script defines: name -> value -> text. */
  readonly enums: ReadonlyMap<string, ReadonlyMap<string, string>>;
}
