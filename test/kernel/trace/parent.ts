// trace tests: a process that owns a tracer with one run, tells the child's pid, and waits to be killed.
import { ProcessTracer } from "../../../src/trace/tracer.ts";

const { cacheDirectory, script } = JSON.parse(process.argv[2] ?? "{}") as {
  cacheDirectory: string;
  script: string;
};
const tracer = new ProcessTracer({
  nodeIndex: 0,
  unownedIsNode: true,
  countsUnattributed: true,
  cacheDirectory,
});
const prepared = await tracer.prepare({
  run: "r",
  script,
  positional: [],
  durationMs: 60_000,
  mapBytes: 0,
  ringBytes: 0,
});
const attached = await tracer.attach("r", { chunk: () => {}, finished: () => {} });
if (!prepared.ok || !attached.ok) throw new Error(JSON.stringify([prepared, attached]));
process.send?.(tracer.pid);
setInterval(() => {}, 1000);
