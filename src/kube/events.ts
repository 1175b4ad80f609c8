// kube: events (events.k8s.io/v1) for people: the same one again becomes a count, and no object can flood.
import type { KubernetesObject } from "../api/index.ts";
import type { KubeApi } from "./api.ts";
import type { Event } from "./builtin.ts";
import { type Clock, microTimestamp, systemClock } from "./clock.ts";
import { describeError, isNotFound } from "./errors.ts";
import { builtinKinds } from "./resource.ts";

export interface EventRecorderOptions {
  readonly api: KubeApi;
  /** reportingController, such as waggle.dev/operator. */
  readonly controller: string;
  /** reportingInstance: pod or node. */
  readonly instance: string;
  readonly clock?: Clock;
  readonly onError?: (message: string) => void;
}

export interface NewEvent {
  readonly type: "Normal" | "Warning";
  /** CamelCase, stable. */
  readonly reason: string;
  /** What was being done: CamelCase verb. */
  readonly action: string;
  /** A sentence; at most 1024 bytes are kept. */
  readonly note: string;
}

interface Series {
  readonly name: string;
  readonly namespace: string;
  count: number;
  /** The count that the API server has. */
  written: number;
  lastAt: number;
}

/** The same event within this time is the same series. */
const seriesMs = 10 * 60_000;
/** A running series is written no more often than this. */
const seriesWriteMs = 60_000;
const mostSeries = 2_000;
/** Events that wait to be written. They go one after another: news for people must not be in the way of what it is about. */
const mostWaiting = 1_000;
/** Per object: a burst, then one more every so often. */
const burst = 10;
const refillMs = 30_000;

/** Records events without ever failing or waiting for its caller. */
export class EventRecorder {
  readonly stats = { written: 0, aggregated: 0, refused: 0, failed: 0 };
  readonly #o: EventRecorderOptions;
  readonly #clock: Clock;
  readonly #series = new Map<string, Series>();
  readonly #budgets = new Map<string, { tokens: number; at: number }>();
  readonly #waiting: (() => Promise<unknown>)[] = [];
  #writing = false;
  #sequence = 0;

  constructor(options: EventRecorderOptions) {
    this.#o = options;
    this.#clock = options.clock ?? systemClock;
  }

  record(regarding: KubernetesObject, event: NewEvent): void {
    const now = this.#clock.now();
    const { uid = "", name, namespace } = regarding.metadata;
    const key = [uid || name, event.type, event.reason, event.action, event.note].join("\0");
    const running = this.#series.get(key);
    if (running && now - running.lastAt < seriesMs) {
      this.stats.aggregated += 1;
      running.count += 1;
      const due = running.written === 1 || now - running.lastAt >= seriesWriteMs;
      if (!due) return;
      running.lastAt = now;
      running.written = running.count;
      this.#enqueue(() =>
        this.#o.api.patch(
          builtinKinds.Event,
          running.name,
          "merge",
          { series: { count: running.count, lastObservedTime: microTimestamp(now) } },
          { namespace: running.namespace, retries: 0 },
        ),
      );
      return;
    }
    if (!this.#spend(uid || name)) {
      this.stats.refused += 1;
      return;
    }
    const series: Series = {
      name: `${name}.${now.toString(16)}${(this.#sequence++).toString(16)}`.slice(-253),
      namespace: namespace ?? "default",
      count: 1,
      written: 1,
      lastAt: now,
    };
    this.#series.delete(key);
    this.#series.set(key, series);
    this.#trim();
    const body: Event = {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: series.name, namespace: series.namespace },
      eventTime: microTimestamp(now),
      reportingController: this.#o.controller,
      reportingInstance: this.#o.instance,
      type: event.type,
      reason: event.reason,
      action: event.action,
      note: event.note.slice(0, 1024),
      regarding: {
        apiVersion: regarding.apiVersion,
        kind: regarding.kind,
        name,
        ...(uid && { uid }),
        ...(namespace && { namespace }),
      },
    };
    this.#enqueue(() =>
      this.#o.api.create(builtinKinds.Event, body, { namespace: series.namespace, retries: 0 }),
    );
  }

  #enqueue(request: () => Promise<unknown>): void {
    if (this.#waiting.length >= mostWaiting) {
      this.stats.refused += 1;
      return;
    }
    this.#waiting.push(request);
    if (!this.#writing) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#writing = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) await this.#write(next);
    this.#writing = false;
  }

  async #write(request: () => Promise<unknown>): Promise<void> {
    try {
      await request();
      this.stats.written += 1;
    } catch (error) {
      this.stats.failed += 1;
      if (!isNotFound(error)) this.#o.onError?.(`an event was lost: ${describeError(error)}`);
    }
  }

  #spend(object: string): boolean {
    const now = this.#clock.monotonic();
    const budget = this.#budgets.get(object) ?? { tokens: burst, at: now };
    budget.tokens = Math.min(burst, budget.tokens + (now - budget.at) / refillMs);
    budget.at = now;
    this.#budgets.delete(object);
    this.#budgets.set(object, budget);
    if (budget.tokens < 1) return false;
    budget.tokens -= 1;
    return true;
  }

  /** The oldest go first: both maps are in the order of last use. */
  #trim(): void {
    for (const map of [this.#series, this.#budgets])
      for (const key of map.keys()) {
        if (map.size <= mostSeries) break;
        map.delete(key);
      }
  }
}
