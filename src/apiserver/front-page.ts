// apiserver: the page that a browser sees first. It says what this server is not.

export const limits: readonly string[] = [
  "one process on one machine: when it stops, the API is away; there are no replicas",
  "it listens on loopback and on a unix socket and refuses every other address",
  "no admission webhooks, no admission policies, no aggregated API servers, no conversion webhooks",
  "no scheduler, no kubelet, no controllers but garbage collection, namespaces and custom kinds: Pods do not run",
  "EndpointSlices are not made from Services and Pods: whoever wants them writes them",
  "secrets are stored as they are, in files of mode 0600",
];

export const frontPage = (): string => `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Waggle API server</title></head>
<body><h1>Waggle's embedded Kubernetes API server</h1>
<p>Enough of the Kubernetes API to run Waggle, its lab and its tests on one machine without a cluster.
<strong>It is not for production</strong>, and it is not a Kubernetes cluster:</p>
<ul>${limits.map((l) => `<li>${l}</li>`).join("")}</ul>
<p>For production use a real kube-apiserver. Paths are listed at <a href="/">/</a> for clients that accept JSON.</p>
</body></html>
`;
