// trace: a loaded script's programs put on their attach points, and taken off again.
import { AttachType, Fd } from "../kernel/bpf.ts";
import { close, closeInBackground, hasCode, read } from "../kernel/ffi.ts";
import { type BpfLink, createIterator, linkTracing, openRawTracepoint } from "../kernel/links.ts";
import {
  attachPerfEvent,
  kprobeEvent,
  onlineCpus,
  openPerfEvent,
  type PerfEventSpec,
  PerfType,
  SW_CPU_CLOCK,
  tracepointEvent,
  uprobeEvent,
} from "../kernel/perf.ts";
import type { AttachPoint } from "../script/types.ts";
import type { LoadedScript } from "./load.ts";
import { say } from "./messages.ts";

export interface AttachOptions {
  /** Only events of this process, where the kernel can filter. */
  readonly pid?: number;
  /** Process of the command that the script runs: its USDT probes are put on for it alone. */
  readonly command?: number;
}

type Handle = BpfLink | Fd;

/** Descriptors that one process can be handed at its start without fuss. */
const mostHandedOver = 2048;

/** Attach points that were refused are named one by one up to this many. */
const mostNamed = 10;

/** Messages about refused points, the first of them in full. */
const named = (failures: readonly string[]): readonly string[] =>
  failures.length <= mostNamed
    ? failures
    : [...failures.slice(0, mostNamed), say.attachFailuresLeftOut(failures.length - mostNamed)];

/** Attach points that the kernel refused, one message each. */
export class AttachError extends Error {
  readonly failures: readonly string[];
  constructor(failures: readonly string[], options?: ErrorOptions) {
    super(named(failures).join("\n"), options);
    this.name = "AttachError";
    this.failures = named(failures);
  }
}

/** What is attached. Iterators are not: they are run once, by {@link Attachment.iterate}. */
export class Attachment {
  readonly #handles: Handle[];
  readonly #iterators: BpfLink[];
  /** Attach points that are on. */
  readonly probes: number;
  /** Messages about points that are off because the kernel refused them, where the run goes on without. */
  readonly skipped: readonly string[];

  constructor(handles: Handle[], iterators: BpfLink[], probes: number, skipped: readonly string[] = []) {
    this.#handles = handles;
    this.#iterators = iterators;
    this.probes = probes;
    this.skipped = named(skipped);
  }

  /** Runs the iterators, each over all its objects: they run as long as there is something to read, and print nothing. */
  iterate(): void {
    const buffer = new Uint8Array(4096);
    for (const link of this.#iterators) {
      using fd = createIterator(link);
      while (read(fd.number, buffer) > 0);
    }
  }

  #take(): number[] {
    return [...this.#handles.splice(0), ...this.#iterators.splice(0)].flatMap((handle) =>
      handle instanceof Fd && !handle.open ? [] : [handle.disown()],
    );
  }

  /**
   * For a process that is about to end: whoever closes a tracepoint last waits for it, in exit(2) as well. A small process
   * inherits the descriptors, waits for our end, and does that waiting in our place. The run's gate is shut: nothing is
   * recorded any more.
   */
  async leave(): Promise<void> {
    if (this.#handles.length === 0 || this.#handles.length > mostHandedOver) return this.detach();
    const { spawn } = process.getBuiltinModule("node:child_process");
    const fds = this.#take();
    const heir = spawn("/bin/sh", ["-c", "read -r _"], {
      detached: true,
      stdio: ["pipe", "ignore", "ignore", ...fds],
    });
    heir.on("error", () => {
      // Without a shell the closes below are the last ones, and wait.
    });
    heir.unref();
    (heir.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    for (const fd of fds) close(fd);
  }

  /** Takes everything off. The last close of a tracepoint waits for the kernel's grace periods: none of it on this thread. */
  async detach(): Promise<void> {
    await Promise.all(this.#take().map(closeInBackground));
  }
}

/**
 * Attaches every point. Either all that must be are on when this returns, or none. Points of a wildcard may be left out, but not all.
 * @throws AttachError that names the attach points
 */
export async function attachAll(loaded: LoadedScript, options: AttachOptions = {}): Promise<Attachment> {
  const handles: Handle[] = [];
  const iterators: BpfLink[] = [];
  const failed: string[] = [];
  const left: string[] = [];
  let cause: unknown;
  let probes = 0;
  for (const point of loaded.script.attach) {
    try {
      const made = attachOne(loaded, point, options);
      if (point.iterator !== undefined) iterators.push(...(made as BpfLink[]));
      else handles.push(...made);
      probes++;
    } catch (error) {
      cause ??= error;
      const reason =
        point.perf?.kind === "hardware" && hasCode(error, "ENOENT", "EOPNOTSUPP", "EINVAL")
          ? say.noHardware(point.text)
          : say.attachFailed(point.text, (error as Error).message);
      if (point.missing === undefined) failed.push(reason);
      else if (point.missing === "warn") left.push(reason);
    }
  }
  const none = probes === 0 && left.length > 0;
  if (failed.length === 0 && !none) return new Attachment(handles, iterators, probes, left);
  await new Attachment(handles, iterators, probes).detach();
  throw new AttachError([...failed, ...left], { cause });
}

function attachOne(loaded: LoadedScript, point: AttachPoint, options: AttachOptions): Handle[] {
  const { fd } = loaded.program(point.program);
  const pid =
    point.userFunction?.pid ?? options.pid ?? (point.provider === "usdt" ? options.command : undefined);
  const type = loaded.script.programs[point.program]?.type;
  // A program for a tracepoint may be on the raw one below it.
  if (point.tracepoint && type === "tracepoint")
    return [attachPerfEvent(fd, tracepointEvent(point.tracepoint.id, point.text))];
  if (point.rawTracepoint)
    return [
      type === "tp_btf"
        ? linkOrOpen(fd, AttachType.TRACE_RAW_TP)
        : openRawTracepoint(fd, point.rawTracepoint.name),
    ];
  if (point.kernelFunction) {
    const { name, offset, ret } = point.kernelFunction;
    if (type === "fentry") return [linkOrOpen(fd, AttachType.TRACE_FENTRY)];
    if (type === "fexit") return [linkOrOpen(fd, AttachType.TRACE_FEXIT)];
    return [attachPerfEvent(fd, kprobeEvent(name, offset, ret))];
  }
  if (point.userFunction) {
    const { path, offset, ret, semaphore } = point.userFunction;
    const which = {
      ...(pid === undefined ? {} : { pid }),
      ...(semaphore === undefined ? {} : { semaphore }),
    };
    return [attachPerfEvent(fd, uprobeEvent(path, offset, ret, which))];
  }
  if (point.perf) return attachSampled(fd, point, point.perf, options.pid);
  if (point.watchpoint) return attachWatchpoint(fd, point, point.watchpoint, options.pid ?? options.command);
  if (point.iterator !== undefined) return [linkTracing(fd, AttachType.TRACE_ITER)];
  return [];
}

/** Links of TRACING programs came with kernel 5.5 by BPF_RAW_TRACEPOINT_OPEN and with 5.18 by BPF_LINK_CREATE. */
function linkOrOpen(fd: number, attachType: AttachType): BpfLink {
  try {
    return linkTracing(fd, attachType);
  } catch (error) {
    if (!hasCode(error, "EINVAL")) throw error;
    return openRawTracepoint(fd);
  }
}

function attachSampled(
  fd: number,
  point: AttachPoint,
  perf: NonNullable<AttachPoint["perf"]>,
  pid: number | undefined,
): Handle[] {
  const spec = {
    type: perf.kind === "hardware" ? PerfType.HARDWARE : PerfType.SOFTWARE,
    config: BigInt(perf.kind === "interval" || perf.kind === "profile" ? SW_CPU_CLOCK : perf.config),
    period: perf.period,
    detail: point.text,
    // Timers are the script's own; a process to watch does not change when they fire.
    ...(pid === undefined || perf.kind === "interval" ? {} : { pid }),
  };
  // An interval fires once, on one CPU; the others sample each.
  const cpus = onlineCpus();
  const on = perf.kind === "interval" ? cpus.slice(0, 1) : cpus;
  return attachEach(
    fd,
    on.map((cpu) => ({ ...spec, cpu })),
  );
}

/** HW_BREAKPOINT_R, _W and _X (include/uapi/linux/hw_breakpoint.h). */
const accesses: Readonly<Record<string, number>> = { r: 1, w: 2, x: 4 };

/** In a process: wherever it runs. Without one the address is the kernel's own, on every CPU. */
function attachWatchpoint(
  fd: number,
  point: AttachPoint,
  { address, length, mode }: NonNullable<AttachPoint["watchpoint"]>,
  pid: number | undefined,
): Handle[] {
  const spec = {
    type: PerfType.BREAKPOINT,
    config: 0n,
    period: 1n,
    config1: address,
    config2: BigInt(length),
    breakpointType: [...mode].reduce((all, letter) => all | (accesses[letter] ?? 0), 0),
    detail: point.text,
  };
  return attachEach(
    fd,
    pid === undefined ? onlineCpus().map((cpu) => ({ ...spec, cpu })) : [{ ...spec, pid, cpu: -1 }],
  );
}

/** All of some events, or none. */
function attachEach(fd: number, specs: readonly PerfEventSpec[]): Handle[] {
  const handles: Handle[] = [];
  try {
    for (const spec of specs) handles.push(attachPerfEvent(fd, openPerfEvent(spec)));
  } catch (error) {
    for (const handle of handles) handle[Symbol.dispose]();
    throw error;
  }
  return handles;
}
