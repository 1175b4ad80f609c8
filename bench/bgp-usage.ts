// bench: what a process and its children have cost so far, as the kernel counts it.
import { readdirSync, readFileSync } from "node:fs";

export interface Usage {
  /** CPU seconds of all threads, in user and kernel mode. */
  readonly cpu: number;
  /** CPU seconds of the first thread of each process alone. */
  readonly mainCpu: number;
  /** Seconds that the first thread of each process was ready to run and had to wait for a CPU: what the machine's other work costs. */
  readonly mainWait: number;
  /** Resident set in MB: now, and at its largest. */
  readonly rss: number;
  readonly peak: number;
}

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A thread that has just ended.
    return "";
  }
};

/** Of a process and all its descendants. */
export function usage(pid: number): Usage {
  const status = read(`/proc/${pid}/status`);
  const kilobytes = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
  const tasks = readdirSync(`/proc/${pid}/task`);
  const seconds = (task: string, column = 0) =>
    Number(read(`/proc/${pid}/task/${task}/schedstat`).split(" ")[column] ?? 0) / 1e9;
  let total: Usage = {
    cpu: tasks.reduce((sum, task) => sum + seconds(task), 0),
    mainCpu: seconds(String(pid)),
    mainWait: seconds(String(pid), 1),
    rss: kilobytes("VmRSS") / 1000,
    peak: kilobytes("VmHWM") / 1000,
  };
  for (const task of tasks)
    for (const child of read(`/proc/${pid}/task/${task}/children`).split(" "))
      if (child.trim() !== "") total = sum(total, usage(Number(child)));
  return total;
}

const sum = (a: Usage, b: Usage): Usage => ({
  cpu: a.cpu + b.cpu,
  mainCpu: a.mainCpu + b.mainCpu,
  mainWait: a.mainWait + b.mainWait,
  rss: a.rss + b.rss,
  peak: a.peak + b.peak,
});
