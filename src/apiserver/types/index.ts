// apiserver/types: every built-in type, read from the tables once.
import { coreTypes } from "./core.ts";
import { metaTypes } from "./meta.ts";
import * as others from "./others.ts";
import { type BuiltinType, readTypes } from "./table.ts";

const types = readTypes({
  "io.k8s.apimachinery.pkg.apis.meta.v1": metaTypes,
  "io.k8s.api.core.v1": coreTypes,
  "io.k8s.api.coordination.v1": others.coordinationTypes,
  "io.k8s.api.discovery.v1": others.discoveryTypes,
  "io.k8s.api.networking.v1": others.networkingTypes,
  "io.k8s.api.events.v1": others.eventsTypes,
  "io.k8s.api.rbac.v1": others.rbacTypes,
  "io.k8s.api.authentication.v1": others.authenticationTypes,
  "io.k8s.api.authorization.v1": others.authorizationTypes,
  "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1": others.apiextensionsTypes,
  "io.k8s.api.autoscaling.v1": others.autoscalingTypes,
});

export const allTypes: readonly BuiltinType[] = [...types.values()];

/** A built-in type of the tables; throws for a name that is in none (a mistake in this program). */
export function builtinType(name: string): BuiltinType {
  const type = types.get(name);
  if (!type) throw new Error(`no such built-in type: ${name}`);
  return type;
}
