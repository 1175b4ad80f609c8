// apiserver/rest: one HTTP exchange: what the client accepts, the body it sends, the answer it gets.
import type { IncomingMessage, ServerResponse } from "node:http";
import { parse as parseYaml } from "yaml";
import type { User } from "../auth/user.ts";
import type { Json, JsonObject } from "../json.ts";
import { ApiError, badRequest, tooLarge, unsupportedMediaType } from "../messages.ts";
import { decodeProtobuf, isProtobuf } from "./protobuf.ts";
import { duplicateKeys } from "./strict-json.ts";

/** How the answer's objects are to look. */
export type Shape = "object" | "table" | "partial";

export interface Accepted {
  readonly shape: Shape;
  readonly contentType: string;
}

/** One request on its way through the server. */
export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly user: User;
  /** What goes into Warning headers, also of an answer that is an error. */
  readonly warnings: string[];
}

interface MediaType {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
}

export function parseAccept(header: string | undefined): MediaType[] {
  return (header ?? "*/*").split(",").map((part) => {
    const [type, ...parameters] = part.split(";").map((p) => p.trim());
    return {
      type: (type ?? "").toLowerCase(),
      parameters: new Map(
        parameters.map((p) => {
          const [key, value] = p.split("=");
          return [key ?? "", value ?? ""];
        }),
      ),
    };
  });
}

/** The first form that the client accepts and that this server can make; 406 where there is none. */
export function negotiate(header: string | undefined): Accepted {
  for (const { type, parameters } of parseAccept(header)) {
    if (type !== "application/json" && type !== "*/*" && type !== "application/*") continue;
    const as = parameters.get("as");
    const group = parameters.get("g");
    const version = parameters.get("v");
    const suffix = `application/json;as=${as};g=${group};v=${version}`;
    if (!as) return { shape: "object", contentType: "application/json" };
    if (group !== "meta.k8s.io" || version !== "v1") continue;
    if (as === "Table") return { shape: "table", contentType: suffix };
    if (as === "PartialObjectMetadata" || as === "PartialObjectMetadataList")
      return { shape: "partial", contentType: suffix };
  }
  throw new ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json");
}

/** The whole body; 413 for one that is longer than `limit` bytes. */
export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  const length = Number(request.headers["content-length"] ?? 0);
  if (length > limit) throw tooLarge(limit);
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge(limit);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export interface Body {
  readonly value: Json;
  /** Duplicate keys, for strict field validation. */
  readonly strictErrors: readonly string[];
}

export const mediaTypeOf = (request: IncomingMessage): string =>
  (request.headers["content-type"] ?? "application/json").split(";")[0]!.trim().toLowerCase();

/** A body as an object, by its content type: JSON, YAML, or the protobuf form of the kinds that kubectl sends so. */
export function parseObjectBody(bytes: Buffer, mediaType: string): Body {
  switch (mediaType) {
    case "application/json":
    case "*/*":
    case "":
      return parseJson(bytes);
    case "application/yaml":
    case "application/apply-patch+yaml":
      return parseYamlBody(bytes);
    case "application/vnd.kubernetes.protobuf":
      if (!isProtobuf(bytes)) throw badRequest("the body is no Kubernetes protobuf message");
      return { value: decodeProtobuf(bytes), strictErrors: [] };
    default:
      throw unsupportedMediaType(
        `the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf`,
      );
  }
}

export function parseJson(bytes: Buffer): Body {
  const text = bytes.toString("utf8");
  try {
    return { value: JSON.parse(text) as Json, strictErrors: duplicateKeys(text) };
  } catch (error) {
    throw badRequest(`error decoding JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Parsing YAML takes a hundred times as long as JSON, and nobody else is served meanwhile. */
const maxYamlBytes = 256 * 1024;

function parseYamlBody(bytes: Buffer): Body {
  const text = bytes.toString("utf8");
  // JSON is what clients mostly send under this name, and its parser is twenty times faster.
  if (text.trimStart().startsWith("{")) {
    try {
      return { value: JSON.parse(text) as Json, strictErrors: duplicateKeys(text) };
    } catch {
      // Flow style YAML begins with a brace too.
    }
  }
  if (bytes.length > maxYamlBytes)
    throw badRequest(`a YAML body may have ${maxYamlBytes} bytes at most; send JSON instead`);
  try {
    return { value: parseYaml(text, { uniqueKeys: false, maxAliasCount: 100 }) as Json, strictErrors: [] };
  } catch (error) {
    throw badRequest(
      `error decoding YAML: ${error instanceof Error ? (error.message.split("\n", 1)[0] ?? "") : String(error)}`,
    );
  }
}

export function sendJson(
  x: Exchange,
  code: number,
  value: JsonObject | string,
  contentType = "application/json",
): void {
  const text = typeof value === "string" ? value : `${JSON.stringify(value)}\n`;
  if (x.response.headersSent || x.response.destroyed) return;
  const bytes = Buffer.from(text);
  addWarnings(x.response, x.warnings);
  x.response.writeHead(code, { "content-type": contentType, "content-length": bytes.length });
  x.response.end(x.request.method === "HEAD" ? undefined : bytes);
}

export function sendText(
  x: Exchange,
  code: number,
  text: string,
  contentType = "text/plain; charset=utf-8",
): void {
  sendJson(x, code, text, contentType);
}

/** Warning headers (RFC 7234, code 299), as kubectl prints them. */
function addWarnings(response: ServerResponse, warnings: readonly string[]): void {
  if (warnings.length === 0) return;
  const quote = (text: string): string =>
    `299 - "${text.replace(/[\\"]/g, "\\$&").replace(/[^\x20-\x7e]/g, " ")}"`;
  response.setHeader("warning", warnings.map(quote));
}

export function sendError(x: Exchange, error: ApiError): void {
  if (error.code === 429) x.response.setHeader("retry-after", "1");
  sendJson(x, error.code, error.toStatus());
}

/** Writes text in pieces and waits for a slow reader; false when the client has gone. */
export async function writeAll(response: ServerResponse, text: string): Promise<boolean> {
  if (response.destroyed) return false;
  if (response.write(text)) return true;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      response.off("drain", done);
      response.off("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
  });
  return !response.destroyed;
}
