// test: pin names, layouts and their conversion, checksums of synthetic packets, the preflight's small parsers.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { converter, layoutHash, type MapLayout, sameLayout } from "../../../src/datapath/layout.ts";
import { buildPacket, checksum } from "../../../src/datapath/packets.ts";
import { fromPinName, pinName } from "../../../src/datapath/pins.ts";
import { mountPointOf } from "../../../src/kernel/cgroup.ts";
import { cpuCount } from "../../../src/kernel/maps.ts";
import { kernelVersion } from "../../../src/kernel/preflight.ts";
import { parseAddress } from "../../../src/net/address.ts";

describe("pin names", () => {
  test("have no dots and come back", () => {
    const names = fc.stringMatching(/^[ -~]{1,40}$/);
    fc.assert(
      fc.property(names, (name) => {
        expect(pinName(name)).toMatch(/^[A-Za-z0-9_%-]+$/);
        expect(fromPinName(pinName(name))).toBe(name);
      }),
      { seed: 2 },
    );
  });
});

const connections = (fields: MapLayout["fields"], valueSize: number): MapLayout => ({
  ...{ name: "connections", type: 9, keySize: 40, valueSize, maxEntries: 10, flags: 0, key: "k", fields },
  value: fields.map((f) => `${f.name}@${f.offset}:${f.type}`).join(" "),
});

describe("layouts", () => {
  const a = connections(
    [
      { name: "address", offset: 0, size: 2, type: "1[2]" },
      { name: "port", offset: 2, size: 2, type: "2" },
    ],
    4,
  );
  const b = connections(
    [
      { name: "extra", offset: 0, size: 2, type: "2" },
      { name: "address", offset: 2, size: 2, type: "1[2]" },
      { name: "port", offset: 4, size: 4, type: "4" },
    ],
    8,
  );

  test("a field more is another layout", () => {
    expect(sameLayout(a, b)).toBe(false);
    expect(layoutHash([a])).not.toBe(layoutHash([b]));
    expect(layoutHash([a])).toMatch(/^[0-9a-f]{12}$/);
  });

  test("fields of the same name and type are carried over, others are zero", () => {
    expect([...converter(a, b)!(Uint8Array.of(1, 2, 3, 4))]).toEqual([0, 0, 1, 2, 0, 0, 0, 0]);
    expect([...converter(b, a)!(Uint8Array.of(9, 9, 1, 2, 7, 7, 7, 7))]).toEqual([1, 2, 0, 0]);
  });

  test("other keys cannot be carried over", () => {
    expect(converter(a, { ...b, key: "other" })).toBeUndefined();
  });
});

describe("synthetic packets", () => {
  test("RFC 1071 checksum, the example of section 3", () => {
    expect(checksum(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7))).toBe(~0xddf2 & 0xffff);
  });

  const macs = { destinationMac: new Uint8Array(6), sourceMac: new Uint8Array(6).fill(2) };

  test.each(["TCP", "UDP"] as const)("an IPv4 %s packet sums to zero everywhere", (kind) => {
    const frame = buildPacket({
      ...macs,
      source: parseAddress("192.0.2.1"),
      destination: parseAddress("10.62.0.1"),
      payload: { kind, sourcePort: 1, destinationPort: 2 },
    });
    expect(checksum(frame.subarray(14, 34))).toBe(0);
    const l4 = frame.subarray(34);
    const pseudo = Uint8Array.of(0, 0, 0, l4.length, 0, 0, 0, kind === "TCP" ? 6 : 17);
    expect(checksum(frame.subarray(26, 34), pseudo, l4)).toBe(0);
  });

  test("an IPv6 ping sums to zero with its pseudo header", () => {
    const frame = buildPacket({
      ...macs,
      source: parseAddress("2001:db8::1"),
      destination: parseAddress("fd62::1"),
      payload: { kind: "echo", reply: false },
    });
    const l4 = frame.subarray(54);
    expect(checksum(frame.subarray(22, 54), Uint8Array.of(0, 0, 0, l4.length, 0, 0, 0, 58), l4)).toBe(0);
  });
});

describe("small parsers", () => {
  test("CPU lists", () => {
    expect(cpuCount("0-1\n")).toBe(2);
    expect(cpuCount("0,2-7")).toBe(8);
    expect(() => cpuCount("")).toThrow();
  });

  test("kernel releases", () => {
    expect(kernelVersion("6.18.44-fc-v595")).toEqual([6, 18]);
    expect(kernelVersion("what")).toEqual([0, 0]);
  });

  test("mounts", () => {
    const mounts = "proc /proc proc rw 0 0\nnone /sys/fs/with\\040space cgroup2 rw 0 0\n";
    expect(mountPointOf("cgroup2", mounts)).toBe("/sys/fs/with space");
    expect(mountPointOf("bpf", mounts)).toBeUndefined();
  });
});
