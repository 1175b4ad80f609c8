// bgp/rib: growing of typed arrays that are columns of a table.

type Column = Uint8Array | Uint16Array | Int32Array | Uint32Array;

/** The same column with room for `length` items; new ones are `fill`. */
export function grown<T extends Column>(column: T, length: number, fill = 0): T {
  const Type = column.constructor as new (length: number) => T;
  const out = new Type(length);
  out.set(column);
  if (fill !== 0) out.fill(fill, column.length);
  return out;
}

/** Below this, columns grow four times at once: what is not touched costs no memory, and each growth touches everything. */
const LARGE = 1 << 18;

/** Next capacity that holds `needed`: a factor, so that growth costs a constant share of each insert. */
export const capacityFor = (current: number, needed: number): number => {
  let out = Math.max(current, 64);
  while (out < needed) out *= out < LARGE ? 4 : 2;
  return out;
};
