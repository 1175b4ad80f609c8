// e2e: what strangers do to the datapath: a program ahead of ours, an emptied map.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { ProgramType } from "../../src/kernel/bpf.ts";
import { linkTcx, queryTcx } from "../../src/kernel/links.ts";
import { BpfMap } from "../../src/kernel/maps.ts";
import { loadProgram } from "../../src/kernel/programs.ts";

/** Index of an interface in the namespace of this thread. */
function indexOf(name: string): number {
  const [link] = JSON.parse(
    execFileSync("ip", ["-j", "link", "show", "dev", name], { encoding: "utf8" }),
  ) as [{ ifindex: number }];
  return link.ifindex;
}

/** r0 = TCX_NEXT or TCX_REDIRECT; exit. */
const returning = (verdict: number): Uint8Array => {
  const code = new Uint8Array(16);
  const view = new DataView(code.buffer);
  view.setUint8(0, 0xb7);
  view.setInt32(4, verdict, true);
  view.setUint8(8, 0x95);
  return code;
};

/**
 * Attaches a program ahead of everything on an interface's ingress. It returns TC_ACT_REDIRECT without having named a
 * target, so what it sees goes nowhere. In the namespace of this thread.
 */
export function attachRedirect(interfaceName: string): Disposable {
  using program = loadProgram({ type: ProgramType.SCHED_CLS, name: "e2e_redirect", code: returning(7) });
  return linkTcx(program.fd, indexOf(interfaceName), "ingress", { at: "first" });
}

/** Id of the first link on an interface's ingress, 0 if there is none. In the namespace of this thread. */
export const linkOn = (interfaceName: string): number =>
  queryTcx(indexOf(interfaceName), "ingress").entries[0]?.linkId ?? 0;

/** Deletes every entry of the pinned map of services. How many there were. */
export function emptyServices(directory: string): number {
  using map = BpfMap.openPinned(join(directory, "services"));
  let deleted = 0;
  for (const [key] of [...map.entries()]) if (map.delete(key)) deleted++;
  return deleted;
}
