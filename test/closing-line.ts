// Prints the line that ends every test run: how many passed, failed and were skipped, and each skip by name.
import type { TestCase, TestModule } from "vitest/node";

export default class ClosingLine {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<unknown>): void {
    const counts = { passed: 0, failed: errors.length, skipped: 0 };
    for (const module of modules) {
      // A file that fails to load has no tests to count, but it is a failure all the same.
      if (module.errors().length > 0) counts.failed += 1;
      for (const test of module.children.allTests() as Iterable<TestCase>) {
        const state = test.result().state;
        const retries = test.diagnostic()?.retryCount ?? 0;
        if (state === "passed" && retries > 0) console.log(`passed only when tried again: ${test.fullName}`);
        if (state === "pending" || state === "skipped") {
          counts.skipped += 1;
          console.log(`skipped: ${test.fullName}`);
        } else counts[state] += 1;
      }
    }
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
}
