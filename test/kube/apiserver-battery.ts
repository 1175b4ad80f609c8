// The kubectl battery, custom kinds: commands with what they must print, run in order against one server.
import type { Step } from "./apiserver-steps.ts";

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
    "* .spec.replicas: Invalid value: 0: .spec.replicas accessor error: many is of the type string, expected int64",
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
    differs: "our texts are our own",
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
  {
    args: "get wd s1 -o jsonpath={.metadata.resourceVersion}",
    differs: "revisions are its own",
    out: /^\d+$/,
  },
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
  {
    args: "get wd m1 -o jsonpath={.metadata.managedFields[*].manager}", // Within one second, the one that was written last comes last.
    out: /^(kubectl kubectl-last-applied|kubectl-last-applied kubectl)$/,
  },
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
