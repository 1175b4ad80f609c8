// cli: what the launcher runs: checks the runtime, turns V8's compile cache on, and loads the program. Nothing else, as it runs first.
import { accessSync, constants } from "node:fs";
import module from "node:module";
import { homedir } from "node:os";
import { fileURLToPath } from "node:url";

/**
 * Where compiled code may lie. Whoever can write there runs code as us, so: beside the program where that is ours to write,
 * else a directory of this user; for root never one below a HOME that may be somebody else's.
 */
function cacheDirectory(): string {
  const program = fileURLToPath(new URL(".", import.meta.url));
  try {
    accessSync(program, constants.W_OK);
    return `${program}compile-cache`;
  } catch {
    // A read-only installation.
    if (process.getuid?.() === 0) return "/var/cache/waggle/compile-cache";
    return `${process.env["XDG_CACHE_HOME"] || `${homedir()}/.cache`}/waggle/compile-cache`;
  }
}

if (Number.parseInt(process.versions.node, 10) < 26) {
  process.stderr.write(
    `waggle: needs Node.js 26 or newer, found ${process.versions.node} (${process.execPath}); in a checkout, make deps fetches one\n`,
  );
  process.exitCode = 1;
} else {
  // Sources that run as they are change too often for it.
  const built = import.meta.url.endsWith(".js");
  if (built && !process.env["NODE_COMPILE_CACHE"] && !process.env["NODE_DISABLE_COMPILE_CACHE"])
    module.enableCompileCache(cacheDirectory());
  const { main } = await import("./main.ts");
  process.exitCode = await main(process.argv.slice(2));
}
