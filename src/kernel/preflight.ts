// kernel: whether this machine has what Waggle needs: each check is a value with its outcome and the fix.
import { existsSync, readdirSync, readFileSync, readlinkSync, statfsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { cgroupRoot } from "./cgroup.ts";
import { type FeatureName, features } from "./features.ts";
import { hasLibbpf } from "./libbpf.ts";

/** `lab`: the fleet in a box on this machine. `node`: agent and speaker of a real node. */
export type Purpose = "lab" | "node";

/** `ok`: there. `note`: works, but worth knowing. `failed`: it will not work before the fix. */
export type CheckState = "ok" | "note" | "failed";

export interface CheckResult {
  readonly name: string;
  readonly state: CheckState;
  /** What was found. */
  readonly detail: string;
  /** What to do; absent where there is nothing to do. */
  readonly fix?: string;
}

export interface PreflightOptions {
  readonly purpose: Purpose;
  /** Where a node's bpffs is looked for; default /sys/fs/bpf. */
  readonly bpffs?: string;
  /** Directory of the CNI plugins; default CNI_PATH, /opt/cni/bin, /usr/lib/cni. */
  readonly cniPath?: string;
}

interface Check {
  readonly name: string;
  readonly purposes: readonly Purpose[];
  readonly run: (options: PreflightOptions) => Omit<CheckResult, "name">;
}

const ok = (detail: string): Omit<CheckResult, "name"> => ({ state: "ok", detail });
const note = (detail: string, fix?: string): Omit<CheckResult, "name"> => ({
  state: "note",
  detail,
  ...(fix !== undefined && { fix }),
});
const failed = (detail: string, fix: string): Omit<CheckResult, "name"> => ({ state: "failed", detail, fix });

const both: readonly Purpose[] = ["lab", "node"];
const oldestKernel = [6, 1] as const;

/** "6.18.44" as numbers: [6, 18]. */
export function kernelVersion(release: string): readonly [major: number, minor: number] {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  return [Number(major ?? 0), Number(minor ?? 0)];
}

function kernel(): Omit<CheckResult, "name"> {
  const release = readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
  const [major, minor] = kernelVersion(release);
  const enough = major > oldestKernel[0] || (major === oldestKernel[0] && minor >= oldestKernel[1]);
  return enough ? ok(release) : failed(release, `run Linux ${oldestKernel.join(".")} or later`);
}

function feature(name: FeatureName, otherwise: (detail: string) => Omit<CheckResult, "name">): Check["run"] {
  return () => {
    try {
      return features[name].test() ? ok(features[name].use) : otherwise("this kernel has none");
    } catch (error) {
      return otherwise(String((error as Error).message));
    }
  };
}

const BPF_FS_MAGIC = 0xcafe4a11;

function bpffs(options: PreflightOptions): Omit<CheckResult, "name"> {
  const path = options.bpffs ?? "/sys/fs/bpf";
  if (!/\bbpf$/m.test(readFileSync("/proc/filesystems", "utf8")))
    return failed("the kernel has no BPF file system", "use a kernel with CONFIG_BPF_SYSCALL");
  const mounted = existsSync(path) && statfsSync(path).type >>> 0 === BPF_FS_MAGIC;
  if (mounted) return ok(`mounted at ${path}`);
  if (options.purpose === "lab") return ok("the lab mounts its own");
  return failed(`${path} is not one`, `mount -t bpf bpf ${path}, and for good in /etc/fstab`);
}

function cgroup2(): Omit<CheckResult, "name"> {
  const root = cgroupRoot();
  return root === undefined
    ? failed(
        "version 2 is mounted nowhere",
        "mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
      )
    : ok(`version 2 at ${root}`);
}

/** Path of a program, also where root's PATH has it and a user's has not. */
function programPath(name: string): string | undefined {
  const directories = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return directories.map((d) => join(d, name)).find((p) => existsSync(p));
}

const program =
  (name: string, debianPackage: string): Check["run"] =>
  () => {
    const path = programPath(name);
    return path === undefined
      ? failed("not installed", `apt-get install ${debianPackage}, or your distribution's package of it`)
      : ok(path);
  };

const neededPlugins = ["ptp", "host-local"] as const;

function cniPlugins(options: PreflightOptions): Omit<CheckResult, "name"> {
  const candidates = [options.cniPath ?? process.env.CNI_PATH, "/opt/cni/bin", "/usr/lib/cni"];
  const directories = candidates.filter((d) => d !== undefined);
  const found = directories.find((d) => neededPlugins.every((p) => existsSync(join(d, p))));
  return found === undefined
    ? failed(
        `no ${neededPlugins.join(" and ")} in ${directories.join(", ")}`,
        "apt-get install containernetworking-plugins, or set CNI_PATH",
      )
    : ok(`${neededPlugins.join(", ")} in ${found}`);
}

const TCP_LISTEN = "0A";

/** Inodes of sockets that listen on a TCP port or are bound to a UDP one, in this network namespace. */
function socketsOn(protocol: "tcp" | "udp", port: number): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  const inodes: string[] = [];
  for (const table of [protocol, `${protocol}6`]) {
    const path = `/proc/net/${table}`;
    if (!existsSync(path)) continue;
    for (const line of readFileSync(path, "utf8").split("\n").slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (!fields[1]?.endsWith(`:${wanted}`)) continue;
      if (protocol === "tcp" && fields[3] !== TCP_LISTEN) continue;
      if (fields[9] !== undefined) inodes.push(fields[9]);
    }
  }
  return inodes;
}

/** "bird (pid 812)" for a socket's inode; undefined where no process that we may look at has it. */
function ownerOf(inode: string): string | undefined {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name)))
    try {
      const fds = `/proc/${pid}/fd`;
      if (readdirSync(fds).some((fd) => readlinkSync(join(fds, fd)) === `socket:[${inode}]`))
        return `${readFileSync(`/proc/${pid}/comm`, "utf8").trim()} (pid ${pid})`;
    } catch {
      // The process ended, or is another user's: it cannot be the answer that we can give.
    }
  return undefined;
}

function port(protocol: "tcp" | "udp", number: number, fix: string): Check["run"] {
  return (options) => {
    if (options.purpose === "lab") return ok("the lab's nodes have namespaces of their own");
    const [inode] = socketsOn(protocol, number);
    if (inode === undefined) return ok("free");
    return note(`taken by ${ownerOf(inode) ?? "the kernel or a process of another namespace"}`, fix);
  };
}

const root = (): Omit<CheckResult, "name"> =>
  process.getuid?.() === 0
    ? ok("root")
    : failed("not root", "run as root (sudo), or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN");

const checks: readonly Check[] = [
  { name: "user", purposes: both, run: root },
  { name: "kernel", purposes: both, run: kernel },
  {
    name: "bpf(2)",
    purposes: both,
    run: feature("bpf", (d) =>
      failed(d, "run as root on a kernel with CONFIG_BPF_SYSCALL, without a lockdown of BPF"),
    ),
  },
  {
    name: "BTF",
    purposes: both,
    run: feature("btf", (d) =>
      failed(d, "use a kernel with CONFIG_DEBUG_INFO_BTF (distributions' kernels have it)"),
    ),
  },
  {
    name: "ring buffer",
    purposes: both,
    run: feature("ringBuffer", (d) => failed(d, "run Linux 5.8 or later")),
  },
  {
    name: "tcx",
    purposes: both,
    run: feature("tcx", (d) => note(`${d}; clsact is used (tcx came with Linux 6.6)`)),
  },
  {
    name: "libbpf",
    purposes: both,
    run: () =>
      hasLibbpf() ? ok("libbpf.so.1") : failed("libbpf.so.1 cannot be loaded", "apt-get install libbpf1"),
  },
  { name: "bpffs", purposes: both, run: bpffs },
  { name: "cgroups", purposes: both, run: cgroup2 },
  { name: "CNI plugins", purposes: both, run: cniPlugins },
  {
    name: "TCP port 179",
    purposes: both,
    run: port(
      "tcp",
      179,
      "set another listen port, or none, in ClusterNetwork: the daemon that has it stays",
    ),
  },
  {
    name: "UDP port 4789",
    purposes: both,
    run: port(
      "udp",
      4789,
      "move the VXLAN that has it to another port: without this one, VIPs reach backends of the same node only",
    ),
  },
  { name: "bird", purposes: ["lab"], run: program("bird", "bird2") },
  { name: "birdc", purposes: ["lab"], run: program("birdc", "bird2") },
  { name: "ip", purposes: ["lab"], run: program("ip", "iproute2") },
  { name: "nsenter", purposes: ["lab"], run: program("nsenter", "util-linux") },
];

/** Looks at everything that a purpose needs. Never throws for what it finds. */
export function preflight(options: PreflightOptions): CheckResult[] {
  return checks
    .filter((check) => check.purposes.includes(options.purpose))
    .map((check) => {
      try {
        return { name: check.name, ...check.run(options) };
      } catch (error) {
        return { name: check.name, ...failed(String((error as Error).message), "see the message") };
      }
    });
}
