// kube: what can go wrong with a request, as two types: the server said no, or there was no answer.

export interface StatusCause {
  readonly field?: string;
  readonly reason?: string;
  readonly message?: string;
}

/** The server answered with a Status. */
export class ApiError extends Error {
  /** HTTP status. */
  readonly code: number;
  /** CamelCase word of the Status, such as NotFound, AlreadyExists, Conflict, Forbidden, Expired. */
  readonly reason: string;
  readonly causes: readonly StatusCause[];
  /** What the server asked us to wait before trying again, ms. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: number,
    reason: string,
    message: string,
    causes: readonly StatusCause[] = [],
    retryAfterMs?: number,
  ) {
    super(message);
    this.name = "ApiError";
    this.code = code;
    this.reason = reason;
    this.causes = causes;
    this.retryAfterMs = retryAfterMs;
  }
}

/** No usable answer: connection refused, reset, TLS, timeout, or an answer that is not Kubernetes' format. */
export class TransportError extends Error {
  readonly kind: "connect" | "timeout" | "aborted" | "malformed" | "credentials";
  /** Nothing of the request has left this machine, so even a write may be tried again. */
  readonly unsent: boolean;
  constructor(kind: TransportError["kind"], message: string, options?: ErrorOptions & { unsent?: boolean }) {
    super(message, options);
    this.name = "TransportError";
    this.kind = kind;
    this.unsent = options?.unsent ?? false;
  }
}

const hasReason = (error: unknown, code: number, reason?: string): boolean =>
  error instanceof ApiError && error.code === code && (reason === undefined || error.reason === reason);

export const isNotFound = (error: unknown): boolean => hasReason(error, 404);
export const isAlreadyExists = (error: unknown): boolean => hasReason(error, 409, "AlreadyExists");
export const isConflict = (error: unknown): boolean => hasReason(error, 409, "Conflict");
/** A resourceVersion or continue token that the server no longer knows. */
export const isExpired = (error: unknown): boolean => hasReason(error, 410);
export const isForbidden = (error: unknown): boolean => hasReason(error, 403);
export const isInvalid = (error: unknown): boolean => hasReason(error, 422);

/** One line for logs and conditions; never contains credentials. */
export function describeError(error: unknown): string {
  if (error instanceof ApiError) return `${error.code} ${error.reason}: ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

interface StatusBody {
  readonly kind?: string;
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: readonly StatusCause[]; readonly retryAfterSeconds?: number };
}

const reasonOfCode: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  409: "Conflict",
  410: "Expired",
  422: "Invalid",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

/** An ApiError from a Status object (of a body or of an ERROR event), or from any other text. */
export function errorFromStatus(httpCode: number, body: unknown, retryAfterHeader?: string): ApiError {
  const status = (typeof body === "object" && body !== null ? body : {}) as StatusBody;
  const code = typeof status.code === "number" && status.code > 0 ? status.code : httpCode;
  const text = typeof body === "string" ? body.trim().slice(0, 512) : "";
  const seconds = Number(retryAfterHeader ?? status.details?.retryAfterSeconds);
  return new ApiError(
    code,
    status.reason || reasonOfCode[code] || "Unknown",
    status.message || text || `HTTP status ${code}`,
    status.details?.causes ?? [],
    Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 300) * 1000 : undefined,
  );
}
