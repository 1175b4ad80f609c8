// kernel: what this kernel can do, asked of it and not of its version number. Each probe is a value.
import { existsSync } from "node:fs";
import { AttachType, Attr, BpfCommand, MapType, tryBpf } from "./bpf.ts";
import { errnoName } from "./ffi.ts";
import { createMap } from "./maps.ts";

export interface Feature {
  readonly name: string;
  /** First release that has it: the test suite fails where a newer kernel says no. */
  readonly since: string;
  /** What Waggle does with it, for people. */
  readonly use: string;
  /** Throws KernelError where the answer cannot be had (EPERM): that is not a no. */
  readonly test: () => boolean;
}

const loopback = 1;

export const features = {
  bpf: {
    name: "bpf(2)",
    since: "5.8",
    use: "maps and programs",
    test: () => {
      using map = createMap({ type: MapType.ARRAY, name: "probe", keySize: 4, valueSize: 4, maxEntries: 1 });
      return map.fd > 0;
    },
  },
  btf: {
    name: "BTF of the kernel",
    since: "5.5",
    use: "types in scripts, tracepoints with arguments",
    test: () => existsSync("/sys/kernel/btf/vmlinux"),
  },
  tcx: {
    name: "tcx",
    since: "6.6",
    use: "attaches with links",
    test: () => {
      const attr = new Attr(64).u32(0, loopback).u32(4, AttachType.TCX_INGRESS);
      const result = tryBpf(BpfCommand.PROG_QUERY, attr);
      // Without tcx the attach type is unknown. With it, an empty hook is ENOENT or no error at all.
      return result >= 0 || !["EINVAL", "EOPNOTSUPP"].includes(errnoName(-result));
    },
  },
  ringBuffer: {
    name: "ring buffer",
    since: "5.8",
    use: "printf of scripts",
    test: () => {
      using ring = createMap({
        type: MapType.RINGBUF,
        name: "probe",
        keySize: 0,
        valueSize: 0,
        maxEntries: 4096,
      });
      return ring.fd > 0;
    },
  },
  lpmBatch: {
    name: "batches on LPM maps",
    since: "5.13",
    use: "filling the route map quickly",
    test: () => {
      using map = createMap({
        type: MapType.LPM_TRIE,
        name: "probe",
        keySize: 8,
        valueSize: 4,
        maxEntries: 1,
        flags: 1,
      });
      return map.updateBatch([[new Uint8Array(8), new Uint8Array(4)]]) === 1;
    },
  },
} as const satisfies Record<string, Feature>;

export type FeatureName = keyof typeof features;

const known = new Map<FeatureName, boolean>();

/** Whether this kernel has a feature; the answer is remembered. @throws KernelError where it cannot be had */
export function hasFeature(name: FeatureName): boolean {
  let answer = known.get(name);
  if (answer === undefined) {
    answer = features[name].test();
    known.set(name, answer);
  }
  return answer;
}
