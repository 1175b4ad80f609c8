// cli: what the launcher runs: checks the runtime, turns V8's compile cache on, and loads the program. Nothing else, as it runs first.
import module from "node:module";
import { fileURLToPath } from "node:url";
import { codeCacheDirectory, runtimeProblem } from "./code-cache.ts";

const problem = runtimeProblem();
if (problem !== undefined) {
  process.stderr.write(problem);
  process.exitCode = 1;
} else {
  // Sources that run as they are change too often for it.
  const built = import.meta.url.endsWith(".js");
  if (built && !process.env["NODE_COMPILE_CACHE"] && !process.env["NODE_DISABLE_COMPILE_CACHE"])
    module.enableCompileCache(codeCacheDirectory(fileURLToPath(new URL(".", import.meta.url))));
  const { main } = await import("./main.ts");
  process.exitCode = await main(process.argv.slice(2));
}
