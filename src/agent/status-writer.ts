// agent: writes NodeNetwork.status: only on change, never twice at once, a little spread in time.
import type { NodeNetwork, NodeNetworkStatus } from "../api/index.ts";
import {
  applyStatus,
  backoff,
  type Clock,
  describeError,
  isConflict,
  isNotFound,
  type KubeApi,
  kinds,
  type Random,
  sameJson,
  type Timer,
} from "../kube/index.ts";
import { nothingToReport } from "./messages.ts";
import type { Log, StatusPort } from "./ports.ts";

export interface StatusWriterOptions {
  readonly api: KubeApi;
  readonly node: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** The object as the reflector has it. */
  readonly current: () => NodeNetwork | undefined;
}

/** Spread of the first write after a change: many nodes hear of the same change at the same moment. */
const spreadMs = 60;
/** Least time between two writes. */
const spacingMs = 200;

export class StatusWriter implements StatusPort, Disposable {
  readonly stats = { writes: 0, conflicts: 0, failures: 0 };
  readonly #o: StatusWriterOptions;
  readonly #stop = new AbortController();
  readonly #pause;
  #wanted: NodeNetworkStatus | undefined;
  /** What the API server has, as far as this writer knows. */
  #stored: NodeNetworkStatus | undefined;
  /** Read again after a conflict; newer than the reflector's. */
  #object: NodeNetwork | undefined;
  #timer: Timer | undefined;
  #busy = false;
  /** Monotonic ms. */
  #notBefore = 0;

  constructor(options: StatusWriterOptions) {
    this.#o = options;
    this.#pause = backoff(200, 30_000, options.random);
  }

  set(status: NodeNetworkStatus): void {
    this.#wanted = status;
    if (!sameJson(status, this.#stored)) this.#schedule(this.#o.random() * spreadMs);
  }

  /**
   * Sees to it that the API server has the newest status, whatever was written before. False: there is no NodeNetwork.
   * @throws ApiError, TransportError; Error before there is anything to say
   */
  async settle(): Promise<boolean> {
    const { api, node } = this.#o;
    const { signal } = this.#stop;
    if (!this.#wanted) throw new Error(nothingToReport());
    try {
      const object = await api.get(kinds.NodeNetwork, node, { signal });
      const status = this.#wanted;
      await applyStatus(api, kinds.NodeNetwork, object, status, { fieldManager: "waggle-agent", signal });
      this.#stored = status;
      return true;
    } catch (error) {
      if (isNotFound(error)) return false;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#timer?.[Symbol.dispose]();
  }

  #schedule(ms: number): void {
    if (this.#busy || this.#timer || this.#stop.signal.aborted) return;
    const { clock } = this.#o;
    this.#timer = clock.after(Math.max(ms, this.#notBefore - clock.monotonic()), () => {
      this.#timer = undefined;
      void this.#write();
    });
  }

  async #write(): Promise<void> {
    const { api, node, log } = this.#o;
    const status = this.#wanted;
    if (!status || sameJson(status, this.#stored)) return;
    this.#busy = true;
    let wait = spacingMs;
    try {
      const object = this.#object ?? this.#o.current();
      this.#object = undefined;
      if (object) {
        const written = await applyStatus(api, kinds.NodeNetwork, object, status, {
          fieldManager: "waggle-agent",
          signal: this.#stop.signal,
        });
        if (written) this.stats.writes += 1;
        this.#object = written;
        this.#stored = status;
        this.#pause.reset();
      } else wait = 500;
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      if (isConflict(error)) {
        this.stats.conflicts += 1;
        wait = 10;
        this.#object = await this.#read();
      } else if (isNotFound(error)) wait = 500;
      else {
        this.stats.failures += 1;
        wait = this.#pause.next();
        log.warn({ node, error: describeError(error) }, "status cannot be written");
      }
    } finally {
      this.#busy = false;
      this.#notBefore = this.#o.clock.monotonic() + wait;
    }
    if (!sameJson(this.#wanted, this.#stored)) this.#schedule(0);
  }

  async #read(): Promise<NodeNetwork | undefined> {
    try {
      return await this.#o.api.get(kinds.NodeNetwork, this.#o.node, {
        signal: this.#stop.signal,
        retries: 0,
        timeoutMs: 5_000,
      });
    } catch (error) {
      if (!this.#stop.signal.aborted)
        this.#o.log.warn({ error: describeError(error) }, "NodeNetwork cannot be read after a conflict");
      return undefined;
    }
  }
}
