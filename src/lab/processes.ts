// lab: daemons of the lab: started in a namespace and a cgroup of theirs, found again by pid and start time, ended by id.
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { until } from "./shell.ts";

/** Enough to find a process again and never to end another one that got its number. */
export interface ProcessRecord {
  readonly name: string;
  readonly pid: number;
  /** Clock ticks after boot, field 22 of /proc/<pid>/stat. */
  readonly startTime: string;
  readonly log: string;
}

function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie is gone for every purpose of ours.
    return fields[0] === "Z" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

export const isAlive = (record: ProcessRecord): boolean => startTimeOf(record.pid) === record.startTime;

export interface StartOptions {
  readonly name: string;
  readonly command: readonly string[];
  readonly netns?: string;
  /** Directory of a cgroup v2 group that the process is put into before it runs anything. */
  readonly cgroup?: string;
  readonly log: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a daemon in a session of its own, its output appended to the log. */
export function start(options: StartOptions): ProcessRecord {
  mkdirSync(dirname(options.log), { recursive: true });
  const log = openSync(options.log, "a");
  const inside = options.netns ? ["nsenter", `--net=/run/netns/${options.netns}`, "--"] : [];
  // The shell puts itself into the group and then becomes the program, so no event of it is ever outside.
  const join0 = options.cgroup ? `echo 0 > ${options.cgroup}/cgroup.procs && ` : "";
  const child = spawn("/bin/sh", ["-c", `${join0}exec "$@"`, options.name, ...inside, ...options.command], {
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...process.env, ...options.env },
  });
  closeSync(log);
  if (child.pid === undefined) throw new Error(`${options.name}: could not be started`);
  child.unref();
  const startTime = startTimeOf(child.pid);
  if (startTime === undefined) throw new Error(`${options.name}: ended at once; see ${options.log}`);
  return { name: options.name, pid: child.pid, startTime, log: options.log };
}

/** Signals a process if it is still the one of the record. */
export function signal(record: ProcessRecord, name: NodeJS.Signals): boolean {
  if (!isAlive(record)) return false;
  try {
    return process.kill(record.pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** Ends processes: SIGTERM, then SIGKILL for those that are still there after `graceMs`. */
export async function stop(records: readonly ProcessRecord[], graceMs: number): Promise<void> {
  for (const record of records) signal(record, graceMs > 0 ? "SIGTERM" : "SIGKILL");
  await until(() => !records.some(isAlive), graceMs > 0 ? graceMs : 2_000, 20);
  for (const record of records) signal(record, "SIGKILL");
  await until(() => !records.some(isAlive), 2_000, 20);
}

/** Mount point of the cgroup v2 tree. @throws Error where there is none */
export function cgroupRoot(): string {
  for (const line of readFileSync("/proc/mounts", "utf8").split("\n")) {
    const [, path, type] = line.split(" ");
    if (type === "cgroup2" && path) return path;
  }
  throw new Error("no cgroup v2 tree is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup/unified");
}

export const makeCgroup = (path: string): void => {
  mkdirSync(path, { recursive: true });
};

/** Every process in a cgroup and below it. */
export function processesOf(cgroup: string): readonly number[] {
  const out: number[] = [];
  try {
    out.push(...readFileSync(join(cgroup, "cgroup.procs"), "latin1").split("\n").filter(Boolean).map(Number));
    for (const entry of readdirSync(cgroup, { withFileTypes: true }))
      if (entry.isDirectory()) out.push(...processesOf(join(cgroup, entry.name)));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return out;
}

/** Removes a cgroup and everything below it; its processes must have ended. */
export function removeCgroup(cgroup: string): void {
  let entries: string[];
  try {
    entries = readdirSync(cgroup, { withFileTypes: true })
      .filter((e) => e.isDirectory())
      .map((e) => e.name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  for (const entry of entries) removeCgroup(join(cgroup, entry));
  rmdirSync(cgroup);
}

/** Puts this process into a cgroup. */
export const joinCgroup = (cgroup: string): void => writeFileSync(join(cgroup, "cgroup.procs"), "0");
