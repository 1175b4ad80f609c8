// datapath: where our programs are attached: found, put there, moved to another program, taken away. tcx or clsact.
import { unlinkSync } from "node:fs";
import { BpfLink, type HookEntry, linkTcx, queryTcx } from "../kernel/links.ts";
import type { NetlinkSocket } from "../kernel/netlink.ts";
import { BpfProgram } from "../kernel/programs.ts";
import { addClsact, deleteFilter, type FilterPlace, listFilters, writeFilter } from "../kernel/tc.ts";
import type { PinTree } from "./pins.ts";

export type ProgramName = "fabric_ingress" | "fabric_egress" | "pod_egress" | "tunnel_ingress";

/** A place for one of our programs. */
export interface Hook {
  readonly interface: string;
  readonly interfaceIndex: number;
  readonly direction: "ingress" | "egress";
  readonly program: ProgramName;
}

/** "eth0 ingress" */
export const hookName = (hook: Pick<Hook, "interface" | "direction">): string =>
  `${hook.interface} ${hook.direction}`;

export interface ForeignProgram {
  readonly id: number;
  readonly name: string;
}

export interface HookState {
  readonly ours: "attached" | "missing" | "detached";
  /** The program under our link, whoever put it there. */
  readonly programId?: number;
  /** Those that see packets before ours, in order. */
  readonly ahead: readonly ForeignProgram[];
}

/** One way to attach. */
export interface Attacher {
  state(hook: Hook): HookState;
  /** Puts the program there; nothing happens where it is already. Returns whether something was changed. */
  attach(hook: Hook, program: BpfProgram, old: readonly PinTree[]): boolean;
  /** Lets a second program of ours run behind the present one until it is disposed. */
  overlap(hook: Hook, program: BpfProgram): Disposable;
  /** Takes away what is attached and not among `keep`. Returns how many. */
  detachOthers(keep: readonly Hook[]): number;
}

const pinOf = (hook: Pick<Hook, "interface" | "direction">): string => `${hook.interface}-${hook.direction}`;

function foreign(programId: number): ForeignProgram {
  using program = BpfProgram.openById(programId);
  return { id: programId, name: program?.info().name ?? "" };
}

/** With links on tcx (kernel 6.6). They are pinned, and so outlive us. */
export class TcxAttacher implements Attacher {
  readonly #tree: PinTree;

  constructor(tree: PinTree) {
    this.#tree = tree;
  }

  state(hook: Hook): HookState {
    using link = BpfLink.openPinnedIfAny(this.#tree.link(pinOf(hook)));
    const { entries } = queryTcx(hook.interfaceIndex, hook.direction);
    const info = link?.info();
    const place = info ? entries.findIndex((e) => e.linkId === info.id) : -1;
    const ahead = (upTo: readonly HookEntry[]) => upTo.map((e) => foreign(e.programId));
    if (!info) return { ours: "missing", ahead: ahead(entries) };
    if (place < 0) return { ours: "detached", ahead: ahead(entries) };
    return { ours: "attached", programId: info.programId, ahead: ahead(entries.slice(0, place)) };
  }

  attach(hook: Hook, program: BpfProgram, old: readonly PinTree[]): boolean {
    const { id } = program.info();
    const path = this.#tree.link(pinOf(hook));
    {
      using link = BpfLink.openPinnedIfAny(path);
      const info = link?.info();
      if (link && info?.interfaceIndex === hook.interfaceIndex) {
        if (info.programId === id) return false;
        link.update(program.fd);
        return true;
      }
      // The interface is gone, was made anew, or somebody detached the link: it cannot be put back.
      if (link) unlinkSync(path);
    }
    for (const tree of old) {
      using link = BpfLink.openPinnedIfAny(tree.link(pinOf(hook)));
      if (!link || link.info().interfaceIndex !== hook.interfaceIndex) continue;
      // Pinned in both until the old tree goes: a death in between leaves it attached.
      link.pin(path);
      link.update(program.fd);
      return true;
    }
    using link = linkTcx(program.fd, hook.interfaceIndex, hook.direction, { at: "first" });
    link.pin(path);
    return true;
  }

  overlap(hook: Hook, program: BpfProgram): Disposable {
    return linkTcx(program.fd, hook.interfaceIndex, hook.direction, { at: "last" });
  }

  detachOthers(keep: readonly Hook[]): number {
    const kept = new Set(keep.map(pinOf));
    let removed = 0;
    for (const name of this.#tree.links()) {
      if (kept.has(name)) continue;
      const path = this.#tree.link(name);
      // The kernel lets go of an unpinned link a little later, and till then refuses the same program once more (EEXIST).
      using link = BpfLink.openPinnedIfAny(path);
      link?.detach();
      unlinkSync(path);
      removed++;
    }
    return removed;
  }
}

/** Our place on clsact. Handle and name tell our filter from others' of the same priority. */
const filterPriority = 1;
const filterHandle = 0x57;
const filterName = (program: ProgramName): string => `waggle_${program}`;

const placeOf = (hook: Pick<Hook, "interfaceIndex" | "direction">): FilterPlace => ({
  interfaceIndex: hook.interfaceIndex,
  direction: hook.direction,
  priority: filterPriority,
  handle: filterHandle,
});

/** With filters on the clsact qdisc. They stay until they are deleted. */
export class ClsactAttacher implements Attacher {
  readonly #netlink: NetlinkSocket;
  readonly #interfaces: () => readonly number[];

  constructor(netlink: NetlinkSocket, interfaces: () => readonly number[]) {
    this.#netlink = netlink;
    this.#interfaces = interfaces;
  }

  state(hook: Hook): HookState {
    const filters = listFilters(this.#netlink, hook.interfaceIndex, hook.direction);
    const place = filters.findIndex((f) => f.handle === filterHandle && f.name === filterName(hook.program));
    const ahead = filters.slice(0, place < 0 ? undefined : place).map((f) => foreign(f.programId));
    const ours = filters[place];
    return ours ? { ours: "attached", programId: ours.programId, ahead } : { ours: "missing", ahead };
  }

  attach(hook: Hook, program: BpfProgram): boolean {
    if (this.state(hook).programId === program.info().id) return false;
    addClsact(this.#netlink, hook.interfaceIndex);
    writeFilter(this.#netlink, placeOf(hook), program.fd, filterName(hook.program));
    return true;
  }

  overlap(hook: Hook, program: BpfProgram): Disposable {
    const place = { ...placeOf(hook), priority: filterPriority + 1 };
    writeFilter(this.#netlink, place, program.fd, filterName(hook.program));
    return { [Symbol.dispose]: () => deleteFilter(this.#netlink, place) };
  }

  detachOthers(keep: readonly Hook[]): number {
    const kept = new Set(keep.map((hook) => `${hook.interfaceIndex} ${hook.direction}`));
    let removed = 0;
    for (const interfaceIndex of this.#interfaces())
      for (const direction of ["ingress", "egress"] as const) {
        if (kept.has(`${interfaceIndex} ${direction}`)) continue;
        for (const filter of listFilters(this.#netlink, interfaceIndex, direction)) {
          if (filter.handle !== filterHandle || !filter.name.startsWith("waggle_")) continue;
          deleteFilter(this.#netlink, filter);
          removed++;
        }
      }
    return removed;
  }
}
