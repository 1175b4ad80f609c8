// test, vm: runs in the guest: what the kernel is found to be able to do, by the tracer and by everybody else.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FeatureName, features } from "../../../src/kernel/features.ts";
import { preflight } from "../../../src/kernel/preflight.ts";
import { tracefsRoot } from "../../../src/kernel/tracefs.ts";
import { KernelTypes } from "../../../src/trace/type-source.ts";
import { observe } from "./say.ts";

await observe("kernel", () =>
  Object.fromEntries((Object.keys(features) as FeatureName[]).map((name) => [name, features[name].test()])),
);
await observe("preflight", () =>
  Object.fromEntries(preflight({ purpose: "node" }).map((r) => [r.name, `${r.state}: ${r.detail}`])),
);

const types = new KernelTypes({
  tracefs: tracefsRoot(),
  cacheDirectory: mkdtempSync(join(tmpdir(), "waggle-btf-")),
});
await observe("tracer", () => ({ ...types.features }));
await observe("matches", () => ({
  kprobes: types.match("kprobe", "vfs_rea*"),
  iterators: types.match("iter", "t*"),
  rawTracepoints: types.match("rawtracepoint", "sys_e*"),
  tracepoints: types.match("tracepoint", "tcp:tcp_retransmit*"),
}));
