// cli: tables, durations, colour: what every command prints by.
import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import {
  CliError,
  describeFailure,
  formatAge,
  formatDuration,
  painter,
  parseDuration,
  table,
  usesColor,
} from "../../../src/cli/output.ts";

const plain = painter({ isTTY: false }, {});

describe("tables", () => {
  it("align their columns, whatever colour is in them, and end no line with spaces", () => {
    const colour = painter({ isTTY: true }, {});
    const text = table(
      [
        { name: "a", n: 5, note: undefined },
        { name: colour("red", "longer"), n: 1000n, note: "x" },
      ],
      [
        { title: "Name", value: (r) => r.name },
        { title: "n", value: (r) => r.n, align: "right" },
        { title: "note", value: (r) => r.note },
      ],
    );
    expect(text.replaceAll("\x1b[31m", "").replaceAll("\x1b[39m", "")).toBe(
      "NAME        N   NOTE\na           5   -\nlonger   1000   x\n",
    );
  });
});

describe("durations", () => {
  it.each([
    ["500ms", 500],
    ["5s", 5_000],
    ["2m", 120_000],
    ["1m30s", 90_000],
    ["1h", 3_600_000],
    ["7", 7_000],
    ["1.5s", 1_500],
  ])("%s", (text, ms) => expect(parseDuration(text)).toBe(ms));
  it.each(["", "5x", "s", "-5s", "5 s", "1s1"])("%j is refused", (text) =>
    expect(() => parseDuration(text)).toThrow(InvalidArgumentError),
  );
  it.each([
    [950, "950 ms"],
    [41_230, "41.2 s"],
    [200_000, "3 m 20 s"],
  ])("%d ms is %s", (ms, text) => expect(formatDuration(ms)).toBe(text));
  it.each([
    [5_000, "5s"],
    [119_000, "119s"],
    [200_000, "3m20s"],
    [180_000, "3m"],
    [7_200_000, "120m"],
    [25_200_000, "7h"],
    [12 * 86_400_000, "12d"],
  ])("an age of %d ms is %s", (ms, text) => expect(formatAge(ms)).toBe(text));
});

describe("colour", () => {
  it("is for terminals, unless the environment says otherwise", () => {
    expect(usesColor({ isTTY: true }, {})).toBe(true);
    expect(usesColor({}, {})).toBe(false);
    expect(usesColor({ isTTY: true }, { NO_COLOR: "1", FORCE_COLOR: "1" })).toBe(false);
    expect(usesColor({ isTTY: true }, { NO_COLOR: "" })).toBe(true);
    expect(usesColor({}, { FORCE_COLOR: "1" })).toBe(true);
    expect(usesColor({ isTTY: true }, { TERM: "dumb" })).toBe(false);
  });
});

it("an error is one line, and its hint another", () => {
  expect(describeFailure("waggle x", new CliError("no", { hint: "do y" }), plain)).toBe(
    "waggle x: no\nhint: do y\n",
  );
  expect(describeFailure("waggle x", "text", plain)).toBe("waggle x: text\n");
});
