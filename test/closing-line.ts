// Prints the lines that end every test run: each skip and each failure by name, then how many passed, failed and were skipped.
import type { TestCase, TestModule } from "vitest/node";

export default class ClosingLine {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<unknown>): void {
    const counts = { passed: 0, failed: errors.length, skipped: 0 };
    // Failures come last: whoever sees only the end of a long log sees them.
    const failures = errors.map((error) => `failed: outside of any test: ${firstLine(error)}`);
    for (const module of modules) {
      // A file that fails to load has no tests to count, but it is a failure all the same.
      if (module.errors().length > 0) {
        counts.failed += 1;
        failures.push(`failed: ${module.relativeModuleId}: ${firstLine(module.errors()[0])}`);
      }
      for (const suite of module.children.allSuites()) {
        if (suite.errors().length === 0) continue;
        counts.failed += 1;
        failures.push(
          `failed: ${module.relativeModuleId}: ${suite.fullName}: ${firstLine(suite.errors()[0])}`,
        );
      }
      for (const test of module.children.allTests() as Iterable<TestCase>) {
        const state = test.result().state;
        const retries = test.diagnostic()?.retryCount ?? 0;
        if (state === "passed" && retries > 0) console.log(`passed only when tried again: ${test.fullName}`);
        if (state === "pending" || state === "skipped") {
          counts.skipped += 1;
          console.log(`skipped: ${test.fullName}`);
        } else counts[state] += 1;
        if (state === "failed") {
          failures.push(
            `failed: ${module.relativeModuleId}: ${test.fullName}: ${firstLine(test.result().errors?.[0])}`,
          );
        }
      }
    }
    for (const failure of failures) console.log(failure);
    console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  }
}

function firstLine(error: unknown): string {
  const message = error instanceof Error || hasMessage(error) ? error.message : String(error);
  return (message.split("\n")[0] ?? "").slice(0, 300);
}

function hasMessage(value: unknown): value is { readonly message: string } {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { message?: unknown }).message === "string"
  );
}
