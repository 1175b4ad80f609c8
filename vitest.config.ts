// The one test configuration: tests mirror src/, sources are run as they are. What shares nothing with the host (pure tests, and
// tests inside virtual machines) runs two files at a time; whatever touches the kernel, namespaces or daemons of this machine runs alone.
import { defineConfig } from "vitest/config";

const isolated = ["test/unit/**/*.test.ts", "test/vm/**/*.test.ts"];

export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: "forks",
    // A shared machine may starve a test of real daemons for seconds; what passes only the second time is named at the end.
    retry: process.env.CI ? 1 : 0,
    reporters: ["default", "./test/closing-line.ts"],
    projects: [
      {
        extends: true,
        test: { name: "isolated", include: isolated, maxWorkers: 2, sequence: { groupOrder: 0 } },
      },
      {
        extends: true,
        test: {
          name: "host",
          include: ["test/**/*.test.ts"],
          exclude: isolated,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
