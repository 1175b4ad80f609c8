// test, kernel: one short run of each feature of the language that needs the kernel to be believed.
import { rmSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { cacheDirectory, canTrace, getppid, runScript, skipped } from "./helper.ts";

afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

describe.skipIf(!canTrace)(`features of the language (${skipped})`, () => {
  it("tseries sums what all calls of an interval say", async () => {
    const { maps } = await runScript(
      `t:syscalls:sys_enter_getppid /pid == ${process.pid}/ { @ = tseries(2, 1d, 3, "sum"); }`,
      { work: () => getppid(50) },
    );
    const total = maps
      .flatMap((m) => m.rows)
      .flatMap(({ cell }) => ("series" in cell ? cell.series : []))
      .reduce((sum, [, v]) => sum + Number(v), 0);
    // The day may end meanwhile.
    expect(total).toBe(100);
  });
});
