// trace: one run of a script on this node: BEGIN, probes, the ring while it lasts, END, the maps. Results come before the slow detaching.
import { constants } from "node:os";
import { whenReadable } from "../kernel/ffi.ts";
import { RingConsumer } from "../kernel/ring.ts";
import { decodeMap, decodeRecord } from "../results/index.ts";
import type { DecodedRecord, MapData, NodeChunk, RawEntry, Resolvers } from "../results/types.ts";
import type { OutputMap } from "../script/types.ts";
import { carryOut } from "./actions.ts";
import { type Attachment, type AttachOptions, attachAll } from "./attach.ts";
import type { LoadedScript } from "./load.ts";
import { say } from "./messages.ts";
import type { Finished, RunListener } from "./types.ts";

/** Timers, handed in so that a run can be driven by a test. Each returns what cancels it. */
export interface Timers {
  after(ms: number, call: () => void): () => void;
  every(ms: number, call: () => void): () => void;
}

export const realTimers: Timers = {
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
  every(ms, call) {
    const timer = setInterval(call, ms);
    return () => clearInterval(timer);
  },
};

export interface RunOptions extends AttachOptions {
  readonly resolvers: Resolvers;
  readonly listener: RunListener;
  readonly timers?: Timers;
  /** The run ends by itself after this time; absent: it does not. */
  readonly durationMs?: number;
  /** A run without probes that could fire ends once BEGIN is done, as bpftrace does since 0.24. */
  readonly endWithoutProbes?: boolean;
  /** Whether the listener can take more; while it cannot, records stay in the ring, which counts what it loses. */
  readonly ready?: () => boolean;
  /** This process ends with the run: descriptors are left to another, so that nobody waits for their closing. */
  readonly leaving?: boolean;
  /** Told the counters every second while the run lasts. */
  readonly lost?: (counters: Counters) => void;
  /** May run commands and read files for system() and cat(). */
  readonly unsafe?: boolean;
}

/** Records that are decoded before the event loop gets its turn. */
const drainLimit = 16_384;
/** How long a listener that is not ready is left alone. */
const pauseMs = 5;
/** How often a run looks whether anything was lost meanwhile; it also keeps the process of a script without output alive. */
const watchMs = 1000;

/** Byte offsets of u64 counters in the per-CPU counters element. */
const counterOffsets = { lostEvents: 0, mapFull: 8, unattributed: 16, runtimeErrors: 24 } as const;

export interface Counters {
  readonly lostEvents: number;
  readonly mapFull: number;
  readonly unattributed: number;
  readonly runtimeErrors: number;
}

/** bpftrace's max_cat_bytes. */
const defaultCatBytes = 10_240;

const firstElement = new Uint8Array(4);

/** States in order: loaded, attached (running), ended. */
export class Run implements Disposable {
  readonly #loaded: LoadedScript;
  readonly #options: RunOptions;
  readonly #timers: Timers;
  readonly #ring: RingConsumer | undefined;
  readonly #ordinals = new Map<number, number>();
  /** Maps that zero() was called on: what is 0 in them is there. */
  readonly #zeroed = new Set<string>();
  readonly #outputs: ReadonlyMap<string, OutputMap>;
  #attachment: Attachment | undefined;
  #stopPolling: (() => void) | undefined;
  #stopTimer: (() => void) | undefined;
  #stopWatching: (() => void) | undefined;
  #ended: Promise<void> | undefined;
  #exit: { readonly code: number } | undefined;
  readonly #signals: (readonly [name: NodeJS.Signals, handler: () => void])[] = [];
  #disposed = false;

  /** @throws KernelError if the ring cannot be mapped */
  constructor(loaded: LoadedScript, options: RunOptions) {
    this.#loaded = loaded;
    this.#options = options;
    this.#timers = options.timers ?? realTimers;
    const { output } = loaded.script;
    this.#outputs = new Map(output.maps.map((map) => [map.name, map]));
    this.#ring =
      output.ring < 0
        ? undefined
        : new RingConsumer(loaded.map(output.ring).fd, loaded.map(output.ring).maxEntries);
  }

  /** Probes of the script: attach points, BEGIN and END. */
  get probes(): number {
    const { attach, programs, begin, end } = this.#loaded.script;
    return attach.length + [...begin, ...end].filter((index) => programs[index]?.name !== "start").length;
  }

  #setGate(open: boolean): void {
    const { gate } = this.#loaded.script.output;
    if (gate < 0) return;
    const map = this.#loaded.map(gate);
    const value = new Uint8Array(map.valueSize);
    value[0] = open ? 1 : 0;
    map.update(firstElement, value);
  }

  #runPrograms(indices: readonly number[]): void {
    for (const index of indices) this.#loaded.program(index).testRun();
  }

  /**
   * Attaches everything behind a shut gate, runs BEGIN, opens the gate: all probes begin at one moment. What BEGIN printed
   * is handed over after this has resolved.
   * @returns how many probes are on, and messages about those that the run goes on without
   * @throws AttachError that names the attach points; then nothing is attached
   */
  async attach(): Promise<{ readonly probes: number; readonly skipped: readonly string[] }> {
    const { script } = this.#loaded;
    this.#setGate(false);
    for (const { signal } of script.attach)
      if (signal !== undefined && !(signal.replace(/^(?!SIG)/, "SIG") in constants.signals))
        throw new Error(say.signal(signal));
    this.#attachment = await attachAll(this.#loaded, this.#options);
    try {
      this.#runPrograms(script.begin);
    } catch (error) {
      await this.#attachment.detach();
      this.#attachment = undefined;
      throw error;
    }
    const iterators = script.attach.filter((point) => point.iterator !== undefined).length;
    const finite = script.attach.length === iterators;
    this.#listenToSignals();
    this.#setGate(true);
    this.#attachment.iterate();
    this.#stopWatching = this.#timers.every(watchMs, () => this.#options.lost?.(this.counters()));
    if (this.#options.durationMs !== undefined)
      this.#stopTimer = this.#timers.after(this.#options.durationMs, () => void this.end("deadline"));
    if (finite && (iterators > 0 || this.#options.endWithoutProbes))
      this.#timers.after(0, () => {
        // Somebody may have ended the run meanwhile: then the ring is no longer mapped.
        if (this.#ended) return;
        this.#drainAll();
        void this.end("exit");
      });
    else this.#timers.after(0, () => this.#poll());
    const off = script.attach.length - this.#attachment.probes;
    return { probes: this.probes - off, skipped: this.#attachment.skipped };
  }

  /** `self:signal:SIGUSR1` probes: their programs are run by hand when the signal comes. */
  #listenToSignals(): void {
    for (const point of this.#loaded.script.attach) {
      if (point.signal === undefined) continue;
      const name = (/^SIG/.test(point.signal) ? point.signal : `SIG${point.signal}`) as NodeJS.Signals;
      const handler = () => this.#runPrograms([point.program]);
      process.on(name, handler);
      this.#signals.push([name, handler]);
    }
  }

  #poll(): void {
    if (this.#ended || !this.#ring) return;
    const fd = this.#loaded.map(this.#loaded.script.output.ring).fd;
    this.#stopPolling = whenReadable(fd, () => this.#drainSome());
  }

  /** One turn's worth of records. */
  #drainSome(): void {
    if (this.#ended || !this.#ring) return;
    if (this.#options.ready?.() === false) {
      this.#stopPolling?.();
      this.#stopPolling = undefined;
      this.#timers.after(pauseMs, () => this.#poll());
      return;
    }
    try {
      this.#ring.drain((record) => this.#handle(record), drainLimit);
    } catch (error) {
      void this.end("error", say.failedInRun((error as Error).message));
      return;
    }
    if (this.#exit) void this.end("exit");
  }

  /** Everything that is in the ring now; a producer that does not stop is cut off after a ringful of the smallest records. */
  #drainAll(): void {
    if (!this.#ring) return;
    let left = Math.ceil(this.#ring.size / 16);
    while (left > 0) {
      const handed = this.#ring.drain((record) => this.#handle(record), Math.min(left, drainLimit));
      if (handed === 0) return;
      left -= handed;
    }
  }

  #handle(record: Uint8Array): boolean {
    const { output } = this.#loaded.script;
    const decoded: DecodedRecord = decodeRecord(output, record, this.#options.resolvers);
    switch (decoded.kind) {
      case "line":
        for (const chunk of carryOut(decoded, {
          unsafe: this.#options.unsafe === true,
          catBytes: output.catBytes ?? defaultCatBytes,
        }))
          this.#options.listener.chunk(chunk);
        return true;
      case "print_map":
        this.#round(decoded.map, decoded.site);
        return true;
      case "clear":
      case "zero":
        this.#clear(decoded.map, decoded.kind === "zero");
        return true;
      case "exit":
        // The last one counts, END's too.
        this.#exit = { code: decoded.code };
        // What was sent after exit() still counts, in the maps as in the ring: bpftrace's rule is the same.
        this.#setGate(false);
        return true;
    }
  }

  #entries(map: OutputMap): RawEntry[] {
    const kernel = this.#loaded.map(map.map);
    const entries: RawEntry[] = [];
    const size = kernel.perCpu ? (kernel.valueSize + 7) & ~7 : kernel.valueSize;
    for (const [key, value] of kernel.entries()) {
      const values: Uint8Array[] = [];
      for (let at = 0; at < value.length; at += size) values.push(value.subarray(at, at + kernel.valueSize));
      entries.push({ key, values });
    }
    return entries;
  }

  #read(map: OutputMap): MapData {
    const { output } = this.#loaded.script;
    return decodeMap(output, map, this.#entries(map), this.#options.resolvers, this.#zeroed.has(map.name));
  }

  #round(name: string, site: number): void {
    const map = this.#outputs.get(name);
    if (!map) return;
    const ordinal = this.#ordinals.get(site) ?? 0;
    this.#ordinals.set(site, ordinal + 1);
    this.#options.listener.chunk({ kind: "round", site, ordinal, map: this.#read(map) });
  }

  #clear(name: string, keep: boolean): void {
    const map = this.#outputs.get(name);
    if (!map) return;
    if (keep) this.#zeroed.add(name);
    else this.#zeroed.delete(name);
    const kernel = this.#loaded.map(map.map);
    const fixed = map.setOffset !== undefined || this.#loaded.script.maps[map.map]?.type.endsWith("array");
    const zero = new Uint8Array(kernel.lookupSize);
    for (const { key } of this.#entries(map)) {
      if (keep || fixed) kernel.tryUpdate(key, zero);
      else kernel.delete(key);
    }
  }

  /** All maps as they are now; none once the run has ended. */
  readMaps(): readonly MapData[] {
    return this.#ended ? [] : this.#loaded.script.output.maps.map((map) => this.#read(map));
  }

  /** What the programs counted so far, all CPUs together. */
  counters(): Counters {
    const { counters } = this.#loaded.script.output;
    const map = this.#loaded.map(counters);
    const value = map.lookup(firstElement) ?? new Uint8Array();
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    const sum = (offset: number): number => {
      let total = 0n;
      for (let at = offset; at + 8 <= value.length; at += (map.valueSize + 7) & ~7)
        total += view.getBigUint64(at, true);
      return Number(total);
    };
    return {
      lostEvents: sum(counterOffsets.lostEvents),
      mapFull: sum(counterOffsets.mapFull),
      unattributed: sum(counterOffsets.unattributed),
      runtimeErrors: sum(counterOffsets.runtimeErrors),
    };
  }

  /**
   * Ends the run: shuts the gate, runs END, hands over what is left in the ring, the maps, and `finished`. Resolves when all
   * is detached as well. The first call decides the reason.
   */
  end(reason: Finished["reason"], message?: string): Promise<void> {
    this.#ended ??= this.#finish(reason, message);
    return this.#ended;
  }

  async #finish(reason: Finished["reason"], message: string | undefined): Promise<void> {
    this.#stopTimer?.();
    this.#stopWatching?.();
    this.#stopPolling?.();
    for (const [name, handler] of this.#signals.splice(0)) process.off(name, handler);
    const { listener } = this.#options;
    let failure = message;
    try {
      if (this.#attachment) {
        this.#setGate(false);
        this.#drainAll();
        this.#runPrograms(this.#loaded.script.end);
        this.#drainAll();
        listener.chunk(this.#maps());
      }
    } catch (error) {
      failure ??= say.failedInRun((error as Error).message);
    }
    const { lostEvents, mapFull, unattributed, runtimeErrors } = this.counters();
    listener.finished({
      reason: failure === undefined ? reason : "error",
      ...(failure === undefined ? {} : { message: failure }),
      lostEvents,
      mapFull,
      unattributed,
      runtimeErrors,
      exitCode: this.#exit?.code ?? 0,
    });
    if (this.#options.leaving) await this.#attachment?.leave();
    else await this.#attachment?.detach();
    this[Symbol.dispose]();
  }

  #maps(): NodeChunk {
    const { maps, silent } = this.#loaded.script.output;
    return { kind: "maps", maps: silent ? [] : maps.map((map) => this.#read(map)) };
  }

  /** Closes maps and programs. Links are closed by {@link end}. */
  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#ring?.[Symbol.dispose]();
    this.#loaded[Symbol.dispose]();
  }
}
