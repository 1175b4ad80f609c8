// datapath: the hashes that make every node choose the same backend. The programs' side is bpf/balance.h.

const imul = Math.imul;

function mix(hash: number, word: number): number {
  let k = imul(word, 0xcc9e2d51);
  k = imul((k << 15) | (k >>> 17), 0x1b873593);
  const h = hash ^ k;
  return (imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = hash;
  h ^= h >>> 16;
  h = imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Who talks to what, as 16-byte addresses in network order and ports as numbers. */
export interface FlowTuple {
  readonly client: Uint8Array;
  readonly clientPort: number;
  readonly vip: Uint8Array;
  readonly vipPort: number;
  /** IP protocol number. */
  readonly protocol: number;
}

const flowSeed = 0x57616767;

/** flow_hash() of bpf/balance.h. */
export function flowHash(flow: FlowTuple): number {
  let h = flowSeed;
  for (const address of [flow.client, flow.vip]) {
    const v = new DataView(address.buffer, address.byteOffset, 16);
    for (let i = 0; i < 16; i += 4) h = mix(h, v.getUint32(i));
  }
  h = mix(h, (flow.clientPort << 16) | flow.vipPort);
  h = mix(h, flow.protocol);
  return finish(h);
}

/** Slots of the table over all backends, and of the one over this node's own: MAGLEV_SLOTS, MAGLEV_LOCAL_SLOTS. */
export const slots = 4093;
export const localSlots = 1021;

const slotOf = (hash: number, count: number): number => Number((BigInt(hash >>> 0) * BigInt(count)) >> 32n);

/** Slot in the table over all backends. */
export const slotOfFlow = (hash: number): number => slotOf(hash, slots);

/** Slot in the table over this node's own backends. */
export const localSlotOfFlow = (hash: number): number => slotOf(imul(hash, 0x9e3779b1), localSlots);

function hashText(text: string, seed: number): number {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = mix(h, text.charCodeAt(i));
  return finish(h ^ text.length);
}

/**
 * Maglev's table (Eisenbud et al., NSDI 2016, 3.4): `size` slots, each with an index into `names`. The same for the same
 * set of names in the same order; when a name comes or goes few slots of the others change.
 * @param size prime, larger than the number of names
 */
export function maglevTable(names: readonly string[], size: number): Uint8Array {
  if (names.length > 256) throw new RangeError("more than 256 backends");
  const table = new Uint8Array(size);
  if (names.length === 0) return table;
  const skip = Uint16Array.from(names, (name) => (hashText(name, 0x736b6970) % (size - 1)) + 1);
  const position = Uint16Array.from(names, (name) => hashText(name, 0x6f666673) % size);
  const taken = new Uint8Array(size);
  for (let filled = 0; ; ) {
    for (let i = 0; i < names.length; i++) {
      const step = skip[i]!;
      let slot = position[i]!;
      // A permutation of a prime number of slots: it meets a free one before it comes round.
      while (taken[slot] === 1) slot = slot + step < size ? slot + step : slot + step - size;
      table[slot] = i;
      taken[slot] = 1;
      position[i] = slot + step < size ? slot + step : slot + step - size;
      if (++filled === size) return table;
    }
  }
}
