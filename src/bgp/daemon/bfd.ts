// bgp/daemon: the speaker's end of BFD's thread: which paths are watched, what was last heard of each, a new thread after a failure.
import { Worker } from "node:worker_threads";
import { toInteger } from "../../net/address.ts";
import { type BfdStatus, type BfdTarget, bfdKey } from "../session/bfd.ts";
import type { SpeakerConfig } from "../session/types.ts";
import type { FromBfd, ToBfd } from "./bfd-worker.ts";
import { bfdProblem } from "./messages.ts";

export interface BfdHost {
  /** Something is new of the path to these neighbours. */
  changed(peers: readonly string[], status: BfdStatus): void;
  log(level: "info" | "warn", text: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** A thread that failed is begun anew after this long. */
const RESTART_MS = 1_000;
/** How long a thread may take to say AdminDown to all before the speaker goes on without. */
const STOP_MS = 200;

interface Path {
  readonly target: BfdTarget;
  readonly peers: string[];
  /** As last heard. */
  state: string;
  problem: string;
}

/** The paths to watch, each once; where neighbours share one, the faster wish of them counts. */
export function bfdTargets(config: SpeakerConfig): Map<string, Path> {
  const out = new Map<string, Path>();
  for (const p of config.peers) {
    if (!p.bfd || p.adminDown || (p.unnumbered && toInteger(p.address) === 0n)) continue;
    const path = {
      address: p.address,
      localAddress: p.localAddress,
      interface: p.interface,
      multihop: p.bfd.multihop,
    };
    const key = bfdKey(path);
    const before = out.get(key);
    const target: BfdTarget = {
      ...path,
      key,
      transmitMs: Math.min(p.bfd.transmitMs, before?.target.transmitMs ?? Number.POSITIVE_INFINITY),
      receiveMs: Math.min(p.bfd.receiveMs, before?.target.receiveMs ?? Number.POSITIVE_INFINITY),
      detectMultiplier: Math.min(p.bfd.detectMultiplier, before?.target.detectMultiplier ?? 255),
    };
    out.set(key, { target, peers: [...(before?.peers ?? []), p.name], state: "", problem: "" });
  }
  return out;
}

export class Bfd {
  readonly #host: BfdHost;
  #paths = new Map<string, Path>();
  #worker: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped: (() => void) | undefined;
  #closed = false;
  /** Of the thread that runs, and of those before it. */
  #refused: Readonly<Record<string, number>> = {};
  #refusedBefore: Readonly<Record<string, number>> = {};

  constructor(host: BfdHost) {
    this.#host = host;
  }

  /** Watches what the configuration asks for. Without any, there is no thread. */
  set(config: SpeakerConfig): void {
    const before = this.#paths;
    this.#paths = bfdTargets(config);
    for (const [key, path] of this.#paths) {
      path.state = before.get(key)?.state ?? "";
      path.problem = before.get(key)?.problem ?? "";
    }
    if (this.#paths.size > 0) this.#start();
    this.#send();
  }

  /** BFD packets that no session took, by reason. */
  get refused(): Readonly<Record<string, number>> {
    const sum = { ...this.#refusedBefore };
    for (const [reason, n] of Object.entries(this.#refused)) sum[reason] = (sum[reason] ?? 0) + n;
    return sum;
  }

  #send(): void {
    this.#tell({ kind: "set", targets: [...this.#paths.values()].map((p) => p.target) });
  }

  #tell(message: ToBfd): void {
    this.#worker?.postMessage(message);
  }

  #start(): void {
    if (this.#worker || this.#closed) return;
    clearTimeout(this.#timer);
    const source = import.meta.url.endsWith(".ts") ? "./bfd-worker.ts" : "./bfd-worker.js";
    const worker = new Worker(new URL(source, import.meta.url), { name: "bfd" });
    this.#worker = worker;
    worker.unref();
    worker.on("message", (message: FromBfd) => this.#onMessage(message));
    worker.on("error", (error: Error) => this.#host.log("warn", bfdProblem.thread(error.message)));
    worker.on("exit", () => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#refusedBefore = this.refused;
      this.#refused = {};
      // No word of BFD is no failure of a path: sessions of BGP go on by their hold timers.
      if (!this.#closed && this.#paths.size > 0)
        this.#timer = setTimeout(() => {
          this.#start();
          this.#send();
        }, RESTART_MS);
    });
  }

  #onMessage(message: FromBfd): void {
    if (message.kind === "status") {
      const path = this.#paths.get(message.key);
      if (!path) return;
      const { state, diagnostic, remoteState, remoteDiagnostic, problem } = message.status;
      // Intervals that are negotiated are no news for a log.
      if (state !== path.state || problem !== path.problem)
        this.#host.log(message.status.failed ? "warn" : "info", "BFD", {
          peers: path.peers,
          state,
          diagnostic,
          remoteState,
          remoteDiagnostic,
          ...(problem && { problem }),
        });
      path.state = state;
      path.problem = problem;
      this.#host.changed(path.peers, message.status);
    } else if (message.kind === "refused") this.#refused = message.counts;
    else if (message.kind === "problem") this.#host.log("warn", message.text);
    else this.#stopped?.();
  }

  /** Tells the neighbours that we go on purpose, so that none takes it for a failure (RFC 5882 4.3.2). */
  async stop(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    if (!this.#worker) return;
    await new Promise<void>((resolve) => {
      this.#stopped = resolve;
      setTimeout(resolve, STOP_MS);
      this.#tell({ kind: "stop" });
    });
  }
}
