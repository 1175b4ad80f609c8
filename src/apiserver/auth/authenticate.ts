// apiserver/auth: who sends a request: the admin's token, a service account's, a user's, or nobody.
import { createHash, timingSafeEqual } from "node:crypto";
import { type JsonObject, numberAt, objectAt, stringAt, stringsAt } from "../json.ts";
import { keyOf } from "../object.ts";
import type { Store } from "../store/store.ts";
import { issuer, type TokenSigner, userIssuer } from "./tokens.ts";
import { serviceAccountName, type User } from "./user.ts";

const prefix = "authentication.kubernetes.io";

export interface Authenticated {
  readonly user: User;
  /** For whom the token was made; service account tokens only. */
  readonly audiences: readonly string[];
}

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

export class Authenticator {
  readonly #adminDigest: Buffer;
  readonly #signer: TokenSigner;
  readonly #store: Store;
  readonly #now: () => number;

  constructor(adminToken: string, signer: TokenSigner, store: Store, now: () => number) {
    this.#adminDigest = digest(adminToken);
    this.#signer = signer;
    this.#store = store;
    this.#now = now;
  }

  /** Whose token this is, for a reader who is `audiences`; undefined for one that is not good (any more). */
  authenticate(token: string, audiences: readonly string[] = [issuer]): Authenticated | undefined {
    if (timingSafeEqual(digest(token), this.#adminDigest))
      return audiences.includes(issuer)
        ? {
            user: { name: "admin", uid: "", groups: ["system:masters", "system:authenticated"], extra: {} },
            audiences: [issuer],
          }
        : undefined;
    const claims = this.#signer.verify(token, this.#now());
    if (!claims) return undefined;
    const meant = stringsAt(claims, "aud").filter((a) => audiences.includes(a));
    if (claims.iss === userIssuer)
      return audiences.includes(issuer) ? { user: plainUser(claims), audiences: [issuer] } : undefined;
    if (claims.iss !== issuer || meant.length === 0) return undefined;
    const user = this.#serviceAccount(claims);
    return user && { user, audiences: meant };
  }

  /** A token holds only while its account, and the object that it is bound to, are still the same. */
  #serviceAccount(claims: JsonObject): User | undefined {
    const bound = objectAt(claims, "kubernetes.io");
    const namespace = stringAt(bound, "namespace");
    const name = stringAt(bound, "serviceaccount", "name");
    if (!this.#lives("serviceaccounts", keyOf(namespace, name), stringAt(bound, "serviceaccount", "uid")))
      return undefined;
    const extra: Record<string, readonly string[]> = {};
    const jti = stringAt(claims, "jti");
    if (jti) extra[`${prefix}/credential-id`] = [`JTI=${jti}`];
    for (const [kind, storage, scoped] of [
      ["node", "nodes", false],
      ["pod", "pods", true],
      ["secret", "secrets", true],
    ] as const) {
      const object = objectAt(bound, kind);
      if (!object) continue;
      const objectName = stringAt(object, "name");
      const key = keyOf(scoped ? namespace : undefined, objectName);
      if (!this.#lives(storage, key, stringAt(object, "uid"))) return undefined;
      if (kind === "secret") continue;
      extra[`${prefix}/${kind}-name`] = [objectName];
      extra[`${prefix}/${kind}-uid`] = [stringAt(object, "uid")];
      if (kind === "pod") this.#addNodeOfPod(key, extra);
    }
    return {
      name: serviceAccountName(namespace, name),
      uid: stringAt(bound, "serviceaccount", "uid"),
      groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
      extra,
    };
  }

  #addNodeOfPod(podKey: string, extra: Record<string, readonly string[]>): void {
    const nodeName = stringAt(this.#store.get("pods", podKey)?.object, "spec", "nodeName");
    if (!nodeName) return;
    extra[`${prefix}/node-name`] = [nodeName];
    const uid = this.#store.get("nodes", nodeName)?.object.metadata.uid;
    if (uid) extra[`${prefix}/node-uid`] = [uid];
  }

  #lives(storage: string, key: string, uid: string): boolean {
    return this.#store.get(storage, key)?.object.metadata.uid === uid;
  }
}

const plainUser = (claims: JsonObject): User => ({
  name: stringAt(claims, "sub"),
  uid: "",
  groups: [...stringsAt(claims, "groups"), "system:authenticated"],
  extra: {},
});

/** Claims of a service account's token; lifetimes in seconds. */
export function serviceAccountClaims(
  account: { namespace: string; name: string; uid: string },
  bound: JsonObject,
  audiences: readonly string[],
  seconds: number,
  nowMs: number,
  id: string,
): JsonObject {
  const now = Math.floor(nowMs / 1000);
  return {
    aud: [...audiences],
    exp: now + seconds,
    iat: now,
    nbf: now,
    iss: issuer,
    jti: id,
    sub: serviceAccountName(account.namespace, account.name),
    "kubernetes.io": {
      namespace: account.namespace,
      serviceaccount: { name: account.name, uid: account.uid },
      ...bound,
    },
  };
}

export const userClaims = (
  name: string,
  groups: readonly string[],
  seconds: number,
  nowMs: number,
): JsonObject => {
  const now = Math.floor(nowMs / 1000);
  return { iss: userIssuer, sub: name, groups: [...groups], iat: now, exp: now + seconds };
};

export const expiryOf = (claims: JsonObject): number => numberAt(claims, "exp") ?? 0;
