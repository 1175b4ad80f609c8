// cli: waggle lab: up, demo, status, exec, down, and the small helpers that the lab runs inside its own pods.
import { spawnSync } from "node:child_process";
import { Command, InvalidArgumentError, Option } from "commander";
import type { RouterKind } from "../lab/routing.ts";
import type { ControlPlane } from "../lab/state.ts";
import type { IPFamily } from "../lab/topology.ts";
import { usageError } from "./output.ts";

const count = (text: string): number => {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1) throw new InvalidArgumentError("must be a whole number from 1");
  return n;
};

interface LabOptions {
  readonly name: string;
  readonly output?: "json";
}

interface UpFlags extends LabOptions {
  readonly clusters: number;
  readonly nodes: number;
  readonly dciMtu?: number;
  readonly bgpPassword?: string;
  readonly kubernetes: ControlPlane;
  readonly ipFamily: IPFamily;
  readonly tors: number;
  readonly router: RouterKind;
}

const sizes = (command: Command): Command =>
  command
    .option("--clusters <n>", "clusters, each a data centre with its own router", count, 2)
    .option("--nodes <n>", "nodes in each cluster", count, 2)
    .addOption(
      new Option("--kubernetes <kind>", "control planes: our own API server, or real ones (make assets)")
        .choices(["embedded", "real"])
        .default("embedded"),
    )
    .addOption(
      new Option("--ip-family <family>", "what nodes, pods and VIPs have")
        .choices(["dual", "ipv4", "ipv6"])
        .default("dual"),
    )
    .option("--tors <n>", "routers in each data centre, every node with a link to each: 1 or 2", count, 1)
    .addOption(new Option("--router <program>", "what routes").choices(["bird", "frr"]).default("bird"))
    .option("--dci-mtu <bytes>", "MTU of the links between data centres", count)
    .option("--bgp-password <password>", "routers ask for TCP-MD5 with this password");

const named = (command: Command): Command =>
  command
    .option("--name <lab>", "name of the lab, where there are several", "default")
    .option("-o, --output <format>", "json");

const upOptions = (flags: UpFlags) => ({
  lab: flags.name,
  clusters: flags.clusters,
  nodes: flags.nodes,
  kubernetes: flags.kubernetes,
  family: flags.ipFamily,
  tors: flags.tors,
  router: flags.router,
  ...(flags.dciMtu ? { dciMTU: flags.dciMtu } : {}),
  ...(flags.bgpPassword ? { bgpPassword: flags.bgpPassword } : {}),
});

/** What does not fit the lab's plan is a mistake on the command line. */
function asUsage(error: unknown): unknown {
  return error instanceof RangeError ? usageError(error.message) : error;
}

/**
 * On a signal the story stops where it is, and a process of its own takes the lab down: this one's event loop stands still
 * meanwhile, so that no half-finished step makes anything new.
 */
async function takeDownOnSignals(lab: string): Promise<void> {
  const { killRunning } = await import("../lab/shell.ts");
  const { waggle } = await import("../lab/launcher.ts");
  const handler = (signal: NodeJS.Signals): void => {
    killRunning();
    process.stderr.write(`\n${signal}: taking the lab down\n`);
    // A session of its own: a second Ctrl-C must not end the clean-up.
    const result = spawnSync("setsid", ["--wait", ...waggle("lab", "down", "--name", lab)], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    process.exit(result.status === 0 ? (signal === "SIGINT" ? 130 : 143) : 1);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, handler);
}

function requireRoot(): void {
  if (process.getuid?.() !== 0)
    throw new Error("the lab makes network namespaces and loads eBPF programs: run it as root");
}

function up(): Command {
  return sizes(named(new Command("up")))
    .description("bring up a fleet in a box and leave it running")
    .action(async (flags: UpFlags) => {
      requireRoot();
      const { raise, settle } = await import("../lab/demo.ts");
      const { down } = await import("../lab/down.ts");
      const { statusOf, printUp } = await import("../lab/status.ts");
      const { readState } = await import("../lab/state.ts");
      if (readState(flags.name))
        throw new Error(`lab ${flags.name} is up already; waggle lab down takes it down`);
      await takeDownOnSignals(flags.name);
      const note = (text: string): void => void process.stderr.write(`· ${text}\n`);
      try {
        await using lab = await raise(upOptions(flags), note);
        await settle(lab, upOptions(flags), note);
        if (flags.output === "json") console.log(JSON.stringify(statusOf(lab.state), null, 2));
        else printUp(lab.state);
      } catch (error) {
        if (process.env.WAGGLE_LAB_KEEP) throw error;
        await down(flags.name);
        throw asUsage(error);
      }
    });
}

function demoCommand(): Command {
  return sizes(named(new Command("demo")))
    .description("tell the whole story: two clusters, six steps, and clean up")
    .action(async (flags: UpFlags) => {
      requireRoot();
      const { demo } = await import("../lab/demo.ts");
      const { down } = await import("../lab/down.ts");
      const { readState } = await import("../lab/state.ts");
      if (readState(flags.name)) throw new Error(`lab ${flags.name} is up; waggle lab down takes it down`);
      if (flags.clusters < 2 || flags.nodes < 2)
        throw new Error("the story needs two clusters of two nodes at least");
      await takeDownOnSignals(flags.name);
      let seconds: number;
      try {
        seconds = await demo(upOptions(flags));
      } catch (error) {
        if (process.env.WAGGLE_LAB_KEEP) throw error;
        await down(flags.name);
        throw asUsage(error);
      }
      const report = await down(flags.name);
      console.log(`\n   cleaned up: ${report.processes} processes, ${report.namespaces} namespaces`);
      console.log(`demo: ok in ${seconds.toFixed(1)} s`);
    });
}

function downCommand(): Command {
  return named(new Command("down"))
    .description("remove every trace of a lab")
    .action(async (flags: LabOptions) => {
      requireRoot();
      const { down } = await import("../lab/down.ts");
      const report = await down(flags.name);
      if (flags.output === "json") console.log(JSON.stringify(report));
      else console.log(`removed ${report.processes} processes and ${report.namespaces} namespaces`);
      for (const mount of report.left)
        process.stderr.write(`${mount} stays mounted: somebody else uses it\n`);
    });
}

function status(): Command {
  return named(new Command("status"))
    .description("the picture: clusters, nodes, sessions, addresses, processes")
    .action(async (flags: LabOptions) => {
      const { openLab } = await import("../lab/up.ts");
      const { printStatus, statusOf, withNetworks } = await import("../lab/status.ts");
      await using lab = await openLab(flags.name);
      const networks = await withNetworks(lab);
      if (flags.output === "json") console.log(JSON.stringify({ ...statusOf(lab.state), networks }, null, 2));
      else printStatus(lab.state, networks);
    });
}

function execCommand(): Command {
  return new Command("exec")
    .description("run a command inside a node, pod, router or client: waggle lab exec dc1-node1 -- ip route")
    .option("--name <lab>", "name of the lab", "default")
    .argument("<place>", "dc1-node1, dc1-web-1, dc1-tor, dc1-client, …")
    .argument("<command...>", "the command and its arguments, after --")
    .action(async (place: string, command: string[], flags: { name: string }) => {
      requireRoot();
      const { exec } = await import("../lab/exec.ts");
      const { readState } = await import("../lab/state.ts");
      const state = readState(flags.name);
      if (!state) throw new Error(`there is no lab ${flags.name}; waggle lab up brings one up`);
      process.exitCode = await exec(state, place, command);
    });
}

function processCommand(): Command {
  return new Command("process")
    .description("end or start one daemon: waggle lab process kill dc1-node1-agent --signal KILL")
    .option("--name <lab>", "name of the lab", "default")
    .option("--signal <name>", "signal for kill", "KILL")
    .argument("<verb>", "kill or start")
    .argument("<process>", "dc1-node1-agent, dc1-node1-bgpd, dc1-operator, dc1-apiserver, dc1-etcd, …")
    .action(async (verb: string, name: string, flags: { name: string; signal: string }) => {
      requireRoot();
      const { openLab } = await import("../lab/up.ts");
      const { killProcess, startProcess } = await import("../lab/daemons.ts");
      await using lab = await openLab(flags.name);
      if (verb === "kill")
        console.log(JSON.stringify(await killProcess(lab, name, `SIG${flags.signal}` as NodeJS.Signals)));
      else if (verb === "start") console.log(JSON.stringify(await startProcess(lab, name)));
      else throw new Error(`${verb}: write kill or start`);
    });
}

/** Runs until SIGTERM or SIGINT, then aborts. */
function untilSignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => controller.abort());
  return controller.signal;
}

function relay(): Command {
  return new Command("relay")
    .description("carries bytes between a unix socket and a real API server's port")
    .requiredOption("--socket <path>", "where nodes connect")
    .requiredOption("--to <host:port>", "where the API server listens")
    .action(async (flags: { socket: string; to: string }) => {
      const { startRelay } = await import("../lab/relay.ts");
      const [, host, port] = /^(.+):(\d+)$/.exec(flags.to) ?? [];
      if (!host) throw new Error(`--to ${flags.to}: write host:port`);
      const signal = untilSignal();
      using _relay = await startRelay(flags.socket, host, Number(port));
      await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    });
}

function workload(): Command {
  const command = new Command("workload").description("what the lab runs inside its pods");
  command
    .command("serve")
    .requiredOption("--port <port>", "TCP port", count)
    .requiredOption("--name <name>", "what the page says")
    .action(async (flags: { port: number; name: string }) => {
      const { serve } = await import("../lab/workload.ts");
      await serve(flags.port, flags.name);
    });
  command
    .command("fetch")
    .option("--times <n>", "fetches in all, over a connection each, the URLs in turn", count)
    .argument("<urls...>")
    .action(async (urls: string[], flags: { times?: number }) => {
      const { fetchPage } = await import("../lab/workload.ts");
      for (let i = 0; i < (flags.times ?? urls.length); i++)
        process.stdout.write(await fetchPage(urls[i % urls.length]!));
    });
  command
    .command("connections")
    .option("--per-second <n>", "new connections a second", count, 50)
    .option("--for <seconds>", "end by itself", count)
    .argument("<urls...>")
    .action(async (urls: string[], flags: { perSecond: number; for?: number }) => {
      const { connectionStream } = await import("../lab/workload.ts");
      const signal = flags.for
        ? AbortSignal.any([untilSignal(), AbortSignal.timeout(flags.for * 1000)])
        : untilSignal();
      console.log(JSON.stringify(await connectionStream(urls, flags.perSecond, signal)));
    });
  command
    .command("transfer")
    .description("moves bytes both ways, over a connection each, and compares their digests")
    .option("--bytes <n>", "how many", count, 10_000_000)
    .argument("<urls...>")
    .action(async (urls: string[], flags: { bytes: number }) => {
      const { transfer } = await import("../lab/transfer.ts");
      const results = [];
      for (const url of urls)
        for (const direction of ["down", "up"] as const)
          results.push(await transfer(url, direction, flags.bytes));
      console.log(JSON.stringify(results));
      if (!results.every((r) => r.intact)) process.exitCode = 1;
    });
  command
    .command("hold")
    .option("--count <n>", "connections", count, 50)
    .option("--port <port>", "TCP port", count, 80)
    .argument("<address>")
    .action(async (address: string, flags: { count: number; port: number }) => {
      const { holdConnections } = await import("../lab/workload.ts");
      const result = await holdConnections(address, flags.port, flags.count, untilSignal(), () => undefined);
      console.log(JSON.stringify(result));
    });
  return command;
}

export function command(): Command {
  const lab = new Command("lab").description(
    "a fleet in a box: clusters, nodes, pods and routers as network namespaces of this machine",
  );
  lab.addCommand(up());
  lab.addCommand(demoCommand());
  lab.addCommand(status());
  lab.addCommand(execCommand());
  lab.addCommand(downCommand());
  lab.addCommand(processCommand());
  lab.addCommand(workload(), { hidden: true });
  lab.addCommand(relay(), { hidden: true });
  return lab;
}
