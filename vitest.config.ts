// The one test configuration: tests mirror src/, sources are run as they are, files run one at a time on two cores.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: "forks",
    fileParallelism: process.env.WAGGLE_TEST_PARALLEL === "1",
    // A shared machine may starve a test of real daemons for seconds; what passes only the second time is named at the end.
    retry: process.env.CI ? 1 : 0,
    reporters: ["default", "./test/closing-line.ts"],
  },
});
