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

/** Next capacity that holds `needed`: doubling, so that growth costs a constant share of each insert. */
export const capacityFor = (current: number, needed: number): number => {
  let out = Math.max(current, 64);
  while (out < needed) out *= 2;
  return out;
};
