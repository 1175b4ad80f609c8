// kube: bound ServiceAccount tokens, by which agents prove to a hub which node they are on.
import type { TokenRequest } from "./builtin.ts";
import type { KubeClient } from "./client.ts";
import { TransportError } from "./errors.ts";
import { builtinKinds, pathOf } from "./resource.ts";

/**
 * Asks for a token of a ServiceAccount. The token is a secret: keep it out of logs and files.
 * @throws ApiError, TransportError
 */
export async function requestToken(
  client: KubeClient,
  account: { readonly namespace: string; readonly name: string },
  spec: TokenRequest["spec"],
  options: { readonly signal?: AbortSignal } = {},
): Promise<{ readonly token: string; readonly expiresAt: string }> {
  const body: TokenRequest = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec };
  const path = pathOf(builtinKinds.ServiceAccount, { ...account, subresource: "token" });
  const answer = (await client.raw({ method: "POST", path, body, ...options })) as TokenRequest;
  if (!answer?.status?.token)
    throw new TransportError(
      "malformed",
      `the token request of ${account.name} was answered without a token`,
    );
  return { token: answer.status.token, expiresAt: answer.status.expirationTimestamp };
}
