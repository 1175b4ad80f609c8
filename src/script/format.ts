// script: printf formats, split into literal text and conversions. The checker and the printer both go by this.

export interface Conversion {
  readonly kind: "conversion";
  /** As written: "%-16s". */
  readonly text: string;
  readonly flags: string;
  readonly width: number | undefined;
  readonly precision: number | undefined;
  readonly letter: "d" | "i" | "u" | "x" | "X" | "o" | "c" | "s" | "p" | "r" | "rx" | "rh";
}

export type FormatPart = { readonly kind: "text"; readonly text: string } | Conversion;

const PATTERN = /%([-+ #0]*)(\d+)?(?:\.(\d+))?(hh|h|ll|l|j|z|t)?(rx|rh|r|[diuxXocsp%])/y;
/** 0.17 knows fewer flags and no %i; what it does not know is text. */
const OLD_PATTERN = /%(-?0?)(\d+)?(?:\.(\d+))?(hh|h|ll|l|j|z|t)?(rx|rh|r|[duxXocsp%])/y;

/** Widest padding that a conversion may ask for. */
export const MAX_WIDTH = 1024;

/** Splits a format; `bad` is the first specifier that is none. */
export function parseFormat(
  format: string,
  old = false,
): {
  readonly parts: readonly FormatPart[];
  readonly bad?: string;
} {
  const parts: FormatPart[] = [];
  let text = "";
  let at = 0;
  while (at < format.length) {
    if (format[at] !== "%") {
      text += format[at];
      at++;
      continue;
    }
    const pattern = old ? OLD_PATTERN : PATTERN;
    pattern.lastIndex = at;
    const match = pattern.exec(format);
    if (!match && old) {
      text += format[at];
      at++;
      continue;
    }
    const width = match?.[2] === undefined ? undefined : Number(match[2]);
    if (!match || (width ?? 0) > MAX_WIDTH || Number(match[3] ?? 0) > MAX_WIDTH)
      return { parts, bad: match?.[0] ?? format.slice(at, at + 2) };
    at += match[0].length;
    if (match[5] === "%") {
      text += old ? match[0] : "%";
      continue;
    }
    // 0.17 hands text to C's printf together with the conversion after it; what follows the last one is printed as it is.
    if (text) parts.push({ kind: "text", text: old ? text.replaceAll("%%", "%") : text });
    text = "";
    parts.push({
      kind: "conversion",
      text: match[0],
      flags: match[1] ?? "",
      width,
      precision: match[3] === undefined ? undefined : Number(match[3]),
      letter: match[5] as Conversion["letter"],
    });
  }
  if (text) parts.push({ kind: "text", text });
  return { parts };
}
