// The kubectl battery: commands with what they must print, run in order against one server.

/** One kubectl command. `out` and `err` must match stdout and stderr: a string exactly (after normalising), a pattern anywhere. */
export interface Step {
  readonly args: string;
  readonly stdin?: string | object;
  readonly out?: string | RegExp;
  readonly err?: string | RegExp;
  readonly code?: number;
  /** More environment, such as an editor. */
  readonly env?: Readonly<Record<string, string>>;
  /** Oldest minor version of kubectl that prints this. */
  readonly since?: number;
}

const widget = (name: string, spec: object, metadata: object = {}): object => ({
  apiVersion: "example.test/v1",
  kind: "Widget",
  metadata: { name, ...metadata },
  spec,
});

const unchecked =
  "* <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

const invalid = (...lines: string[]): string =>
  lines.length === 1
    ? `The Widget "w1" is invalid: ${lines[0]}\n`
    : `The Widget "w1" is invalid: \n${lines.join("\n")}\n`;

const merge = (patch: object): string => `patch wd w1 --type merge -p ${JSON.stringify(patch)}`;
const refused = (spec: object, ...lines: string[]): Step => ({
  args: merge({ spec }),
  code: 1,
  err: invalid(...lines),
});

/** Custom kinds: registration, validation, output, patches, deletion. */
export const customKinds: readonly Step[] = [
  { args: "get widgets", code: 1, err: /the server doesn't have a resource type "widgets"/ },
  {
    args: "create -f {widget.yaml}",
    out: "customresourcedefinition.apiextensions.k8s.io/widgets.example.test created\n",
  },
  {
    args: "create -f {widget.yaml}",
    code: 1,
    err: /\(AlreadyExists\): error when creating ".*": customresourcedefinitions.apiextensions.k8s.io "widgets.example.test" already exists/,
  },
  {
    args: "wait --for=condition=established crd/widgets.example.test --timeout=5s",
    out: "customresourcedefinition.apiextensions.k8s.io/widgets.example.test condition met\n",
  },
  {
    args: "get crd widgets.example.test",
    out: "NAME                   CREATED AT\nwidgets.example.test   TIME\n",
  },
  { args: "get widgets", err: "No resources found in default namespace.\n" },
  {
    args: "apply -f -",
    stdin: widget(
      "w1",
      { color: "red", replicas: 3, parts: [{ name: "a" }, { name: "b", count: 2 }], tags: ["t1"] },
      { labels: { app: "x" } },
    ),
    out: "widget.example.test/w1 created\n",
  },
  { args: "get wd", out: "NAME   COLOR   REPLICAS   READY   AGE\nw1     red     3                  AGE\n" },
  {
    args: "get widget w1 -o wide",
    out: "NAME   COLOR   REPLICAS   READY   PARTS   AGE\nw1     red     3                  a       AGE\n",
  },
  { args: "get toys", out: /^NAME {3}COLOR/ },
  { args: "get wd w1 -o name", out: "widget.example.test/w1\n" },
  { args: "get wd w1 -o jsonpath={.spec.parts[*].count}", out: "1 2" },
  { args: "get wd w1 -o go-template={{.spec.color}}", out: "red" },
  { args: "get wd -o custom-columns=N:.metadata.name,R:.spec.replicas", out: "N     R\nw1    3\n" },
  {
    args: "get wd w1 -o yaml --show-managed-fields",
    out: /managedFields:\n {2}- apiVersion: example.test\/v1\n {4}fieldsType: FieldsV1\n {4}fieldsV1:\n {6}f:metadata:\n {8}f:annotations:\n {10}\.: \{\}\n {10}f:kubectl.kubernetes.io\/last-applied-configuration: \{\}\n {8}f:labels:\n {10}\.: \{\}\n {10}f:app: \{\}\n {6}f:spec:\n {8}\.: \{\}\n {8}f:color: \{\}\n {8}f:parts:\n {10}\.: \{\}\n {10}k:\{"name":"a"\}:\n {12}\.: \{\}\n {12}f:count: \{\}\n {12}f:name: \{\}\n/,
  },
  {
    args: "describe wd w1",
    out: /^Name: {9}w1\nNamespace: {4}default\nLabels: {7}app=x\n[\s\S]*Spec:\n {2}Color: {2}red\n[\s\S]*Events: {2}<none>\n$/,
  },
  { args: "scale wd w1 --replicas=5", out: "widget.example.test/w1 scaled\n" },
  { args: "scale wd w1 --replicas=6 --current-replicas=9", code: 1, err: /Expected replicas to be 9, was 5/ },
  { args: "get wd w1 -o jsonpath={.spec.replicas}/{.metadata.generation}", out: "5/2" },
  { args: merge({ spec: { replicas: 7 } }), out: "widget.example.test/w1 patched\n" },
  { args: merge({ spec: { replicas: 7 } }), out: "widget.example.test/w1 patched (no change)\n" },
  {
    args: 'patch wd w1 --type json -p [{"op":"replace","path":"/spec/replicas","value":8}]',
    out: "widget.example.test/w1 patched\n",
  },
  {
    args: 'patch wd w1 --type json -p [{"op":"test","path":"/spec/replicas","value":1}]',
    code: 1,
    err: "The request is invalid: the server rejected our request due to an error in our request\n",
  },
  {
    args: 'patch wd w1 -p {"spec":{"replicas":9}}',
    code: 1,
    err: /application\/strategic-merge-patch\+json is not supported by example.test\/v1, Kind=Widget/,
  },
  refused({ color: "blue" }, 'spec.color: Invalid value: "string": color is immutable'),
  refused(
    { replicas: "many" },
    '* spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
    unchecked,
  ),
  refused(
    { replicas: 101 },
    "spec.replicas: Invalid value: 101: spec.replicas in body should be less than or equal to 100",
  ),
  refused({ min: 90 }, 'spec.min: Invalid value: "object": min must not be above replicas'),
  refused({ address: "nope" }, "spec: Forbidden: address nope is no IP"),
  refused({ tags: ["a", "a"] }, 'spec.tags[1]: Duplicate value: "a"'),
  refused({ parts: [{ name: "a" }, { name: "a" }] }, 'spec.parts[1]: Duplicate value: {"name":"a"}'),
  refused(
    { pattern: "ABC" },
    "spec.pattern: Invalid value: \"ABC\": spec.pattern in body should match '^[a-z]+$'",
  ),
  refused({ notes: "0123456789x" }, "* spec.notes: Too long: may not be more than 10 bytes", unchecked),
  refused(
    { tags: ["a", "b", "c", "d", "e"] },
    "* spec.tags: Too many: 5: must have at most 4 items",
    unchecked,
  ),
  refused({ color: null }, "* spec.color: Required value", unchecked),
  refused(
    { color: "pink" },
    '* spec.color: Unsupported value: "pink": supported values: "red", "green", "blue"',
    unchecked,
  ),
  {
    args: merge({ spec: { nope: 1 } }),
    out: "widget.example.test/w1 patched (no change)\n",
    err: 'Warning: unknown field "spec.nope"\n',
  },
  {
    args: merge({ spec: { notes: null, size: "50%", extra: { anything: [1, { goes: true }] } } }),
    out: "widget.example.test/w1 patched\n",
  },
  {
    args: "get wd w1 -o jsonpath={.spec.size}{.spec.extra.anything[1].goes}{.metadata.generation}",
    out: "50%true5",
  },
  {
    args: 'patch wd w1 --subresource=status --type merge -p {"spec":{"replicas":1},"status":{"replicas":2,"conditions":[{"type":"Ready","status":"True"}]}}',
    out: "widget.example.test/w1 patched\n",
  },
  { args: "get wd", out: "NAME   COLOR   REPLICAS   READY   AGE\nw1     red     8          True    AGE\n" },
  { args: "wait --for=condition=Ready wd/w1 --timeout=5s", out: "widget.example.test/w1 condition met\n" },
  {
    args: "wait --for=jsonpath={.status.replicas}=2 wd/w1 --timeout=5s",
    out: "widget.example.test/w1 condition met\n",
  },
  {
    args: "wait --for=condition=Broken wd/w1 --timeout=1s",
    code: 1,
    err: "error: timed out waiting for the condition on widgets/w1\n",
  },
  { args: "get wd w1 -o jsonpath={.metadata.generation}", out: "5" },
  {
    args: "create -f -",
    stdin: widget("w2", { color: "green", foo: 1 }),
    code: 1,
    err: 'Error from server (BadRequest): error when creating "STDIN": Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.foo"\n',
  },
  {
    args: "create --validate=warn -f -",
    stdin: widget("w2", { color: "green", foo: 1 }, { labels: { app: "y" } }),
    err: 'Warning: unknown field "spec.foo"\n',
    out: "widget.example.test/w2 created\n",
  },
  {
    args: "create -f -",
    stdin:
      '{"apiVersion":"example.test/v1","kind":"Widget","metadata":{"generateName":"gen-"},"spec":{"color":"blue"}}',
    out: /^widget.example.test\/gen-[a-z0-9]{5} created\n$/,
  },
  { args: "get wd --field-selector spec.color=green -o name", out: "widget.example.test/w2\n" },
  { args: "get wd --field-selector metadata.name=w1 -o name", out: "widget.example.test/w1\n" },
  {
    args: "get wd --field-selector metadata.name!=w1,spec.color!=blue -o name",
    out: "widget.example.test/w2\n",
  },
  { args: "get wd --field-selector spec.size=1", code: 1, err: /field label not supported: spec.size/ },
  { args: "get wd -l app=x -o name", out: "widget.example.test/w1\n" },
  { args: "get wd -l app!=x,app -o name", out: "widget.example.test/w2\n" },
  {
    args: ["get", "wd", "-o", "name", "-l", "app in (x,y),!zone"].join("\u0001"),
    out: "widget.example.test/w1\nwidget.example.test/w2\n",
  },
  {
    args: "get wd --sort-by=.spec.color -l app -o name",
    out: "widget.example.test/w2\nwidget.example.test/w1\n",
  },
  { args: "get wd --chunk-size=1 -l app -o name", out: "widget.example.test/w1\nwidget.example.test/w2\n" },
  { args: "label wd w1 tier=front", out: "widget.example.test/w1 labeled\n" },
  {
    args: "label wd w1 tier=back",
    code: 1,
    err: "error: 'tier' already has a value (front), and --overwrite is false\n",
  },
  { args: "label wd w1 tier=back --overwrite", out: "widget.example.test/w1 labeled\n" },
  { args: "label wd w1 -- tier-", out: "widget.example.test/w1 unlabeled\n" },
  {
    args: "label wd w1 tier=no/good",
    code: 1,
    err: /"(tier=)?no\/good": a valid label must be an empty string or consist of/,
  },
  { args: "annotate wd w1 a/b=c", out: /widget.example.test\/w1 annotated?\n/ },
  {
    args: "get wd w1 wd/none".replace("w1 wd/none", "w1 none"),
    code: 1,
    out: /^NAME/,
    err: 'Error from server (NotFound): widgets.example.test "none" not found\n',
  },
  {
    args: "explain widget",
    out: /^GROUP: {6}example.test\nKIND: {7}Widget\nVERSION: {4}v1\n\nDESCRIPTION:\n {4}A widget is a thing for tests.\n/,
  },
  {
    args: "explain widget.spec.color",
    out: /FIELD: color <string>\n(ENUM:\n {4}red\n {4}green\n {4}blue\n)?\n?\nDESCRIPTION:\n {4}The colour. Cannot be changed.\n/,
  },
  {
    args: "explain widget.spec.parts --recursive",
    out: /FIELDS:\n {2}count\t<integer>\n {2}labels\t<map\[string\]string>\n {2}name\t<string> -required-\n/,
  },
  { args: "explain widget.spec.none", code: 1, err: /field "none" does not exist/ },
  { args: "delete wd w2", out: /^widget.example.test "w2" deleted/ },
  {
    args: "delete wd w2",
    code: 1,
    err: 'Error from server (NotFound): widgets.example.test "w2" not found\n',
  },
  { args: "delete wd w2 --ignore-not-found", out: "" },
  {
    args: 'patch wd w1 --type merge -p {"metadata":{"finalizers":["example.test/hold"]}}',
    out: "widget.example.test/w1 patched\n",
  },
  { args: "delete wd w1 --wait=false", out: /deleted/ },
  { args: "get wd w1 -o jsonpath={.metadata.deletionTimestamp}", out: "TIME" },
  {
    args: 'patch wd w1 --type merge -p {"metadata":{"finalizers":["example.test/hold","example.test/new"]}}',
    code: 1,
    err: /metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \[\]string\{"example.test\/new"\}/,
  },
  {
    args: 'patch wd w1 --type merge -p {"metadata":{"finalizers":null}}',
    out: "widget.example.test/w1 patched\n",
  },
  { args: "wait --for=delete wd/w1 --timeout=5s", code: 0 },
  { args: "delete wd --all", out: /^widget.example.test "gen-[a-z0-9]{5}" deleted/ },
  { args: "get wd", err: "No resources found in default namespace.\n" },
];

/** Server-side apply, diff, edit, replace, dry run. */
export const applying: readonly Step[] = [
  {
    args: "apply --server-side -f -",
    stdin: widget("s1", { color: "red", replicas: 3, parts: [{ name: "a" }] }),
    out: "widget.example.test/s1 serverside-applied\n",
  },
  { args: "get wd s1 -o jsonpath={.metadata.resourceVersion}", out: /^\d+$/ },
  {
    args: "apply --server-side --field-manager=other -f -",
    stdin: widget("s1", { color: "red", replicas: 4, parts: [{ name: "b" }] }),
    code: 1,
    err: /^error: Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas\n/,
  },
  {
    args: "apply --server-side --field-manager=other --force-conflicts -f -",
    stdin: widget("s1", { color: "red", replicas: 4, parts: [{ name: "b" }] }),
    out: "widget.example.test/s1 serverside-applied\n",
  },
  {
    args: "get wd s1 -o jsonpath={.spec}",
    out: '{"color":"red","parts":[{"count":1,"name":"a"},{"count":1,"name":"b"}],"replicas":4}',
  },
  {
    args: "apply --server-side --field-manager=other -f -",
    stdin: widget("s1", { color: "red" }),
    out: "widget.example.test/s1 serverside-applied\n",
  },
  {
    args: "get wd s1 -o jsonpath={.spec}",
    out: '{"color":"red","parts":[{"count":1,"name":"a"}],"replicas":1}',
  },
  {
    args: "apply -f -",
    stdin: widget("m1", { color: "red", replicas: 3 }),
    out: "widget.example.test/m1 created\n",
  },
  {
    args: "apply -f -",
    stdin: widget("m1", { color: "red", replicas: 3 }),
    out: "widget.example.test/m1 unchanged\n",
  },
  {
    args: "apply --server-side -f -",
    stdin: widget("m1", { color: "red", replicas: 5 }),
    out: "widget.example.test/m1 serverside-applied\n",
  },
  { args: "get wd m1 -o jsonpath={.metadata.managedFields[*].manager}", out: "kubectl kubectl-last-applied" },
  { args: "diff -f -", stdin: widget("m1", { color: "red", replicas: 5 }), code: 0, out: "" },
  {
    args: "diff -f -",
    stdin: widget("m1", { color: "red", replicas: 6 }),
    code: 1,
    out: /- {2}replicas: 5\n\+ {2}replicas: 6\n/,
  },
  { args: "diff --server-side -f -", stdin: widget("m1", { color: "red", replicas: 5 }), code: 0, out: "" },
  {
    args: "apply --dry-run=server -f -",
    stdin: widget("m2", { color: "red" }),
    out: "widget.example.test/m2 created (server dry run)\n",
  },
  { args: "get wd m2", code: 1, err: /NotFound/ },
  {
    args: "create --dry-run=server -f -",
    stdin: widget("m2", { color: "pink" }),
    code: 1,
    err: /Unsupported value: "pink"/,
  },
  {
    args: "replace -f -",
    stdin: widget("m1", { color: "red", replicas: 9 }),
    out: "widget.example.test/m1 replaced\n",
  },
  {
    args: "replace -f -",
    stdin: widget("m9", { color: "red" }),
    code: 1,
    err: /\(NotFound\): error when replacing "STDIN": widgets.example.test "m9" not found/,
  },
  {
    args: "replace --force -f -",
    stdin: widget("m1", { color: "green", replicas: 9 }),
    out: /widget.example.test\/m1 replaced\n$/,
  },
  {
    args: "edit wd m1",
    env: { EDITOR: "sed -i s/replicas:.9/replicas:\\ 2/" },
    out: "widget.example.test/m1 edited\n",
  },
  { args: "edit wd m1", env: { EDITOR: "true" }, err: "Edit cancelled, no changes made.\n" },
  { args: "get wd m1 -o jsonpath={.spec.replicas}", out: "2" },
  {
    args: "replace -f -",
    stdin: widget("m1", { color: "green" }, { resourceVersion: "1" }),
    code: 1,
    err: /\(Conflict\): error when replacing "STDIN": Operation cannot be fulfilled on widgets.example.test "m1": the object has been modified; please apply your changes to the latest version and try again/,
  },
  {
    args: "apply --server-side -f -",
    stdin: { ...widget("m1", { color: "green" }), kind: "Gadget" },
    code: 1,
    err: /no matches for kind "Gadget" in version "example.test\/v1"/,
  },
  {
    args: "delete wd s1 m1",
    out: /^widget.example.test "s1" deleted[\s\S]*widget.example.test "m1" deleted/,
  },
];

/** Built-in kinds. */
export const builtinKinds: readonly Step[] = [
  { args: "version", out: /Server Version: .*v1\.33\.\d+-waggle/ },
  { args: "get --raw /readyz", out: "ok" },
  { args: "api-versions", out: /^apiextensions.k8s.io\/v1\n[\s\S]*\nv1\n$/ },
  { args: "api-resources --namespaced=false -o name", out: /^namespaces\nnodes\n/ },
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
  { args: "describe node n1", out: /Taints: {13}a=b:NoSchedule\nUnschedulable: {6}true\n/ },
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
  { args: "explain node.spec.taints", out: /FIELD: taints <\[\]Taint>\n[\s\S]*effect\t<string> -required-/ },
  { args: "explain service.spec.ports.targetPort", out: /FIELD: targetPort <IntOrString>/ },
  { args: "explain endpointslice.endpoints.conditions", out: /FIELD: conditions <EndpointConditions>/ },
  {
    args: "explain crd.spec.versions.schema.openAPIV3Schema",
    out: /FIELD: openAPIV3Schema <JSONSchemaProps>/,
  },
  {
    args: "get --raw /api/v1/nodes?limit=1",
    out: /^\{"kind":"NodeList","apiVersion":"v1","metadata":\{"resourceVersion":"\d+"\},"items":\[\{"metadata":/,
  },
  { args: "get nothing", code: 1, err: /the server doesn't have a resource type "nothing"/ },
  { args: "create deployment x --image=y", code: 1, err: /the server could not find the requested resource/ },
  { args: "delete svc web", out: /^service "web" deleted/ },
];

/** Who may do what. */
export const access: readonly Step[] = [
  { args: "create sa bob", out: "serviceaccount/bob created\n" },
  { args: "create token bob --duration=1h", out: /^eyJ[\w-]+\.[\w-]+\.[\w-]+\n?$/ },
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
