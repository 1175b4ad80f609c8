// kernel: the ring's consumer against a program that fills it: order, wrap, loss, records cut off by a handler.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MapType, ProgramType } from "../../../src/kernel/bpf.ts";
import { type BpfMap, createMap } from "../../../src/kernel/maps.ts";
import { type BpfProgram, loadProgram } from "../../../src/kernel/programs.ts";
import { RingConsumer } from "../../../src/kernel/ring.ts";

const isRoot = process.geteuid?.() === 0;
const size = 4096;

const insn = (opcode: number, registers: number, offset = 0, immediate = 0): number[] => [
  opcode,
  registers,
  offset & 0xff,
  (offset >> 8) & 0xff,
  ...new Uint8Array(Int32Array.of(immediate).buffer),
];

/**
 * A SYSCALL program: takes {u64 value} as its context, sends that value `bytes` long, returns the helper's result.
 * r6 = ctx; r2 = stack; ...
 */
function sender(ringFd: number, bytes: number): Uint8Array {
  const clear = Array.from({ length: bytes / 8 }, (_, i) => insn(0x7b, 0x1a, -bytes + i * 8)).flat();
  return Uint8Array.from([
    ...insn(0x79, 0x11), // r1 = *(u64 *)(r1 + 0)
    ...clear, // *(u64 *)(r10 - ...) = r1
    ...insn(0x18, 0x11, 0, ringFd), // r1 = ring
    ...insn(0, 0),
    ...insn(0xbf, 0xa2), // r2 = r10
    ...insn(0x07, 0x02, 0, -bytes),
    ...insn(0xb7, 0x03, 0, bytes),
    ...insn(0xb7, 0x04, 0, 0),
    ...insn(0x85, 0, 0, 130), // ringbuf_output
    ...insn(0x95, 0),
  ]);
}

describe.skipIf(!isRoot)("ring consumer (skipped: needs root)", () => {
  let ring: BpfMap;
  let consumer: RingConsumer;
  const programs = new Map<number, BpfProgram>();

  /** True if the ring took it. */
  function send(value: number, bytes: number): boolean {
    let program = programs.get(bytes);
    if (!program) {
      program = loadProgram({
        type: ProgramType.SYSCALL,
        name: "send",
        code: sender(ring.fd, bytes),
        flags: 1 << 4,
      });
      programs.set(bytes, program);
    }
    return (
      program.testRun({ ctxIn: new Uint8Array(BigUint64Array.of(BigInt(value)).buffer), ctxOutSize: 0 })
        .retval === 0
    );
  }

  const firstWord = (record: Uint8Array): number =>
    Number(new DataView(record.buffer, record.byteOffset, record.byteLength).getBigUint64(0, true));

  function drain(limit = 1000): number[] {
    const got: number[] = [];
    consumer.drain((record) => {
      got.push(firstWord(record));
      return true;
    }, limit);
    return got;
  }

  beforeAll(() => {
    ring = createMap({ type: MapType.RINGBUF, name: "ring", keySize: 0, valueSize: 0, maxEntries: size });
    consumer = new RingConsumer(ring.fd, size);
  });
  afterAll(() => {
    consumer[Symbol.dispose]();
    ring[Symbol.dispose]();
    for (const program of programs.values()) program[Symbol.dispose]();
  });

  it("hands records over in order, across hundreds of wraps and at every alignment", () => {
    let next = 0;
    for (let round = 0; round < 300; round++) {
      const sizes = [8, 24, 16, 104, 40].slice(0, 1 + (round % 5));
      const sent = sizes.map((bytes) => {
        expect(send(next, bytes)).toBe(true);
        return next++;
      });
      expect(drain()).toEqual(sent);
    }
    // 300 rounds of up to 232 bytes: some ten times around.
    expect(next).toBe(900);
    expect(consumer.pending).toBe(0);
  });

  it("gives whole records, also the one that lies across the end", () => {
    const lengths = new Set<number>();
    for (let i = 0; i < 200; i++) {
      expect(send(i, 104)).toBe(true);
      consumer.drain((record) => {
        lengths.add(record.length);
        for (let at = 0; at < record.length; at += 8) expect(firstWord(record.subarray(at, at + 8))).toBe(i);
        return true;
      }, 10);
    }
    expect([...lengths]).toEqual([104]);
  });

  it("refuses when full, loses nothing that it took, and goes on", () => {
    let taken = 0;
    while (send(taken, 24)) taken++;
    // 32 bytes a record with its header.
    expect(taken).toBeGreaterThan(100);
    expect(taken).toBeLessThanOrEqual(size / 32);
    expect(send(99_999, 24)).toBe(false);
    expect(drain()).toEqual(Array.from({ length: taken }, (_, i) => i));
    expect(send(7, 24)).toBe(true);
    expect(drain()).toEqual([7]);
  });

  it("stops at the limit and where the handler says so, and loses no record of a handler that throws", () => {
    for (let i = 0; i < 10; i++) send(i, 8);
    expect(drain(3)).toEqual([0, 1, 2]);
    const got: number[] = [];
    consumer.drain((record) => {
      got.push(firstWord(record));
      return got.length < 2;
    }, 100);
    expect(got).toEqual([3, 4]);
    expect(() =>
      consumer.drain(() => {
        throw new Error("handler");
      }, 100),
    ).toThrow("handler");
    // The record that was being handled is gone, the others are not.
    expect(drain()).toEqual([6, 7, 8, 9]);
  });
});
