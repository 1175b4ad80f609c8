// kernel: BPF links: what attaches a program, survives in a pin, moves to another program, and is listed on a hook.
import {
  AttachType,
  Attr,
  BpfCommand,
  bpf,
  bpfError,
  cString,
  Fd,
  objectInfo,
  openById,
  openPinnedObject,
  openPinnedObjectIfAny,
  pinObject,
  tryBpf,
} from "./bpf.ts";
import { errnoName } from "./ffi.ts";

/** Place among the programs of a tcx or cgroup hook. Default: last. */
export type Anchor =
  | { readonly at: "first" }
  | { readonly at: "last" }
  | { readonly at: "before" | "after"; readonly programId: number }
  | { readonly at: "before" | "after"; readonly linkId: number };

/** Flags of mprog attachments: BPF_F_BEFORE, BPF_F_AFTER, BPF_F_ID, BPF_F_LINK. */
const beforeFlag = 1 << 3;
const afterFlag = 1 << 4;
const idFlag = 1 << 5;
const linkFlag = 1 << 13;

function anchorFields(anchor: Anchor | undefined): { flags: number; relative: number } {
  if (!anchor || anchor.at === "last") return { flags: afterFlag, relative: 0 };
  if (anchor.at === "first") return { flags: beforeFlag, relative: 0 };
  const side = anchor.at === "before" ? beforeFlag : afterFlag;
  if ("linkId" in anchor) return { flags: side | idFlag | linkFlag, relative: anchor.linkId };
  return { flags: side | idFlag, relative: anchor.programId };
}

/** What the kernel says of a link (the common part of struct bpf_link_info and what tcx, XDP and netns add). */
export interface LinkInfo {
  readonly type: number;
  readonly id: number;
  readonly programId: number;
  /** tcx and XDP: the interface; 0 once it is gone or the link was detached. */
  readonly interfaceIndex?: number;
  /** tcx. */
  readonly attachType?: number;
}

/** A link. Unless pinned, the program is detached when this is disposed. */
export class BpfLink implements Disposable {
  readonly #fd: Fd;

  constructor(fd: Fd) {
    this.#fd = fd;
  }

  /** @throws KernelError (ENOENT) */
  static openPinned(path: string): BpfLink {
    return new BpfLink(openPinnedObject(path));
  }

  static openPinnedIfAny(path: string): BpfLink | undefined {
    const fd = openPinnedObjectIfAny(path);
    return fd && new BpfLink(fd);
  }

  /** Opens a link by its kernel-wide id; undefined if it is gone. */
  static openById(id: number): BpfLink | undefined {
    const fd = openById(BpfCommand.LINK_GET_FD_BY_ID, id);
    return fd && new BpfLink(fd);
  }

  get fd(): number {
    return this.#fd.number;
  }

  /** Replaces the program at one stroke: no packet sees neither. @throws KernelError */
  update(programFd: number): void {
    bpf(BpfCommand.LINK_UPDATE, new Attr(16).u32(0, this.fd).u32(4, programFd));
  }

  /** Takes the program off while the link stays (BPF_LINK_DETACH). @throws KernelError (EOPNOTSUPP for tracing) */
  detach(): void {
    bpf(BpfCommand.LINK_DETACH, new Attr(4).u32(0, this.fd));
  }

  /** @throws KernelError (EEXIST) */
  pin(path: string): void {
    pinObject(this.fd, path);
  }

  info(): LinkInfo {
    return linkInfo(this.fd);
  }

  disown(): number {
    return this.#fd.disown();
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

const linkTypeXdp = 6;
const linkTypeTcx = 11;

/** struct bpf_link_info of a descriptor. @throws KernelError */
export function linkInfo(fd: number): LinkInfo {
  const v = objectInfo(fd, new Uint8Array(64));
  const common = {
    type: v.getUint32(0, true),
    id: v.getUint32(4, true),
    programId: v.getUint32(8, true),
  };
  if (common.type === linkTypeTcx)
    return { ...common, interfaceIndex: v.getUint32(16, true), attachType: v.getUint32(20, true) };
  if (common.type === linkTypeXdp) return { ...common, interfaceIndex: v.getUint32(16, true) };
  return common;
}

const create = (attr: Attr, detail: string): BpfLink =>
  new BpfLink(new Fd(bpf(BpfCommand.LINK_CREATE, attr, detail)));

const linkAttr = (programFd: number, target: number, attachType: number, flags = 0): Attr =>
  new Attr(64).u32(0, programFd).u32(4, target).u32(8, attachType).u32(12, flags);

/**
 * Attaches to an interface's tcx hook (kernel 6.6). With `revision`, only if nobody changed the hook since the query
 * that returned it.
 * @throws KernelError (EINVAL without tcx, ESTALE for another revision)
 */
export function linkTcx(
  programFd: number,
  interfaceIndex: number,
  direction: "ingress" | "egress",
  anchor?: Anchor,
  revision = 0n,
): BpfLink {
  const { flags, relative } = anchorFields(anchor);
  const type = direction === "ingress" ? AttachType.TCX_INGRESS : AttachType.TCX_EGRESS;
  const attr = linkAttr(programFd, interfaceIndex, type, flags).u32(16, relative).u64(24, revision);
  return create(attr, `tcx ${direction} of interface ${interfaceIndex}`);
}

/** Modes of an XDP link: XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE. */
const xdpModes = { any: 0, generic: 1 << 1, native: 1 << 2 } as const;

/** Attaches XDP; there is one program an interface. @throws KernelError (EBUSY) */
export const linkXdp = (
  programFd: number,
  interfaceIndex: number,
  mode: keyof typeof xdpModes = "any",
): BpfLink =>
  create(
    linkAttr(programFd, interfaceIndex, AttachType.XDP, xdpModes[mode]),
    `xdp of interface ${interfaceIndex}`,
  );

/** Attaches to a network namespace (FLOW_DISSECTOR, SK_LOOKUP). @throws KernelError */
export const linkNetns = (programFd: number, netnsFd: number, attachType: AttachType): BpfLink =>
  create(linkAttr(programFd, netnsFd, attachType), `network namespace, attach type ${attachType}`);

/** Attaches to a cgroup2 directory. @throws KernelError */
export const linkCgroup = (programFd: number, cgroupFd: number, attachType: AttachType): BpfLink =>
  create(linkAttr(programFd, cgroupFd, attachType), `cgroup, attach type ${attachType}`);

/**
 * Attaches to a perf event: a tracepoint, kprobe, uprobe, or a sampled counter. The link holds the event; its
 * descriptor may be closed afterwards. Kernel 5.15.
 * @throws KernelError
 */
export const linkPerfEvent = (programFd: number, perfEventFd: number, cookie = 0n): BpfLink =>
  create(linkAttr(programFd, perfEventFd, AttachType.PERF_EVENT).u64(16, cookie), "perf event");

/** Attaches a TRACING program (tp_btf, fentry, fexit, iter) loaded with its attachBtfId. @throws KernelError */
export const linkTracing = (programFd: number, attachType: AttachType, cookie = 0n): BpfLink =>
  create(linkAttr(programFd, 0, attachType).u64(24, cookie), `tracing, attach type ${attachType}`);

/**
 * BPF_RAW_TRACEPOINT_OPEN: RAW_TRACEPOINT programs by the tracepoint's name; tp_btf programs without one.
 * @throws KernelError (ENOENT: no such tracepoint)
 */
export function openRawTracepoint(programFd: number, name?: string): BpfLink {
  const attr = new Attr(24).pointer(0, name === undefined ? undefined : cString(name)).u32(8, programFd);
  return new BpfLink(new Fd(bpf(BpfCommand.RAW_TRACEPOINT_OPEN, attr, name)));
}

/** BPF_ITER_CREATE: a descriptor whose read(2) runs the iterator. @throws KernelError */
export const createIterator = (link: BpfLink): Fd =>
  new Fd(bpf(BpfCommand.ITER_CREATE, new Attr(8).u32(0, link.fd)));

/** One program on a hook, in the order in which they run. */
export interface HookEntry {
  readonly programId: number;
  /** 0: attached without a link. */
  readonly linkId: number;
}

export interface HookState {
  /** Grows with each change of the hook. */
  readonly revision: bigint;
  readonly entries: readonly HookEntry[];
}

/**
 * The programs on an interface's tcx hook (BPF_PROG_QUERY), at most 64 as the kernel allows.
 * @throws KernelError (EINVAL without tcx, ENODEV)
 */
export function queryTcx(interfaceIndex: number, direction: "ingress" | "egress"): HookState {
  const programs = new Uint32Array(64);
  const links = new Uint32Array(64);
  const attr = new Attr(64)
    .u32(0, interfaceIndex)
    .u32(4, direction === "ingress" ? AttachType.TCX_INGRESS : AttachType.TCX_EGRESS)
    .pointer(16, programs)
    .u32(24, programs.length)
    .pointer(40, links);
  const result = tryBpf(BpfCommand.PROG_QUERY, attr);
  if (result < 0) {
    // A hook on which nothing was ever attached has no entry array.
    if (errnoName(-result) === "ENOENT") return { revision: 0n, entries: [] };
    throw bpfError(BpfCommand.PROG_QUERY, -result, `tcx ${direction} of interface ${interfaceIndex}`);
  }
  const entries: HookEntry[] = [];
  for (let i = 0; i < attr.get32(24); i++)
    entries.push({ programId: programs[i] ?? 0, linkId: links[i] ?? 0 });
  return { revision: attr.get64(56), entries };
}
