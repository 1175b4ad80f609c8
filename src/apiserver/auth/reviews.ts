// apiserver/auth: the kinds that are questions: who am I, may I, whose token is this, give me a token.
import type { ServerContext } from "../context.ts";
import { type JsonObject, numberAt, objectAt, stringAt, stringsAt } from "../json.ts";
import { badRequest, conflict, fieldErrors, invalid, notFound } from "../messages.ts";
import { type ApiObject, keyOf, timeText } from "../object.ts";
import type { ResourceType } from "../registry/resource.ts";
import { type Authenticator, expiryOf, serviceAccountClaims } from "./authenticate.ts";
import type { Action, Authorizer } from "./rbac.ts";
import { issuer, type TokenSigner } from "./tokens.ts";
import type { User } from "./user.ts";

export interface ReviewTools {
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly signer: TokenSigner;
  readonly context: ServerContext;
}

const userInfo = (user: User): JsonObject => ({
  username: user.name,
  ...(user.uid ? { uid: user.uid } : {}),
  groups: [...user.groups],
  ...(Object.keys(user.extra).length > 0
    ? { extra: Object.fromEntries(Object.entries(user.extra).map(([k, v]) => [k, [...v]])) }
    : {}),
});

/** Answers a review: the object that was posted, with its status. */
export function answerReview(
  type: ResourceType,
  object: ApiObject,
  user: User,
  namespace: string | undefined,
  tools: ReviewTools,
): ApiObject {
  const { now } = tools.context;
  switch (type.review) {
    case "self":
      return {
        apiVersion: object.apiVersion,
        kind: object.kind,
        metadata: { ...object.metadata, creationTimestamp: timeText(now()) },
        status: { userInfo: userInfo(user) },
      };
    case "token":
      return { ...object, status: tokenStatus(object, tools) };
    case "selfAccess":
      return { ...object, status: accessStatus(object, user, namespace, tools) };
    case "access":
      return { ...object, status: accessStatus(object, subjectOf(object), namespace, tools) };
    case "selfRules":
      return { ...object, status: rulesStatus(object, user, tools) };
    default:
      throw badRequest(`${type.kind} has no answer`);
  }
}

function tokenStatus(review: ApiObject, { authenticator }: ReviewTools): JsonObject {
  const token = stringAt(review, "spec", "token");
  if (!token) throw badRequest("token is required for TokenReview in authentication");
  const asked = stringsAt(review, "spec", "audiences");
  const found = authenticator.authenticate(token, asked.length > 0 ? asked : [issuer]);
  if (!found) return { user: {}, error: "invalid bearer token" };
  return { authenticated: true, user: userInfo(found.user), audiences: [...found.audiences] };
}

function subjectOf(review: ApiObject): User {
  const name = stringAt(review, "spec", "user");
  const groups = stringsAt(review, "spec", "groups");
  if (!name && groups.length === 0)
    throw invalid({ group: "authorization.k8s.io", kind: "SubjectAccessReview" }, "", [
      fieldErrors.invalid("spec.user", "", "at least one of user or group must be specified"),
    ]);
  return { name, uid: stringAt(review, "spec", "uid"), groups, extra: {} };
}

function accessStatus(
  review: ApiObject,
  user: User,
  namespace: string | undefined,
  { authorizer }: ReviewTools,
): JsonObject {
  const attributes = objectAt(review, "spec", "resourceAttributes");
  const path = objectAt(review, "spec", "nonResourceAttributes");
  if ((attributes === undefined) === (path === undefined))
    throw invalid({ group: "authorization.k8s.io", kind: review.kind }, "", [
      fieldErrors.invalid(
        "spec.resourceAttributes",
        null,
        "exactly one of nonResourceAttributes or resourceAttributes must be specified",
      ),
    ]);
  const action: Action = path
    ? { kind: "path", verb: stringAt(path, "verb"), path: stringAt(path, "path") }
    : {
        kind: "resource",
        verb: stringAt(attributes, "verb"),
        group: stringAt(attributes, "group"),
        resource: stringAt(attributes, "resource"),
        subresource: stringAt(attributes, "subresource"),
        namespace: namespace ?? (stringAt(attributes, "namespace") || undefined),
        name: stringAt(attributes, "name"),
      };
  return { allowed: authorizer.allows(user, action) };
}

function rulesStatus(review: ApiObject, user: User, { authorizer }: ReviewTools): JsonObject {
  const resourceRules: JsonObject[] = [];
  const nonResourceRules: JsonObject[] = [];
  const masters = user.groups.includes("system:masters");
  if (masters) {
    resourceRules.push({ verbs: ["*"], apiGroups: ["*"], resources: ["*"] });
    nonResourceRules.push({ verbs: ["*"], nonResourceURLs: ["*"] });
  }
  for (const rule of authorizer.rulesFor(user, stringAt(review, "spec", "namespace") || undefined)) {
    if (rule.resources.length > 0)
      resourceRules.push({
        verbs: [...rule.verbs],
        apiGroups: [...rule.apiGroups],
        resources: [...rule.resources],
        ...(rule.resourceNames.length > 0 ? { resourceNames: [...rule.resourceNames] } : {}),
      });
    if (rule.nonResourceURLs.length > 0)
      nonResourceRules.push({ verbs: [...rule.verbs], nonResourceURLs: [...rule.nonResourceURLs] });
  }
  return { resourceRules, nonResourceRules, incomplete: false };
}

const tokenSeconds = { least: 600, usual: 3600, most: 2 ** 32 } as const;
const tokenKind = { group: "authentication.k8s.io", kind: "TokenRequest" };

const boundKinds: Readonly<
  Record<string, { storage: string; namespaced: boolean; claim: string; resource: string }>
> = {
  Node: { storage: "nodes", namespaced: false, claim: "node", resource: "nodes" },
  Pod: { storage: "pods", namespaced: true, claim: "pod", resource: "pods" },
  Secret: { storage: "secrets", namespaced: true, claim: "secret", resource: "secrets" },
};

/** POST to serviceaccounts/NAME/token. */
export function requestToken(
  request: ApiObject,
  namespace: string,
  name: string,
  tools: ReviewTools,
): ApiObject {
  const { context, signer } = tools;
  const account = context.store.get("serviceaccounts", keyOf(namespace, name));
  if (!account) throw notFound({ group: "", resource: "serviceaccounts", kind: "ServiceAccount" }, name);
  const seconds = numberAt(request, "spec", "expirationSeconds") ?? tokenSeconds.usual;
  if (seconds < tokenSeconds.least)
    throw invalid(tokenKind, "", [
      fieldErrors.invalid(
        "spec.expirationSeconds",
        seconds,
        "may not specify a duration less than 10 minutes",
      ),
    ]);
  if (seconds > tokenSeconds.most)
    throw invalid(tokenKind, "", [
      fieldErrors.invalid(
        "spec.expirationSeconds",
        seconds,
        "may not specify a duration larger than 2^32 seconds",
      ),
    ]);
  const asked = stringsAt(request, "spec", "audiences");
  const audiences = asked.length > 0 ? asked : [issuer];
  const claims = serviceAccountClaims(
    { namespace, name, uid: account.object.metadata.uid },
    boundClaims(request, namespace, context),
    audiences,
    seconds,
    context.now(),
    context.randomUUID(),
  );
  const spec = objectAt(request, "spec") ?? {};
  return {
    ...request,
    metadata: { ...request.metadata, name, namespace, creationTimestamp: timeText(context.now()) },
    spec: { ...spec, audiences: [...audiences], expirationSeconds: seconds },
    status: { token: signer.sign(claims), expirationTimestamp: timeText(expiryOf(claims) * 1000) },
  };
}

function boundClaims(request: ApiObject, namespace: string, context: ServerContext): JsonObject {
  const ref = objectAt(request, "spec", "boundObjectRef");
  if (!ref) return {};
  const kind = stringAt(ref, "kind");
  const bound = boundKinds[kind];
  if (!bound)
    throw badRequest(
      `cannot bind token for serviceaccount to object of type ${stringAt(ref, "apiVersion")}, Kind=${kind}`,
    );
  const name = stringAt(ref, "name");
  const entry = context.store.get(bound.storage, keyOf(bound.namespaced ? namespace : undefined, name));
  const resource = { group: "", resource: bound.resource, kind };
  if (!entry) throw notFound(resource, name);
  const uid = stringAt(ref, "uid");
  if (uid && uid !== entry.object.metadata.uid)
    throw conflict(
      resource,
      name,
      `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  return { [bound.claim]: { name, uid: entry.object.metadata.uid } };
}
