// trace: which of the kernel's functions a program of a type may call. Nothing but trying tells: each type has its own lists.
import { KernelError } from "../kernel/ffi.ts";
import { loadProgram, VerifierError } from "../kernel/programs.ts";
import type { ProgramType } from "../script/types.ts";
import { programTypes } from "./load.ts";

/** `call kfunc; r0 = 0; exit`. */
function callOf(btfId: number): Uint8Array {
  const code = new Uint8Array(24);
  code.set([0x85, 0x20]);
  new DataView(code.buffer).setUint32(4, btfId, true);
  code.set([0xb7], 8);
  code.set([0x95], 16);
  return code;
}

/** What the verifier says of a call that it does not allow, whatever its arguments. */
const refusals =
  /is not allowed|not allowed to call|not found in kernel module|invalid kernel function|does not support/;

/**
 * Tries a call without arguments: a program that is refused for its arguments may make it.
 * @param attachBtfId what programs of typed kinds attach to
 */
export function tryKfunc(btfId: number, type: ProgramType, attachBtfId: number | undefined): boolean {
  const { type: kind, attach, flags } = programTypes[type];
  try {
    using program = loadProgram({
      type: kind,
      name: "kfunc",
      code: callOf(btfId),
      flags: flags ?? 0,
      ...(attach === undefined ? {} : { expectedAttachType: attach }),
      ...(attachBtfId === undefined ? {} : { attachBtfId }),
    });
    return program.fd >= 0;
  } catch (error) {
    if (error instanceof VerifierError) return error.log !== "" && !refusals.test(error.log);
    if (error instanceof KernelError) return false;
    throw error;
  }
}
