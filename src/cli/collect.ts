// cli: waggle collect: a support bundle: what clusters, speakers and logs on this machine say, without secrets, as an archive or a directory.
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { hostname, release } from "node:os";
import { basename, dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { Command } from "commander";
import type { BundleFile } from "../agent/bundle.ts";
import { type ChosenCluster, type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import {
  CliError,
  exitCode,
  type OutputFormat,
  outputOption,
  Progress,
  printJson,
  usageError,
} from "./output.ts";
import { tar } from "./tar.ts";
import { versionText } from "./version.ts";

interface Flags extends ClusterFlags {
  readonly to?: string;
  readonly machine: boolean;
  readonly output: OutputFormat;
}

interface Missing {
  readonly what: string;
  readonly why: string;
}

interface Gathered {
  readonly files: readonly BundleFile[];
  readonly missing: readonly Missing[];
}

const labFile = "/run/waggle/lab/default/lab.json";

/** A name as one part of a path: contexts may be called anything. */
const part = (name: string): string => name.replace(/[^\w.@-]/g, "_").replace(/^\.+/, "_");

const jsonText = (value: unknown): string =>
  `${JSON.stringify(value, (_, v: unknown) => (typeof v === "bigint" ? String(v) : v), 2)}\n`;

/** The end of a file, at most `bytes` of it. */
function tail(path: string, bytes: number): string {
  const fd = openSync(path, "r");
  try {
    const { size } = fstatSync(fd);
    const buffer = Buffer.alloc(Math.min(size, bytes));
    readSync(fd, buffer, 0, buffer.length, size - buffer.length);
    return buffer.toString("utf8");
  } finally {
    closeSync(fd);
  }
}

/** Peers and routes of the speakers on this machine. */
async function speakers(redact: (text: string) => string): Promise<Gathered> {
  const [{ askPeers, askRoutes, localSpeakers }, { SpeakerClient }, { QueryKind }] = await Promise.all([
    import("./bgp.ts"),
    import("../bgp/daemon/speaker-client.ts"),
    import("../api/generated/proto/speaker_pb.js"),
  ]);
  const files: BundleFile[] = [];
  const missing: Missing[] = [];
  for (const { node, path } of localSpeakers())
    try {
      const { client, hello } = await SpeakerClient.open({ path });
      using _ = client;
      const put = (name: string, value: unknown): void =>
        void files.push({ path: `machine/speakers/${node}/${name}.json`, text: redact(jsonText(value)) });
      const { version, pid, generation } = hello;
      const peers = await askPeers(client, node);
      put("peers", { version, pid, generation, peers });
      put("routes", await askRoutes(client, node, QueryKind.QUERY_ROUTES, ""));
      for (const { peer } of peers)
        put(`advertised-${peer}`, await askRoutes(client, node, QueryKind.QUERY_ADVERTISED, peer));
    } catch (error) {
      missing.push({ what: `speaker of ${node}`, why: redact((error as Error).message) });
    }
  return { files, missing };
}

/** Logs of the lab's daemons. */
function labLogs(redact: (text: string) => string, bytes: number): Gathered {
  if (!existsSync(labFile)) return { files: [], missing: [] };
  const files: BundleFile[] = [];
  const missing: Missing[] = [];
  try {
    const lab = JSON.parse(readFileSync(labFile, "utf8")) as {
      processes: readonly { name: string; log: string }[];
    };
    for (const { name, log } of lab.processes)
      try {
        files.push({ path: `machine/lab/${name}.log`, text: redact(tail(log, bytes)) });
      } catch (error) {
        missing.push({ what: `log of ${name}`, why: (error as Error).message });
      }
  } catch (error) {
    missing.push({ what: labFile, why: (error as Error).message });
  }
  return { files, missing };
}

/** Everything, with an index first. */
async function gather(
  clusters: readonly ChosenCluster[],
  flags: Flags,
  progress: Progress,
): Promise<Gathered> {
  const { clusterBundle, logBytes } = await import("../agent/bundle.ts");
  const { redactor } = await import("../agent/redact.ts");
  const files: BundleFile[] = [];
  const missing: Missing[] = [];
  let redact = redactor([]);
  for (const { name, client } of clusters) {
    progress.now(`asking ${name}`);
    const bundle = await clusterBundle(client, Date.now());
    files.push(...bundle.files.map((f) => ({ ...f, path: `${part(name)}/${f.path}` })));
    missing.push(...bundle.missing.map((m) => ({ ...m, what: `${name}: ${m.what}` })));
    const before = redact;
    redact = (text) => bundle.redact(before(text));
  }
  if (flags.machine) {
    progress.now("asking the speakers on this machine");
    for (const more of [await speakers(redact), labLogs(redact, logBytes)]) {
      files.push(...more.files);
      missing.push(...more.missing);
    }
  }
  const index = {
    version: versionText(),
    node: process.versions.node,
    kernel: release(),
    host: hostname(),
    collectedAt: new Date().toISOString(),
    clusters: clusters.map((c) => c.name),
    missing,
    files: files.map((f) => ({ path: f.path, bytes: Buffer.byteLength(f.text) })),
  };
  // One cluster's secret may stand in another's log, and in a reason why something is missing.
  const all = [{ path: "index.json", text: jsonText(index) }, ...files];
  return { files: all.map((f) => ({ ...f, text: redact(f.text) })), missing };
}

const isArchive = (path: string): boolean => /\.(tar|tar\.gz|tgz)$/.test(path);

function write(to: string, root: string, files: readonly BundleFile[]): void {
  if (!isArchive(to)) {
    if (existsSync(to))
      throw new CliError(`${to} is there already`, { hint: "name a directory that is not" });
    for (const { path, text } of files) {
      mkdirSync(dirname(join(to, path)), { recursive: true, mode: 0o700 });
      writeFileSync(join(to, path), text, { mode: 0o600 });
    }
    return;
  }
  const archive = tar(
    files.map(({ path, text }) => ({ path: `${root}/${path}`, data: Buffer.from(text) })),
    Math.floor(Date.now() / 1000),
  );
  writeFileSync(to, to.endsWith(".tar") ? archive : gzipSync(archive), { mode: 0o600, flag: "wx" });
}

async function collect(flags: Flags): Promise<void> {
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const to = flags.to ?? `waggle-${stamp}.tar.gz`;
  if (existsSync(to)) throw usageError(`${to} is there already`, "name something that is not");
  using progress = new Progress(process.stderr, flags.output === "json");
  const { files, missing } = await withClusters(flags, (clusters) => gather(clusters, flags, progress));
  const root = basename(to).replace(/\.(tar|tar\.gz|tgz)$/, "");
  write(to, root, files);
  progress.clear();
  const bytes = files.reduce((sum, f) => sum + Buffer.byteLength(f.text), 0);
  if (flags.output === "json") printJson({ to, files: files.map((f) => f.path), bytes, missing });
  else {
    process.stdout.write(`${to}: ${files.length} files, ${(bytes / 1e6).toFixed(1)} MB before compression\n`);
    for (const { what, why } of missing) process.stderr.write(`without ${what}: ${why}\n`);
    process.stderr.write(
      "Secrets are taken out; look through it before you hand it to others all the same.\n",
    );
  }
  if (files.length < 2) process.exitCode = exitCode.failed;
}

export function command(): Command {
  return clusterOptions(new Command("collect"))
    .description(
      "a support bundle: objects, statuses, Events, plans, logs, peers and routes, without secrets, as an archive or a directory",
    )
    .option(
      "--to <path>",
      "an archive (.tar.gz, .tgz, .tar), or else a directory (default: waggle-TIME.tar.gz)",
    )
    .option("--no-machine", "leave out speakers and logs on this machine")
    .addOption(outputOption())
    .addHelpText(
      "after",
      `
It reads with your own rights: what you may not read is named in index.json and left out. No Secret is written: passwords of
BGP sessions are read, where you may, only to be blackened wherever else they stand.`,
    )
    .action(collect);
}
