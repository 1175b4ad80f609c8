// kube: a heartbeat: a Lease that a process renews as long as it lives, and only while what it has to report has been written.
import type { KubeApi } from "./api.ts";
import type { Lease } from "./builtin.ts";
import { type Clock, jitter, microTimestamp, type Random, sleep } from "./clock.ts";
import { describeError, isAlreadyExists, isConflict, isNotFound } from "./errors.ts";
import { builtinKinds } from "./resource.ts";

/** Label of Leases that are heartbeats; the value says of what. */
export const heartbeatLabel = "waggle.dev/heartbeat";
/** Annotation of a heartbeat: the highest resourceVersion that its process had seen. */
export const seenAnnotation = "waggle.dev/seen";
/** Annotation of a heartbeat: when its process last noticed that the API server's data went back to an earlier point. */
export const rewoundAnnotation = "waggle.dev/rewound";
/** Annotation of a heartbeat, "false": what the process has to report could not be written, for want of its object. */
export const reportedAnnotation = "waggle.dev/reported";
/** Pause between two beats, ms. */
export const beatMs = 10_000;

export interface HeartbeatOptions {
  readonly api: KubeApi;
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Value of {@link heartbeatLabel}. */
  readonly kind: string;
  /** spec.holderIdentity: who lives. */
  readonly holder: string;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * Sees to it that the API server has what this process has to report, asked for and not taken from a cache. False: there is
   * no object to write it into. It may throw; then there is no beat.
   */
  readonly settle: () => Promise<boolean>;
  /** The highest resourceVersion that this process has seen; undefined where none is known. */
  readonly seen: () => bigint | undefined;
  /** The API server's data is older than what this process has seen. */
  readonly onRewound: () => void;
  readonly onError: (message: string) => void;
}

const requestMs = 5_000;
/** By then everything has been listed again, and the Lease's version must have passed all that is known. */
const mostBehind = 30;
const versionOf = (lease: Lease): bigint => BigInt(lease.metadata.resourceVersion ?? "0");

/**
 * Beats until it is disposed. A first beat, one after a failure and one after the server's data went back come only after
 * {@link HeartbeatOptions.settle}: whoever sees a beat that began after some moment knows what was reported by then.
 */
export class Heartbeat implements AsyncDisposable {
  readonly #o: HeartbeatOptions;
  readonly #stop = new AbortController();
  #held: Lease | undefined;
  /** What was reported before is known to be there still. */
  #settled = false;
  #reported = true;
  #rewoundAt: string | undefined;
  /** Beats in a row whose version was behind what had been seen. */
  #behind = 0;
  #running: Promise<void> | undefined;

  constructor(options: HeartbeatOptions) {
    this.#o = options;
  }

  start(): this {
    this.#running ??= this.#run();
    return this;
  }

  /** Stops; the Lease stays, and its age tells. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, onError } = this.#o;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      let pause = beatMs;
      try {
        // Whoever could not report looks again soon; so does one who has to begin anew.
        if (!(await this.#beat()) || !this.#reported) pause = beatMs / 5;
      } catch (error) {
        if (signal.aborted) return;
        this.#settled = false;
        onError(`no heartbeat: ${describeError(error)}`);
        pause = beatMs / 5;
      }
      await sleep(clock, jitter(pause, 0.2, random), signal);
    }
  }

  /** One beat. False: it has to be tried again, because what was believed of the Lease was wrong. */
  async #beat(): Promise<boolean> {
    const { api, namespace, name, seen } = this.#o;
    const limit = { namespace, timeoutMs: requestMs, retries: 0, signal: this.#stop.signal };
    const held = this.#held ?? (await this.#read());
    if (!this.#settled || !this.#reported) this.#reported = await this.#o.settle();
    this.#settled = true;
    const before = seen();
    let lease: Lease;
    try {
      lease = held
        ? await api.replace(builtinKinds.Lease, this.#next(held, before), limit)
        : await api.create(
            builtinKinds.Lease,
            this.#next(
              { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata: { name, namespace } },
              before,
            ),
            limit,
          );
    } catch (error) {
      if (!isConflict(error) && !isAlreadyExists(error) && !isNotFound(error)) throw error;
      const now = await this.#read();
      // Ours is gone or has become older: that is not how time goes.
      if (this.#held && (!now || versionOf(now) < versionOf(this.#held))) this.#rewound();
      this.#held = now;
      return false;
    }
    this.#held = lease;
    if (before === undefined || versionOf(lease) > before) {
      this.#behind = 0;
      return true;
    }
    // Leases that live in a store of their own count by themselves; then nothing can be learnt from their versions.
    if (this.#behind >= mostBehind) return true;
    this.#behind += 1;
    this.#rewound();
    return false;
  }

  #rewound(): void {
    this.#rewoundAt = microTimestamp(this.#o.clock.now());
    this.#settled = false;
    this.#o.onRewound();
  }

  async #read(): Promise<Lease | undefined> {
    const { api, namespace, name } = this.#o;
    const limit = { namespace, timeoutMs: requestMs, retries: 0, signal: this.#stop.signal };
    try {
      return await api.get(builtinKinds.Lease, name, limit);
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  #next(lease: Lease, seen: bigint | undefined): Lease {
    const { kind, holder, clock } = this.#o;
    const annotations: Record<string, string> = { ...lease.metadata.annotations };
    if (seen !== undefined) annotations[seenAnnotation] = String(seen);
    if (this.#rewoundAt !== undefined) annotations[rewoundAnnotation] = this.#rewoundAt;
    if (this.#reported) delete annotations[reportedAnnotation];
    else annotations[reportedAnnotation] = "false";
    return {
      ...lease,
      metadata: {
        ...lease.metadata,
        labels: { ...lease.metadata.labels, [heartbeatLabel]: kind },
        annotations,
      },
      spec: {
        holderIdentity: holder,
        leaseDurationSeconds: (4 * beatMs) / 1000,
        renewTime: microTimestamp(clock.now()),
      },
    };
  }
}
