// bgp/rib: a chain of rules over interned attributes: what a rule asks of the attributes is answered once a set, not once a route.
import {
  type Chain,
  matchesAttributes,
  matchesPrefix,
  matchesSender,
  matchesSource,
  type Sender,
} from "../policy/chain.ts";
import type { Afi } from "../wire/constants.ts";
import type { AttributeTable } from "./attributes.ts";
import { capacityFor, grown } from "./columns.ts";

const none = new Int32Array(0);
const SHIFT = 5;

/** A cache of one number (-4 and above, but for -2) for each attribute set, emptied when the numbers are swept. */
export class AttributeCache {
  /** By set: the value and {@link SHIFT}; 0 where there is none. */
  #values: Int32Array = none;
  #epoch = -1;
  readonly #attributes: AttributeTable;
  constructor(attributes: AttributeTable) {
    this.#attributes = attributes;
  }

  /** The value; {@link AttributeCache.unknown} where there is none. */
  get(id: number): number {
    if (this.#epoch !== this.#attributes.epoch || id >= this.#values.length) this.#fit(id);
    const held = this.#values[id]!;
    return held === 0 ? AttributeCache.unknown : held - SHIFT;
  }

  set(id: number, value: number): void {
    if (this.#epoch !== this.#attributes.epoch || id >= this.#values.length) this.#fit(id);
    this.#values[id] = value + SHIFT;
  }

  clear(): void {
    this.#epoch = -1;
  }

  #fit(id: number): void {
    if (this.#epoch !== this.#attributes.epoch) {
      this.#values.fill(0);
      this.#epoch = this.#attributes.epoch;
    }
    if (id >= this.#values.length)
      this.#values = grown(
        this.#values,
        capacityFor(this.#values.length, Math.max(id + 1, this.#attributes.limit)),
      );
  }

  static readonly unknown = -2;
}

/** Decides learned routes by one chain. */
export class ChainRunner {
  readonly chain: Chain;
  readonly #attributes: AttributeTable;
  /** For each attribute set: which list of rules may still match, the prefix apart. */
  readonly #listOf: AttributeCache;
  readonly #lists: number[][] = [];
  readonly #byKey = new Map<string, number>();
  readonly #rules: readonly number[];
  readonly #needsAttributes: boolean;
  readonly #needsSender: boolean;
  readonly #senderOf: ((index: number) => Sender | undefined) | undefined;

  /** @param senderOf neighbours by index, for an export chain: an import chain has been compiled for one */
  constructor(
    chain: Chain,
    direction: "import" | "export",
    attributes: AttributeTable,
    senderOf?: (index: number) => Sender | undefined,
  ) {
    this.chain = chain;
    this.#attributes = attributes;
    this.#listOf = new AttributeCache(attributes);
    this.#senderOf = senderOf;
    this.#rules = chain.rules.flatMap((r, i) => (matchesSource(r, direction, true) ? [i] : []));
    this.#needsAttributes = this.#rules.some((i) => chain.rules[i]!.tests.length > 0);
    this.#needsSender = senderOf !== undefined && this.#rules.some((i) => chain.rules[i]!.readsSource);
    if (!this.#needsAttributes) this.#lists.push([...this.#rules]);
  }

  /**
   * Index of the deciding rule, or -1 where none matches.
   * @param sender index of the neighbour that sent the route; nobody asks for it on import
   */
  decide(attribute: number, afi: Afi, keys: Uint32Array, key: number, length: number, sender = -1): number {
    const list = this.#lists[this.#needsAttributes ? this.#list(attribute, afi) : 0]!;
    const { rules } = this.chain;
    for (let i = 0; i < list.length; i++) {
      const index = list[i]!;
      const rule = rules[index]!;
      if (rule.prefixes && !matchesPrefix(rule, afi, keys, key, length)) continue;
      if (this.#needsSender && rule.readsSource && !this.#isFrom(index, sender)) continue;
      return index;
    }
    return -1;
  }

  #isFrom(rule: number, index: number): boolean {
    const sender = this.#senderOf!(index);
    return sender !== undefined && matchesSender(this.chain.rules[rule]!, sender);
  }

  #list(attribute: number, afi: Afi): number {
    const cached = this.#listOf.get(attribute);
    if (cached >= 0) return cached;
    const a = this.#attributes.attributes(attribute, afi);
    const list: number[] = [];
    for (const index of this.#rules) {
      const rule = this.chain.rules[index]!;
      if (!matchesAttributes(rule, a)) continue;
      list.push(index);
      if (!rule.prefixes && !rule.readsSource) break;
    }
    const key = list.join();
    let id = this.#byKey.get(key);
    if (id === undefined) {
      id = this.#lists.push(list) - 1;
      this.#byKey.set(key, id);
    }
    this.#listOf.set(attribute, id);
    return id;
  }
}
