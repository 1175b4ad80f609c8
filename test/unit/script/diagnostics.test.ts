// test, script: every wrong program gets a message with a place; the common mistakes get the message that helps.
import { describe, expect, test } from "vitest";
import { checkSyntax, compile, renderDiagnostics } from "../../../src/script/index.ts";
import type { CompileOptions } from "../../../src/script/types.ts";
import { options } from "./fixture.ts";

const messages = (source: string, more: Partial<CompileOptions> = {}): string =>
  renderDiagnostics(source, "stdin", compile(source, options(more)).diagnostics);

describe("messages", () => {
  test.each([
    [
      "a field that is not there, with the nearest name",
      "tracepoint:syscalls:sys_enter_openat { @[args.filenam] = count(); }",
      "stdin:1:47-54: ERROR: Struct/union of type 'struct _tracepoint_syscalls_sys_enter_openat' does not contain a field named 'filenam'\n",
      "HINT: did you mean 'filename'?",
    ],
    ["an unknown function", "BEGIN { foo(); }", "stdin:1:9-12: ERROR: Unknown function: 'foo'\n", "~~~"],
    [
      "a misspelt function",
      'BEGIN { pritnf("a"); }',
      "ERROR: Unknown function: 'pritnf'",
      "did you mean 'printf'?",
    ],
    [
      "one entry of a histogram",
      "begin { @x[1] = hist(10); print(@x[1]); }",
      "stdin:1:27-39: ERROR: Map type hist_t cannot print the value of individual keys. You must print the whole map.\n",
      "HINT: write print(@x)",
    ],
    [
      "an array of another size",
      "begin { $a = (int8[2])70000; }",
      'ERROR: Cannot cast from "int64" to "int8[2]"',
      "",
    ],
    [
      "a namespace of process IDs",
      "begin { print(pid(mine)); }",
      "stdin:1:19-23: ERROR: pid: the namespace is one of init, curr_ns",
      "",
    ],
    [
      "a map of two types",
      'BEGIN { @x = "a"; @x = 1; }',
      "stdin:1:19-25: ERROR: Type mismatch for @x: trying to assign value of type 'int64' when map already contains a value of type 'string[2]'",
      "~~~~~~",
    ],
    [
      "a tracepoint that is not there",
      "tracepoint:sock:inet_sock_set_stat { @ = count(); }",
      "stdin:1:1-35: ERROR: tracepoint not found: sock:inet_sock_set_stat",
      "HINT: did you mean 'sock:inet_sock_set_state'?",
    ],
    [
      "an unknown provider",
      "tracepont:a:b { }",
      "ERROR: Invalid probe type: tracepont",
      "did you mean 'tracepoint'?",
    ],
    [
      "a string where a number is printed",
      'BEGIN { printf("%d", "a"); }',
      "stdin:1:9-26: ERROR: printf: %d specifier expects a value of type integer (string supplied)",
      "",
    ],
    [
      "too few arguments",
      'BEGIN { printf("%d %d", 1); }',
      "Not enough arguments for format string (2 expected, 1 found)",
      "",
    ],
    [
      "too many arguments",
      'BEGIN { printf("%d", 1, 2); }',
      "Too many arguments for format string (1 expected, 2 found)",
      "",
    ],
    ["a syntax error", "BEGIN { @ = ; }", "stdin:1:13-14: ERROR: syntax error, unexpected ;", "~"],
    ["the end of the file", "BEGIN { @ = 1", "ERROR: syntax error, unexpected end of file", ""],
    [
      "an unknown variable",
      "BEGIN { $ab = 1; print($a); }",
      "Undefined or undeclared variable: $a",
      "did you mean '$ab'?",
    ],
    [
      "args where there are none",
      "BEGIN { print(args.x); }",
      "stdin:1:15-19: ERROR: Probe begin does not have arguments",
      "",
    ],
    [
      "a common field",
      "t:sock:inet_sock_set_state { print(args.common_pid); }",
      "The common field common_pid cannot be accessed",
      "",
    ],
    [
      "count elsewhere than in a map",
      "BEGIN { $x = count(); }",
      "count() must be assigned directly to a map",
      "write @x = count(...)",
    ],
    ["a map that is never written", "BEGIN { print(@x); }", "Undefined map: @x", ""],
    ["a key where there was none", "BEGIN { @x = 1; @x[1] = 2; }", "@x is used without a key elsewhere", ""],
    [
      "another key",
      'BEGIN { @x[1] = 1; @x["a"] = 2; }',
      "Argument mismatch for @x: trying to access with arguments: 'string[2]' when map expects arguments: 'int64'",
      "",
    ],
    ["division by nothing", "BEGIN { @x = 1 / 0; }", "Division or modulo by 0", ""],
    [
      "what is no address",
      "BEGIN { @[cluster(comm)] = count(); }",
      "'string[16]' is not an address",
      "HINT: pass a field",
    ],
    ["an unsafe function", 'BEGIN { system("ls"); }', "system() is an unsafe function", "pass --unsafe"],
    ["bounds of lhist", "BEGIN { @ = lhist(1, 10, 5, 1); }", "lhist: min must be less than max", ""],
    ["a huge number", "BEGIN { @ = 99999999999999999999; }", "does not fit 64 bits", ""],
    ["nothing to do", "", "ERROR: No probes to attach", ""],
    ["an include that is no directive", "#foo\nBEGIN { }", "unknown preprocessor directive '#foo'", ""],
    [
      "a config that is not there",
      "config = { max_strln = 1 } BEGIN { }",
      "Unrecognized config variable: max_strln",
      "did you mean 'max_strlen'?",
    ],
    ["a timer without a unit", "interval:5 { }", "Invalid interval attach point", "HINT: write interval:s:1"],
    [
      "a prefix that is none",
      't:tcp:tcp_retransmit_skb /prefix(args.daddr) == "10.0.0.1/8"/ { @ = count(); }',
      '"10.0.0.1/8" is not a prefix',
      "",
    ],
  ])("%s", (_name, source, text, rest) => {
    const shown = messages(source);
    expect(shown).toContain(text);
    expect(shown).toContain(rest);
  });

  test("0.17 prints only strings by %s", () => {
    expect(messages('BEGIN { printf("%s", 1); }', { compat: "0.17" })).toContain(
      "stdin:1:9-24: ERROR: printf: %s specifier expects a value of type string (integer supplied)",
    );
    expect(messages('BEGIN { printf("%s", 1); }')).toBe("");
  });

  test("all errors of a pass are told, in the order of the source, each once", () => {
    const shown = messages("BEGIN { foo(); @x = args.y; bar(); $z = $q; }");
    expect(shown.match(/ERROR/g)).toHaveLength(4);
    expect(shown.indexOf("'foo'")).toBeLessThan(shown.indexOf("'bar'"));
  });

  test("the source line is shown with tabs kept, so that the marks stand under the words", () => {
    expect(messages("BEGIN {\n\tfoo();\n}")).toBe(
      "stdin:2:2-5: ERROR: Unknown function: 'foo'\n\tfoo();\n\t~~~\n",
    );
  });

  test("syntax alone needs no kernel", () => {
    expect(checkSyntax("tracepoint:no:such { @[args.x] = count(); }")).toEqual([]);
    expect(checkSyntax("BEGIN { @ = }")[0]?.message).toMatch(/syntax error/);
  });
});
