// script, lowering: what every program does first: is the run still on, and is the event this node's.
// Owner of an event: its socket's network namespace, else its packet's (device, then socket), else the current task's cgroup.
// A socket comes first because in softirq the current task is somebody else's.

import { hasOwner, ownerPlaces } from "../arguments.ts";
import { HELPER } from "../ir/helpers.ts";
import type { FrameObject, Val, VReg } from "../ir/ir.ts";
import { memberOf } from "../paths.ts";
import type { ExternalMap, TypeSource } from "../types.ts";
import { asNumber, at, count, type Lowering, when } from "./state.ts";

export interface Owner {
  /** {u32 node; u32 pod; u32 namespace}, copied so that it outlives the map's element. */
  readonly slot: FrameObject;
}

/** Returns at once while the gate is shut; BEGIN and END are run by hand and have none. */
export function gate(l: Lowering): void {
  const { b } = l;
  const open = b.block();
  b.branch("eq", b.load(at(b.mapValue(l.plan.gate, 0)), 4), 0n, l.exitBlock(), open);
  b.enter(open);
}

const offsetOf = (types: TypeSource, structure: string, path: readonly string[]): number | undefined =>
  memberOf(types, structure, path)?.offset;

/** The offsets that lead from a socket or a packet to the cookie of its namespace. */
function paths(types: TypeSource) {
  return {
    socketNet: offsetOf(types, "sock", ["__sk_common", "skc_net", "net"]),
    packetDevice: offsetOf(types, "sk_buff", ["dev"]),
    packetSocket: offsetOf(types, "sk_buff", ["sk"]),
    deviceNet: offsetOf(types, "net_device", ["nd_net", "net"]),
    cookie: offsetOf(types, "net", ["net_cookie"]),
  };
}

/** A pointer or word from kernel memory; 0 if it cannot be read. */
function follow(l: Lowering, from: Val, offset: number): VReg {
  const { b } = l;
  const mark = b.mark();
  const slot = b.frame(8);
  b.call(HELPER.probe_read_kernel, [b.address(at(slot)), 8n, b.alu("add", from, BigInt(offset))]);
  const v = b.load(at(slot), 8);
  b.release(mark);
  return v;
}

/** Finds the owner and returns from the program if the event is another's or nobody's. */
export function claim(l: Lowering): Owner | undefined {
  const { ownership, types } = l.options;
  if (!ownership || !hasOwner(l.point)) return undefined;
  const { b } = l;
  // Functions of loops reach what is in scratch, not what is on this function's stack.
  const slot = b.pinned(16, l.program.contextSlot ? "scratch" : undefined);
  b.store(at(slot), 8, 0n);
  b.store(at(slot, 8), 8, 0n);
  const found = b.reg();
  b.set(found, 0n);
  const net = namespacePointer(l, types);
  const cookieOffset = paths(types).cookie;
  const search = (map: ExternalMap, id: Val): void => {
    const key = b.frame(8);
    b.store(at(key), 8, id);
    const cell = b.call(HELPER.map_lookup_elem, [b.map(map), b.address(at(key))]);
    when(l, "ne", cell, 0n, () => {
      b.set(found, 1n);
      for (const offset of [0, 4, 8]) b.store(at(slot, offset), 4, b.load(at(cell, offset), 4));
    });
  };
  if (net !== undefined && cookieOffset !== undefined)
    when(l, "ne", net, 0n, () => search("owner_netns", follow(l, net, cookieOffset)));
  else search("owner_cgroup", b.call(HELPER.get_current_cgroup_id, []));

  const [known, unknown, mine] = [b.block(), b.block(), b.block()];
  b.branch("ne", found, 0n, known, unknown);
  b.enter(unknown);
  if (ownership.unownedIsNode) {
    b.store(at(slot), 4, BigInt(ownership.node));
    b.jump(mine);
  } else {
    if (ownership.countsUnattributed) count(l, "unattributed");
    b.jump(l.exitBlock());
  }
  b.enter(known);
  b.branch("eq", b.load(at(slot), 4), BigInt(ownership.node), mine, l.exitBlock());
  b.enter(mine);
  return { slot };
}

/** Address of the struct net that the probe's arguments lead to; undefined where they lead to none. */
function namespacePointer(l: Lowering, types: TypeSource): VReg | undefined {
  const { b } = l;
  const way = paths(types);
  if (way.cookie === undefined) return undefined;
  const places = ownerPlaces(l.point.context, types);
  const { context } = l.point;
  const watched =
    (context.kind === "btf" && context.typed) ||
    (context.kind === "tracepoint" && context.equivalent !== undefined);
  const pointer = (offset: number | undefined): Val | undefined => {
    if (offset === undefined) return undefined;
    const word = b.load(at(l.ctx, offset), 8);
    return watched ? asNumber(l, word) : word;
  };
  const socket = way.socketNet === undefined ? undefined : pointer(places.socket);
  const packet =
    way.packetDevice === undefined || way.deviceNet === undefined ? undefined : pointer(places.packet);
  if (socket === undefined && packet === undefined) return undefined;
  const net = b.reg();
  b.set(net, 0n);
  if (socket !== undefined)
    when(l, "ne", socket, 0n, () => b.set(net, follow(l, socket, way.socketNet ?? 0)));
  if (packet !== undefined)
    when(l, "eq", net, 0n, () =>
      when(l, "ne", packet, 0n, () => {
        const device = follow(l, packet, way.packetDevice ?? 0);
        when(
          l,
          "ne",
          device,
          0n,
          () => b.set(net, follow(l, device, way.deviceNet ?? 0)),
          () => {
            if (way.packetSocket === undefined || way.socketNet === undefined) return;
            const inner = follow(l, packet, way.packetSocket);
            when(l, "ne", inner, 0n, () => b.set(net, follow(l, inner, way.socketNet ?? 0)));
          },
        );
      }),
    );
  return net;
}

/** node, pod, namespace: ids of the event's owner; where events have no owner, the node is this one. */
export function ownerWord(l: Lowering, which: "node" | "pod" | "namespace"): Val {
  if (!l.owner) return which === "node" ? BigInt(l.options.ownership?.node ?? 0) : 0n;
  return l.b.load(at(l.owner.slot, which === "node" ? 0 : which === "pod" ? 4 : 8), 4);
}
