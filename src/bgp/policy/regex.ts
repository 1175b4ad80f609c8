// bgp/policy: regular expressions over AS paths and communities: a subset without back-references, run as an automaton, so no text takes longer than its length.

/** A pattern that is no regular expression of ours; the text says where. */
export class PatternError extends Error {}

/** Characters of a pattern at most, and states of what it becomes: bounds of memory, not of taste. */
export const PATTERN_MAX = 256;
const STATES_MAX = 2000;
const REPEAT_MAX = 255;
const DEPTH_MAX = 16;
/** States of the automaton that are remembered between texts; then they are worked out anew. */
const REMEMBERED_MAX = 512;

/** Stand before and after each text, twice, so that `^_` and `_$` find one each. */
const BEGIN = 0;
const END = 1;
const SYMBOLS = 128;

type Chars = Uint8Array;

type Tree =
  | { readonly kind: "chars"; readonly chars: Chars }
  | { readonly kind: "all"; readonly parts: readonly Tree[] }
  | { readonly kind: "any"; readonly parts: readonly Tree[] }
  | { readonly kind: "repeat"; readonly part: Tree; readonly min: number; readonly max: number };

const charsOf = (...codes: number[]): Chars => {
  const out = new Uint8Array(SYMBOLS);
  for (const c of codes) out[c] = 1;
  return out;
};

const codesOf = (text: string): number[] => [...text].map((c) => c.charCodeAt(0));
const digits = charsOf(...codesOf("0123456789"));
/** Everything but the ends of the text. */
const anything = new Uint8Array(SYMBOLS).fill(1, 2);
/** What `_` stands for in AS-path expressions since Cisco's: an end of the text or what divides numbers. */
const divider = charsOf(BEGIN, END, ...codesOf(" ,{}()"));
const not = (chars: Chars): Chars => anything.map((on, i) => (on && !chars[i] ? 1 : 0));
const repeat = (part: Tree, min: number, max: number): Tree => ({ kind: "repeat", part, min, max });

class Parser {
  readonly #text: string;
  #at = 0;
  #depth = 0;
  constructor(text: string) {
    this.#text = text;
  }

  parse(): Tree {
    const tree = this.#alternatives();
    if (this.#at < this.#text.length) this.#fail("a closing parenthesis without an opening one");
    return tree;
  }

  #fail(what: string): never {
    throw new PatternError(`${what}, at character ${this.#at + 1} of ${JSON.stringify(this.#text)}`);
  }

  #alternatives(): Tree {
    const parts = [this.#sequence()];
    while (this.#text[this.#at] === "|") {
      this.#at++;
      parts.push(this.#sequence());
    }
    return parts.length === 1 ? parts[0]! : { kind: "any", parts };
  }

  #sequence(): Tree {
    const parts: Tree[] = [];
    while (this.#at < this.#text.length && !"|)".includes(this.#text[this.#at]!))
      parts.push(this.#repeated());
    return { kind: "all", parts };
  }

  #repeated(): Tree {
    const anchor = "^$".includes(this.#text[this.#at]!);
    let tree = this.#atom();
    for (let times = 0; "*+?{".includes(this.#text[this.#at] ?? "|"); times++) {
      if (anchor) this.#fail("an anchor cannot be repeated");
      if (times > 0) this.#fail("two repetitions in a row");
      tree = this.#repetition(tree);
    }
    return tree;
  }

  #repetition(part: Tree): Tree {
    const c = this.#text[this.#at]!;
    if (c !== "{") {
      this.#at++;
      return repeat(part, c === "+" ? 1 : 0, c === "?" ? 1 : Infinity);
    }
    const found = /^\{(\d{1,4})(,(\d{1,4})?)?\}/.exec(this.#text.slice(this.#at));
    if (!found) this.#fail("a brace that begins no repetition such as {2} or {1,3}");
    const min = Number(found[1]);
    const max = found[2] === undefined ? min : found[3] === undefined ? Infinity : Number(found[3]);
    if (max < min) this.#fail(`a repetition from ${min} to ${max}`);
    if (min > REPEAT_MAX || (max !== Infinity && max > REPEAT_MAX))
      this.#fail(`more than ${REPEAT_MAX} repetitions`);
    this.#at += found[0].length;
    return repeat(part, min, max);
  }

  #atom(): Tree {
    const c = this.#text[this.#at]!;
    if (c === "(") return this.#group();
    if (c === "[") return { kind: "chars", chars: this.#class() };
    if ("*+?{".includes(c)) this.#fail(`nothing for ${c} to repeat`);
    this.#at++;
    if (c === ".") return { kind: "chars", chars: anything };
    if (c === "_") return { kind: "chars", chars: divider };
    if (c === "^") return repeat({ kind: "chars", chars: charsOf(BEGIN) }, 1, 2);
    if (c === "$") return repeat({ kind: "chars", chars: charsOf(END) }, 1, 2);
    return { kind: "chars", chars: c === "\\" ? this.#escape() : charsOf(this.#code(c)) };
  }

  #code(c: string): number {
    const code = c.charCodeAt(0);
    if (code < 32 || code >= SYMBOLS) {
      this.#at--;
      this.#fail("a character that no path or community has");
    }
    return code;
  }

  #escape(): Chars {
    const c = this.#text[this.#at];
    if (c === undefined) this.#fail("a backslash at the end");
    this.#at++;
    if (c === "d") return digits;
    if (c === "D") return not(digits);
    if (/[A-Za-z0-9]/.test(c)) {
      this.#at--;
      this.#fail(`\\${c}, which is not among what can be written (\\d, \\D and escaped signs can)`);
    }
    return charsOf(this.#code(c));
  }

  #group(): Tree {
    if (++this.#depth > DEPTH_MAX) this.#fail(`more than ${DEPTH_MAX} parentheses inside one another`);
    this.#at++;
    if (this.#text[this.#at] === "?") {
      if (this.#text[this.#at + 1] !== ":") this.#fail("a group that looks around or has a name");
      this.#at += 2;
    }
    const tree = this.#alternatives();
    if (this.#text[this.#at] !== ")") this.#fail("a parenthesis that is not closed");
    this.#at++;
    this.#depth--;
    return tree;
  }

  #class(): Chars {
    this.#at++;
    const negated = this.#text[this.#at] === "^";
    if (negated) this.#at++;
    const out = new Uint8Array(SYMBOLS);
    for (let first = true; ; first = false) {
      const c = this.#text[this.#at];
      if (c === undefined) this.#fail("a bracket that is not closed");
      this.#at++;
      if (c === "]" && !first) break;
      if (c === "\\") {
        const chars = this.#escape();
        for (let i = 0; i < SYMBOLS; i++) if (chars[i]) out[i] = 1;
        continue;
      }
      const low = this.#code(c);
      let high = low;
      if (this.#text[this.#at] === "-" && (this.#text[this.#at + 1] ?? "]") !== "]") {
        this.#at += 2;
        high = this.#code(this.#text[this.#at - 1]!);
        if (high < low) this.#fail("a range from high to low");
      }
      out.fill(1, low, high + 1);
    }
    return negated ? not(out) : out;
  }
}

/** One state: it takes one of `chars` and goes on to `next`, or without taking anything to both `next` and `other`; -1 is none. */
interface State {
  readonly chars: Chars | undefined;
  next: number;
  other: number;
}

/** Thompson's construction, from the end backwards; state 0 has found the pattern. */
class Builder {
  readonly states: State[] = [{ chars: undefined, next: -1, other: -1 }];
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }

  #add(chars: Chars | undefined, next: number, other: number): number {
    if (this.states.length >= STATES_MAX)
      throw new PatternError(
        `${JSON.stringify(this.#text)} repeats too much: more than ${STATES_MAX} states`,
      );
    return this.states.push({ chars, next, other }) - 1;
  }

  /** The state from which `tree` and then `next` are found. */
  build(tree: Tree, next: number): number {
    if (tree.kind === "chars") return this.#add(tree.chars, next, -1);
    if (tree.kind === "all") return tree.parts.reduceRight((after, part) => this.build(part, after), next);
    if (tree.kind === "any") {
      let out = this.build(tree.parts[0]!, next);
      for (const part of tree.parts.slice(1)) out = this.#add(undefined, out, this.build(part, next));
      return out;
    }
    let out = next;
    if (tree.max === Infinity) {
      out = this.#add(undefined, -1, next);
      this.states[out]!.next = this.build(tree.part, out);
    } else
      for (let i = tree.min; i < tree.max; i++) out = this.#add(undefined, this.build(tree.part, out), next);
    for (let i = 0; i < tree.min; i++) out = this.build(tree.part, out);
    return out;
  }
}

/** A set of states as one state of the automaton that is run. */
interface Step {
  readonly states: readonly number[];
  readonly found: boolean;
  /** By symbol; undefined where it has not been asked for yet. */
  readonly next: (Step | undefined)[];
}

/**
 * A compiled pattern. Syntax: literals, `.`, `[a-z]`, `[^…]`, `\d`, `*`, `+`, `?`, `{m,n}`, `|`, `( )`, `^`, `$`, and `_` for what divides the
 * numbers of a path. It is looked for anywhere in a text unless it is anchored.
 */
export class Pattern {
  readonly text: string;
  readonly #states: readonly State[];
  readonly #first: number;
  #steps = new Map<string, Step>();
  #start: Step | undefined;

  /** @throws PatternError */
  constructor(text: string) {
    if (text.length > PATTERN_MAX) throw new PatternError(`a pattern of more than ${PATTERN_MAX} characters`);
    this.text = text;
    const builder = new Builder(text);
    this.#first = builder.build(new Parser(text).parse(), 0);
    this.#states = builder.states;
  }

  /** Whether the pattern is found in `text`, which is ASCII. */
  test(text: string): boolean {
    let step = (this.#start ??= this.#step([this.#first]));
    for (let i = -2; i < text.length + 2; i++) {
      if (step.found) return true;
      const symbol = i < 0 ? BEGIN : i < text.length ? text.charCodeAt(i) : END;
      step = step.next[symbol] ?? this.#follow(step, symbol);
    }
    return step.found;
  }

  #follow(step: Step, symbol: number): Step {
    const to: number[] = [this.#first];
    for (const id of step.states) {
      const { chars, next } = this.#states[id]!;
      if (chars?.[symbol]) to.push(next);
    }
    const out = this.#step(to);
    if (symbol < SYMBOLS) step.next[symbol] = out;
    return out;
  }

  /** All states that are reached without taking anything. */
  #step(from: readonly number[]): Step {
    const seen = new Set<number>();
    const open = [...from];
    for (let id = open.pop(); id !== undefined; id = open.pop()) {
      if (id < 0 || seen.has(id)) continue;
      seen.add(id);
      const { chars, next, other } = this.#states[id]!;
      if (!chars) open.push(next, other);
    }
    const states = [...seen].sort((a, b) => a - b);
    const key = states.join();
    let step = this.#steps.get(key);
    if (!step) {
      if (this.#steps.size >= REMEMBERED_MAX) {
        // Steps point at one another: those in use live on until the text ends, the rest is forgotten.
        this.#steps = new Map();
        this.#start = undefined;
      }
      step = { states, found: seen.has(0), next: [] };
      this.#steps.set(key, step);
    }
    return step;
  }
}
