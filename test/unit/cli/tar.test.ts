// cli: archives: what tar reads of them.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { tar } from "../../../src/cli/tar.ts";

const directory = mkdtempSync(join(tmpdir(), "waggle-tar-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("tar", () => {
  it("is read back by tar, whatever the sizes and lengths of names", () => {
    const long = `${"d".repeat(90)}/${"e".repeat(60)}/${"f".repeat(95)}`;
    const entries = [0, 1, 511, 512, 513, 70_000].map((size, i) => ({
      path: i === 3 ? long : `root/file-${size}`,
      data: Buffer.alloc(size, 65 + i),
    }));
    writeFileSync(join(directory, "a.tar"), tar(entries, 1_700_000_000));
    execFileSync("tar", ["xf", "a.tar"], { cwd: directory });
    for (const { path, data } of entries) expect(readFileSync(join(directory, path)).equals(data)).toBe(true);
    const listing = execFileSync("tar", ["tvf", "a.tar"], {
      cwd: directory,
      encoding: "utf8",
      env: { TZ: "UTC" },
    });
    expect(listing.split("\n")[0]).toMatch(/^-rw------- 0\/0 +0 2023-11-14 22:13 root\/file-0$/);
  });

  it("refuses a path that does not fit", () => {
    expect(() => tar([{ path: "x".repeat(101), data: new Uint8Array() }], 0)).toThrow(RangeError);
  });
});
