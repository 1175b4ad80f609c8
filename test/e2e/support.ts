// e2e: what the scenarios share: one lab for all of them, kubectl, BIRD's view, losses.
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, existsSync, readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { kinds } from "../../src/kube/index.ts";
import { processesOf } from "../../src/lab/processes.ts";
import { begin, pingLoss } from "../../src/lab/programs.ts";
import { findAssets } from "../../src/lab/real.ts";
import { missingFor } from "../../src/lab/requirements.ts";
import { birdc } from "../../src/lab/routers.ts";
import { run, runIn, until } from "../../src/lab/shell.ts";
import type { LabOptions } from "../../src/lab/state.ts";
import type { Lab } from "../../src/lab/up.ts";
import { nodeNetworks } from "../../src/lab/wait.ts";

/** Why a lab of these options cannot run here; empty where it can. */
export function missingForLab(options: Pick<LabOptions, "router" | "kubernetes"> = {}): string {
  if (process.getuid?.() !== 0) return "root";
  const need: [string, string][] = [
    ["/sys/kernel/btf/vmlinux", "kernel BTF"],
    ["/usr/lib/cni/ptp", "CNI plugins"],
    ["bin/waggle", "make build"],
  ];
  for (const [path, name] of need) {
    try {
      accessSync(path);
    } catch {
      return name;
    }
  }
  return missingFor(options);
}

/**
 * A lab's name for tests of this checkout: the next run finds what a killed one has left, and the tests of another checkout on
 * the same machine have labs of their own.
 */
export const labName = (what: string): string =>
  `${what}-${createHash("sha256").update(process.cwd()).digest("hex").slice(0, 4)}`;

const runs = (program: string): boolean => {
  try {
    execFileSync(program, ["version", "--client"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
};

/** The machine's own kubectl, as the pages say it. */
export const hasKubectl = runs("kubectl");

/** The newest kubectl: the one that make assets builds, else the machine's own; undefined where there is none. */
export const newestKubectl = ((): string | undefined => {
  const built = join(findAssets() ?? "", "kubectl");
  if (existsSync(built)) return built;
  return hasKubectl ? "kubectl" : undefined;
})();

export interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** kubectl as a user runs it, against one cluster of the lab. */
export function kubectl(
  lab: Lab,
  cluster: string,
  args: readonly string[],
  input?: string,
  env: Record<string, string> = {},
): Promise<Result> {
  const kubeconfig = lab.state.clusters.find((c) => c.name === cluster)!.kubeconfig;
  return new Promise((resolve) => {
    const child = execFile(
      newestKubectl!,
      ["--kubeconfig", kubeconfig, ...args],
      { timeout: 30_000, env: { ...process.env, ...env } },
      (error, out, err) =>
        resolve({ code: error ? (typeof error.code === "number" ? error.code : 1) : 0, out, err }),
    );
    child.stdin?.end(input ?? "");
  });
}

/** BIRD's routes of one family with all attributes, on a cluster's router. */
export const birdRoutes = (lab: Lab, cluster: string, ...filter: readonly string[]): Promise<string> =>
  birdc(lab.state.clusters.find((c) => c.name === cluster)!.router, "show", "route", "all", ...filter);

/** Since when each of the router's sessions with nodes is up, by BIRD's protocol name. */
export async function sessionsSince(lab: Lab, cluster: string): Promise<Record<string, string>> {
  const out: Record<string, string> = {};
  const { router } = lab.state.clusters.find((c) => c.name === cluster)!;
  for (const line of (await birdc(router, "show", "protocols")).split("\n")) {
    const m = line.match(/^(\S+_node\d+)\s+BGP\s+\S+\s+(\S+)\s+(\S+)\s+(.*)$/);
    if (m) out[m[1]!] = m[4]!.startsWith("Established") ? m[3]! : `down: ${m[2]} ${m[4]}`;
  }
  return out;
}

/** Milliseconds of the day of a time as BIRD prints it. */
const msOf = (time: string): number => {
  const [h, m, s] = time.split(":").map(Number) as [number, number, number];
  return ((h * 60 + m) * 60 + s) * 1000;
};

/**
 * Whether sessions are still the same ones. BIRD keeps a session's age and prints it by the clock of the moment: a clock that
 * is being corrected moves all of them by a little.
 */
export const sameSessions = (
  before: Readonly<Record<string, string>>,
  now: Readonly<Record<string, string>>,
): boolean =>
  Object.keys(before).join(" ") === Object.keys(now).join(" ") &&
  Object.entries(before).every(([name, since]) => Math.abs(msOf(since) - msOf(now[name]!)) < 100);

/** Milliseconds until `check` holds. @throws Error after `limitMs` */
export async function timeUntil(
  limitMs: number,
  what: string,
  check: () => Promise<boolean>,
): Promise<number> {
  const start = performance.now();
  if (!(await until(check, limitMs, 20))) throw new Error(`${what}: not within ${limitMs} ms`);
  return performance.now() - start;
}

/** Addresses that everybody has, to see whether one moved. */
export async function addressesOf(lab: Lab): Promise<string> {
  const out: string[] = [];
  for (const cluster of lab.topology.clusters) {
    const claims = (await lab.client(cluster.name).list(kinds.IPAllocation)).items;
    // A claim that is being given back comes to its end whatever else happens.
    const held = claims.filter((c) => c.status?.phase !== "Releasing" && c.status?.phase !== "Cooling");
    out.push(
      ...held.map((c) => `${cluster.name} ${c.spec.prefix} ${c.spec.owner.kind} ${c.spec.owner.name}`),
    );
    for (const service of (await lab.client(cluster.name).list(kinds.Service)).items)
      out.push(
        `${cluster.name} ${service.metadata.name} ${JSON.stringify(service.status?.loadBalancer ?? {})}`,
      );
  }
  return out.sort().join("\n");
}

export interface Pinging {
  /** Stops and tells how many were sent and lost, by target. */
  losses(): Promise<readonly { readonly target: string; readonly sent: number; readonly lost: number }[]>;
}

/** 100 pings a second from a pod to each target, until asked. */
export function pinging(lab: Lab, pod: string, targets: readonly string[]): Pinging {
  const running = targets.map((target) => ({
    target,
    program: begin(lab.state, pod, ["ping", "-i", "0.01", "-W", "2", "-q", target]),
  }));
  return {
    async losses() {
      return await Promise.all(
        running.map(async ({ target, program }) => ({ target, ...pingLoss(await program.end("SIGINT")) })),
      );
    },
  };
}

/** Conditions of a node's NodeNetwork by type. */
export async function conditionsOf(
  lab: Lab,
  cluster: string,
  node: string,
): Promise<Record<string, { status: string; reason: string; message: string }>> {
  const network = (await nodeNetworks(lab, cluster)).find((n) => n.metadata.name === node);
  return Object.fromEntries((network?.status?.conditions ?? []).map((c) => [c.type, c]));
}

/** Ids of all eBPF links of the machine. */
export async function linkIds(): Promise<readonly number[]> {
  const links = JSON.parse(await run("bpftool", ["-j", "link", "show"])) as { id: number }[];
  return links.map((l) => l.id);
}

/**
 * How many eBPF programs, links and perf events the lab's processes hold, by kind. Other things that go on on this machine
 * do not count.
 */
export function heldBy(lab: Lab): Readonly<Record<string, number>> {
  const held: Record<string, number> = {};
  for (const pid of processesOf(lab.state.cgroup)) {
    let files: string[];
    try {
      files = readdirSync(`/proc/${pid}/fd`);
    } catch {
      // It ended while we looked.
      continue;
    }
    for (const file of files) {
      try {
        const kind = readlinkSync(`/proc/${pid}/fd/${file}`).match(
          /^anon_inode:\[?(bpf-prog|bpf_link|perf_event)/,
        )?.[1];
        if (kind) held[kind] = (held[kind] ?? 0) + 1;
      } catch {
        // Closed while we looked.
      }
    }
  }
  return held;
}

export { run, runIn, until };
