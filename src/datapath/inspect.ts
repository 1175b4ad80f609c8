// datapath: attachments and tunnel compared with what they should be.
import type { InterfaceInfo } from "../kernel/interfaces.ts";
import { BpfProgram } from "../kernel/programs.ts";
import { type Attacher, type ForeignProgram, type Hook, hookName, type ProgramName } from "./hooks.ts";
import {
  foreignAhead,
  interfaceMissing,
  linkDetached,
  linkMissing,
  programChanged,
  tunnelDown,
  tunnelMissing,
} from "./messages.ts";
import { tunnelDevice } from "./tunnel.ts";
import type { DesiredDatapath, Finding } from "./types.ts";

/** Foreign programs that see a packet before ours, XDP included: it runs ahead of every tc hook. */
export function programsAhead(
  hook: Hook,
  interfaces: readonly InterfaceInfo[],
  ahead: readonly ForeignProgram[],
): readonly ForeignProgram[] {
  const xdp = interfaces.find((i) => i.index === hook.interfaceIndex)?.xdpProgramId ?? 0;
  if (xdp === 0 || hook.direction === "egress") return ahead;
  using program = BpfProgram.openById(xdp);
  return [{ id: xdp, name: program?.info().name ?? "" }, ...ahead];
}

function inspectHook(
  hook: Hook,
  interfaces: readonly InterfaceInfo[],
  attacher: Attacher,
  program: BpfProgram | undefined,
): Finding[] {
  const state = attacher.state(hook);
  const subject = hookName(hook);
  const findings: Finding[] = programsAhead(hook, interfaces, state.ahead).map((p) => ({
    kind: "ForeignProgramAhead",
    subject,
    message: foreignAhead(p, subject),
    repairable: false,
    program: p,
  }));
  // A pod that has just come is no finding: followPods will attach to it.
  if (state.ours === "missing" && hook.program !== "pod_egress")
    findings.push({ kind: "LinkMissing", subject, message: linkMissing(subject), repairable: true });
  if (state.ours === "detached")
    findings.push({ kind: "LinkDetached", subject, message: linkDetached(subject), repairable: true });
  if (state.ours === "attached" && state.programId !== program?.info().id)
    findings.push({ kind: "ProgramChanged", subject, message: programChanged(subject), repairable: true });
  return findings;
}

export function inspectHooks(
  desired: DesiredDatapath,
  interfaces: readonly InterfaceInfo[],
  hooks: readonly Hook[],
  attacher: Attacher,
  programs: ReadonlyMap<ProgramName, BpfProgram>,
): Finding[] {
  const missing = desired.interfaces.filter((name) => !interfaces.some((i) => i.name === name));
  return [
    ...missing.map(
      (name): Finding => ({
        kind: "InterfaceMissing",
        subject: name,
        message: interfaceMissing(name),
        repairable: false,
      }),
    ),
    ...hooks.flatMap((hook) => inspectHook(hook, interfaces, attacher, programs.get(hook.program))),
  ];
}

export function inspectTunnel(
  desired: DesiredDatapath,
  interfaces: readonly InterfaceInfo[],
  port: number,
): Finding[] {
  if (desired.services.length === 0) return [];
  const device = interfaces.find((i) => i.name === tunnelDevice);
  const found = (kind: Finding["kind"], message: string): Finding[] => [
    { kind, subject: tunnelDevice, message, repairable: true },
  ];
  if (!device?.vxlan || device.vxlan.port !== port)
    return found("TunnelDeviceMissing", tunnelMissing(tunnelDevice));
  return device.up ? [] : found("TunnelDeviceChanged", tunnelDown(tunnelDevice));
}
