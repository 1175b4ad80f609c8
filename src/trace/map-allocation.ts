// trace: which maps get their elements as they are needed instead of all at once, which takes the kernel 2-4 ms for each per-CPU map.
import { release } from "node:os";
import type { CompiledScript } from "../script/types.ts";

/**
 * Categories whose tracepoints fire with interrupts on. There the kernel's allocator (mm/bpf in 6.1's kernel/bpf/memalloc.c) refills
 * its lists between two events: a tight loop over 4,096 new keys finds room for each. With interrupts off it has 4 to 96 elements.
 */
const interruptible: ReadonlySet<string> = new Set(["syscalls", "raw_syscalls", "sock", "tcp", "udp"]);
const interruptibleEvents: ReadonlySet<string> = new Set([
  "net:net_dev_queue",
  "net:net_dev_start_xmit",
  "net:net_dev_xmit",
  "sched:sched_process_exec",
  "sched:sched_process_exit",
  "sched:sched_process_fork",
]);

/** Loops insert many keys at one event. */
const loopHelpers: ReadonlySet<number> = new Set([164, 181]);
const mostInserts = 4;

/** Whether a program inserts no more at an event than what the allocator always has ready. */
function insertsFew(code: Uint8Array): boolean {
  const view = new DataView(code.buffer, code.byteOffset, code.byteLength);
  let inserts = 0;
  for (let at = 0; at < code.byteLength; at += 8) {
    const op = code[at] ?? 0;
    const kind = op & 0x07;
    if (kind !== 0x05 && kind !== 0x06) continue;
    const helper = op === 0x85 && (code[at + 1] ?? 0) >> 4 === 0 ? view.getInt32(at + 4, true) : 0;
    if (loopHelpers.has(helper)) return false;
    if (helper === 2 && ++inserts > mostInserts) return false;
    if (op !== 0x85 && op !== 0x95 && view.getInt16(at + 2, true) < 0) return false;
  }
  return true;
}

/** Since 6.1 programs of any type may use maps that allocate. */
function kernelAllocates(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split(".").map(Number);
  return major > 6 || (major === 6 && minor >= 1);
}

/** Indices of the maps that all their users can fill as they go. */
export function allocatedOnDemand(script: CompiledScript, kernel = release()): ReadonlySet<number> {
  const found = new Set<number>();
  if (!kernelAllocates(kernel)) return found;
  const calm = script.programs.map(({ type, code }, index) => {
    if (type === "syscall") return insertsFew(code);
    const points = script.attach.filter((point) => point.program === index);
    return (
      points.every(
        ({ tracepoint, userFunction }) =>
          userFunction !== undefined ||
          (tracepoint !== undefined &&
            (interruptible.has(tracepoint.category) ||
              interruptibleEvents.has(`${tracepoint.category}:${tracepoint.event}`))),
      ) && insertsFew(code)
    );
  });
  for (const [map, { type }] of script.maps.entries())
    if (
      type === "percpu_hash" &&
      script.programs.every(({ relocations }, p) => calm[p] || !relocations.some((r) => r.map === map))
    )
      found.add(map);
  return found;
}
