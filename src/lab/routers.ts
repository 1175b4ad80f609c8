// lab: starts the routers, changes what they do while they run, and reads what they know.
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { birdConfig } from "./bird.ts";
import { frrChange, frrConfig } from "./frr.ts";
import { frrDaemons } from "./requirements.ts";
import type { RouterKind, RouterOptions } from "./routing.ts";
import { CommandError, run, until } from "./shell.ts";
import type { RouterRecord } from "./state.ts";
import type { Addresses, LabCluster, LabRouter } from "./topology.ts";
import type { Lab } from "./up.ts";

export const kindOf = (lab: Lab): RouterKind => lab.state.options.router ?? "bird";

export const routerRecord = (lab: Lab, router: LabRouter): RouterRecord =>
  lab.state.clusters.flatMap((c) => c.routers).find((r) => r.name === router.name)!;

/** Directory of a router's FRR sockets. */
const frrSockets = (router: RouterRecord): string => dirname(router.controlSocket);

/** FRR's daemons run as its own user and nobody else. */
async function makeFrrDirectory(directory: string, empty: string): Promise<void> {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  writeFileSync(empty, "");
  await run("chown", ["-R", "frr:frr", directory]);
}

/** The words that show a router's routes to a person. */
export const showRoutes = (kind: RouterKind, router: RouterRecord): string =>
  kind === "bird"
    ? `birdc -s ${router.controlSocket} show route`
    : `vtysh --vty_socket ${frrSockets(router)} -c 'show bgp ipv4 unicast'`;

/** Starts one router. */
async function startRouter(
  lab: Lab,
  cluster: LabCluster,
  router: LabRouter,
  options: RouterOptions,
): Promise<void> {
  const record = routerRecord(lab, router);
  const { directory } = record;
  mkdirSync(directory, { recursive: true });
  const place = { netns: router.netns, cgroup: lab.cgroup(router.name) };
  if (kindOf(lab) === "bird") {
    const config = join(directory, "bird.conf");
    writeFileSync(config, birdConfig(lab.topology, cluster, router, options), { mode: 0o600 });
    lab.start({
      ...place,
      name: router.name,
      command: ["bird", "-f", "-c", config, "-s", record.controlSocket],
      log: join(directory, "bird.log"),
    });
    return;
  }
  const config = join(directory, "frr.conf");
  const sockets = frrSockets(record);
  const empty = join(sockets, "empty.conf");
  await makeFrrDirectory(sockets, empty);
  writeFileSync(config, frrConfig(lab.topology, cluster, router, options), { mode: 0o600 });
  for (const daemon of ["zebra", "bgpd"]) {
    lab.start({
      ...place,
      name: daemon === "bgpd" ? router.name : `${router.name}-${daemon}`,
      command: [
        join(frrDaemons, daemon),
        // Nothing of it listens on TCP but BGP.
        ...["--vty_socket", sockets, "-z", join(sockets, "zserv.api"), "-P", "0"],
        ...["-i", join(sockets, `${daemon}.pid`), "-f", empty, "--log", "stdout"],
      ],
      log: join(directory, `${daemon}.log`),
    });
    // bgpd that comes before zebra listens has no interfaces for a while.
    await vtyThere(sockets, daemon, directory);
  }
  await run("vtysh", ["--vty_socket", sockets, "-f", config]);
}

async function vtyThere(sockets: string, daemon: string, directory: string): Promise<void> {
  const answers = async (): Promise<boolean> => {
    try {
      await run("vtysh", ["--vty_socket", sockets, "-d", daemon, "-c", "show version"]);
      return true;
    } catch (error) {
      if (error instanceof CommandError) return false;
      throw error;
    }
  };
  if (!(await until(answers, 20_000)))
    throw new Error(`${daemon} did not answer within 20 s; see ${directory}/${daemon}.log`);
}

/** Starts every router of the lab. @throws Error that names what is not installed */
export async function startRouters(lab: Lab, options: RouterOptions = {}): Promise<void> {
  for (const cluster of lab.topology.clusters)
    for (const router of cluster.routers) await startRouter(lab, cluster, router, options);
}

/** Changes a running router to these options; sessions that are not concerned stay. */
export async function changeRouter(
  lab: Lab,
  cluster: LabCluster,
  router: LabRouter,
  options: RouterOptions,
): Promise<void> {
  const { directory, controlSocket } = routerRecord(lab, router);
  if (kindOf(lab) === "bird") {
    writeFileSync(join(directory, "bird.conf"), birdConfig(lab.topology, cluster, router, options));
    await run("birdc", ["-s", controlSocket, "configure"]);
    return;
  }
  const change = join(directory, "change.conf");
  writeFileSync(change, frrChange(lab.topology, cluster, router, options), { mode: 0o600 });
  await run("vtysh", ["--vty_socket", frrSockets(routerRecord(lab, router)), "-f", change]);
}

/** What BIRD of a router says, without its greeting. */
export async function birdc(router: RouterRecord, ...command: readonly string[]): Promise<string> {
  return (await run("birdc", ["-r", "-s", router.controlSocket, ...command])).replace(
    /^(BIRD .* ready\.|Access restricted)\n/gm,
    "",
  );
}

const vtysh = (router: RouterRecord, command: string): Promise<string> =>
  run("vtysh", ["--vty_socket", frrSockets(router), "-c", command]);

/** What a router said, and the words that asked it. */
export interface RouterView {
  readonly command: string;
  readonly text: string;
}

/** The routes that a router has inside prefixes of one family; `all`: with their attributes. */
export async function routerView(
  lab: Lab,
  router: LabRouter,
  family: keyof Addresses,
  prefixes: readonly string[],
  all = false,
): Promise<RouterView> {
  const record = routerRecord(lab, router);
  if (kindOf(lab) === "bird") {
    const words = [
      ...["show", "route", ...(all ? ["all"] : []), "table", family === "ipv4" ? "master4" : "master6"],
      ...["where", `net ~ [ ${prefixes.map((p) => `${p}+`).join(", ")} ]`],
    ];
    return { command: `birdc ${words.join(" ")}`, text: await birdc(record, ...words) };
  }
  const commands = prefixes.map((p) => `show bgp ${family} unicast ${p} longer-prefixes`);
  const texts = [];
  // Each table comes with the same legend.
  for (const command of commands)
    texts.push(
      (await vtysh(record, command)).replace(
        /^BGP table version[\s\S]*?(?= {3}Network)|\nDisplayed.*\n/gm,
        "",
      ),
    );
  if (all)
    for (const prefix of new Set(texts.join("\n").match(/[0-9a-f.:]+\/\d+(?=\s)/g)))
      texts.push(await vtysh(record, `show bgp ${family} unicast ${prefix}`));
  return { command: commands.map((c) => `vtysh -c '${c}'`).join("; "), text: texts.join("\n") };
}

/** Paths in a view, all next hops of all prefixes counted. */
export const pathsIn = (lab: Lab, view: string): number =>
  (view.match(kindOf(lab) === "bird" ? /unicast/g : /^ ?\*[> =]/gm) ?? []).length;

/** Whether a view shows a large community `*:<value>:<kind>`. The text that does, for people. */
export const largeCommunityIn = (view: string, value: number): string | undefined =>
  view.match(new RegExp(`(BGP\\.large_community|Large Community): .*[,:] ?${value}[,:].*`))?.[0];
