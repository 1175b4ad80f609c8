// apiserver: every request from its first byte to its answer: who, what, may he, and then the handler for it.
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Authenticator } from "./auth/authenticate.ts";
import type { Authorizer } from "./auth/rbac.ts";
import { anonymous, type User } from "./auth/user.ts";
import { ApiError, deniedBecause, forbidden, forbiddenPath, internal, unauthorized } from "./messages.ts";
import { handlePath, type PathTools, sendNotThere } from "./paths.ts";
import { type Exchange, sendError } from "./rest/exchange.ts";
import { actionOf, parseResourcePath, type ResourceRequest } from "./rest/request-info.ts";
import { handleResource } from "./rest/resources.ts";

export interface HandlerTools extends PathTools {
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
}

/** Makes the function that answers requests. It never throws and answers each request exactly once. */
export function requestHandler(
  tools: HandlerTools,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const url = new URL(request.url ?? "/", "https://server");
    const base = { request, response, path: url.pathname, query: url.searchParams, warnings: [] };
    handle({ ...base, user: anonymous }, tools).catch((error: unknown) => {
      const x: Exchange = { ...base, user: anonymous };
      if (error instanceof ApiError) {
        if (error.code === 413) tools.context.refused.requestsTooLarge += 1;
        sendError(x, error);
        return;
      }
      // A client that has gone, perhaps in the middle of its body, is no fault of anybody's.
      if (response.destroyed || (request.destroyed && !request.complete)) return;
      tools.context.refused.errorsUnexpected += 1;
      tools.context.log("request failed", {
        path: url.pathname,
        error: error instanceof Error ? (error.stack ?? error.message) : String(error),
      });
      sendError(x, internal(error instanceof Error ? error.message : String(error)));
    });
  };
}

async function handle(x: Exchange, tools: HandlerTools): Promise<void> {
  x.response.setHeader("audit-id", tools.context.randomUUID());
  x.response.setHeader("cache-control", "no-cache, private");
  const user = impersonated(x.request, authenticated(x.request, tools), tools.authorizer);
  const exchange: Exchange = { ...x, user };
  const method = x.request.method ?? "GET";
  const r = parseResourcePath(method, x.path, x.query);
  if (r) return handleApi(exchange, r, tools);
  const verb = method.toLowerCase() === "head" ? "get" : method.toLowerCase();
  if (!tools.authorizer.allows(user, { kind: "path", verb, path: x.path }) && x.path !== "/")
    throw forbiddenPath(user.name, verb, x.path);
  handlePath(exchange, tools);
}

function authenticated(request: IncomingMessage, { authenticator }: HandlerTools): User {
  const header = request.headers.authorization;
  if (!header) return anonymous;
  const token = /^Bearer\s+(\S+)$/i.exec(header)?.[1];
  const found = token ? authenticator.authenticate(token) : undefined;
  if (!found) throw unauthorized();
  return found.user;
}

const headerList = (request: IncomingMessage, name: string): string[] => {
  const values: string[] = [];
  for (let i = 0; i < request.rawHeaders.length; i += 2)
    if (request.rawHeaders[i]!.toLowerCase() === name) values.push(request.rawHeaders[i + 1]!);
  return values;
};

/** Acting as somebody else, where the caller may. */
function impersonated(request: IncomingMessage, user: User, authorizer: Authorizer): User {
  const [name] = headerList(request, "impersonate-user");
  if (!name) return user;
  const groups = headerList(request, "impersonate-group");
  const account = /^system:serviceaccount:([^:]+):([^:]+)$/.exec(name);
  const asked: { resource: string; name: string; namespace: string | undefined }[] = [
    account
      ? { resource: "serviceaccounts", name: account[2]!, namespace: account[1]! }
      : { resource: "users", name, namespace: undefined },
    ...groups.map((g) => ({ resource: "groups", name: g, namespace: undefined })),
  ];
  for (const a of asked) {
    const action = { kind: "resource", verb: "impersonate", group: "", subresource: "", ...a } as const;
    if (!authorizer.allows(user, action))
      throw forbidden(
        { group: "", resource: a.resource, kind: a.resource },
        a.name,
        deniedBecause(user.name, "impersonate", { group: "", resource: a.resource, namespace: a.namespace }),
      );
  }
  const implied = account ? ["system:serviceaccounts", `system:serviceaccounts:${account[1]}`] : [];
  return { name, uid: "", groups: [...new Set([...groups, ...implied, "system:authenticated"])], extra: {} };
}

async function handleApi(x: Exchange, r: ResourceRequest, tools: HandlerTools): Promise<void> {
  const action = actionOf(r, x.query);
  if (!tools.authorizer.allows(x.user, action)) {
    const resource = r.subresource ? `${r.resource}/${r.subresource}` : r.resource;
    const why = deniedBecause(x.user.name, r.verb, { ...r, resource });
    throw forbidden({ group: r.group, resource: r.resource, kind: r.resource }, r.name, why);
  }
  const type = tools.context.registry.find(r.group, r.version, r.resource);
  if (!type) {
    sendNotThere(x);
    return;
  }
  await handleResource(x, r, type, tools);
}
