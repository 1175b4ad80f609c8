// trace: what this kernel can do, found out when it is asked: by its own BTF, or by trying.
import { AttachType, ProgramType } from "../kernel/bpf.ts";
import type { IndexedBtf } from "../kernel/btf-index.ts";
import { KernelError } from "../kernel/ffi.ts";
import { possibleCpus } from "../kernel/maps.ts";
import { probePmu } from "../kernel/perf.ts";
import { loadProgram } from "../kernel/programs.ts";
import type { FunctionPrototype, KernelFeatures } from "../script/types.ts";

/** What is needed of the kernel's types. */
export interface FeatureSource {
  readonly hasBtf: boolean;
  readonly vmlinux: IndexedBtf;
  function(name: string): FunctionPrototype | undefined;
}

/** `r0 = 0; exit`. */
const emptyProgram = Uint8Array.of(0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0);

/** Functions that every kernel with trampolines has; the first that BTF knows is tried. */
const trampolineTargets = ["bpf_fentry_test1", "vfs_read", "do_exit"];

function tryFentry(types: FeatureSource): boolean {
  for (const name of trampolineTargets) {
    const attachBtfId = types.function(name)?.btfId;
    if (attachBtfId === undefined) continue;
    try {
      using program = loadProgram({
        type: ProgramType.TRACING,
        name: "feature",
        code: emptyProgram,
        expectedAttachType: AttachType.TRACE_FENTRY,
        attachBtfId,
      });
      return program.fd >= 0;
    } catch (error) {
      if (error instanceof KernelError) return false;
      throw error;
    }
  }
  return false;
}

/**
 * What this kernel can do. Helpers are known by the enumerators of enum bpf_func_id in its own BTF, which costs a lookup each and
 * nothing at all until it is asked; only trampolines need a program to be tried.
 */
export function probeFeatures(types: FeatureSource): KernelFeatures {
  const known = new Map<string, boolean>();
  const once = (name: string, probe: () => boolean): boolean => {
    const before = known.get(name);
    if (before !== undefined) return before;
    const found = types.hasBtf && probe();
    known.set(name, found);
    return found;
  };
  const helper = (name: string) =>
    once(name, () => types.vmlinux.findEnumerator(`BPF_FUNC_${name}`) !== undefined);
  return {
    get bpfLoop() {
      return helper("loop");
    },
    get ringBuffer() {
      return helper("ringbuf_output");
    },
    get probeReadKernelStr() {
      return helper("probe_read_kernel_str");
    },
    get tpBtf() {
      return once("tp_btf", () => types.vmlinux.findEnumerator("BPF_TRACE_RAW_TP") !== undefined);
    },
    get fentry() {
      return once("fentry", () => tryFentry(types));
    },
    get kprobe() {
      return probePmu("kprobe") !== undefined;
    },
    get currentTaskBtf() {
      return helper("get_current_task_btf");
    },
    get forEachMapElem() {
      return helper("for_each_map_elem");
    },
    get mapLookupPercpuElem() {
      return helper("map_lookup_percpu_elem");
    },
    get ktimeGetTaiNs() {
      return helper("ktime_get_tai_ns");
    },
    get cpus() {
      return possibleCpus();
    },
  };
}
