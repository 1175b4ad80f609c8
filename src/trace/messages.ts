// trace: what this room tells users; no other file of it words a message for them.

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;
const bytes = (n: number): string =>
  n >= 1 << 20 ? `${Math.ceil(n / (1 << 20))} MiB` : n >= 1024 ? `${Math.ceil(n / 1024)} KiB` : `${n} bytes`;

/** Every message, as a function of the facts. */
export const say = {
  refused: (probe: string, reason: string) => `Error loading BPF program for ${probe}: ${reason}`,
  refusedHint: (instruction: number) =>
    `the kernel's verifier stopped at instruction ${instruction}; -d verifier prints its whole log`,
  loadFailed: (probe: string, reason: string) => `Error loading BPF program for ${probe}: ${reason}`,
  attachFailed: (probe: string, reason: string) => `Error attaching probe: ${probe}: ${reason}`,
  attachFailuresLeftOut: (n: number) => `${count(n, "more probe")} could not be attached`,
  noSuchMap: (name: string) => `the script asks for the map ${name}, which this node does not have`,
  noBtf: () => "this kernel has no BTF (/sys/kernel/btf/vmlinux): CONFIG_DEBUG_INFO_BTF is needed",
  noTracefs: (why: string) =>
    `there are no tracepoints, as tracefs is not mounted at /sys/kernel/tracing and cannot be: ${why}`,
  mountedTracefs: (path: string) => `mounted tracefs at ${path}`,
  notNamed: (why: string) => `scripts see this program under another name than bpftrace's: ${why}`,
  notRoot: () => "tracing needs root (CAP_BPF and CAP_PERFMON at least)",
  indexNotKept: (why: string) =>
    `the index of kernel types could not be kept, so each start is slower: ${why}`,
  attached: (n: number) => `Attached ${count(n, "probe")}`,
  attaching: (n: number) => `Attaching ${count(n, "probe")}...`,
  lost: (n: number) => `Lost ${n} events`,
  lostInAll: (n: number) => `Total lost event count: ${n}`,
  environmentNumber: (name: string, value: string) => `${name}=${value} is not a number; it is ignored`,
  mapFull: (n: number) => `Map full; can't update element (${n} times)`,
  runtimeErrors: (n: number) =>
    `${count(n, "runtime error")} in probes: a division by zero, or a loop that was cut short`,
  signal: (name: string) => `unknown signal ${name}`,
  noHardware: (probe: string) => `${probe}: this machine has no such hardware counter`,

  tooManyRuns: (limit: number) => `this node already runs ${limit} traces`,
  unknownRun: (run: string) => `no trace ${run} is prepared here`,
  knownRun: (run: string) => `trace ${run} exists already`,
  tooLong: (limitMs: number) => `a trace may run for ${Math.floor(limitMs / 1000)} s at most`,
  duration: () => "the duration must be more than 0",
  mapsTooLarge: (wanted: number, limit: number) =>
    `the script's maps need ${bytes(wanted)} of kernel memory, this node allows ${bytes(limit)}`,
  tracerDied: (how: string) => `the tracer process ended (${how})`,
  tracerUnavailable: (waitMs: number) =>
    `the tracer process is being restarted; try again in ${Math.ceil(waitMs / 1000)} s`,
  tracerClosed: () => "the tracer is shut down",
  noMemoryLimit: (why: string) => `the tracer runs without a memory limit of its own: ${why}`,
  cgroupStays: (directory: string) => `the tracer's cgroup ${directory} is still in use and stays`,
  hubLost: () => "connection to the hub lost",
  failedInRun: (reason: string) => `the trace failed: ${reason}`,
  ownersFull: (limit: number) => `the owner map holds its ${limit} entries already`,

  noProgram: () => "nothing to run: give -e PROGRAM or a FILE",
  cannotRead: (path: string, reason: string) => `cannot read ${path}: ${reason}`,
  commandFailed: (command: string, reason: string) => `cannot run ${command}: ${reason}`,
  noProcess: (pid: number) => `no process ${pid}`,
  skipped: (what: string, why: string) => `${what}: ${why}`,
};
