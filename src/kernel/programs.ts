// kernel: BPF programs: loaded from bytecode, opened from pins and ids, run on test input.
import {
  Attr,
  BpfCommand,
  bpf,
  cString,
  Fd,
  fromCString,
  objectInfo,
  openById,
  openPinnedObject,
  openPinnedObjectIfAny,
  type ProgramType,
  pinObject,
  tryBpf,
} from "./bpf.ts";
import { errnoName, KernelError } from "./ffi.ts";

/** BTF of a program: an object made by loadBtf, struct bpf_func_info[] and struct bpf_line_info[] as bytes. */
export interface ProgramBtf {
  readonly fd: number;
  readonly funcInfo: Uint8Array;
  readonly lineInfo: Uint8Array;
}

export interface ProgramSpec {
  readonly type: ProgramType;
  readonly name: string;
  /** struct bpf_insn[]; 8 bytes each. */
  readonly code: Uint8Array;
  /** Default "GPL". */
  readonly license?: string;
  readonly expectedAttachType?: number;
  /** Type id in the kernel's BTF, or in that of the module `attachBtfObjectFd`. */
  readonly attachBtfId?: number;
  readonly attachBtfObjectFd?: number;
  readonly btf?: ProgramBtf;
  /** Bits of BPF_F_* of BPF_PROG_LOAD. */
  readonly flags?: number;
  /** Asks for the verifier's log of a load that succeeds; it is returned in `log`. */
  readonly logLevel?: number;
}

/** A program that the kernel refused. `log` is the verifier's, empty if it never got that far (EPERM). */
export class VerifierError extends KernelError {
  readonly log: string;
  constructor(errno: number, name: string, log: string) {
    super("bpf(PROG_LOAD)", errno, summary(name, log));
    this.name = "VerifierError";
    this.log = log;
  }
}

/** The last line of a log that is about the program and not about the verifier's work. */
function summary(name: string, log: string): string {
  const lines = log
    .split("\n")
    .filter((line) => line !== "" && !/^(processed|verification time|stack depth|peak_)/.test(line));
  const last = lines.at(-1);
  return last ? `${name}: ${last}` : name;
}

/** What the kernel says of a program (struct bpf_prog_info). */
export interface ProgramInfo {
  readonly type: number;
  readonly id: number;
  /** Hash over the instructions, 16 hex digits. */
  readonly tag: string;
  readonly name: string;
  readonly jitedBytes: number;
  /** Bytes; 8 an instruction. */
  readonly translatedBytes: number;
  readonly mapIds: readonly number[];
  readonly verifiedInstructions: number;
  /** Only counted while kernel.bpf_stats_enabled = 1. */
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
}

export interface TestRunOptions {
  readonly dataIn?: Uint8Array;
  /** The context struct (struct __sk_buff, xdp_md, …). */
  readonly ctxIn?: Uint8Array;
  /** Bytes of context wanted back; default as many as given. */
  readonly ctxOutSize?: number;
  /** Default 1. Where the program type has none (SYSCALL, RAW_TRACEPOINT) it must stay unset. */
  readonly repeat?: number;
  readonly flags?: number;
  readonly cpu?: number;
  /** Bytes for the packet that comes out; default: the input's size + 256 where there is an input. */
  readonly dataOutSize?: number;
}

export interface TestRunResult {
  /** The program's return value, unsigned 32 bits. */
  readonly retval: number;
  readonly dataOut: Uint8Array;
  readonly ctxOut: Uint8Array;
  /** Nanoseconds, mean of one run. */
  readonly duration: number;
}

/** A loaded program. */
export class BpfProgram implements Disposable {
  readonly #fd: Fd;
  /** The verifier's log, if it was asked for. */
  readonly log: string;

  constructor(fd: Fd, log = "") {
    this.#fd = fd;
    this.log = log;
  }

  /** @throws KernelError (ENOENT) */
  static openPinned(path: string): BpfProgram {
    return new BpfProgram(openPinnedObject(path));
  }

  static openPinnedIfAny(path: string): BpfProgram | undefined {
    const fd = openPinnedObjectIfAny(path);
    return fd && new BpfProgram(fd);
  }

  /** Opens a program by its kernel-wide id; undefined if it is gone. */
  static openById(id: number): BpfProgram | undefined {
    const fd = openById(BpfCommand.PROG_GET_FD_BY_ID, id);
    return fd && new BpfProgram(fd);
  }

  get fd(): number {
    return this.#fd.number;
  }

  /** Runs the program on test input (BPF_PROG_TEST_RUN). @throws KernelError (ENOTSUPP for types without it) */
  testRun(options: TestRunOptions = {}): TestRunResult {
    const { dataIn, ctxIn } = options;
    const dataOut = new Uint8Array(options.dataOutSize ?? (dataIn ? dataIn.length + 256 : 0));
    const ctxOut = new Uint8Array(options.ctxOutSize ?? ctxIn?.length ?? 0);
    const attr = new Attr(80)
      .u32(0, this.fd)
      .u32(8, dataIn?.length ?? 0)
      .u32(12, dataOut.length)
      .pointer(16, dataIn)
      .pointer(24, dataOut)
      .u32(32, options.repeat ?? 0)
      .u32(40, ctxIn?.length ?? 0)
      .u32(44, ctxOut.length)
      .pointer(48, ctxIn)
      .pointer(56, ctxOut)
      .u32(64, options.flags ?? 0)
      .u32(68, options.cpu ?? 0);
    bpf(BpfCommand.PROG_TEST_RUN, attr);
    return {
      retval: attr.get32(4),
      dataOut: dataOut.subarray(0, attr.get32(12)),
      ctxOut: ctxOut.subarray(0, attr.get32(44)),
      duration: attr.get32(36),
    };
  }

  /** @throws KernelError (EEXIST) */
  pin(path: string): void {
    pinObject(this.fd, path);
  }

  info(): ProgramInfo {
    return programInfo(this.fd);
  }

  /** Hands the descriptor to somebody else. */
  disown(): number {
    return this.#fd.disown();
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

const firstLog = 256 * 1024;
const largestLog = 16 * 1024 * 1024;

function loadAttr(spec: ProgramSpec): Attr {
  const attr = new Attr(144)
    .u32(0, spec.type)
    .u32(4, spec.code.length / 8)
    .pointer(8, spec.code)
    .pointer(16, cString(spec.license ?? "GPL"))
    .u32(44, spec.flags ?? 0)
    .name(48, spec.name)
    .u32(68, spec.expectedAttachType ?? 0)
    .u32(108, spec.attachBtfId ?? 0)
    .u32(112, spec.attachBtfObjectFd ?? 0);
  if (spec.btf) {
    const { fd, funcInfo, lineInfo } = spec.btf;
    attr.u32(72, fd);
    attr
      .u32(76, 8)
      .pointer(80, funcInfo)
      .u32(88, funcInfo.length / 8);
    attr
      .u32(92, 16)
      .pointer(96, lineInfo)
      .u32(104, lineInfo.length / 16);
  }
  return attr;
}

/**
 * Loads a program. The first try is without a log, which is what costs; a refusal is repeated with one.
 * @throws VerifierError
 */
export function loadProgram(spec: ProgramSpec): BpfProgram {
  let level = spec.logLevel ?? 0;
  let size = firstLog;
  for (;;) {
    const log = level > 0 ? new Uint8Array(size) : undefined;
    const attr = loadAttr(spec)
      .u32(24, level)
      .u32(28, log?.length ?? 0)
      .pointer(32, log);
    const result = tryBpf(BpfCommand.PROG_LOAD, attr);
    const text = log ? fromCString(log) : "";
    if (result >= 0) return new BpfProgram(new Fd(result), text);
    const code = errnoName(-result);
    if (log && code === "ENOSPC" && size < largestLog) size *= 4;
    else if (!log && code !== "ENOSPC") level = 1;
    else throw new VerifierError(-result, spec.name, text);
  }
}

/** struct bpf_prog_info of a descriptor. @throws KernelError */
export function programInfo(fd: number): ProgramInfo {
  const count = objectInfo(fd, new Attr(programInfoSize).bytes).getUint32(52, true);
  const mapIds = new Uint32Array(count);
  const info = new Attr(programInfoSize).u32(52, count).pointer(56, mapIds);
  objectInfo(fd, info.bytes);
  return {
    type: info.get32(0),
    id: info.get32(4),
    tag: Buffer.from(info.bytes.subarray(8, 16)).toString("hex"),
    jitedBytes: info.get32(16),
    translatedBytes: info.get32(20),
    mapIds: [...mapIds],
    name: fromCString(info.bytes.subarray(64, 80)),
    runTimeNs: info.get64(192),
    runCount: info.get64(200),
    verifiedInstructions: info.get32(216),
  };
}

const programInfoSize = 232;
