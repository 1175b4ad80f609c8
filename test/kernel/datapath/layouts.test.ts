// test: the layouts in codec.ts are those that the compiler made of bpf/*.h, and the program's numbers are ours.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { counterNames, layouts, sizes } from "../../../src/datapath/codec.ts";
import { objectLayouts } from "../../../src/datapath/layout.ts";
import { localSlots, slots } from "../../../src/datapath/maglev.ts";
import { limits } from "../../../src/datapath/types.ts";
import { Btf, BtfKind } from "../../../src/kernel/btf.ts";
import { BpfObject, hasLibbpf } from "../../../src/kernel/libbpf.ts";
import { buildObjects } from "./topology.ts";

describe.skipIf(!hasLibbpf())("layouts (skipped: needs libbpf)", () => {
  let btf: Btf;
  let maps: ReturnType<typeof objectLayouts>;

  beforeAll(() => {
    using object = BpfObject.open(`${buildObjects()}/datapath.bpf.o`);
    btf = new Btf(object.btf()!);
    maps = objectLayouts(object);
  });

  const find = (name: string, kind: number): number => {
    for (let id = btf.firstId; id < btf.endId; id++)
      if (btf.kind(id) === kind && btf.name(id) === name) return id;
    throw new Error(`no ${name} in the object`);
  };

  test.each(Object.keys(layouts) as (keyof typeof layouts)[])("struct %s", (name) => {
    const id = find(name, BtfKind.STRUCT);
    const members = Object.fromEntries(btf.members(id).map((m) => [m.name, m.bitOffset / 8]));
    expect(members).toEqual(layouts[name]);
  });

  test.each(Object.keys(sizes) as (keyof typeof sizes)[])("size of struct %s", (name) => {
    expect(btf.size(find(name, BtfKind.STRUCT))).toBe(sizes[name]);
  });

  test("counters, in order", () => {
    const header = readFileSync(fileURLToPath(new URL("../../../bpf/maps.h", import.meta.url)), "utf8");
    const names = [...header.matchAll(/^\tCOUNT_([A-Z_]+),/gm)].map(([, name]) =>
      name!.toLowerCase().replace(/_([a-z])/g, (_, c: string) => c.toUpperCase()),
    );
    expect(names).toEqual(counterNames);
    expect(maps.find((m) => m.name === "counters")?.maxEntries).toBe(counterNames.length);
  });

  test("bounds", () => {
    const max = Object.fromEntries(maps.map((m) => [m.name, m.maxEntries]));
    expect(max).toEqual({
      connections: limits.connections,
      counters: counterNames.length,
      flows: limits.flows,
      local_prefixes: limits.localPrefixes,
      route_attributes: limits.routeAttributes,
      routes: limits.routes,
      services: limits.services,
      settings: 1,
      vips: limits.vips,
    });
    const field = (name: string) =>
      maps.find((m) => m.name === "services")?.fields.find((f) => f.name === name)?.size;
    expect(field("slots")).toBe(slots);
    expect(field("local_slots")).toBe(localSlots);
    expect(field("backends")).toBe(limits.backendsPerService * sizes.backend);
  });

  test("the contract maps of routes are as others read them", () => {
    expect(maps.find((m) => m.name === "routes")).toMatchObject({
      keySize: 20,
      key: "{prefixlen@0:4 address@32:1[16]}20",
      value: "{route_id@0:4 length@32:1 pad@40:1[3]}8",
    });
    expect(maps.find((m) => m.name === "route_attributes")).toMatchObject({ keySize: 4, valueSize: 48 });
  });
});
