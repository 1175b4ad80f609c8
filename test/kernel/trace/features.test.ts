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

  it("path names the files that iterators come by", async () => {
    const { text } = await runScript(
      `iter:task_file /ctx.task.tgid == ${process.pid}/ { printf("%s\\n", path(ctx.file.f_path)); }`,
    );
    // Whatever else is open, Node's event loop has its descriptors.
    expect(text).toMatch(/anon_inode:|\/dev\/|pipe:/);
  });

  it("strings are found in one another, variables by their addresses", async () => {
    const { text } = await runScript(
      'BEGIN { $a = "hello world"; $b = "o w"; $p = &$b; print((strstr($a, *$p), strcontains($a, "x"), memcmp($a, $b, 3))); $m = &@m; @m[1] = 1; print($m->max_entries); }',
    );
    expect(text).toBe("(4, false, -1)\n4096\n");
  });

  it("kfunc_allowed knows what kind of program may call what", async () => {
    const { text } = await runScript(
      'BEGIN { print((kfunc_exist("no_such_thing"), kfunc_allowed("no_such_thing"), kfunc_allowed("vfs_read"))); }',
    );
    expect(text).toBe("(false, false, false)\n");
  });
});
