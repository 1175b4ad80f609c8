// datapath: the contract maps of learned routes, and the flow counters that speak of them.
import type { BpfMap } from "../kernel/maps.ts";
import {
  type CounterName,
  decodeAttributes,
  decodeRoute,
  encodeAttributes,
  encodeRoute,
  layouts,
  sizes,
  viewOf,
} from "./codec.ts";
import { MapGauge, MapTable } from "./map-table.ts";
import type {
  DesiredRoutes,
  Finding,
  FlowCounter,
  FlowCounters,
  MapUsage,
  RouteSyncResult,
} from "./types.ts";

type Counters = Readonly<Record<CounterName, bigint>>;

export class RouteMaps {
  readonly #prefixes: MapTable;
  readonly #attributes: MapTable;
  readonly #flows: BpfMap;
  readonly #gauge: MapGauge;
  #synced = false;

  constructor(routes: BpfMap, attributes: BpfMap, flows: BpfMap) {
    this.#prefixes = new MapTable("routes", routes);
    this.#attributes = new MapTable("route_attributes", attributes);
    this.#flows = flows;
    this.#gauge = new MapGauge("flows", flows);
  }

  /** @throws AddressError for malformed text */
  sync(desired: DesiredRoutes, counters: Counters): RouteSyncResult {
    // An id must mean something before a prefix says it, and as long as one does.
    const attributes = this.#attributes.write(desired.attributes.map(encodeAttributes));
    const prefixes = this.#prefixes.replace(desired.prefixes.map((p) => encodeRoute(p.prefix, p.routeId)));
    const removed = prefixes.removed + this.#attributes.prune();
    this.#synced = true;
    return { changed: attributes.changed + prefixes.changed + removed, maps: this.usage(counters) };
  }

  read(): DesiredRoutes {
    return {
      attributes: [...this.#attributes.map.entries()].map(([k, v]) => decodeAttributes(k, v)),
      prefixes: [...this.#prefixes.map.entries()].map(([k, v]) => decodeRoute(k, v)),
    };
  }

  usage(counters: Counters): MapUsage[] {
    return [
      this.#prefixes.usage(),
      this.#attributes.usage(),
      this.#gauge.usage(Number(counters.flowRefused)),
    ];
  }

  inspect(): Finding[] {
    return this.#synced ? [...this.#attributes.inspect(), ...this.#prefixes.inspect()] : [];
  }

  repair(): void {
    if (!this.#synced) return;
    this.#attributes.repair();
    this.#prefixes.repair();
  }

  flows(counters: Counters): FlowCounters {
    const flows: FlowCounter[] = [];
    for (const [key, value] of this.#flows.entries()) {
      const k = viewOf(key);
      const v = viewOf(value);
      let packets = 0n;
      let bytes = 0n;
      for (let at = 0; at + sizes.flow <= value.length; at += sizes.flow) {
        packets += v.getBigUint64(at + layouts.flow.packets, true);
        bytes += v.getBigUint64(at + layouts.flow.bytes, true);
      }
      flows.push({
        source: k.getUint32(layouts.flow_key.source_route, true),
        destination: k.getUint32(layouts.flow_key.destination_route, true),
        packets,
        bytes,
      });
    }
    return { flows, refused: counters.flowRefused };
  }
}
