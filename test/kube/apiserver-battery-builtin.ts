// The kubectl battery, built-in kinds and access: commands with what they must print, run in order against one server.
import type { Step } from "./apiserver-steps.ts";

/** Built-in kinds. */
export const builtinKinds: readonly Step[] = [
  { args: "version", differs: "it is another version", out: /Server Version: .*v1\.33\.\d+-waggle/ },
  { args: "get --raw /readyz", out: "ok" },
  { args: "api-versions", differs: "it has more kinds", out: /^apiextensions.k8s.io\/v1\n[\s\S]*\nv1\n$/ },
  {
    args: "api-resources --namespaced=false -o name",
    differs: "it has more kinds",
    out: /^namespaces\nnodes\n/,
  },
  {
    args: "get ns",
    out: "NAME              STATUS   AGE\ndefault           Active   AGE\nkube-node-lease   Active   AGE\nkube-public       Active   AGE\nkube-system       Active   AGE\n",
  },
  { args: "create ns t1", out: "namespace/t1 created\n" },
  {
    args: "create ns T1",
    code: 1,
    err: /metadata.name: Invalid value: "T1": a lowercase RFC 1123 label must consist of/,
  },
  { args: "create configmap c1 -n t1 --from-literal=a=b", out: "configmap/c1 created\n" },
  {
    args: "create configmap c1 -n none --from-literal=a=b",
    code: 1,
    err: 'error: failed to create configmap: namespaces "none" not found\n',
  },
  { args: "get cm -n t1", out: "NAME   DATA   AGE\nc1     1      AGE\n" },
  { args: 'patch cm c1 -n t1 -p {"data":{"x":"y","a":null}}', out: "configmap/c1 patched\n" },
  { args: "get cm c1 -n t1 -o jsonpath={.data}", out: '{"x":"y"}' },
  { args: "create secret generic s1 -n t1 --from-literal=password=x", out: "secret/s1 created\n" },
  { args: "get secret s1 -n t1 -o jsonpath={.type}:{.data.password}", out: "Opaque:eA==" },
  {
    args: "apply -n t1 -f -",
    stdin: { apiVersion: "v1", kind: "Secret", metadata: { name: "s2" }, stringData: { k: "v" } },
    out: "secret/s2 created\n",
  },
  { args: "get secret s2 -n t1 -o jsonpath={.data.k}{.stringData}", out: "dg==" },
  {
    args: "get secret -n t1",
    out: "NAME   TYPE     DATA   AGE\ns1     Opaque   1      AGE\ns2     Opaque   1      AGE\n",
  },
  { args: "get all -n t1", err: "No resources found in t1 namespace.\n" },
  { args: "delete ns t1", out: /^namespace "t1" deleted/ },
  { args: "get cm c1 -n t1", code: 1, err: /not found/ },
  {
    args: "apply -f -",
    stdin: {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web" },
      spec: {
        type: "LoadBalancer",
        ipFamilyPolicy: "PreferDualStack",
        ports: [
          { name: "http", port: 80 },
          { name: "dns", port: 53, protocol: "UDP" },
        ],
        selector: { a: "b" },
      },
    },
    out: "service/web created\n",
  },
  {
    args: "get svc web",
    out: /^NAME {3}TYPE {11}CLUSTER-IP +EXTERNAL-IP {3}PORT\(S\) +AGE\nweb {4}LoadBalancer {3}10\.96\.\d+\.\d+ +<pending> {5}80:3\d{4}\/TCP,53:3\d{4}\/UDP {3}AGE\n$/,
  },
  {
    args: "get svc web -o jsonpath={.spec.ipFamilies}{.spec.ipFamilyPolicy}{.spec.externalTrafficPolicy}",
    out: '["IPv4","IPv6"]PreferDualStackCluster',
  },
  {
    args: 'patch svc web -p {"spec":{"ports":[{"port":80,"targetPort":8080}]}}',
    out: "service/web patched\n",
  },
  { args: "get svc web -o jsonpath={.spec.ports[*].port}:{.spec.ports[*].targetPort}", out: "80 53:8080 53" },
  {
    args: 'patch svc web --type merge -p {"spec":{"clusterIP":"10.96.9.9"}}',
    differs: "it complains about the second family first",
    code: 1,
    err: /spec.clusterIPs\[0\]: Invalid value: .*: may not change once set/,
  },
  {
    args: 'patch svc web --type merge -p {"spec":{"type":"Nonsense"}}',
    code: 1,
    err: /spec.type: Unsupported value: "Nonsense": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"/,
  },
  {
    args: 'patch svc web --subresource=status -p {"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1","ipMode":"VIP"}]}}}',
    out: "service/web patched\n",
  },
  {
    args: "wait --for=jsonpath={.status.loadBalancer.ingress[0].ip}=192.0.2.1 svc/web --timeout=5s",
    out: "service/web condition met\n",
  },
  { args: "describe svc web", out: /LoadBalancer Ingress: {5}192.0.2.1/ },
  {
    args: "create -f -",
    stdin: {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "n1", labels: { "node-role.kubernetes.io/worker": "" } },
      status: {
        conditions: [{ type: "Ready", status: "True" }],
        addresses: [{ type: "InternalIP", address: "10.0.0.1" }],
        nodeInfo: {
          kubeletVersion: "v1.33.0",
          osImage: "lab",
          kernelVersion: "6.1",
          containerRuntimeVersion: "none",
        },
      },
    },
    out: "node/n1 created\n",
  },
  {
    args: "get nodes -o wide",
    out: "NAME   STATUS   ROLES    AGE   VERSION   INTERNAL-IP   EXTERNAL-IP   OS-IMAGE   KERNEL-VERSION   CONTAINER-RUNTIME\nn1     Ready    worker   AGE   v1.33.0   10.0.0.1      <none>        lab        6.1              none\n",
  },
  { args: "taint node n1 a=b:NoSchedule", out: "node/n1 tainted\n" },
  { args: "cordon n1", out: "node/n1 cordoned\n" },
  { args: "get node n1", out: /Ready,SchedulingDisabled/ },
  {
    args: "describe node n1",
    differs: "it taints nodes that are not ready",
    out: /Taints: {13}a=b:NoSchedule\nUnschedulable: {6}true\n/,
  },
  { args: "uncordon n1", out: "node/n1 uncordoned\n" },
  { args: 'patch node n1 -p {"spec":{"podCIDRs":["10.1.0.0/24"]}}', out: "node/n1 patched\n" },
  {
    args: 'patch node n1 --type merge -p {"spec":{"podCIDR":"10.2.0.0/24","podCIDRs":["10.2.0.0/24"]}}',
    code: 1,
    err: /spec.podCIDRs: Forbidden: node updates may not change podCIDR/,
  },
  {
    args: "create -f -",
    stdin: {
      apiVersion: "discovery.k8s.io/v1",
      kind: "EndpointSlice",
      metadata: { name: "web-1", labels: { "kubernetes.io/service-name": "web" } },
      addressType: "IPv4",
      ports: [{ port: 80 }],
      endpoints: [{ addresses: ["10.1.0.1"], conditions: { ready: true }, nodeName: "n1" }],
    },
    out: "endpointslice.discovery.k8s.io/web-1 created\n",
  },
  {
    args: "get endpointslices",
    differs: "it lists its own endpoint",
    out: "NAME    ADDRESSTYPE   PORTS   ENDPOINTS   AGE\nweb-1   IPv4          80      10.1.0.1    AGE\n",
  },
  { args: "describe endpointslice web-1", out: /AddressType: {2}IPv4\n/ },
  {
    args: 'patch endpointslice web-1 --type merge -p {"addressType":"IPv6"}',
    code: 1,
    err: /addressType: Invalid value: "IPv6": field is immutable/,
  },
  {
    args: "create -f -",
    stdin: {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "l1" },
      spec: { holderIdentity: "me", renewTime: "2026-01-01T00:00:00.000000Z" },
    },
    out: "lease.coordination.k8s.io/l1 created\n",
  },
  { args: "get lease", out: "NAME   HOLDER   AGE\nl1     me       AGE\n" },
  {
    args: "create -f -",
    stdin: {
      apiVersion: "events.k8s.io/v1",
      kind: "Event",
      metadata: { name: "e1" },
      eventTime: "2026-01-01T00:00:00.000000Z",
      reportingController: "waggle",
      reportingInstance: "x",
      action: "Test",
      reason: "Because",
      regarding: { apiVersion: "v1", kind: "Service", name: "web", namespace: "default" },
      note: "hello",
      type: "Normal",
    },
    out: "event.events.k8s.io/e1 created\n",
  },
  {
    args: "get events",
    out: /^LAST SEEN {3}TYPE {5}REASON {4}OBJECT {8}MESSAGE\n\S+ +Normal {3}Because {3}service\/web {3}hello\n$/,
  },
  {
    args: "get events --field-selector involvedObject.name=web,involvedObject.kind=Service -o jsonpath={.items[*].message}",
    out: "hello",
  },
  {
    args: "get events --field-selector involvedObject.name=nope",
    err: "No resources found in default namespace.\n",
  },
  { args: "events --for service/web", out: /Because/ },
  {
    args: "explain node.spec.taints",
    differs: "our texts are our own",
    out: /FIELD: taints <\[\]Taint>\n[\s\S]*effect\t<string> -required-/,
  },
  {
    args: "explain service.spec.ports.targetPort",
    differs: "our texts are our own",
    out: /FIELD: targetPort <IntOrString>/,
  },
  {
    args: "explain endpointslice.endpoints.conditions",
    differs: "our texts are our own",
    out: /FIELD: conditions <EndpointConditions>/,
  },
  {
    args: "explain crd.spec.versions.schema.openAPIV3Schema",
    differs: "our texts are our own",
    out: /FIELD: openAPIV3Schema <JSONSchemaProps>/,
  },
  {
    args: "get --raw /api/v1/nodes?limit=1",
    differs: "it taints nodes that are not ready",
    out: /^\{"kind":"NodeList","apiVersion":"v1","metadata":\{"resourceVersion":"\d+"\},"items":\[\{"metadata":/,
  },
  { args: "get nothing", code: 1, err: /the server doesn't have a resource type "nothing"/ },
  {
    args: "create deployment x --image=y",
    differs: "it has more kinds",
    code: 1,
    err: /the server could not find the requested resource/,
  },
  { args: "delete svc web", out: /^service "web" deleted/ },
];

/** Who may do what. */
export const access: readonly Step[] = [
  { args: "create sa bob", out: "serviceaccount/bob created\n" },
  {
    args: "create token bob --duration=1h",
    differs: "every token is another",
    out: /^eyJ[\w-]+\.[\w-]+\.[\w-]+\n?$/,
  },
  { args: "create token bob --duration=1s", code: 1, err: /may not specify a duration less than 10 minutes/ },
  { args: "create token none", code: 1, err: /serviceaccounts "none" not found/ },
  {
    args: "create role r1 --verb=get,list --resource=pods,widgets.example.test",
    out: "role.rbac.authorization.k8s.io/r1 created\n",
  },
  {
    args: "create rolebinding rb1 --role=r1 --serviceaccount=default:bob",
    out: "rolebinding.rbac.authorization.k8s.io/rb1 created\n",
  },
  {
    args: "create clusterrole cr1 --verb=get --resource=nodes --resource-name=n1",
    out: "clusterrole.rbac.authorization.k8s.io/cr1 created\n",
  },
  {
    args: "create clusterrolebinding crb1 --clusterrole=cr1 --user=alice",
    out: "clusterrolebinding.rbac.authorization.k8s.io/crb1 created\n",
  },
  {
    args: "get rolebinding -o wide",
    out: /NAME {3}ROLE {6}AGE {3}USERS {3}GROUPS {3}SERVICEACCOUNTS\nrb1 {4}Role\/r1 {3}AGE {21}default\/bob\n/,
  },
  { args: "describe clusterrole cr1", out: /nodes {6}\[\] {17}\[n1\] {12}\[get\]/ },
  { args: "auth can-i get pods --as=system:serviceaccount:default:bob", out: "yes\n" },
  { args: "auth can-i get pods -n kube-system --as=system:serviceaccount:default:bob", code: 1, out: "no\n" },
  { args: "auth can-i delete pods --as=system:serviceaccount:default:bob", code: 1, out: "no\n" },
  { args: "auth can-i get nodes/n1 --as=alice", out: "yes\n" },
  { args: "auth can-i get nodes/n2 --as=alice", code: 1, out: "no\n" },
  { args: "auth can-i * *", out: "yes\n" },
  { args: "auth can-i --list --as=alice", out: /nodes {43}\[\] {18}\[n1\] {13}\[get\]/ },
  {
    args: "auth whoami",
    differs: "its admin comes from a token file, with a UID",
    since: 28,
    out: "ATTRIBUTE   VALUE\nUsername    admin\nGroups      [system:masters system:authenticated]\n",
  },
  {
    args: "auth whoami -o jsonpath={.status.userInfo.username}{.status.userInfo.groups} --as=alice --as-group=team",
    since: 28,
    out: 'alice["team","system:authenticated"]',
  },
  {
    args: "get secrets --as=alice",
    code: 1,
    err: 'Error from server (Forbidden): secrets is forbidden: User "alice" cannot list resource "secrets" in API group "" in the namespace "default"\n',
  },
  {
    args: "get nodes --as=alice",
    code: 1,
    err: 'Error from server (Forbidden): nodes is forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope\n',
  },
  { args: "get node n1 --as=alice -o name", out: "node/n1\n" },
  {
    args: "get node n2 --as=alice",
    code: 1,
    err: 'Error from server (Forbidden): nodes "n2" is forbidden: User "alice" cannot get resource "nodes" in API group "" at the cluster scope\n',
  },
  {
    args: "delete widget s1 --as=alice",
    code: 1,
    err: 'Error from server (Forbidden): widgets.example.test "s1" is forbidden: User "alice" cannot delete resource "widgets" in API group "example.test" in the namespace "default"\n',
  },
  {
    args: "create rolebinding rb2 --clusterrole=cluster-admin --user=alice --as=alice",
    code: 1,
    err: /User "alice" cannot create resource "rolebindings"/,
  },
  {
    args: "create rolebinding rb3 --clusterrole=admin --user=carol",
    out: "rolebinding.rbac.authorization.k8s.io/rb3 created\n",
  },
  {
    args: "create rolebinding rb4 --clusterrole=cluster-admin --user=carol --as=carol",
    code: 1,
    err: /is attempting to grant RBAC permissions not currently held/,
  },
  {
    args: "create rolebinding rb5 --clusterrole=view --user=dave --as=carol",
    out: "rolebinding.rbac.authorization.k8s.io/rb5 created\n",
  },
  { args: "auth can-i list services --as=dave", out: "yes\n" },
  { args: "auth can-i list secrets --as=dave", code: 1, out: "no\n" },
  {
    args: "delete crd widgets.example.test",
    out: /^customresourcedefinition.apiextensions.k8s.io "widgets.example.test" deleted/,
  },
  { args: "get --raw /apis/example.test/v1/namespaces/default/widgets", code: 1, err: /NotFound/ },
];
