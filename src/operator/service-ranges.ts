// operator: ranges that the API server gives cluster addresses of Services from: no pool may give out of them. They come from
// ServiceCIDR objects (KEP-1880); where none are served, the cluster addresses that Services have stand for them.
import { type Overlap, overlapOf } from "../ipam/index.ts";
import {
  builtinKinds,
  type Clock,
  describeError,
  isForbidden,
  isNotFound,
  type KubeApi,
  type Timer,
} from "../kube/index.ts";
import type { Prefix } from "../net/address.ts";
import { type Caches, clusterIPsOf, type Log } from "./context.ts";
import { tryHost, tryPrefix } from "./pool-book.ts";

/** Ranges change once in years; this is how late that is noticed, ms. */
const pollMs = 30_000;
/** The same before the first answer. */
const firstMs = 1_000;

export interface ServiceRangesOptions {
  readonly api: KubeApi;
  readonly caches: Caches;
  readonly clock: Clock;
  readonly log: Log;
  readonly onChange: () => void;
}

interface Named {
  readonly prefix: Prefix;
  readonly name: string;
}

export class ServiceRanges implements Disposable {
  readonly #o: ServiceRangesOptions;
  readonly #stop = new AbortController();
  #ranges: readonly Named[] | undefined;
  #timer: Timer | undefined;

  constructor(options: ServiceRangesOptions) {
    this.#o = options;
  }

  start(): this {
    void this.#look();
    return this;
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#timer?.[Symbol.dispose]();
  }

  /** Whether the API server has said what it has, or that it has nothing of the kind. */
  get known(): boolean {
    return this.#ranges !== undefined;
  }

  /** Where these blocks and a range, or an address of a Service, overlap. */
  overlap(blocks: readonly Prefix[]): Overlap | undefined {
    for (const { prefix, name } of this.#ranges ?? []) {
      const found = overlapOf(blocks, [prefix], `ServiceCIDR ${name}`);
      if (found) return found;
    }
    if (this.#ranges === undefined || this.#ranges.length > 0) return undefined;
    for (const service of this.#o.caches.services.cache.list())
      for (const ip of clusterIPsOf(service)) {
        const prefix = tryHost(ip);
        const { namespace, name } = service.metadata;
        const found =
          prefix && overlapOf(blocks, [prefix], `the cluster address of Service ${namespace}/${name}`);
        if (found) return found;
      }
    return undefined;
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    const { api, clock, log } = this.#o;
    const before = JSON.stringify(this.#text());
    try {
      const { items } = await api.list(builtinKinds.ServiceCIDR, {
        retries: 0,
        timeoutMs: 5_000,
        signal: this.#stop.signal,
      });
      this.#ranges = items.flatMap((o) =>
        (o.spec?.cidrs ?? []).flatMap((text) => {
          const prefix = tryPrefix(text);
          return prefix ? [{ prefix, name: o.metadata.name }] : [];
        }),
      );
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      if (isNotFound(error) || isForbidden(error)) this.#ranges ??= [];
      log.debug({ error: describeError(error) }, "ServiceCIDRs could not be listed");
    }
    if (before !== JSON.stringify(this.#text())) this.#o.onChange();
    if (this.#stop.signal.aborted) return;
    this.#timer = clock.after(this.known ? pollMs : firstMs, () => void this.#look());
  }

  #text(): readonly string[] | undefined {
    return this.#ranges?.map((r) => `${r.name} ${r.prefix.hi} ${r.prefix.lo}/${r.prefix.length}`);
  }
}
