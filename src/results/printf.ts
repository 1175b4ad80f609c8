// results: printf formatting in user space, on the raw bytes of a record. A format is taken apart once, whatever is printed by it.
import { type Conversion, parseFormat } from "../script/format.ts";
import { isSigned, sizeOf } from "../script/layout.ts";
import type { Type } from "../script/types.ts";
import { readInteger, readSmall } from "./bytes.ts";
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

function integer(c: Conversion, whole: bigint, bits: number, old: boolean): string {
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
      const sign = value < 0n ? "-" : c.flags.includes("+") ? "+" : c.flags.includes(" ") ? " " : "";
      return pad(sign + digits(String(value < 0n ? -value : value), c), c, true);
    }
  }
}

type Piece = (d: Decoding, bytes: Uint8Array) => string;

/** Prints one argument. */
function piece(c: Conversion, type: Type, offset: number, old: boolean): Piece {
  if (c.letter === "s")
    return (d, bytes) => {
      const text = valueText(decodeValue(d, type, bytes, offset));
      return pad(c.precision === undefined ? text : text.slice(0, c.precision), c, false);
    };
  if (c.letter === "r" || c.letter === "rx" || c.letter === "rh") {
    const { letter } = c;
    const size = type.kind === "buffer" ? type.size : 0;
    return (_d, bytes) => {
      const length = Math.min(size, readSmall(bytes, offset, 4, false));
      return pad(bufferText(bytes.subarray(offset + 4, offset + 4 + length), letter), c, false);
    };
  }
  const bits = widthOf(c, old);
  const size = Math.min(8, sizeOf(type));
  const signed = isSigned(type);
  const plain = c.width === undefined && c.precision === undefined && c.flags === "";
  // What fits its conversion whatever it is needs no 64-bit arithmetic.
  if (plain && size <= 4 && (signed ? size * 8 <= bits : size * 8 < bits)) {
    if (c.letter === "d" || c.letter === "i")
      return (_d, bytes) => String(readSmall(bytes, offset, size, signed));
    if (c.letter === "u" && !signed) return (_d, bytes) => String(readSmall(bytes, offset, size, false));
    if (c.letter === "x" && !signed) return (_d, bytes) => readSmall(bytes, offset, size, false).toString(16);
  }
  return (_d, bytes) => integer(c, readInteger(bytes, offset, size, signed), bits, old);
}

export type Formatter = (d: Decoding, bytes: Uint8Array) => string;

/** A printer of records for a format whose arguments lie at known places. */
export function compileFormat(
  format: string,
  args: readonly { readonly offset: number; readonly type: Type }[],
  old: boolean,
): Formatter {
  let next = 0;
  const pieces = parseFormat(format, old).parts.map((part): string | Piece => {
    if (part.kind === "text") return part.text;
    const argument = args[next++];
    return argument ? piece(part, argument.type, argument.offset, old) : part.text;
  });
  return (d, bytes) => {
    let out = "";
    for (const p of pieces) out += typeof p === "string" ? p : p(d, bytes);
    return out;
  };
}
