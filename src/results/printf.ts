// results: printf formatting in user space, on the raw bytes of a record.
import { type Conversion, parseFormat } from "../script/format.ts";
import { isSigned, sizeOf } from "../script/layout.ts";
import type { Type } from "../script/types.ts";
import { readInteger } from "./bytes.ts";
import { valueText } from "./print.ts";
import { bufferText, type Decoding, decodeValue } from "./values.ts";

/** Pads to the width: left if `-`, with zeros after the sign if `0`. */
function pad(text: string, c: Conversion, numeric: boolean): string {
  const width = c.width ?? 0;
  if (text.length >= width) return text;
  if (c.flags.includes("-")) return text.padEnd(width);
  if (numeric && c.flags.includes("0") && c.precision === undefined) {
    const sign = /^[-+ ]?(0[xX])?/.exec(text)?.[0] ?? "";
    return sign + text.slice(sign.length).padStart(width - sign.length, "0");
  }
  return text.padStart(width);
}

const digits = (text: string, c: Conversion): string => text.padStart(c.precision ?? 0, "0");

/** Bits that a conversion shows: by its length modifier; without one 64, in 0.17 those of a C int. */
function widthOf(c: Conversion, old: boolean): number {
  const length = /(hh|h|ll|l|j|z|t)?[a-zA-Z]+$/.exec(c.text)?.[1];
  if (length === "hh") return 8;
  if (length === "h") return 16;
  return length === undefined && old && c.letter !== "p" ? 32 : 64;
}

function integer(c: Conversion, whole: bigint, old: boolean): string {
  const bits = widthOf(c, old);
  const value = BigInt.asIntN(bits, whole);
  const unsigned = BigInt.asUintN(bits, whole);
  const alternate = c.flags.includes("#");
  switch (c.letter) {
    case "u":
      return pad(digits(String(unsigned), c), c, true);
    case "x":
      return pad((alternate && unsigned !== 0n ? "0x" : "") + digits(unsigned.toString(16), c), c, true);
    case "X":
      return pad(
        (alternate && unsigned !== 0n ? "0X" : "") + digits(unsigned.toString(16).toUpperCase(), c),
        c,
        true,
      );
    case "o":
      return pad((alternate ? "0" : "") + digits(unsigned.toString(8), c), c, true);
    case "c":
      return pad(String.fromCharCode(Number(unsigned & 0xffn)), c, false);
    case "p":
      return pad(unsigned === 0n ? (old ? "(nil)" : "0") : `0x${unsigned.toString(16)}`, c, false);
    default: {
      const signed = value;
      const sign = signed < 0n ? "-" : c.flags.includes("+") ? "+" : c.flags.includes(" ") ? " " : "";
      return pad(sign + digits(String(signed < 0n ? -signed : signed), c), c, true);
    }
  }
}

function one(d: Decoding, c: Conversion, type: Type, bytes: Uint8Array, offset: number): string {
  if (c.letter === "s") {
    const text = valueText(decodeValue(d, type, bytes, offset));
    return pad(c.precision === undefined ? text : text.slice(0, c.precision), c, false);
  }
  if (c.letter === "r" || c.letter === "rx" || c.letter === "rh") {
    const size = type.kind === "buffer" ? type.size : 0;
    const length = Math.min(size, Number(readInteger(bytes, offset, 4, false)));
    return pad(bufferText(bytes.subarray(offset + 4, offset + 4 + length), c.letter), c, false);
  }
  return integer(
    c,
    readInteger(bytes, offset, Math.min(8, sizeOf(type)), isSigned(type)),
    d.plan.old === true,
  );
}

/** The text of a format whose arguments lie in a record. */
export function formatRecord(
  d: Decoding,
  format: string,
  args: readonly { readonly offset: number; readonly type: Type }[],
  bytes: Uint8Array,
): string {
  let next = 0;
  return parseFormat(format, d.plan.old)
    .parts.map((part) => {
      if (part.kind === "text") return part.text;
      const argument = args[next++];
      return argument ? one(d, part, argument.type, bytes, argument.offset) : part.text;
    })
    .join("");
}
