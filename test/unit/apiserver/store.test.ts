// apiserver/store: revisions, history, what survives a crash and what is refused at start.
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import type { ApiObject } from "../../../src/apiserver/object.ts";
import { JournalError, openFileJournal } from "../../../src/apiserver/store/file-journal.ts";
import { type Journal, memoryJournal } from "../../../src/apiserver/store/journal.ts";
import { emptyImage, Store } from "../../../src/apiserver/store/store.ts";

const bounds = { historyEvents: 100, historyBytes: 1 << 20 };
const dirs: string[] = [];
const temporary = (): string => {
  const dir = mkdtempSync(join(tmpdir(), "waggle-store-"));
  dirs.push(dir);
  return dir;
};
afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const thing = (name: string, value = 0): ApiObject => ({
  apiVersion: "v1",
  kind: "Thing",
  metadata: { name, uid: `uid-${name}`, resourceVersion: "", creationTimestamp: "2026-01-01T00:00:00Z" },
  value,
});

const open = (dir: string): Store => {
  const { journal, image } = openFileJournal(dir);
  return new Store(journal, bounds, image);
};

const contents = (store: Store, resource = "things"): Record<string, unknown> =>
  Object.fromEntries(
    store
      .collection(resource)
      .entries()
      .map((e) => [e.key, [e.object.value, e.revision]]),
  );

describe("Store", () => {
  test("stamps one growing revision over all collections and lists in key order", async () => {
    const store = new Store(memoryJournal(), bounds);
    store.put("things", "b", thing("b"));
    store.put("others", "x", thing("x"));
    store.put("things", "a", thing("a"));
    store.put("things", "ns/a", thing("a"));
    expect(
      store
        .collection("things")
        .entries()
        .map((e) => [e.key, e.object.metadata.resourceVersion]),
    ).toEqual([
      ["a", "3"],
      ["b", "1"],
      ["ns/a", "4"],
    ]);
    expect(
      store
        .collection("things")
        .entries("ns/")
        .map((e) => e.key),
    ).toEqual(["ns/a"]);
    await store.committed();
    expect(store.published).toBe(4);
  });

  test("listeners hear of a write only once the journal has it, and requests wait for that", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const slow: Journal = { append() {}, sync: () => promise, compact() {}, close: async () => {} };
    const store = new Store(slow, bounds);
    const heard: string[] = [];
    store.watch("things", 0, (e) => heard.push(`${e.type} ${e.key}`));
    store.put("things", "a", thing("a"));
    let committed = false;
    const done = store.committed().then(() => {
      committed = true;
    });
    await new Promise((r) => setTimeout(r, 10));
    expect([heard, committed, store.published]).toEqual([[], false, 0]);
    resolve();
    await done;
    expect(heard).toEqual(["ADDED a"]);
  });

  test("a journal that fails refuses everything afterwards and says so once", async () => {
    const failures: Error[] = [];
    const broken: Journal = {
      append() {},
      sync: () => Promise.reject(new Error("disk full")),
      compact() {},
      close: async () => {},
    };
    const store = new Store(broken, bounds, emptyImage, { onFailure: (e) => failures.push(e) });
    store.put("things", "a", thing("a"));
    await expect(store.committed()).rejects.toThrow("disk full");
    expect(() => store.put("things", "b", thing("b"))).toThrow("disk full");
    expect(failures).toHaveLength(1);
  });

  test("a listener that throws is told of, and nobody else notices", async () => {
    const told: string[] = [];
    const heard: string[] = [];
    const store = new Store(memoryJournal(), bounds, emptyImage, {
      onListenerError: (e) => told.push(e.message),
    });
    store.watch("things", 0, () => {
      throw new Error("mine");
    });
    store.watch("things", 0, (e) => heard.push(e.key));
    store.put("things", "a", thing("a"));
    await store.committed();
    expect([told, heard, store.failure]).toEqual([["mine"], ["a"], undefined]);
  });

  test("a watch replays what came after its revision, or nothing at all where that is gone", async () => {
    const store = new Store(memoryJournal(), { historyEvents: 3, historyBytes: 1 << 20 });
    for (let i = 1; i <= 5; i++) store.put("things", "a", thing("a", i));
    await store.committed();
    const heard: number[] = [];
    expect(store.watch("things", 1, () => {})).toBeUndefined();
    store.watch("things", 2, (e) => heard.push(e.revision));
    expect(heard).toEqual([3, 4, 5]);
    expect(store.oldest).toBe(2);
  });

  test("the history is bounded in bytes as well", async () => {
    const store = new Store(memoryJournal(), { historyEvents: 1000, historyBytes: 2000 });
    for (let i = 0; i < 50; i++) store.put("things", `k${i}`, thing(`k${i}`));
    await store.committed();
    expect(store.oldest).toBeGreaterThan(35);
  });

  test("a deletion carries its own revision, and the state before is still to be had", async () => {
    const store = new Store(memoryJournal(), bounds);
    store.put("things", "a", thing("a", 1));
    store.put("things", "a", thing("a", 2));
    const gone = store.delete("things", "a");
    store.put("things", "b", thing("b"));
    expect(gone?.object.metadata.resourceVersion).toBe("3");
    expect(gone?.object.value).toBe(2);
    const at = (revision: number): unknown[] =>
      store.entriesAt("things", revision, "")?.map((e) => [e.key, e.object.value]) ?? ["gone"];
    expect([at(0), at(1), at(2), at(3), at(4)]).toEqual([[], [["a", 1]], [["a", 2]], [], [["b", 0]]]);
  });

  test("entriesAt equals what a list at that moment gave, whatever happened since", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ key: fc.constantFrom("a", "b", "n/c", "n/d"), remove: fc.boolean() }), {
          maxLength: 40,
        }),
        async (operations) => {
          const store = new Store(memoryJournal(), bounds);
          const seen = new Map<number, unknown>();
          for (const { key, remove } of operations) {
            if (remove) store.delete("things", key);
            else store.put("things", key, thing(key, store.revision));
            if (store.revision % 3 === 0) await store.committed();
            seen.set(
              store.revision,
              store
                .collection("things")
                .entries()
                .map((e) => e.json),
            );
          }
          for (const [revision, expected] of seen)
            expect(store.entriesAt("things", revision, "")?.map((e) => e.json)).toEqual(expected);
        },
      ),
      { seed: 7, numRuns: 60 },
    );
  });
});

describe("file journal", () => {
  test("brings back every committed write, its revision and its watch history", async () => {
    const dir = temporary();
    const first = open(dir);
    first.put("things", "a", thing("a", 1));
    first.put("things", "b", thing("b", 1));
    first.put("things", "a", thing("a", 2));
    first.delete("things", "b");
    await first.close();
    const second = open(dir);
    expect(contents(second)).toEqual({ a: [2, 3] });
    expect(second.revision).toBe(4);
    const heard: string[] = [];
    second.watch("things", 1, (e) => heard.push(`${e.type} ${e.key} ${e.revision}`));
    expect(heard).toEqual(["ADDED b 2", "MODIFIED a 3", "DELETED b 4"]);
    second.put("things", "c", thing("c"));
    await second.close();
    expect(contents(open(dir))).toEqual({ a: [2, 3], c: [0, 5] });
  });

  test("drops a torn last line, wherever it was torn", async () => {
    const dir = temporary();
    const store = open(dir);
    store.put("things", "a", thing("a", 1));
    await store.committed();
    const file = join(dir, "log-1.jsonl");
    const whole = readFileSync(file).length;
    store.put("things", "b", thing("b", 1));
    await store.close();
    const full = readFileSync(file);
    for (let size = whole + 1; size < full.length; size++) {
      writeFileSync(file, full.subarray(0, size));
      const again = open(dir);
      expect(contents(again)).toEqual({ a: [1, 1] });
      expect(readFileSync(file).length).toBe(whole);
      await again.close();
    }
  });

  test("refuses damage anywhere else, naming the file", async () => {
    const dir = temporary();
    const store = open(dir);
    for (let i = 0; i < 3; i++) store.put("things", `k${i}`, thing(`k${i}`));
    await store.close();
    const file = join(dir, "log-1.jsonl");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('"v":2', '"v":x'));
    expect(() => open(dir)).toThrow(JournalError);
    expect(() => open(dir)).toThrow(/log-1\.jsonl: damaged at byte \d+/);
    writeFileSync(file, text + text);
    expect(() => open(dir)).toThrow(/revision 1 comes after 3/);
  });

  test("compacts by rename: the state is the same from a snapshot, and from both logs when the snapshot was not finished", async () => {
    const dir = temporary();
    const store = open(dir);
    const big = "x".repeat(100_000);
    for (let i = 0; i < 100; i++) store.put("things", `k${i % 7}`, { ...thing(`k${i % 7}`, i), big });
    await store.committed();
    store.put("things", "last", thing("last"));
    await store.close();
    const names = readdirSync(dir).sort();
    expect(names).toEqual(["log-2.jsonl", "snapshot-2.jsonl"]);
    const before = contents(store);
    const again = open(dir);
    expect(contents(again)).toEqual(before);
    expect(again.revision).toBe(101);
    await again.close();
    truncateSync(join(dir, "snapshot-2.jsonl"), 1000);
    expect(() => open(dir)).toThrow();
    // A crash before the rename leaves both logs and a temporary file.
    const crashed = temporary();
    const one = open(crashed);
    one.put("things", "a", thing("a", 1));
    await one.close();
    writeFileSync(
      join(crashed, "log-2.jsonl"),
      '{"v":2,"r":"things","k":"b","o":{"apiVersion":"v1","kind":"Thing","metadata":{"name":"b"},"value":5}}\n',
    );
    writeFileSync(join(crashed, "snapshot-2.jsonl.tmp"), "half");
    const both = open(crashed);
    expect(contents(both)).toEqual({ a: [1, 1], b: [5, 2] });
    expect(readdirSync(crashed)).not.toContain("snapshot-2.jsonl.tmp");
    await both.close();
  });

  test("keeps text as it was, whatever is in it", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
        const dir = temporary();
        const store = open(dir);
        store.put("things", `k,"o":${text}`, { ...thing("a"), text });
        await store.close();
        const again = open(dir);
        expect(
          again
            .collection("things")
            .entries()
            .map((e) => [e.key, JSON.parse(e.json).text]),
        ).toEqual([[`k,"o":${text.toWellFormed()}`, text.toWellFormed()]]);
        await again.close();
      }),
      { seed: 3, numRuns: 40 },
    );
  });

  test("an empty line or foreign text at the end is cut off only if it is the last", () => {
    const dir = temporary();
    writeFileSync(join(dir, "log-1.jsonl"), "");
    expect(open(dir).revision).toBe(0);
    appendFileSync(join(dir, "log-1.jsonl"), "garbage\n");
    expect(open(dir).revision).toBe(0);
    expect(readFileSync(join(dir, "log-1.jsonl"), "utf8")).toBe("");
  });
});
