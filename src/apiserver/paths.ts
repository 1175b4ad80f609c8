// apiserver: the paths outside the API's objects: health, version, discovery, OpenAPI, the front page.
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import {
  aggregated,
  apiGroup,
  apiGroupList,
  apiResourceList,
  groupsOf,
  versionsOf,
} from "./discovery/discovery.ts";
import { openApiV2Json, openApiV2Protobuf, openApiV3 } from "./discovery/openapi.ts";
import { frontPage } from "./front-page.ts";
import type { JsonObject } from "./json.ts";
import { metricsText } from "./metrics.ts";
import type { Registry } from "./registry/resource.ts";
import { type Exchange, parseAccept, sendJson, sendText } from "./rest/exchange.ts";
import type { ResourceTools } from "./rest/resources.ts";

/** What these paths need to know of the server. `serverAddress` is `host:port`, empty without TCP. */
export interface PathTools extends ResourceTools {
  readonly serverAddress: () => string;
}

export const gitVersion = "v1.33.0-waggle";
const title = "Waggle";

const versionInfo: JsonObject = {
  major: "1",
  minor: "33",
  gitVersion,
  gitCommit: "",
  gitTreeState: "",
  buildDate: "1970-01-01T00:00:00Z",
  goVersion: "",
  compiler: "",
  platform: `${process.platform}/${process.arch}`,
};

export const sendNotThere = (x: Exchange): void => sendText(x, 404, "404 page not found\n");

type Handler = (x: Exchange, tools: PathTools) => void;

const health: Handler = (x, { context }) => {
  const { failure } = context.store;
  sendText(x, failure ? 500 : 200, failure ? `the store has failed: ${failure.message}` : "ok");
};

const exact: Readonly<Record<string, Handler>> = {
  "/": sendRoot,
  "/version": (x) => sendJson(x, 200, versionInfo),
  "/version/": (x) => sendJson(x, 200, versionInfo),
  "/healthz": health,
  "/livez": health,
  "/readyz": health,
  "/metrics": (x, tools) => sendText(x, 200, metricsText(tools), "text/plain; version=0.0.4; charset=utf-8"),
  "/openapi/v2": sendOpenApiV2,
  "/openapi/v3": (x, tools) => sendCached(x, { paths: openApiIndex(tools.context.registry) }),
  "/api": (x, tools) => sendGroups(x, tools, true),
  "/apis": (x, tools) => sendGroups(x, tools, false),
};

/** Answers a request to a path that is no object of the API. */
export function handlePath(x: Exchange, tools: PathTools): void {
  const handler = exact[x.path] ?? exact[x.path.replace(/\/$/, "")];
  if (handler) {
    handler(x, tools);
    return;
  }
  const { registry } = tools.context;
  const [root, ...parts] = x.path.split("/").filter(Boolean);
  const [group = "", version] = root === "api" ? ["", ...parts] : parts;
  const known = versionsOf(registry, group);
  if (root === "openapi" && parts[0] === "v3") sendOpenApiV3(x, registry, parts.slice(1));
  else if (root !== "api" && root !== "apis") sendNotThere(x);
  else if (root === "apis" && parts.length === 1 && known.length > 0)
    sendJson(x, 200, { kind: "APIGroup", apiVersion: "v1", ...apiGroup(registry, group) });
  else if (version !== undefined && parts.length === (root === "api" ? 1 : 2) && known.includes(version))
    sendJson(x, 200, apiResourceList(registry, group, version));
  else sendNotThere(x);
}

function sendRoot(x: Exchange, { context }: PathTools): void {
  if ((x.request.headers.accept ?? "").includes("text/html")) {
    sendText(x, 200, frontPage(), "text/html; charset=utf-8");
    return;
  }
  const groups = groupsOf(context.registry)
    .filter(Boolean)
    .flatMap((g) => [`/apis/${g}`, ...versionsOf(context.registry, g).map((v) => `/apis/${g}/${v}`)]);
  const others = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
  sendJson(
    x,
    200,
    `${JSON.stringify({ paths: ["/api", "/api/v1", "/apis", ...groups, ...others] }, null, 2)}\n`,
  );
}

/** JSON with an ETag, and 304 for a client that has it. */
function sendCached(
  x: Exchange,
  value: JsonObject | string,
  contentType = "application/json",
  cacheControl = "public",
): void {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const etag = `"${createHash("sha256").update(text).digest("hex").toUpperCase()}"`;
  x.response.setHeader("etag", etag);
  x.response.setHeader("vary", "Accept");
  x.response.setHeader("cache-control", cacheControl);
  if (x.request.headers["if-none-match"] === etag) {
    x.response.writeHead(304);
    x.response.end();
    return;
  }
  sendJson(x, 200, text, contentType);
}

/** The first of the discovery forms that the client asks for: aggregated v2, v2beta1, or plain. */
function aggregatedVersion(request: IncomingMessage): string | undefined {
  for (const { type, parameters } of parseAccept(request.headers.accept)) {
    if (type !== "application/json" && type !== "*/*") continue;
    if (!parameters.has("as")) return undefined;
    const version = parameters.get("v") ?? "";
    if (
      parameters.get("as") === "APIGroupDiscoveryList" &&
      parameters.get("g") === "apidiscovery.k8s.io" &&
      (version === "v2" || version === "v2beta1")
    )
      return version;
  }
  return undefined;
}

function sendGroups(x: Exchange, tools: PathTools, core: boolean): void {
  const { registry } = tools.context;
  const version = aggregatedVersion(x.request);
  if (version)
    sendCached(
      x,
      aggregated(registry, core, `apidiscovery.k8s.io/${version}`),
      `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
    );
  else if (core)
    sendJson(x, 200, {
      kind: "APIVersions",
      versions: ["v1"],
      serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: tools.serverAddress() }],
    });
  else sendJson(x, 200, apiGroupList(registry));
}

function sendOpenApiV2(x: Exchange): void {
  if (!(x.request.headers.accept ?? "").includes("protobuf")) {
    sendCached(x, openApiV2Json(title, gitVersion));
    return;
  }
  const bytes = openApiV2Protobuf(title, gitVersion);
  x.response.writeHead(200, {
    "content-type": "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
    "content-length": bytes.length,
  });
  x.response.end(bytes);
}

/** Documents by group version; made again when a custom kind has changed. */
const documents = new WeakMap<object, { generation: number; texts: Map<string, string> }>();

function openApiText(registry: Registry, group: string, version: string): string {
  let cache = documents.get(registry);
  if (cache?.generation !== registry.generation) {
    cache = { generation: registry.generation, texts: new Map() };
    documents.set(registry, cache);
  }
  const id = `${group}/${version}`;
  let text = cache.texts.get(id);
  if (text === undefined) {
    text = JSON.stringify(openApiV3(registry, group, version, title));
    cache.texts.set(id, text);
  }
  return text;
}

const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex").toUpperCase();

function openApiIndex(registry: Registry): JsonObject {
  const index: JsonObject = {};
  for (const group of groupsOf(registry))
    for (const version of versionsOf(registry, group)) {
      const path = group ? `apis/${group}/${version}` : `api/${version}`;
      index[path] = {
        serverRelativeURL: `/openapi/v3/${path}?hash=${hashOf(openApiText(registry, group, version))}`,
      };
    }
  return index;
}

function sendOpenApiV3(x: Exchange, registry: Registry, parts: readonly string[]): void {
  const [root, a, b] = parts;
  const group = root === "apis" ? (a ?? "") : "";
  const version = (root === "apis" ? b : a) ?? "";
  if (!versionsOf(registry, group).includes(version) || (root !== "api" && root !== "apis")) {
    sendNotThere(x);
    return;
  }
  const text = openApiText(registry, group, version);
  const asked = x.query.get("hash");
  if (asked && asked !== hashOf(text)) {
    // The index that the client has is out of date: send it to the document as it is now.
    x.query.set("hash", hashOf(text));
    x.response.writeHead(301, { location: `${x.path}?${x.query}` });
    x.response.end();
    return;
  }
  sendCached(x, text, "application/json", asked ? "public, immutable" : "public");
}
