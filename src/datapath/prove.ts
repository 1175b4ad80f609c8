// datapath: proofs: synthetic packets through the programs as they are attached, found by the link on the interface.
import type { InterfaceInfo } from "../kernel/interfaces.ts";
import { BpfProgram } from "../kernel/programs.ts";
import {
  type Address,
  formatAddress,
  formatPrefix,
  fromInteger,
  type Prefix,
  parseAddress,
  parsePrefix,
  toInteger,
  toMappedBytes,
} from "../net/address.ts";
import {
  backendLocal,
  type CounterName,
  counterNames,
  layouts,
  protocolNumbers,
  serviceKey,
  serviceName,
  sizes,
  viewOf,
} from "./codec.ts";
import { type Attacher, type Hook, hookName } from "./hooks.ts";
import { programsAhead } from "./inspect.ts";
import { flowHash, localSlotOfFlow, slotOfFlow } from "./maglev.ts";
import type { MapTable } from "./map-table.ts";
import {
  foreignAhead,
  interfaceMissing,
  linkMissing,
  proofBytes,
  proofDone,
  proofNoBackends,
  proofNoInterfaces,
  proofNoServices,
  proofNotEntry,
  proofNotLoaded,
  proofNotLocal,
  proofVerdict,
  tunnelMissing,
} from "./messages.ts";
import { buildPacket, type PacketSpec } from "./packets.ts";
import { tunnelDevice } from "./tunnel.ts";
import type { DesiredDatapath, DesiredService, ProofResult, ProofState, ProofTarget } from "./types.ts";

/** What a proof looks at. */
export interface ProofSources {
  readonly desired: DesiredDatapath | undefined;
  readonly services: MapTable;
  readonly interfaces: readonly InterfaceInfo[];
  readonly hooks: readonly Hook[];
  readonly attacher: Attacher;
}

/** The same for many targets: each hook is looked at once, services are found by address. */
interface ProofContext extends ProofSources {
  readonly attached: Map<Hook, BpfProgram | Outcome>;
  readonly byVip: ReadonlyMap<string, readonly DesiredService[]>;
}

/** PROOF_MARK of bpf/maps.h. */
const proofMark = 0x5761676c;
const verdicts = { next: 0xffff_ffff, redirect: 7 } as const;
const verdictNames: Readonly<Record<number, string>> = {
  4294967295: "pass",
  0: "accept",
  2: "drop",
  7: "redirect",
};

/** Offsets in struct __sk_buff. */
const skb = { size: 192, mark: 8, ifindex: 40, cb: 48 } as const;

/** Clients that nobody is: documentation addresses (RFC 5737, RFC 3849). */
const clients = { 4: parseAddress("192.0.2.1"), 6: parseAddress("2001:db8::1") } as const;
const clientMac = Uint8Array.of(2, 0x57, 0x61, 0x67, 0x67, 1);

interface Outcome {
  readonly state: ProofState;
  readonly reason: string;
}

/** One packet and how it must come out. */
interface Trial {
  readonly what: string;
  readonly frame: Uint8Array;
  readonly verdict: number;
  readonly out: Uint8Array;
  readonly counter: CounterName;
  /** Index of the chosen backend. */
  readonly backend?: number;
}

/** Our program on a hook, or why there is no proof to be had. */
function attachedProgram(hook: Hook, context: ProofContext): BpfProgram | Outcome {
  const name = hookName(hook);
  const state = context.attacher.state(hook);
  if (state.ours !== "attached" || state.programId === undefined)
    return { state: "Failed", reason: linkMissing(name) };
  const [ahead] = programsAhead(hook, context.interfaces, state.ahead);
  if (ahead) return { state: "Unproven", reason: foreignAhead(ahead, name) };
  return BpfProgram.openById(state.programId) ?? { state: "Failed", reason: linkMissing(name) };
}

function runTrial(program: BpfProgram, hook: Hook, trial: Trial): string | undefined {
  const ctx = new Uint8Array(skb.size);
  const v = viewOf(ctx);
  v.setUint32(skb.mark, proofMark, true);
  v.setUint32(skb.ifindex, hook.interfaceIndex, true);
  const result = program.testRun({ dataIn: trial.frame, ctxIn: ctx, repeat: 1 });
  const name = hookName(hook);
  const out = viewOf(result.ctxOut);
  const counter = counterNames[out.getUint32(skb.cb, true) - 1] ?? "nothing of ours";
  const told = (verdict: number, what: string): string =>
    `${verdictNames[verdict] ?? `verdict ${verdict}`} (${what})`;
  if (result.retval !== trial.verdict || counter !== trial.counter)
    return proofVerdict(name, trial.what, told(trial.verdict, trial.counter), told(result.retval, counter));
  const backend = out.getUint32(skb.cb + 4, true) - 1;
  if (trial.backend !== undefined && backend !== trial.backend)
    return proofVerdict(name, trial.what, `backend ${trial.backend}`, `backend ${backend}`);
  const different = trial.out.findIndex((byte, i) => byte !== result.dataOut[i]);
  if (different >= 0 || result.dataOut.length !== trial.out.length)
    return proofBytes(name, trial.what, different < 0 ? trial.out.length : different);
  return undefined;
}

/** Runs trials on hooks; the first thing that is wrong decides. */
function runAll(
  hooks: readonly Hook[],
  trials: (hook: Hook) => readonly Trial[],
  context: ProofContext,
): Outcome {
  let packets = 0;
  for (const hook of hooks) {
    const program = context.attached.getOrInsertComputed(hook, () => attachedProgram(hook, context));
    if (!(program instanceof BpfProgram)) return program;
    for (const trial of trials(hook)) {
      const wrong = runTrial(program, hook, trial);
      if (wrong !== undefined) return { state: "Failed", reason: wrong };
      packets++;
    }
  }
  return { state: "Proven", reason: proofDone(packets, hooks.map(hookName)) };
}

const macOf = (hook: Hook, context: ProofContext): Uint8Array => {
  const address = context.interfaces.find((i) => i.index === hook.interfaceIndex)?.address;
  return address?.length === 6 ? address : clientMac;
};

/** Ports to try until one falls to each kind of backend. */
const firstPort = 20_000;
const portTries = 2000;

interface Chosen {
  readonly port: number;
  readonly backend: number;
}

/** A client port whose packet goes to a backend of that kind, by the tables as they were written. */
function findPort(
  service: DesiredService,
  value: Uint8Array,
  table: "slots" | "local_slots",
  accepts: (local: boolean) => boolean,
): Chosen | undefined {
  const vip = parseAddress(service.vip);
  const flow = {
    client: toMappedBytes(clients[vip.family]),
    vip: toMappedBytes(vip),
    vipPort: service.port,
    protocol: protocolNumbers[service.protocol],
  };
  for (let port = firstPort; port < firstPort + portTries; port++) {
    const hash = flowHash({ ...flow, clientPort: port });
    const index = value[layouts.service.slots + slotOfFlow(hash)] ?? 0;
    const local = isLocal(value, index);
    if (table === "slots" && !accepts(local)) continue;
    if (table === "slots" && !local) return { port, backend: index };
    return { port, backend: value[layouts.service.local_slots + localSlotOfFlow(hash)] ?? 0 };
  }
  return undefined;
}

const backendAt = (index: number): number => layouts.service.backends + index * sizes.backend;

const isLocal = (value: Uint8Array, index: number): boolean =>
  ((value[backendAt(index) + layouts.backend.flags] ?? 0) & backendLocal) !== 0;

function backendOf(value: Uint8Array, index: number, family: 4 | 6): { address: Address; port: number } {
  const at = backendAt(index);
  const bytes = value.subarray(at, at + 16);
  const number = BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
  return {
    address: fromInteger(family, family === 4 ? number & 0xffff_ffffn : number),
    port: viewOf(value).getUint16(at + layouts.backend.port),
  };
}

/** To a local backend: comes out with the backend as its destination. */
function localTrial(
  service: DesiredService,
  value: Uint8Array,
  chosen: Chosen,
  mac: Uint8Array,
  counter: CounterName,
): Trial {
  const vip = parseAddress(service.vip);
  const { address, port } = backendOf(value, chosen.backend, vip.family);
  const spec = (destination: Address, destinationPort: number): PacketSpec => ({
    destinationMac: mac,
    sourceMac: clientMac,
    source: clients[vip.family],
    destination,
    payload: { kind: service.protocol, sourcePort: chosen.port, destinationPort },
  });
  return {
    what: `a packet to ${serviceName(service)}`,
    frame: buildPacket(spec(vip, service.port)),
    verdict: verdicts.next,
    out: buildPacket(spec(address, port)),
    counter,
    backend: chosen.backend,
  };
}

/** What enters at the fabric: to a local backend, to one elsewhere, as far as there are such. */
function serviceTrials(service: DesiredService, value: Uint8Array, mac: Uint8Array): Trial[] {
  const vip = parseAddress(service.vip);
  const trials: Trial[] = [];
  const local = findPort(service, value, "slots", (isHere) => isHere);
  if (local) trials.push(localTrial(service, value, local, mac, "vipLocal"));
  const remote = findPort(service, value, "slots", (isHere) => !isHere);
  if (remote) {
    const frame = buildPacket({
      destinationMac: mac,
      sourceMac: clientMac,
      source: clients[vip.family],
      destination: vip,
      payload: { kind: service.protocol, sourcePort: remote.port, destinationPort: service.port },
    });
    const what = `a packet to ${serviceName(service)} for another node`;
    const { redirect: verdict } = verdicts;
    trials.push({ what, frame, verdict, out: frame, counter: "vipTunnelled", backend: remote.backend });
  }
  return trials;
}

function echoTrial(vip: Address, text: string, mac: Uint8Array): Trial {
  const client = clients[vip.family];
  return {
    what: `a ping to ${text}`,
    frame: buildPacket({
      ...{ destinationMac: mac, sourceMac: clientMac, source: client, destination: vip, ttl: 7 },
      payload: { kind: "echo", reply: false },
    }),
    verdict: verdicts.redirect,
    out: buildPacket({
      ...{ destinationMac: clientMac, sourceMac: mac, source: vip, destination: client },
      payload: { kind: "echo", reply: true },
    }),
    counter: "echo",
  };
}

/** The hooks at which the fabric's packets enter, or why there are none. */
function fabricHooks(context: ProofContext, desired: DesiredDatapath): Hook[] | Outcome {
  if (desired.interfaces.length === 0) return { state: "Unproven", reason: proofNoInterfaces };
  const missing = desired.interfaces.find((name) => !context.interfaces.some((i) => i.name === name));
  if (missing !== undefined) return { state: "Failed", reason: interfaceMissing(missing) };
  return context.hooks.filter((h) => h.program === "fabric_ingress");
}

function proveVip(text: string, context: ProofContext, desired: DesiredDatapath): Outcome {
  const vip = parseAddress(text);
  const services = context.byVip.get(formatAddress(vip)) ?? [];
  if (services.length === 0) return { state: "Failed", reason: proofNoServices };
  const entries = services.filter((s) => s.entry);
  if (entries.length === 0) return { state: "Failed", reason: proofNotEntry };
  const hooks = fabricHooks(context, desired);
  if (!Array.isArray(hooks)) return hooks;
  const known = entries.map((service) => ({
    service,
    value: context.services.get(serviceKey(vip, service.port, service.protocol))?.value,
  }));
  for (const { service, value } of known)
    if (!value || viewOf(value).getUint16(layouts.service.backend_count, true) === 0)
      return { state: "Failed", reason: proofNoBackends(serviceName(service)) };
  const entering = runAll(
    hooks,
    (hook) => {
      const mac = macOf(hook, context);
      const trials = known.flatMap(({ service, value }) => serviceTrials(service, value!, mac));
      return [...trials, echoTrial(vip, text, mac)];
    },
    context,
  );
  if (entering.state !== "Proven") return entering;
  return proveTunnel(known as { service: DesiredService; value: Uint8Array }[], entering, context);
}

/** What other nodes send here is delivered, too. */
function proveTunnel(
  services: readonly { readonly service: DesiredService; readonly value: Uint8Array }[],
  entering: Outcome,
  context: ProofContext,
): Outcome {
  const sendsOn = services.some(({ value }) => {
    const v = viewOf(value);
    return v.getUint16(layouts.service.backend_count, true) > v.getUint16(layouts.service.local_count, true);
  });
  const hook = context.hooks.find((h) => h.program === "tunnel_ingress");
  if (!hook && sendsOn) return { state: "Failed", reason: tunnelMissing(tunnelDevice) };
  const delivered = services.flatMap(({ service, value }) => {
    if (viewOf(value).getUint16(layouts.service.local_count, true) === 0) return [];
    const chosen = findPort(service, value, "local_slots", () => true);
    return chosen ? [{ service, value, chosen }] : [];
  });
  if (!hook || delivered.length === 0) return entering;
  const outcome = runAll(
    [hook],
    () =>
      delivered.map(({ service, value, chosen }) =>
        localTrial(service, value, chosen, macOf(hook, context), "tunnelDelivered"),
      ),
    context,
  );
  return outcome.state === "Proven"
    ? { state: "Proven", reason: `${entering.reason}; ${outcome.reason}` }
    : outcome;
}

/** An address of the block that no VIP is: its second one, or its only one. */
function addressIn(block: Prefix): Address {
  const hostBits = (block.family === 4 ? 32 : 128) - block.length;
  return fromInteger(block.family, toInteger(block) + (hostBits > 0 ? 1n : 0n));
}

function provePodBlock(text: string, context: ProofContext, desired: DesiredDatapath): Outcome {
  const block = parsePrefix(text);
  if (!desired.podBlocks.some((b) => formatPrefix(parsePrefix(b)) === formatPrefix(block)))
    return { state: "Failed", reason: proofNotLocal };
  const hooks = fabricHooks(context, desired);
  if (!Array.isArray(hooks)) return hooks;
  return runAll(
    hooks,
    (hook) => {
      const frame = buildPacket({
        destinationMac: macOf(hook, context),
        sourceMac: clientMac,
        source: clients[block.family],
        destination: addressIn(block),
        payload: { kind: "TCP", sourcePort: firstPort, destinationPort: 80 },
      });
      const what = `a packet into ${text}`;
      return [{ what, frame, verdict: verdicts.next, out: frame, counter: "localPrefix" }];
    },
    context,
  );
}

/** Proofs of several targets. Leaves no state: the packets are marked, and the programs write nothing for them. */
export function prove(targets: readonly ProofTarget[], sources: ProofSources): ProofResult[] {
  const { desired } = sources;
  if (!desired) return targets.map((target) => ({ target, state: "Unproven", reason: proofNotLoaded }));
  const byVip = Map.groupBy(desired.services, (s) => formatAddress(parseAddress(s.vip)));
  const context: ProofContext = { ...sources, attached: new Map(), byVip };
  try {
    return targets.map((target) => {
      const outcome =
        target.kind === "vip"
          ? proveVip(target.address, context, desired)
          : provePodBlock(target.prefix, context, desired);
      return { target, ...outcome };
    });
  } finally {
    for (const found of context.attached.values()) if (found instanceof BpfProgram) found[Symbol.dispose]();
  }
}
