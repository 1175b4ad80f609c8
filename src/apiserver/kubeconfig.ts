// apiserver: kubeconfig files for this server's admin and for ordinary users.
import { stringify } from "yaml";
import type { JsonObject } from "./json.ts";

export interface KubeconfigOptions {
  /** Names cluster and context. */
  readonly clusterName: string;
  readonly userName: string;
  /** `https://127.0.0.1:PORT`. */
  readonly server: string;
  /** Path of the unix socket, told in the extension `waggle.dev/socket`; kubectl cannot use it, Waggle's own client does. */
  readonly socketPath: string | undefined;
  readonly caCertificate: string;
  readonly token: string;
}

export const socketExtension = "waggle.dev/socket";

/** A kubeconfig as YAML. It holds a credential: write it with mode 0600. */
export function kubeconfig(o: KubeconfigOptions): string {
  const cluster: JsonObject = {
    server: o.server,
    "certificate-authority-data": Buffer.from(o.caCertificate).toString("base64"),
    // By the name and not by the address, so that the certificate holds on the socket as well.
    "tls-server-name": "localhost",
    ...(o.socketPath ? { extensions: [{ name: socketExtension, extension: { path: o.socketPath } }] } : {}),
  };
  return stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      "current-context": o.clusterName,
      clusters: [{ name: o.clusterName, cluster }],
      users: [{ name: o.userName, user: { token: o.token } }],
      contexts: [{ name: o.clusterName, context: { cluster: o.clusterName, user: o.userName } }],
    },
    { lineWidth: 0 },
  );
}
