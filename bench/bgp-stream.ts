// bench: a table of routes as a stream of UPDATEs, from a seed: sizes, lengths and sharing of attributes like the Internet's.
import type { PathAttributes } from "../src/bgp/wire/attributes.ts";
import { encodeCanonical } from "../src/bgp/wire/canonical.ts";
import { UpdateWriter } from "../src/bgp/wire/writer.ts";

export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export interface StreamOptions {
  readonly prefixes: number;
  /** First AS of every path. */
  readonly asn: number;
  readonly nextHop: Uint8Array;
  readonly seed: number;
  /** Added to the length of every path. */
  readonly longer?: number;
}

/** UPDATEs that announce distinct /24s and shorter, about 7.5 prefixes to a set of attributes. */
export function stream(o: StreamOptions): Uint8Array {
  const random = seeded(o.seed);
  const writer = new UpdateWriter();
  writer.begin(4096);
  const key = new Uint32Array(1);
  // Every /24 from 1.0.0.0 on once, in a scattered order.
  const slots = 1 << 22;
  let n = 0;
  let left = 0;
  for (let i = 0; n < o.prefixes; i++) {
    if (left === 0) {
      left = 1 + Math.floor(-Math.log(1 - random()) * 7);
      const length = 2 + Math.floor(random() * 5) + (o.longer ?? 0);
      const asns = [o.asn, ...Array.from({ length }, () => 200_000 + Math.floor(random() * 400_000))];
      const a: PathAttributes = {
        afi: 1,
        origin: random() < 0.9 ? 0 : 2,
        asPath: [{ type: 2, asns }],
        nextHop: o.nextHop,
        ...(random() < 0.4 ? { med: Math.floor(random() * 100) } : {}),
        ...(random() < 0.6
          ? {
              communities: Array.from(
                { length: 1 + Math.floor(random() * 4) },
                () => (o.asn & 0xffff) * 65536 + Math.floor(random() * 500),
              ),
            }
          : {}),
      };
      const bytes = encodeCanonical(a);
      writer.announce(1, bytes, 0, bytes.length);
    }
    const slot = Math.imul(i, 2654435761) & (slots - 1);
    const top = 1 + (slot >> 15);
    if (top === 10 || top === 127) continue;
    key[0] = (top << 24) | ((slot & 0x7fff) << 9);
    writer.add(key, 0, 24);
    n++;
    left--;
  }
  return writer.finish();
}
