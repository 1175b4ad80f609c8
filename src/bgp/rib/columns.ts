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

/** From here on a column is so long that its memory comes from the kernel page by page. */
const LARGE = 1 << 18;

/**
 * Next capacity that holds `needed`. In large steps: what was never touched costs no memory, while each growth copies all there is and
 * leaves the old column to the garbage collector. For the same reason columns are to begin as zeroes.
 */
export const capacityFor = (current: number, needed: number): number => {
  let out = Math.max(current, 64);
  while (out < needed) out *= out < LARGE ? 4 : 8;
  return out;
};

/** The same for what is spread over all of its length: there capacity is memory. */
export const spreadCapacityFor = (current: number): number => current * (current < LARGE ? 4 : 2);
