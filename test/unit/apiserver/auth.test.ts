// apiserver/auth: tokens that hold and tokens that do not, RBAC, loopback only, locks.
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Authenticator, serviceAccountClaims, userClaims } from "../../../src/apiserver/auth/authenticate.ts";
import { type Action, Authorizer } from "../../../src/apiserver/auth/rbac.ts";
import { issuer, makeSigningKey, TokenSigner } from "../../../src/apiserver/auth/tokens.ts";
import type { User } from "../../../src/apiserver/auth/user.ts";
import { DataDirError, loadIdentity, lockDirectory } from "../../../src/apiserver/data-dir.ts";
import type { JsonObject } from "../../../src/apiserver/json.ts";
import type { ApiObject } from "../../../src/apiserver/object.ts";
import { normalise, OptionsError } from "../../../src/apiserver/options.ts";
import { memoryJournal } from "../../../src/apiserver/store/journal.ts";
import { Store } from "../../../src/apiserver/store/store.ts";

const newStore = (): Store => new Store(memoryJournal(), { historyEvents: 100, historyBytes: 1 << 20 });
const put = (store: Store, storage: string, key: string, body: JsonObject, uid = `uid-${key}`): void => {
  const [namespace, name] = key.includes("/") ? key.split("/") : [undefined, key];
  store.put(storage, key, {
    apiVersion: "v1",
    kind: "K",
    metadata: {
      name: name!,
      ...(namespace ? { namespace } : {}),
      uid,
      resourceVersion: "",
      creationTimestamp: "",
    },
    ...body,
  } as ApiObject);
};

describe("tokens", () => {
  const store = newStore();
  put(store, "serviceaccounts", "ns/agent", {}, "sa-uid");
  put(store, "nodes", "n1", {}, "node-uid");
  let now = Date.parse("2026-01-01T00:00:00Z");
  const signer = new TokenSigner(makeSigningKey());
  const auth = new Authenticator("admin-token", signer, store, () => now);
  const account = { namespace: "ns", name: "agent", uid: "sa-uid" };
  const make = (bound: JsonObject = {}, audiences: string[] = [issuer], seconds = 600): string =>
    signer.sign(serviceAccountClaims(account, bound, audiences, seconds, now, "id-1"));

  test("the admin's, a service account's, a user's", () => {
    expect(auth.authenticate("admin-token")?.user.groups).toContain("system:masters");
    expect(auth.authenticate(make())?.user).toEqual({
      name: "system:serviceaccount:ns:agent",
      uid: "sa-uid",
      groups: ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"],
      extra: { "authentication.kubernetes.io/credential-id": ["JTI=id-1"] },
    });
    expect(auth.authenticate(signer.sign(userClaims("alice", ["ops"], 60, now)))?.user).toMatchObject({
      name: "alice",
      groups: ["ops", "system:authenticated"],
    });
  });
  test("a token bound to a node says which, and ends with it", () => {
    const token = make({ node: { name: "n1", uid: "node-uid" } });
    expect(auth.authenticate(token)?.user.extra).toMatchObject({
      "authentication.kubernetes.io/node-name": ["n1"],
      "authentication.kubernetes.io/node-uid": ["node-uid"],
    });
    expect(auth.authenticate(make({ node: { name: "n1", uid: "another" } }))).toBeUndefined();
  });
  test("audiences: only the reader it was made for", () => {
    const token = make({}, ["waggle-hub"]);
    expect(auth.authenticate(token)).toBeUndefined();
    expect(auth.authenticate(token, ["waggle-hub", "other"])?.audiences).toEqual(["waggle-hub"]);
    expect(auth.authenticate(make(), ["waggle-hub"])).toBeUndefined();
  });
  test("not after its end, not for a deleted account, not with any byte changed, not from another key", () => {
    const token = make();
    now += 599_000;
    expect(auth.authenticate(token)).toBeDefined();
    now += 2000;
    expect(auth.authenticate(token)).toBeUndefined();
    const fresh = make();
    for (let i = 0; i < fresh.length; i += 17) {
      const c = fresh[i] === "A" ? "B" : "A";
      const changed = fresh.slice(0, i) + c + fresh.slice(i + 1);
      // The last character of a part carries bits that decoding drops.
      if (!/[A-Za-z0-9_-]/.test(fresh[i]!) || /^(\.|$)/.test(fresh.slice(i + 1, i + 2))) continue;
      expect(auth.authenticate(changed), String(i)).toBeUndefined();
    }
    expect(
      auth.authenticate(
        new TokenSigner(makeSigningKey()).sign(serviceAccountClaims(account, {}, [issuer], 600, now, "x")),
      ),
    ).toBeUndefined();
    const unsigned = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${fresh.split(".")[1]}.`;
    expect([unsigned, "", "a.b.c", "x".repeat(100_000)].map((t) => auth.authenticate(t))).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
    store.delete("serviceaccounts", "ns/agent");
    expect(auth.authenticate(fresh)).toBeUndefined();
  });
});

describe("RBAC", () => {
  const store = newStore();
  const rbac = "rbac.authorization.k8s.io";
  const rule = (
    apiGroups: string[],
    resources: string[],
    verbs: string[],
    resourceNames?: string[],
  ): JsonObject => ({ apiGroups, resources, verbs, ...(resourceNames ? { resourceNames } : {}) });
  const bind = (kind: string, name: string, ...subjects: JsonObject[]): JsonObject => ({
    roleRef: { kind, name },
    subjects,
  });
  put(store, `clusterroles.${rbac}`, "nodes", {
    rules: [
      rule([""], ["nodes", "nodes/status"], ["get", "list"]),
      { nonResourceURLs: ["/metrics", "/debug/*"], verbs: ["get"] },
    ],
  });
  put(store, `clusterroles.${rbac}`, "one", {
    rules: [rule(["waggle.dev"], ["nodenetworks", "*/status"], ["get", "update"], ["n1"])],
  });
  put(store, `clusterroles.${rbac}`, "sum", {
    aggregationRule: { clusterRoleSelectors: [{ matchLabels: { sum: "yes" } }] },
  });
  store.put(`clusterroles.${rbac}`, "part", {
    apiVersion: "v1",
    kind: "K",
    metadata: { name: "part", labels: { sum: "yes" }, uid: "p", resourceVersion: "", creationTimestamp: "" },
    rules: [rule(["*"], ["pods"], ["*"])],
  });
  put(store, `roles.${rbac}`, "ns/edit", { rules: [rule([""], ["configmaps"], ["*"])] });
  put(
    store,
    `clusterrolebindings.${rbac}`,
    "b1",
    bind("ClusterRole", "nodes", { kind: "User", name: "alice" }, { kind: "Group", name: "ops" }),
  );
  put(
    store,
    `clusterrolebindings.${rbac}`,
    "b2",
    bind("ClusterRole", "one", { kind: "ServiceAccount", name: "agent", namespace: "ns" }),
  );
  put(
    store,
    `clusterrolebindings.${rbac}`,
    "b4",
    bind("ClusterRole", "missing", { kind: "User", name: "alice" }),
  );
  put(
    store,
    `rolebindings.${rbac}`,
    "ns/b3",
    bind("Role", "edit", { kind: "ServiceAccount", name: "agent" }),
  );
  put(store, `rolebindings.${rbac}`, "ns/b5", bind("ClusterRole", "sum", { kind: "User", name: "bob" }));
  const authorizer = new Authorizer(store);
  const user = (name: string, ...groups: string[]): User => ({ name, uid: "", groups, extra: {} });
  const agent = user("system:serviceaccount:ns:agent");
  const on = (
    verb: string,
    group: string,
    resource: string,
    namespace?: string,
    name = "",
    subresource = "",
  ): Action => ({ kind: "resource", verb, group, resource, subresource, namespace, name });

  test.each<[string, User, Action, boolean]>([
    ["masters may all", user("x", "system:masters"), on("delete", "any", "thing"), true],
    ["by user", user("alice"), on("list", "", "nodes"), true],
    ["by group", user("carol", "ops"), on("get", "", "nodes", undefined, "n1", "status"), true],
    ["verb", user("alice"), on("delete", "", "nodes"), false],
    ["group of the resource", user("alice"), on("list", "apps", "nodes"), false],
    ["subresource", user("alice"), on("get", "", "nodes", undefined, "n1", "proxy"), false],
    ["name given", agent, on("update", "waggle.dev", "nodenetworks", undefined, "n1"), true],
    ["another name", agent, on("update", "waggle.dev", "nodenetworks", undefined, "n2"), false],
    ["no name", agent, on("get", "waggle.dev", "nodenetworks"), false],
    ["any status", agent, on("update", "waggle.dev", "traces", undefined, "n1", "status"), true],
    ["in the namespace", agent, on("create", "", "configmaps", "ns"), true],
    ["in another namespace", agent, on("create", "", "configmaps", "other"), false],
    ["namespace rights are not cluster rights", agent, on("list", "", "configmaps"), false],
    ["aggregated", user("bob"), on("delete", "", "pods", "ns"), true],
    ["aggregated, elsewhere", user("bob"), on("delete", "", "pods", "x"), false],
    ["a path", user("alice"), { kind: "path", verb: "get", path: "/metrics" }, true],
    ["a path by prefix", user("alice"), { kind: "path", verb: "get", path: "/debug/x/y" }, true],
    ["another path", user("alice"), { kind: "path", verb: "get", path: "/metricsx" }, false],
    ["a stranger", user("eve"), on("get", "", "nodes"), false],
  ])("%s", (_, who, action, expected) => {
    expect(authorizer.allows(who, action)).toBe(expected);
  });
  test("what one does not have one cannot give away", () => {
    const wanted = {
      verbs: ["get"],
      apiGroups: [""],
      resources: ["nodes"],
      resourceNames: [],
      nonResourceURLs: [],
    };
    expect(authorizer.coversRule(user("alice"), undefined, wanted)).toBe(true);
    expect(authorizer.coversRule(user("alice"), undefined, { ...wanted, verbs: ["get", "delete"] })).toBe(
      false,
    );
    expect(authorizer.coversRule(user("alice"), undefined, { ...wanted, resources: ["*"] })).toBe(false);
    expect(
      authorizer.coversRule(agent, undefined, {
        ...wanted,
        apiGroups: ["waggle.dev"],
        resources: ["nodenetworks"],
        verbs: ["update"],
        resourceNames: ["n1"],
      }),
    ).toBe(true);
    expect(
      authorizer.coversRule(agent, undefined, {
        ...wanted,
        apiGroups: ["waggle.dev"],
        resources: ["nodenetworks"],
        verbs: ["update"],
      }),
    ).toBe(false);
  });
});

describe("options and data directory", () => {
  test.each([
    "0.0.0.0:1",
    "192.168.1.1:80",
    "[2001:db8::1]:1",
    "example.com:80",
    "127.0.0.1",
    "127.0.0.1:99999",
    ":80",
  ])("refuses to listen on %s", (listen) => {
    expect(() => normalise({ listen })).toThrow(OptionsError);
  });
  test.each([
    ["127.0.0.1:0", "127.0.0.1"],
    ["localhost:8443", "127.0.0.1"],
    ["[::1]:1", "::1"],
    ["127.9.9.9:1", "127.9.9.9"],
  ])("listens on %s", (listen, host) => {
    expect(normalise({ listen }).listen?.host).toBe(host);
  });
  test("needs something to listen on", () => {
    expect(() => normalise({ listen: null })).toThrow(/socket path/);
  });
  test("keys are kept with mode 0600 and are the same next time; a directory has one user", async () => {
    const dir = mkdtempSync(join(tmpdir(), "waggle-data-"));
    try {
      const unlock = lockDirectory(dir);
      expect(() => lockDirectory(dir)).toThrow(DataDirError);
      const first = await loadIdentity(dir, "c", Date.now());
      expect(await loadIdentity(dir, "c", Date.now())).toEqual(first);
      for (const name of ["ca.key", "server.key", "tokens.key", "admin.token"])
        expect(statSync(join(dir, name)).mode & 0o777).toBe(0o600);
      const later = await loadIdentity(dir, "c", Date.now() + 350 * 86_400_000);
      expect(later.authority).toEqual(first.authority);
      expect(later.server.certificate).not.toBe(first.server.certificate);
      unlock();
      // A lock whose process is gone, or is another one by now, does not hold.
      writeFileSync(join(dir, "lock"), `${process.pid} 1\n`);
      lockDirectory(dir)();
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  });
});
