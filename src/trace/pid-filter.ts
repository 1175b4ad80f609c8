// trace: `-p`: programs that return at once unless they run in one process, where the kernel cannot filter by itself.
import type { AttachPoint, CompiledProgram, CompiledScript } from "../script/types.ts";

/** Providers whose events the kernel hands to programs whoever causes them; the others are attached to the process alone. */
const everybodys: ReadonlySet<string> = new Set([
  "tracepoint",
  "rawtracepoint",
  "kprobe",
  "kretprobe",
  "fentry",
  "fexit",
]);

/** bpf_get_current_pid_tgid() */
const currentPidTgid = 14;

/**
 * r6 = r1; call; r0 >>= 32; if r0 == pid goto on; r0 = 0; exit; on: r1 = r6. r6 is nobody's yet. All jumps and calls of the code
 * behind it are relative.
 */
function prologue(pid: number): Uint8Array {
  const instructions: readonly (readonly [op: number, registers: number, offset: number, value: number])[] = [
    [0xbf, 0x16, 0, 0],
    [0x85, 0x00, 0, currentPidTgid],
    [0x77, 0x00, 0, 32],
    [0x15, 0x00, 2, pid],
    [0xb7, 0x00, 0, 0],
    [0x95, 0x00, 0, 0],
    [0xbf, 0x61, 0, 0],
  ];
  const code = new Uint8Array(instructions.length * 8);
  const view = new DataView(code.buffer);
  for (const [i, [op, registers, offset, value]] of instructions.entries()) {
    view.setUint8(i * 8, op);
    view.setUint8(i * 8 + 1, registers);
    view.setInt16(i * 8 + 2, offset, true);
    view.setInt32(i * 8 + 4, value, true);
  }
  return code;
}

function filtered(program: CompiledProgram, head: Uint8Array): CompiledProgram {
  const shift = head.length / 8;
  const code = new Uint8Array(head.length + program.code.length);
  code.set(head);
  code.set(program.code, head.length);
  return {
    ...program,
    code,
    relocations: program.relocations.map((r) => ({ ...r, instruction: r.instruction + shift })),
    lines: program.lines.map((l) => ({ ...l, instruction: l.instruction + shift })),
  };
}

/** The script for events of one process (a tgid of the initial namespace); BEGIN, END, timers and iterators are not touched. */
export function forProcess(script: CompiledScript, pid: number): CompiledScript {
  const head = prologue(pid);
  const pointOf = (index: number): AttachPoint | undefined => script.attach.find((p) => p.program === index);
  return {
    ...script,
    programs: script.programs.map((program, i) =>
      everybodys.has(pointOf(i)?.provider ?? "") ? filtered(program, head) : program,
    ),
  };
}
