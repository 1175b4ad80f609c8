// kernel: BPF on the clsact qdisc over rtnetlink: what tcx replaced, for kernels before 6.6.
import { fromCString } from "./bpf.ts";
import { hasCode } from "./ffi.ts";
import {
  attribute32,
  NetlinkBody,
  type NetlinkSocket,
  NlmFlag,
  parseAttributes,
  Rtm,
  viewOver,
} from "./netlink.ts";

const TC_H_CLSACT = 0xffff_fff1;
const clsactHandle = 0xffff_0000;
const parents = { ingress: 0xffff_fff2, egress: 0xffff_fff3 } as const;
const ETH_P_ALL = 3;

const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF_FD = 6;
const TCA_BPF_NAME = 7;
const TCA_BPF_FLAGS = 8;
const TCA_BPF_ID = 11;
const TCA_BPF_FLAG_ACT_DIRECT = 1;

export type Direction = keyof typeof parents;

/** Where a filter sits. Lower priorities run first. */
export interface FilterPlace {
  readonly interfaceIndex: number;
  readonly direction: Direction;
  readonly priority: number;
  readonly handle: number;
}

export interface FilterInfo extends FilterPlace {
  /** As given when it was added. */
  readonly name: string;
  readonly programId: number;
}

/** struct tcmsg. */
function header(interfaceIndex: number, handle: number, parent: number, info: number): NetlinkBody {
  return new NetlinkBody().u8(0, 0).u16(0).u32(interfaceIndex, handle, parent, info);
}

const filterHeader = (place: FilterPlace): NetlinkBody =>
  header(
    place.interfaceIndex,
    place.handle,
    parents[place.direction],
    // Priority in the high half; the protocol, in network order, in the low one.
    (place.priority << 16) | (ETH_P_ALL << 8),
  );

/** Adds the clsact qdisc; leaves one that is there. @throws KernelError (EEXIST: an ingress qdisc is in its place) */
export function addClsact(netlink: NetlinkSocket, interfaceIndex: number): void {
  const body = header(interfaceIndex, clsactHandle, TC_H_CLSACT, 0).attributeText(TCA_KIND, "clsact");
  try {
    netlink.request("RTM_NEWQDISC", Rtm.NEWQDISC, NlmFlag.CREATE | NlmFlag.EXCL, body.bytes());
  } catch (error) {
    if (!hasCode(error, "EEXIST") || !hasClsact(netlink, interfaceIndex)) throw error;
  }
}

function hasClsact(netlink: NetlinkSocket, interfaceIndex: number): boolean {
  return netlink
    .dump("RTM_GETQDISC", Rtm.GETQDISC, header(interfaceIndex, 0, 0, 0).bytes())
    .some((message) => {
      const kind = parseAttributes(message.body.subarray(20)).get(TCA_KIND);
      return (
        viewOver(message.body).getInt32(4, true) === interfaceIndex && kind && fromCString(kind) === "clsact"
      );
    });
}

/** Puts a program in a place, at one stroke with whatever was in it. @throws KernelError */
export function writeFilter(
  netlink: NetlinkSocket,
  place: FilterPlace,
  programFd: number,
  name: string,
): void {
  const body = filterHeader(place)
    .attributeText(TCA_KIND, "bpf")
    .nested(TCA_OPTIONS, (options) =>
      options
        .attribute32(TCA_BPF_FD, programFd)
        .attributeText(TCA_BPF_NAME, name)
        .attribute32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT),
    );
  netlink.request("RTM_NEWTFILTER", Rtm.NEWTFILTER, NlmFlag.CREATE | NlmFlag.REPLACE, body.bytes());
}

/** @throws KernelError (ENOENT) */
export function deleteFilter(netlink: NetlinkSocket, place: FilterPlace): void {
  const body = filterHeader(place).attributeText(TCA_KIND, "bpf");
  netlink.request("RTM_DELTFILTER", Rtm.DELTFILTER, 0, body.bytes());
}

/** The BPF filters of a hook in the order in which they run; none where there is no clsact. @throws KernelError */
export function listFilters(
  netlink: NetlinkSocket,
  interfaceIndex: number,
  direction: Direction,
): FilterInfo[] {
  const filters: FilterInfo[] = [];
  const body = header(interfaceIndex, 0, parents[direction], 0).bytes();
  let messages: ReturnType<NetlinkSocket["dump"]>;
  try {
    messages = netlink.dump("RTM_GETTFILTER", Rtm.GETTFILTER, body);
  } catch (error) {
    if (hasCode(error, "EINVAL", "ENOENT")) return [];
    throw error;
  }
  for (const message of messages) {
    const v = viewOver(message.body);
    const attributes = parseAttributes(message.body.subarray(20));
    const options = parseAttributes(attributes.get(TCA_OPTIONS) ?? new Uint8Array());
    const programId = attribute32(options, TCA_BPF_ID);
    if (programId === undefined) continue;
    filters.push({
      interfaceIndex,
      direction,
      priority: v.getUint32(16, true) >>> 16,
      handle: v.getUint32(8, true),
      name: fromCString(options.get(TCA_BPF_NAME) ?? new Uint8Array()),
      programId,
    });
  }
  return filters;
}
