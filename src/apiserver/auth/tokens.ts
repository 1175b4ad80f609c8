// apiserver/auth: bearer tokens: JSON Web Tokens signed ES256, for service accounts and for users made at the command line.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  verify,
} from "node:crypto";
import { isObject, type Json, type JsonObject } from "../json.ts";

/** Issuer of service account tokens, and the audience that means this server. */
export const issuer = "https://kubernetes.default.svc.cluster.local";
/** Issuer of tokens of ordinary users. */
export const userIssuer = "waggle:users";

/** Longer tokens are none of ours. Bytes. */
const maxTokenBytes = 16 * 1024;

const encode = (value: JsonObject): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A new signing key as PEM (PKCS 8). */
export const makeSigningKey = (): string =>
  generateKeyPairSync("ec", { namedCurve: "P-256" })
    .privateKey.export({ type: "pkcs8", format: "pem" })
    .toString();

/** Signs and checks tokens. What it cannot check it calls undefined, never why: clients learn only "Unauthorized". */
export class TokenSigner {
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  /** Tokens whose signature was good; checking one costs 150 us. Bounded by {@link maxCached}. */
  readonly #verified = new Map<string, JsonObject>();

  constructor(privateKeyPem: string) {
    this.#privateKey = createPrivateKey(privateKeyPem);
    this.#publicKey = createPublicKey(this.#privateKey);
  }

  sign(claims: JsonObject): string {
    const body = `${encode({ alg: "ES256", typ: "JWT" })}.${encode(claims)}`;
    const signature = sign("sha256", Buffer.from(body), { key: this.#privateKey, dsaEncoding: "ieee-p1363" });
    return `${body}.${signature.toString("base64url")}`;
  }

  /** The claims of a token that this key signed and that holds at `nowMs`. */
  verify(token: string, nowMs: number): JsonObject | undefined {
    const claims = this.#verified.get(token) ?? this.#check(token);
    if (!claims) return undefined;
    const { exp, nbf } = claims;
    const now = nowMs / 1000;
    if ((typeof exp === "number" && now >= exp) || (typeof nbf === "number" && now < nbf)) {
      this.#verified.delete(token);
      return undefined;
    }
    return claims;
  }

  #check(token: string): JsonObject | undefined {
    if (token.length > maxTokenBytes) return undefined;
    const [header, payload, signature, ...more] = token.split(".");
    if (!header || !payload || !signature || more.length > 0) return undefined;
    const head = parsePart(header);
    if (head?.alg !== "ES256") return undefined;
    const good = verify(
      "sha256",
      Buffer.from(`${header}.${payload}`),
      { key: this.#publicKey, dsaEncoding: "ieee-p1363" },
      Buffer.from(signature, "base64url"),
    );
    const claims = good ? parsePart(payload) : undefined;
    if (!claims) return undefined;
    if (this.#verified.size >= maxCached) this.#verified.clear();
    this.#verified.set(token, claims);
    return claims;
  }
}

const maxCached = 1000;

function parsePart(text: string): JsonObject | undefined {
  try {
    const value = JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as Json;
    return isObject(value) ? value : undefined;
  } catch {
    // Text that is no JSON is no token of ours.
    return undefined;
  }
}
