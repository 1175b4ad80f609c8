// trace: the two maps that say whose a network namespace or a cgroup is; programs of scripts look events up in them.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { MapFlag, MapType } from "../kernel/bpf.ts";
import { hasCode } from "../kernel/ffi.ts";
import { BpfMap, createMap } from "../kernel/maps.ts";
import { say } from "./messages.ts";

/** Who owns what happens in a namespace or cgroup: index of the node, ids of pod and Kubernetes namespace (0: none). */
export interface Owner {
  readonly node: number;
  readonly pod: number;
  readonly namespace: number;
}

/** Entries of each map. */
export const ownerLimit = 16_384;

/** Value of both maps: {u32 node; u32 pod; u32 namespace}, host order; the key is a u64. */
const valueSize = 12;

/** Names of the two maps, in the kernel and as files in the directory. */
export const ownerMapNames = { netns: "owner_netns", cgroup: "owner_cgroup" } as const;
type OwnerMapName = (typeof ownerMapNames)[keyof typeof ownerMapNames];

const keyOf = (id: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(id).buffer);
const packed = ({ node, pod, namespace }: Owner): Uint8Array =>
  new Uint8Array(Uint32Array.of(node, pod, namespace).buffer);

function openOrCreate(directory: string, name: OwnerMapName): BpfMap {
  const path = join(directory, name);
  const found = BpfMap.openPinnedIfAny(path);
  if (found) return found;
  const map = createMap({
    type: MapType.HASH,
    name,
    keySize: 8,
    valueSize,
    maxEntries: ownerLimit,
    flags: MapFlag.NO_PREALLOC,
  });
  try {
    map.pin(path);
    return map;
  } catch (error) {
    map[Symbol.dispose]();
    // Another process was first: its map is the one that counts.
    if (hasCode(error, "EEXIST")) return BpfMap.openPinned(path);
    throw error;
  }
}

/** The two maps, open. They outlive this process: they are pinned. */
export class Owners implements Disposable {
  readonly netns: BpfMap;
  readonly cgroup: BpfMap;

  constructor(netns: BpfMap, cgroup: BpfMap) {
    this.netns = netns;
    this.cgroup = cgroup;
  }

  #register(map: BpfMap, id: bigint, owner: Owner): void {
    const result = map.tryUpdate(keyOf(id), packed(owner));
    if (result < 0) throw new Error(say.ownersFull(ownerLimit));
  }

  /** Before the namespace's first packet. `cookie` as netnsCookie gives it. @throws Error when the map is full */
  registerNetns(cookie: bigint, owner: Owner): void {
    this.#register(this.netns, cookie, owner);
  }

  /** `id` as cgroupId gives it. @throws Error when the map is full */
  registerCgroup(id: bigint, owner: Owner): void {
    this.#register(this.cgroup, id, owner);
  }

  /** Whether it was registered. */
  unregisterNetns(cookie: bigint): boolean {
    return this.netns.delete(keyOf(cookie));
  }

  unregisterCgroup(id: bigint): boolean {
    return this.cgroup.delete(keyOf(id));
  }

  /** All entries of one of the maps, for status and for cleaning up after a node that is gone. */
  *list(which: keyof typeof ownerMapNames): Generator<readonly [id: bigint, owner: Owner]> {
    for (const [key, value] of (which === "netns" ? this.netns : this.cgroup).entries()) {
      const words = new DataView(value.buffer, value.byteOffset, value.byteLength);
      const id = new DataView(key.buffer, key.byteOffset, key.byteLength).getBigUint64(0, true);
      yield [
        id,
        {
          node: words.getUint32(0, true),
          pod: words.getUint32(4, true),
          namespace: words.getUint32(8, true),
        },
      ];
    }
  }

  [Symbol.dispose](): void {
    this.netns[Symbol.dispose]();
    this.cgroup[Symbol.dispose]();
  }
}

/** Opens the owner maps in a directory on a bpffs, or makes them. @throws KernelError (EPERM where it is no bpffs) */
export function openOwners(directory: string): Owners {
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  const netns = openOrCreate(directory, ownerMapNames.netns);
  try {
    return new Owners(netns, openOrCreate(directory, ownerMapNames.cgroup));
  } catch (error) {
    netns[Symbol.dispose]();
    throw error;
  }
}
