// operator: its samples: the election, controllers, claims and pools.
import type { Source } from "../metrics/index.ts";
import { phaseOf } from "./claim.ts";
import type { Operator } from "./operator.ts";
import { storedAccepted } from "./pool-book.ts";

const phases = ["Pending", "Bound", "Releasing", "Cooling"] as const;

export const operatorSource =
  (operator: Operator): Source =>
  (emit) => {
    const { leading, serving } = operator.state;
    emit("waggle_operator_leading", leading);
    emit("waggle_operator_serving", serving);
    const { reconcilers } = operator;
    for (const { name, stats, queue } of reconcilers?.controllers ?? []) {
      emit("waggle_operator_reconciles_total", stats.reconciles, name);
      emit("waggle_operator_reconcile_errors_total", stats.errors, name);
      emit("waggle_operator_reconcile_timeouts_total", stats.timeouts, name);
      emit("waggle_operator_queue_keys", queue.size, name);
      emit("waggle_operator_queue_retries_total", queue.stats.retried, name);
      emit("waggle_operator_queue_refused_total", queue.stats.refused, name);
    }
    for (const [name, histogram] of Object.entries(reconcilers?.durations ?? {}))
      emit("waggle_operator_reconcile_duration_seconds", histogram, name);
    // Only who serves knows what lacks.
    if (reconcilers) {
      emit("waggle_operator_services_waiting", reconcilers.services.waiting.size);
      emit("waggle_operator_nodes_waiting", reconcilers.nodes.missing.size);
    }
    const claims = new Map<string, number>(phases.map((p) => [p, 0]));
    for (const claim of operator.claims.all()) {
      const phase = phaseOf(claim) ?? "Pending";
      claims.set(phase, (claims.get(phase) ?? 0) + 1);
    }
    for (const [phase, n] of claims) emit("waggle_ipam_claims", n, phase);
    for (const pool of operator.caches.pools.cache.list()) {
      const { name } = pool.metadata;
      emit("waggle_ipam_pool_capacity", Number(pool.status?.capacity ?? 0), name);
      emit("waggle_ipam_pool_allocated", pool.status?.allocated ?? 0, name);
      emit("waggle_ipam_pool_cooling", pool.status?.cooling ?? 0, name);
      emit("waggle_ipam_pool_accepted", storedAccepted(pool) !== false, name);
    }
  };
