// kube: which cluster is this? The UID of namespace kube-system, which lives as long as the cluster does.
import type { KubeApi } from "./api.ts";
import { type Clock, systemClock } from "./clock.ts";
import { builtinKinds } from "./resource.ts";

/** UID of namespace kube-system. @throws ApiError, TransportError */
export async function clusterUID(
  api: KubeApi,
  options: { readonly signal?: AbortSignal } = {},
): Promise<string> {
  const namespace = await api.get(builtinKinds.Namespace, "kube-system", { ...options, retries: 0 });
  const { uid } = namespace.metadata;
  if (!uid) throw new Error("namespace kube-system has no UID");
  return uid;
}

/** The answers come from another cluster than before, for example after an API server's data was restored from nothing. */
export class OtherClusterError extends Error {
  readonly expected: string;
  readonly found: string;
  constructor(expected: string, found: string) {
    super(
      `the API server belongs to another cluster: namespace kube-system has UID ${found}, not ${expected}`,
    );
    this.name = "OtherClusterError";
    this.expected = expected;
    this.found = found;
  }
}

/** Pins a cluster's UID and checks it; many reflectors share one, so that a reconnect costs one request. */
export class ClusterIdentity {
  readonly #api: KubeApi;
  readonly #clock: Clock;
  #expected: string | undefined;
  #lastFound: { readonly uid: string; readonly askedAt: number } | undefined;
  #asking: { readonly askedAt: number; readonly uid: Promise<string> } | undefined;

  /** `expected`: the UID that a stored snapshot names; omitted, the first one seen is pinned. */
  constructor(api: KubeApi, options: { readonly expected?: string; readonly clock?: Clock } = {}) {
    this.#api = api;
    this.#clock = options.clock ?? systemClock;
    this.#expected = options.expected;
  }

  /** The pinned UID, once known. */
  get uid(): string | undefined {
    return this.#expected;
  }

  /**
   * Resolves if the server, asked at `since` (monotonic ms) or later, is the pinned cluster.
   * @throws OtherClusterError; ApiError or TransportError when it could not be asked, which proves nothing
   */
  async verify(since: number, signal?: AbortSignal): Promise<void> {
    const uid = await this.#ask(since);
    signal?.throwIfAborted();
    this.#expected ??= uid;
    if (uid !== this.#expected) throw new OtherClusterError(this.#expected, uid);
  }

  #ask(since: number): Promise<string> {
    if (this.#lastFound && this.#lastFound.askedAt >= since) return Promise.resolve(this.#lastFound.uid);
    if (this.#asking && this.#asking.askedAt >= since) return this.#asking.uid;
    const askedAt = this.#clock.monotonic();
    const asking = {
      askedAt,
      uid: clusterUID(this.#api)
        .then((uid) => {
          this.#lastFound = { uid, askedAt };
          return uid;
        })
        .finally(() => {
          if (this.#asking === asking) this.#asking = undefined;
        }),
    };
    this.#asking = asking;
    return asking.uid;
  }
}
