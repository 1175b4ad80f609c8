// script: the syntax tree, as grammar.peggy builds it. Plain data; nothing here has a type yet.

/** Half-open range of UTF-16 offsets in the source. */
export interface Loc {
  readonly start: number;
  readonly end: number;
}

export interface TypeName {
  readonly name: string;
  readonly tag?: "struct" | "union" | "enum";
  readonly typeof?: { readonly type: TypeName } | { readonly operand: Expr };
  readonly pointers: number;
  /** Outermost first; 0 is an unknown length. */
  readonly dimensions: readonly number[];
  readonly loc: Loc;
}

interface Node {
  readonly loc: Loc;
  /** Set where the user wrote parentheres around it. */
  readonly parenthesised?: boolean;
}

export type BinaryOperator =
  | "||"
  | "&&"
  | "|"
  | "^"
  | "&"
  | "=="
  | "!="
  | "<"
  | "<="
  | ">"
  | ">="
  | "<<"
  | ">>"
  | "+"
  | "-"
  | "*"
  | "/"
  | "%";

export type Expr = Node &
  (
    | { readonly node: "integer"; readonly value: bigint; readonly hex?: boolean }
    | { readonly node: "string"; readonly value: string }
    | { readonly node: "positional"; readonly index: number }
    | { readonly node: "positional_count" }
    | { readonly node: "variable"; readonly name: string }
    | { readonly node: "map"; readonly name: string; readonly keys?: readonly Expr[] }
    | { readonly node: "identifier"; readonly name: string }
    | {
        readonly node: "call";
        readonly name: string;
        readonly arguments: readonly Argument[];
        readonly nameLoc: Loc;
      }
    | { readonly node: "unary"; readonly operator: "!" | "~" | "-" | "*" | "&"; readonly operand: Expr }
    | {
        readonly node: "step";
        readonly operator: "++" | "--";
        readonly prefix: boolean;
        readonly operand: Expr;
      }
    | {
        readonly node: "binary";
        readonly operator: BinaryOperator;
        readonly left: Expr;
        readonly right: Expr;
      }
    | { readonly node: "ternary"; readonly condition: Expr; readonly then?: Expr; readonly otherwise: Expr }
    | { readonly node: "cast"; readonly type: TypeName; readonly operand: Expr }
    | {
        readonly node: "field";
        readonly operand: Expr;
        readonly name: string;
        readonly arrow: boolean;
        readonly nameLoc: Loc;
      }
    | { readonly node: "item"; readonly operand: Expr; readonly index: number }
    | {
        readonly node: "index";
        readonly operand: Expr;
        readonly index: Expr;
        readonly rest: readonly Expr[];
      }
    | { readonly node: "tuple"; readonly items: readonly Expr[]; readonly names?: readonly string[] }
    | { readonly node: "sizeof_type"; readonly type: TypeName }
    | { readonly node: "sizeof"; readonly operand: Expr }
    | {
        readonly node: "offsetof";
        readonly type?: TypeName;
        readonly operand?: Expr;
        readonly path: readonly string[];
      }
    | {
        readonly node: "if_expression";
        readonly condition: Expr;
        readonly then: Block;
        readonly otherwise?: Block | IfStatement;
      }
    | { readonly node: "block_expression"; readonly body: Block }
  );

export type ExprOf<N extends Expr["node"]> = Extract<Expr, { node: N }>;

export type Argument = Expr | { readonly node: "type"; readonly type: TypeName; readonly loc: Loc };

export interface Block extends Node {
  readonly node: "block";
  readonly statements: readonly Statement[];
}

export interface IfStatement extends Node {
  readonly node: "if";
  readonly condition: Expr;
  readonly then: Block;
  readonly otherwise?: Block | IfStatement;
}

export type Statement = Node &
  (
    | IfStatement
    | { readonly node: "unroll"; readonly count: Expr; readonly body: Block }
    | { readonly node: "while"; readonly condition: Expr; readonly body: Block }
    | {
        readonly node: "for";
        readonly variable: string;
        readonly over:
          | { readonly kind: "range"; readonly from: Expr; readonly to: Expr }
          | { readonly kind: "map"; readonly map: ExprOf<"map"> };
        readonly body: Block;
      }
    | { readonly node: "scope"; readonly body: Block }
    | { readonly node: "let"; readonly name: string; readonly type?: TypeName; readonly value?: Expr }
    | { readonly node: "return"; readonly value?: Expr }
    | { readonly node: "break" }
    | { readonly node: "continue" }
    | { readonly node: "discard"; readonly value: Expr }
    | { readonly node: "expression"; readonly value: Expr }
    | {
        readonly node: "assign";
        readonly target: Expr;
        /** "" for plain assignment, else the operator before `=`. */
        readonly operator: BinaryOperator | "";
        readonly value: Expr;
      }
  );

export interface AttachText {
  readonly node: "attach";
  readonly text: string;
  readonly alias?: string;
  readonly loc: Loc;
}

export interface Probe {
  readonly node: "probe";
  readonly points: readonly AttachText[];
  readonly predicate?: Expr;
  readonly body: Block;
  readonly loc: Loc;
}

export interface MacroParameter {
  readonly kind: "variable" | "map" | "expression";
  readonly name: string;
  readonly loc: Loc;
}

export interface Macro {
  readonly node: "macro";
  readonly name: string;
  readonly parameters: readonly MacroParameter[];
  readonly body: Block;
  readonly loc: Loc;
  readonly nameLoc: Loc;
}

export interface CDeclarator {
  readonly name: string;
  readonly pointers: number;
  readonly dimensions: readonly (Expr | null)[];
  readonly bits?: number;
  readonly function?: boolean;
}

export interface CBase {
  readonly name?: string;
  readonly tag?: "struct" | "union" | "enum";
  readonly inline?: { readonly union: boolean; readonly name: string; readonly fields: readonly CField[] };
}

export interface CField {
  readonly base: CBase;
  readonly declarators: readonly CDeclarator[];
  readonly loc: Loc;
}

export type Item = { readonly loc: Loc } & (
  | {
      readonly node: "config";
      readonly settings: readonly {
        readonly name: string;
        readonly value: string | bigint;
        readonly loc: Loc;
      }[];
    }
  | { readonly node: "import"; readonly path: string }
  | {
      readonly node: "structure";
      readonly union: boolean;
      readonly name: string;
      readonly fields: readonly CField[];
    }
  | {
      readonly node: "enumeration";
      readonly name: string;
      readonly members: readonly { readonly name: string; readonly value?: Expr; readonly loc: Loc }[];
    }
  | {
      readonly node: "typedef";
      readonly name: string;
      readonly base: CBase;
      readonly declarator: CDeclarator;
    }
  | { readonly node: "forward" }
  | Macro
  | { readonly node: "map_declaration"; readonly name: string; readonly type: string; readonly size: bigint }
  | {
      readonly node: "subprogram";
      readonly name: string;
      readonly parameters: readonly { readonly name: string; readonly type: TypeName }[];
      readonly returns: TypeName;
      readonly body: Block;
    }
  | Probe
);

export interface Program {
  readonly node: "program";
  readonly items: readonly Item[];
  readonly loc: Loc;
}
