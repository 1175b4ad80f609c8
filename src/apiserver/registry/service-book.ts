// apiserver/registry: the cluster addresses and node ports that Services have, counted as they come and go.
import { type JsonObject, listAt, numberAt, objectAt, stringsAt } from "../json.ts";
import type { ApiObject } from "../object.ts";
import type { Collection } from "../store/collection.ts";

class Counts<K> {
  readonly #counts = new Map<K, number>();
  add(key: K, by: 1 | -1): void {
    const count = this.of(key) + by;
    if (count > 0) this.#counts.set(key, count);
    else this.#counts.delete(key);
  }
  of(key: K): number {
    return this.#counts.get(key) ?? 0;
  }
}

export const addressesOf = (service: ApiObject | undefined): readonly string[] =>
  stringsAt(service, "spec", "clusterIPs");

/** Node ports of a Service's spec, the one for health checks among them. */
export function nodePortsOf(spec: JsonObject | undefined): readonly number[] {
  const ports = listAt(spec, "ports").map((p) => numberAt(p, "nodePort"));
  return [...ports, numberAt(spec, "healthCheckNodePort")].filter((p) => p !== undefined);
}

export class ServiceBook {
  readonly #addresses = new Counts<string>();
  readonly #nodePorts = new Counts<number>();

  constructor(services: Collection) {
    services.observe((before, now) => {
      this.#count(before?.object, -1);
      this.#count(now?.object, 1);
    });
  }

  #count(service: ApiObject | undefined, by: 1 | -1): void {
    for (const address of addressesOf(service)) this.#addresses.add(address, by);
    for (const port of nodePortsOf(objectAt(service, "spec"))) this.#nodePorts.add(port, by);
  }

  /** Whether a Service other than `self`, as it is stored, has the address. */
  hasAddress(address: string, self: ApiObject | undefined): boolean {
    return this.#addresses.of(address) > 0 && !addressesOf(self).includes(address);
  }

  /** Whether a Service other than `self`, as it is stored, has the node port. */
  hasNodePort(port: number, self: ApiObject | undefined): boolean {
    return this.#nodePorts.of(port) > nodePortsOf(objectAt(self, "spec")).filter((p) => p === port).length;
  }
}

const books = new WeakMap<Collection, ServiceBook>();

/** The book of a store's Services; made when it is first asked for. */
export function bookOf(services: Collection): ServiceBook {
  let book = books.get(services);
  if (!book) books.set(services, (book = new ServiceBook(services)));
  return book;
}
