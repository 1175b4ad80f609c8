// The Dockerfile as far as it can be checked without an engine: what it copies is there and not ignored, what it runs exists.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../../..");
const text = (path: string): string => readFileSync(join(root, path), "utf8");
const lines = text("Dockerfile")
  .replace(/\\\n/g, " ")
  .split("\n")
  .map((l) => l.trim())
  .filter((l) => l !== "" && !l.startsWith("#"));

describe("the Dockerfile", () => {
  it("begins from images that the builder names with a digest", () => {
    const from = lines.filter((l) => l.startsWith("FROM")).map((l) => l.replace(/[${}]/g, ""));
    expect(from).toEqual(["FROM BUILD_BASE AS build", "FROM RUN_BASE"]);
    for (const base of ["BUILD_BASE", "RUN_BASE"]) {
      expect(lines.filter((l) => l === `ARG ${base}`)).toHaveLength(2);
      expect(lines.some((l) => l.startsWith(`RUN case "$${base}" in *@sha256:*)`))).toBe(true);
    }
  });

  it("copies what is there, and what .dockerignore lets through", () => {
    const kept = text(".dockerignore")
      .split("\n")
      .filter((l) => l.startsWith("!"))
      .map((l) => l.slice(1));
    const copies = lines.filter((l) => l.startsWith("COPY ") && !l.includes("--from="));
    expect(copies.length).toBeGreaterThan(5);
    for (const copy of copies)
      for (const source of copy.split(/\s+/).slice(1, -1))
        expect([source, existsSync(join(root, source)), kept.includes(source)]).toEqual([source, true, true]);
  });

  it("copies everything that make build reads", () => {
    const copied = new Set(
      lines
        .filter((l) => l.startsWith("COPY ") && !l.includes("--from="))
        .flatMap((c) => c.split(/\s+/).slice(1, -1)),
    );
    for (const needed of [
      "Makefile",
      "package.json",
      "package-lock.json",
      "scripts",
      "proto",
      "crds",
      "bpf",
      "src",
    ])
      expect([needed, copied.has(needed)]).toEqual([needed, true]);
  });

  it("does not run as root by default, and starts the launcher", () => {
    expect(lines.at(-2)).toMatch(/^USER [1-9]\d*:[1-9]\d*$/);
    expect(lines.at(-1)).toBe('ENTRYPOINT ["/opt/waggle/bin/waggle"]');
  });

  it("keeps the native parts that the bundle leaves outside", () => {
    const external = /external: \[([^\]]*)\]/.exec(text("scripts/build.ts"))![1]!;
    const copied = lines.find((l) => l.includes("cp -a --parents"))!;
    for (const name of [...external.matchAll(/"([^"]+)"/g)].map((m) => m[1]!))
      expect(copied).toContain(`node_modules/${name}`);
  });
});
