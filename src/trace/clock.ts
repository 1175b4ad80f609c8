// trace: the kernel's clocks, to the nanosecond: scripts stamp events by the boot clock, people read the wall's.
import { addressOf, systemCall } from "../kernel/ffi.ts";

/** clockid_t (include/uapi/linux/time.h). */
const CLOCK_REALTIME = 0;
const CLOCK_BOOTTIME = 7;
const CLOCK_TAI = 11;

const clockGetTime: Readonly<Record<string, number>> = { x64: 228, arm64: 113, riscv64: 113 };

function read(clock: number): bigint {
  const number = clockGetTime[process.arch];
  if (number === undefined) throw new Error(`clock_gettime is not known on ${process.arch}`);
  const time = new BigInt64Array(2);
  systemCall("clock_gettime", number, clock, addressOf(time));
  return (time[0] ?? 0n) * 1_000_000_000n + (time[1] ?? 0n);
}

/** Nanoseconds since the epoch. */
export const wallClock = (): bigint => read(CLOCK_REALTIME);

/** Nanoseconds since boot, sleep included: bpf_ktime_get_boot_ns(). */
export const bootClock = (): bigint => read(CLOCK_BOOTTIME);

/** Nanoseconds of international atomic time: bpf_ktime_get_tai_ns(). */
export const taiClock = (): bigint => read(CLOCK_TAI);
