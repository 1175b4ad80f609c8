// test, vm: runs in the guest: what the kernel is found to be able to do, by the tracer and by everybody else.
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FeatureName, features } from "../../../src/kernel/features.ts";
import { preflight } from "../../../src/kernel/preflight.ts";
import { tracefsRoot } from "../../../src/kernel/tracefs.ts";
import { prepareScript, TraceEnvironment } from "../../../src/trace/prepare.ts";
import { observe } from "./say.ts";

await observe("kernel", () =>
  Object.fromEntries((Object.keys(features) as FeatureName[]).map((name) => [name, features[name].test()])),
);
await observe("preflight", () =>
  Object.fromEntries(preflight({ purpose: "node" }).map((r) => [r.name, `${r.state}: ${r.detail}`])),
);

const environment = new TraceEnvironment({
  tracefs: tracefsRoot(),
  cacheDirectory: mkdtempSync(join(tmpdir(), "waggle-btf-")),
});
const { types } = environment;
await observe("tracer", () => ({ ...types.features }));
await observe("matches", () => ({
  kprobes: types.match("kprobe", "vfs_rea*"),
  iterators: types.match("iter", "t*"),
  rawTracepoints: types.match("rawtracepoint", "sys_e*"),
  tracepoints: types.match("tracepoint", "tcp:tcp_retransmit*"),
}));

/** "loads", or what is wrong. */
function tool(path: string): string {
  const prepared = prepareScript(environment, readFileSync(path, "utf8"), { name: path, positional: [] });
  if (!prepared.ok) return prepared.problem ?? prepared.diagnostics.map((d) => d.message).join("\n");
  prepared.loaded?.[Symbol.dispose]();
  return "loads";
}
await observe("tools", () =>
  Object.fromEntries(
    readdirSync("tools")
      .filter((name) => name.endsWith(".bt"))
      .map((name) => [name, tool(join("tools", name))]),
  ),
);
