// kube: samples of a client, its caches and its events.
import type { KubernetesObject } from "../api/index.ts";
import type { Source } from "../metrics/index.ts";
import type { KubeClient } from "./client.ts";
import type { EventRecorder } from "./events.ts";
import type { Informer } from "./informer.ts";

export const kubeSource =
  (
    client: Pick<KubeClient, "stats">,
    informers: readonly Informer<KubernetesObject>[],
    events: Pick<EventRecorder, "stats">,
  ): Source =>
  (emit) => {
    const { requests, writes, retries, failures } = client.stats;
    emit("waggle_kube_requests_total", requests);
    emit("waggle_kube_writes_total", writes);
    emit("waggle_kube_request_retries_total", retries);
    emit("waggle_kube_request_failures_total", failures);
    for (const { reflector, cache } of informers) {
      const { kind } = reflector.resource;
      emit("waggle_kube_cache_fresh", reflector.state.fresh, kind);
      emit("waggle_kube_cache_objects", cache.size, kind);
      emit("waggle_kube_lists_total", reflector.stats.lists, kind);
      emit("waggle_kube_watch_events_total", reflector.stats.events, kind);
      emit("waggle_kube_watch_errors_total", reflector.stats.errors, kind);
    }
    emit("waggle_events_written_total", events.stats.written);
    emit("waggle_events_refused_total", events.stats.refused);
    emit("waggle_events_failed_total", events.stats.failed);
  };
