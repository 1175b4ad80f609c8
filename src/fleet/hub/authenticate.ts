// fleet/hub: whose token this is: the cluster's own API server says so, and says to which node it is bound.
import { Code, ConnectError } from "@connectrpc/connect";
import { type KubeApi, kinds, type TokenReview } from "../../kube/index.ts";
import { messages } from "../messages.ts";
import { agentAccount, bounds, hubAudience, nodeNameExtra } from "../protocol.ts";

export interface AgentIdentity {
  readonly node: string;
}

export interface Authenticator {
  /** @throws ConnectError Unauthenticated or PermissionDenied; Unavailable when the API server does not answer */
  agent(authorization: string | null): Promise<AgentIdentity>;
}

/** Reviews tokens by the API server (TokenReview v1, audience {@link hubAudience}). Tokens are kept nowhere. */
export function tokenReviewer(api: Pick<KubeApi, "create">, timeoutMs: number): Authenticator {
  let inFlight = 0;
  return {
    async agent(authorization) {
      const token = /^Bearer ([^\s]{1,16384})$/.exec(authorization ?? "")?.[1];
      if (!token) throw new ConnectError(messages.noToken(), Code.Unauthenticated);
      if (inFlight >= bounds.reviews) throw new ConnectError(messages.busy(), Code.ResourceExhausted);
      inFlight += 1;
      let status: TokenReview["status"];
      try {
        const review = await api.create<TokenReview>(
          kinds.TokenReview,
          {
            apiVersion: "authentication.k8s.io/v1",
            kind: "TokenReview",
            metadata: { name: "" },
            spec: { token, audiences: [hubAudience] },
          },
          { timeoutMs, retries: 1 },
        );
        status = review.status;
      } catch (error) {
        // The cause may quote the request; its class and code say enough.
        throw new ConnectError(`token review: ${(error as Error).name}`, Code.Unavailable);
      } finally {
        inFlight -= 1;
      }
      if (!status?.authenticated || !status.audiences?.includes(hubAudience))
        throw new ConnectError(messages.badToken(), Code.Unauthenticated);
      const username = status.user?.username ?? "";
      if (username !== agentAccount)
        throw new ConnectError(messages.notAgent(username), Code.PermissionDenied);
      const nodes = status.user?.extra?.[nodeNameExtra];
      if (nodes?.length !== 1 || !nodes[0]) throw new ConnectError(messages.noNode(), Code.PermissionDenied);
      return { node: nodes[0] };
    },
  };
}
