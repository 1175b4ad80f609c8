// kernel: perf_event_open(2): tracepoints, samples, timers, software counters, kprobes, uprobes and breakpoints for BPF programs.
import { readFileSync } from "node:fs";
import { cString, Fd } from "./bpf.ts";
import { addressOf, hasCode, ioctl, KernelError, systemCall } from "./ffi.ts";
import { type BpfLink, linkPerfEvent } from "./links.ts";

/** enum perf_type_id (include/uapi/linux/perf_event.h). */
export const PerfType = { HARDWARE: 0, SOFTWARE: 1, TRACEPOINT: 2, BREAKPOINT: 5 } as const;

/** PERF_COUNT_SW_CPU_CLOCK: an hrtimer on each CPU. */
export const SW_CPU_CLOCK = 0;

export interface PerfEventSpec {
  readonly type: number;
  readonly config: bigint;
  /** Events, or ns for the clocks; 0: every event is delivered (tracepoints, probes). */
  readonly period?: bigint;
  /** Samples a second instead of a period. */
  readonly frequency?: bigint;
  /** Default -1: every process. */
  readonly pid?: number;
  /** -1: any, which needs a pid. Tracepoints and probes fire on all CPUs whatever is given. */
  readonly cpu: number;
  /** bp_addr, kprobe_func, uprobe_path. */
  readonly config1?: bigint;
  /** bp_len, probe_offset. */
  readonly config2?: bigint;
  /** HW_BREAKPOINT_R 1, W 2, X 4. */
  readonly breakpointType?: number;
  readonly detail: string;
}

/** PERF_ATTR_SIZE_VER5: what every kernel that has BTF takes. */
const attrSize = 112;
const FREQUENCY = 1n << 10n;
const PERF_FLAG_FD_CLOEXEC = 8;
const IOC_ENABLE = 0x2400;
const IOC_SET_BPF = 0x4004_2408;

const perfEventOpenNumber: Readonly<Record<string, number>> = { x64: 298, arm64: 241, riscv64: 241 };

/** Opens an event. @throws KernelError with `detail` (ENOENT: no such event or no such hardware, EACCES) */
export function openPerfEvent(spec: PerfEventSpec): Fd {
  const bytes = new Uint8Array(attrSize);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, spec.type, true);
  view.setUint32(4, attrSize, true);
  view.setBigUint64(8, spec.config, true);
  view.setBigUint64(16, spec.frequency ?? spec.period ?? 0n, true);
  view.setBigUint64(40, spec.frequency === undefined ? 0n : FREQUENCY, true);
  view.setUint32(52, spec.breakpointType ?? 0, true);
  view.setBigUint64(56, spec.config1 ?? 0n, true);
  view.setBigUint64(64, spec.config2 ?? 0n, true);
  const number = perfEventOpenNumber[process.arch];
  if (number === undefined) throw new Error(`perf_event_open is not known on ${process.arch}`);
  try {
    return new Fd(
      systemCall(
        "perf_event_open",
        number,
        addressOf(bytes),
        spec.pid ?? -1,
        spec.cpu,
        -1,
        PERF_FLAG_FD_CLOEXEC,
      ),
    );
  } catch (error) {
    if (error instanceof KernelError) throw new KernelError("perf_event_open", error.errno, spec.detail);
    throw error;
  }
}

/**
 * Runs a program at each sample or hit of an event, from now on. Closing what is returned ends it. A link where the kernel
 * has them (5.15), else the event itself holds the program.
 * @throws KernelError
 */
export function attachPerfEvent(programFd: number, event: Fd, cookie = 0n): BpfLink | Fd {
  try {
    const link = linkPerfEvent(programFd, event.number, cookie);
    ioctl(event.number, IOC_ENABLE, 0);
    event[Symbol.dispose]();
    return link;
  } catch (error) {
    if (!hasCode(error, "EINVAL", "EOPNOTSUPP")) throw error;
    ioctl(event.number, IOC_SET_BPF, programFd);
    ioctl(event.number, IOC_ENABLE, 0);
    return event;
  }
}

export const tracepointEvent = (id: number, detail: string): Fd =>
  openPerfEvent({ type: PerfType.TRACEPOINT, config: BigInt(id), cpu: 0, detail });

/** Type and the `retprobe` bit of a probe PMU ("kprobe", "uprobe"); undefined if this kernel has none. */
export function probePmu(
  name: "kprobe" | "uprobe",
): { readonly type: number; readonly retBit: bigint } | undefined {
  const directory = `/sys/bus/event_source/devices/${name}`;
  try {
    const type = Number(readFileSync(`${directory}/type`, "utf8"));
    const bit = /config:(\d+)/.exec(readFileSync(`${directory}/format/retprobe`, "utf8"))?.[1] ?? "0";
    return { type, retBit: 1n << BigInt(bit) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Bit of perf_event_attr.config where a uprobe's semaphore (its file offset) goes: the upper half. */
const semaphoreShift = 32n;

/**
 * A uprobe or uretprobe at a file offset. @param semaphore file offset of a USDT semaphore, which the kernel raises meanwhile
 * @throws KernelError (ENOENT, EINVAL for an offset outside of the text)
 */
export function uprobeEvent(
  path: string,
  offset: bigint,
  ret: boolean,
  options: { readonly pid?: number; readonly semaphore?: bigint } = {},
): Fd {
  const pmu = probePmu("uprobe");
  if (!pmu) throw new Error("this kernel has no uprobes");
  const name = cString(path);
  return openPerfEvent({
    type: pmu.type,
    config: (ret ? pmu.retBit : 0n) | ((options.semaphore ?? 0n) << semaphoreShift),
    config1: addressOf(name),
    config2: offset,
    cpu: options.pid === undefined ? 0 : -1,
    detail: `${path}:0x${offset.toString(16)}`,
    ...(options.pid === undefined ? {} : { pid: options.pid }),
  });
}

/** A kprobe or kretprobe by function name and offset. @throws KernelError (ENOENT, EINVAL) */
export function kprobeEvent(name: string, offset: number, ret: boolean): Fd {
  const pmu = probePmu("kprobe");
  if (!pmu) throw new Error("this kernel has no kprobes");
  const symbol = cString(name);
  return openPerfEvent({
    type: pmu.type,
    config: ret ? pmu.retBit : 0n,
    config1: addressOf(symbol),
    config2: BigInt(offset),
    cpu: 0,
    detail: `${name}${offset > 0 ? `+${offset}` : ""}`,
  });
}

/** Ids of a list of CPUs as sysfs writes it: "0-3,8". */
export function cpuIds(list: string): number[] {
  return list
    .trim()
    .split(",")
    .filter((part) => part !== "")
    .flatMap((part) => {
      const [first, last = first] = part.split("-").map(Number);
      return Array.from({ length: (last ?? 0) - (first ?? 0) + 1 }, (_, i) => (first ?? 0) + i);
    });
}

export const onlineCpus = (): number[] => cpuIds(readFileSync("/sys/devices/system/cpu/online", "utf8"));
