// apiserver: every answer that is an error, built here as the real server words it (kubectl and client-go read them).
import type { Json, JsonObject } from "./json.ts";

export type FieldErrorType =
  | "FieldValueRequired"
  | "FieldValueInvalid"
  | "FieldValueNotSupported"
  | "FieldValueForbidden"
  | "FieldValueDuplicate"
  | "FieldValueTooLong"
  | "FieldValueTooMany"
  | "FieldValueTypeInvalid"
  | "FieldValueNotFound";

/** One complaint about one field; `body` is the text after the path. */
export interface FieldError {
  readonly type: FieldErrorType;
  readonly path: string;
  readonly body: string;
}

/** An answer other than 2xx, as metav1.Status. */
export class ApiError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly details: JsonObject | undefined;
  /** For 410 on a paged list: the token that goes on from the current state. */
  readonly continueToken: string | undefined;
  constructor(
    code: number,
    reason: string,
    message: string,
    details?: JsonObject,
    extra: { continueToken?: string } = {},
  ) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.continueToken = extra.continueToken;
  }

  toStatus(): JsonObject {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: this.continueToken ? { continue: this.continueToken } : {},
      status: "Failure",
      message: this.message,
      ...(this.reason ? { reason: this.reason } : {}),
      ...(this.details ? { details: this.details } : {}),
      code: this.code,
    };
  }
}

/** Resource as the server names it in messages: `ippools.waggle.dev`, or `nodes` for the core group. */
export interface ResourceName {
  readonly group: string;
  readonly resource: string;
  readonly kind: string;
}

const qualified = (r: ResourceName): string => (r.group ? `${r.resource}.${r.group}` : r.resource);
const details = (r: ResourceName, name: string, extra: JsonObject = {}): JsonObject => ({
  ...(name ? { name } : {}),
  ...(r.group ? { group: r.group } : {}),
  kind: r.resource,
  ...extra,
});

export const notFound = (r: ResourceName, name: string): ApiError =>
  new ApiError(404, "NotFound", `${qualified(r)} "${name}" not found`, details(r, name));

/** A path that no resource answers to. */
export const notServed = (): ApiError =>
  new ApiError(404, "NotFound", "the server could not find the requested resource", {});

export const alreadyExists = (r: ResourceName, name: string): ApiError =>
  new ApiError(409, "AlreadyExists", `${qualified(r)} "${name}" already exists`, details(r, name));

export const conflict = (r: ResourceName, name: string, why: string): ApiError =>
  new ApiError(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualified(r)} "${name}": ${why}`,
    details(r, name),
  );

export const staleObject =
  "the object has been modified; please apply your changes to the latest version and try again";

export const badRequest = (message: string): ApiError => new ApiError(400, "BadRequest", message);

export const unauthorized = (): ApiError => new ApiError(401, "Unauthorized", "Unauthorized");

export const methodNotAllowed = (): ApiError =>
  new ApiError(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );

export const unsupportedMediaType = (message: string): ApiError =>
  new ApiError(415, "UnsupportedMediaType", message);

export const tooLarge = (limit: number): ApiError =>
  new ApiError(413, "RequestEntityTooLarge", `Request entity too large: limit is ${limit}`);

export const tooManyRequests = (what: string): ApiError =>
  new ApiError(429, "TooManyRequests", what, { retryAfterSeconds: 1 });

export const expired = (message: string, continueToken?: string): ApiError =>
  new ApiError(410, "Expired", message, undefined, continueToken ? { continueToken } : {});

export const internal = (message: string): ApiError =>
  new ApiError(500, "InternalError", `Internal error occurred: ${message}`, { causes: [{ message }] });

export const unavailable = (message: string): ApiError => new ApiError(503, "ServiceUnavailable", message);

export const forbidden = (r: ResourceName, name: string, why: string, extra: JsonObject = {}): ApiError =>
  new ApiError(
    403,
    "Forbidden",
    `${qualified(r)} ${name ? `"${name}" ` : ""}is forbidden: ${why}`.replace("  ", " "),
    details(r, name, extra),
  );

export const forbiddenPath = (user: string, verb: string, path: string): ApiError =>
  new ApiError(403, "Forbidden", `forbidden: User "${user}" cannot ${verb} path "${path}"`, {});

/** Why RBAC said no; `name` is not part of it: the real server leaves it to the head of the message. */
export function deniedBecause(
  user: string,
  verb: string,
  r: { resource: string; group: string; namespace: string | undefined },
): string {
  const scope = r.namespace ? `in the namespace "${r.namespace}"` : "at the cluster scope";
  return `User "${user}" cannot ${verb} resource "${r.resource}" in API group "${r.group}" ${scope}`;
}

/** 422 with one cause a field. */
export function invalid(
  kind: { group: string; kind: string },
  name: string,
  errors: readonly FieldError[],
): ApiError {
  const texts = [...new Set(errors.map(fieldErrorText))];
  const shown = texts.length === 1 ? texts[0]! : `[${texts.join(", ")}]`;
  const kindName = kind.group ? `${kind.kind}.${kind.group}` : kind.kind;
  return new ApiError(422, "Invalid", `${kindName} "${name}" is invalid: ${shown}`, {
    ...(name ? { name } : {}),
    ...(kind.group ? { group: kind.group } : {}),
    kind: kind.kind,
    causes: errors.map((e) => ({ reason: e.type, message: e.body, field: e.path || "<nil>" })),
  });
}

/** 422 about the request itself and no object. */
export const invalidRequest = (e: FieldError): ApiError =>
  new ApiError(422, "Invalid", ` "" is invalid: ${fieldErrorText(e)}`, {
    causes: [{ reason: e.type, message: e.body, field: e.path }],
  });

export const fieldErrorText = (e: FieldError): string => `${e.path || "<nil>"}: ${e.body}`;

/** A value as field errors show it. */
export function shown(value: Json | undefined): string {
  if (value === undefined || value === null) return "null";
  return JSON.stringify(value);
}

export const fieldErrors = {
  required: (path: string, detail = ""): FieldError => ({
    type: "FieldValueRequired",
    path,
    body: detail ? `Required value: ${detail}` : "Required value",
  }),
  invalid: (path: string, value: Json | undefined, detail: string): FieldError => ({
    type: "FieldValueInvalid",
    path,
    body: `Invalid value: ${shown(value)}: ${detail}`,
  }),
  typeInvalid: (path: string, value: Json | undefined, detail: string): FieldError => ({
    type: "FieldValueTypeInvalid",
    path,
    body: `Invalid value: ${shown(value)}: ${detail}`,
  }),
  notSupported: (path: string, value: Json | undefined, allowed: readonly string[]): FieldError => ({
    type: "FieldValueNotSupported",
    path,
    body: `Unsupported value: ${shown(value)}: supported values: ${allowed.join(", ")}`,
  }),
  forbidden: (path: string, detail: string): FieldError => ({
    type: "FieldValueForbidden",
    path,
    body: `Forbidden: ${detail}`,
  }),
  duplicate: (path: string, value: Json | undefined): FieldError => ({
    type: "FieldValueDuplicate",
    path,
    body: `Duplicate value: ${shown(value)}`,
  }),
  tooLong: (path: string, limit: number): FieldError => ({
    type: "FieldValueTooLong",
    path,
    body: `Too long: may not be more than ${limit} bytes`,
  }),
  tooMany: (path: string, actual: number, limit: number): FieldError => ({
    type: "FieldValueTooMany",
    path,
    body: `Too many: ${actual}: must have at most ${limit} item${limit === 1 ? "" : "s"}`,
  }),
};
