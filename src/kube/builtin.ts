// kube: shapes of Kubernetes' own kinds that only this room and its users need, as far as they are read or written.
import type { KubernetesObject, ObjectMeta } from "../api/index.ts";

export interface Namespace extends KubernetesObject {
  readonly kind: "Namespace";
  readonly status?: { readonly phase?: string };
}

export interface ServiceAccount extends KubernetesObject {
  readonly kind: "ServiceAccount";
}

/** coordination.k8s.io/v1; times are MicroTime. */
export interface Lease extends KubernetesObject {
  readonly kind: "Lease";
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
}

/** events.k8s.io/v1. */
export interface Event extends KubernetesObject {
  readonly kind: "Event";
  readonly eventTime: string;
  readonly reportingController: string;
  readonly reportingInstance: string;
  readonly action: string;
  readonly reason: string;
  readonly regarding: ObjectReference;
  readonly note: string;
  readonly type: "Normal" | "Warning";
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

export interface CustomResourceDefinition extends KubernetesObject {
  readonly kind: "CustomResourceDefinition";
  readonly spec: {
    readonly group: string;
    readonly scope: "Cluster" | "Namespaced";
    readonly names: { readonly kind: string; readonly plural: string };
    readonly versions: readonly {
      readonly name: string;
      readonly served: boolean;
      readonly storage: boolean;
    }[];
  };
  readonly status?: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

/** networking.k8s.io/v1 (KEP-1880): a range that cluster addresses of Services come from. */
export interface ServiceCIDR extends KubernetesObject {
  readonly kind: "ServiceCIDR";
  readonly spec?: { readonly cidrs?: readonly string[] };
}

/** authentication.k8s.io/v1: asks the API server whose token this is. */
export interface TokenReview extends KubernetesObject {
  readonly kind: "TokenReview";
  readonly spec: { readonly token: string; readonly audiences?: readonly string[] };
  readonly status?: {
    readonly authenticated?: boolean;
    readonly audiences?: readonly string[];
    readonly error?: string;
    readonly user?: {
      readonly username?: string;
      readonly uid?: string;
      readonly groups?: readonly string[];
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

/** authorization.k8s.io/v1: asks whether the caller may do something. */
export interface SelfSubjectAccessReview extends KubernetesObject {
  readonly kind: "SelfSubjectAccessReview";
  readonly spec: {
    readonly resourceAttributes?: {
      readonly group?: string;
      readonly resource?: string;
      readonly verb?: string;
      readonly namespace?: string;
      readonly name?: string;
      readonly subresource?: string;
    };
  };
  readonly status?: { readonly allowed?: boolean; readonly denied?: boolean; readonly reason?: string };
}

/** authentication.k8s.io/v1, answer of serviceaccounts/<name>/token. */
export interface TokenRequest {
  readonly apiVersion: "authentication.k8s.io/v1";
  readonly kind: "TokenRequest";
  readonly metadata?: Partial<ObjectMeta>;
  readonly spec: {
    readonly audiences: readonly string[];
    readonly expirationSeconds?: number;
    readonly boundObjectRef?: {
      readonly apiVersion: string;
      readonly kind: string;
      readonly name: string;
      readonly uid?: string;
    };
  };
  readonly status?: { readonly token: string; readonly expirationTimestamp: string };
}
