// cli: waggle apiserver: the embedded Kubernetes API server as a process, and kubeconfigs for its users.
import { renameSync, writeFileSync } from "node:fs";
import { Command, InvalidArgumentError } from "commander";
import { CliError, type OutputFormat, outputOption, parseDuration, usageError } from "./output.ts";

interface ServeFlags {
  readonly dataDir?: string;
  readonly memory?: boolean;
  readonly listen: string;
  readonly socket?: string;
  readonly kubeconfig: string;
  readonly crds?: string;
  readonly clusterName: string;
  readonly serviceCidr?: readonly string[];
  readonly output: OutputFormat;
}

interface UserFlags {
  readonly dataDir: string;
  readonly name: string;
  readonly group: readonly string[];
  readonly kubeconfig: string;
  readonly lifetime: number;
}

/** A kubeconfig holds a credential: mode 0600, and either the old file or the whole new one. */
function writeKubeconfig(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** Resolves at the first SIGTERM or SIGINT. */
const stopAsked = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });

async function serve(flags: ServeFlags): Promise<void> {
  if ((flags.dataDir === undefined) !== (flags.memory === true))
    throw usageError("give --data-dir DIR to keep the cluster's state, or --memory to forget it at the end");
  const { startApiServer, readManifests, OptionsError } = await import("../apiserver/index.ts");
  const { promise: failed, reject } = Promise.withResolvers<never>();
  const server = await startApiServer({
    ...(flags.dataDir === undefined ? {} : { dataDir: flags.dataDir }),
    listen: flags.listen === "none" ? null : flags.listen,
    ...(flags.socket === undefined ? {} : { socketPath: flags.socket }),
    ...(flags.crds === undefined ? {} : { manifests: readManifests(flags.crds) }),
    ...(flags.serviceCidr === undefined ? {} : { serviceCidrs: flags.serviceCidr }),
    clusterName: flags.clusterName,
    log: (message, fields) => process.stderr.write(`${JSON.stringify({ msg: message, ...fields })}\n`),
    onFailure: (error) => reject(new CliError(`the store can no longer be written: ${error.message}`)),
  }).catch((error: unknown) => {
    if (error instanceof OptionsError) throw usageError(error.message);
    throw error;
  });
  const stopped = stopAsked();
  writeKubeconfig(flags.kubeconfig, server.adminKubeconfig());
  const ready = {
    ready: true,
    cluster: server.clusterName,
    uid: server.clusterUid,
    url: server.url || null,
    socket: server.socketPath ?? null,
    kubeconfig: flags.kubeconfig,
    pid: process.pid,
  };
  const where = [server.url, server.socketPath].filter(Boolean).join(" and ");
  process.stdout.write(
    flags.output === "json"
      ? `${JSON.stringify(ready)}\n`
      : `cluster ${server.clusterName} is served at ${where}; kubeconfig: ${flags.kubeconfig}\n`,
  );
  try {
    await Promise.race([stopped, failed]);
  } finally {
    await server.close();
  }
}

async function makeUser(flags: UserFlags): Promise<void> {
  const { makeUserKubeconfig, DataDirError } = await import("../apiserver/index.ts");
  try {
    writeKubeconfig(
      flags.kubeconfig,
      makeUserKubeconfig(flags.dataDir, flags.name, flags.group, Math.round(flags.lifetime / 1000)),
    );
  } catch (error) {
    if (error instanceof DataDirError) throw new CliError(error.message);
    throw error;
  }
}

const notes = `
Not a Kubernetes cluster and not for production: one process, no replicas, no admission webhooks or policies, no
scheduler, no kubelet, no controllers but garbage collection, namespaces and custom kinds; Pods do not run, and
EndpointSlices are written by whoever wants them. It listens on loopback and unix sockets only.`;

const collect = (value: string, previous: readonly string[]): readonly string[] => [...previous, value];

function lifetime(text: string): number {
  const days = /^(\d+)d$/.exec(text);
  const milliseconds = days ? Number(days[1]) * 86_400_000 : parseDuration(text);
  if (milliseconds < 1000) throw new InvalidArgumentError("must be at least a second.");
  return milliseconds;
}

export function command(): Command {
  const root = new Command("apiserver")
    // `--data-dir` and `--kubeconfig` after `user` are that command's own.
    .enablePositionalOptions()
    .description(
      "Runs a small Kubernetes API server on this machine, enough for Waggle, kubectl and tests. Writes the admin's kubeconfig once it serves, then prints one line.",
    )
    .option("--data-dir <dir>", "where objects, keys and tokens are kept")
    .option("--memory", "keep everything in memory only")
    .option(
      "--listen <address>",
      "loopback address and port, 0 for a free port; none: the socket only",
      "127.0.0.1:0",
    )
    .option("--socket <path>", "a unix socket too: same TLS, same tokens, for other network namespaces")
    .option("--kubeconfig <file>", "where the admin's kubeconfig is written (mode 0600)")
    .option("--crds <dir>", "YAML files to apply at the start: CustomResourceDefinitions and other objects")
    .option("--cluster-name <name>", "name of cluster and context in kubeconfigs", "waggle")
    .option("--service-cidr <prefix...>", "ranges of Services' cluster addresses, one a family")
    .addOption(outputOption())
    .addHelpText("after", notes)
    .action((flags: Omit<ServeFlags, "kubeconfig"> & { kubeconfig?: string }) => {
      if (flags.kubeconfig === undefined) throw usageError("give --kubeconfig FILE");
      return serve({ ...flags, kubeconfig: flags.kubeconfig });
    });
  root
    .command("user")
    .description(
      "Writes a kubeconfig with a signed token for an ordinary user. What the user may do is said by RBAC in the cluster. The server need not run.",
    )
    .requiredOption("--data-dir <dir>", "the server's data directory")
    .requiredOption("--name <name>", "user name")
    .option("--group <group>", "a group of the user; may be given again", collect, [])
    .requiredOption("--kubeconfig <file>", "where the kubeconfig is written (mode 0600)")
    .option("--lifetime <duration>", "how long the token holds, as 12h or 30d", lifetime, 365 * 86_400_000)
    .action((_: unknown, command: Command) => makeUser(command.optsWithGlobals<UserFlags>()));
  return root;
}
