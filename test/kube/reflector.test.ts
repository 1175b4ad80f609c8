// kube: reflectors against the embedded API server: restarts, lost rights, a deleted kind, another cluster behind the address.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { IPPool } from "../../src/api/index.ts";
import { type RunningApiServer, readManifests, startApiServer } from "../../src/apiserver/index.ts";
import {
  builtinKinds,
  ClusterIdentity,
  clusterUID,
  Informer,
  type KubeClient,
  kinds,
  loadKubeConfig,
  type Resource,
} from "../../src/kube/index.ts";
import { vips } from "../unit/operator/world.ts";

const bindings: Resource = {
  group: "rbac.authorization.k8s.io",
  version: "v1",
  kind: "ClusterRoleBinding",
  plural: "clusterrolebindings",
  namespaced: false,
};
const roles: Resource = { ...bindings, kind: "ClusterRole", plural: "clusterroles" };

/** A cluster that can be stopped, started again at its address, and replaced by another one there. */
class Box implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "waggle-reflector-"));
  readonly socket = join(this.directory, "api.sock");
  server: RunningApiServer | undefined;
  #closers: (() => Promise<void>)[] = [];

  async start(data = "one"): Promise<void> {
    this.server = await startApiServer({
      dataDir: join(this.directory, data),
      listen: null,
      socketPath: this.socket,
      manifests: readManifests("crds"),
    });
  }
  async stop(): Promise<void> {
    await this.server?.close();
    this.server = undefined;
  }

  async client(text = this.server!.adminKubeconfig()): Promise<KubeClient> {
    const kubeconfig = join(this.directory, `kubeconfig-${this.#closers.length}`);
    writeFileSync(kubeconfig, text, { mode: 0o600 });
    const { client } = await loadKubeConfig({ kubeconfig });
    this.#closers.push(() => client[Symbol.asyncDispose]());
    return client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const close of this.#closers) await close();
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
async function until(what: string, condition: () => boolean, limitMs = 40_000): Promise<void> {
  const began = performance.now();
  while (!condition()) {
    if (performance.now() - began > limitMs) throw new Error(`${what}: not within ${limitMs} ms`);
    await pause(10);
  }
}

describe("reflector on the embedded API server", () => {
  let box: Box;
  let admin: KubeClient;
  let informer: Informer<IPPool> | undefined;
  const names = (): readonly string[] => informer!.cache.keys().toSorted();
  const make = (name: string): Promise<IPPool> =>
    admin.create(kinds.IPPool, vips(name, [`10.${100 + name.charCodeAt(0)}.0.0/24`]));
  const follow = async (client: KubeClient): Promise<Informer<IPPool>> => {
    const identity = new ClusterIdentity(client);
    informer = new Informer({ api: client, resource: kinds.IPPool, identity }).start();
    await informer.synced;
    return informer;
  };

  beforeEach(async () => {
    box = new Box();
    await box.start();
    admin = await box.client();
    for (const name of ["a", "b", "c"]) await make(name);
  });
  afterEach(async () => {
    informer?.[Symbol.dispose]();
    await box[Symbol.asyncDispose]();
  });

  it("goes on after a restart, with what changed meanwhile and nothing lost", async () => {
    const i = await follow(admin);
    expect(names()).toEqual(["a", "b", "c"]);
    await box.stop();
    await until("stale", () => !i.state.fresh);
    expect(names()).toEqual(["a", "b", "c"]);
    await box.start();
    await until("fresh", () => i.state.fresh);
    await make("d");
    await admin.delete(kinds.IPPool, "a");
    await until("the news", () => names().join() === "b,c,d");
  }, 60_000);

  it("keeps everything while its rights are gone, and catches up when they are back", async () => {
    const rule = { apiGroups: ["*"], resources: ["*"], verbs: ["get", "list", "watch"] };
    await admin.create(roles, {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRole",
      metadata: { name: "reader" },
      rules: [rule],
    } as never);
    const binding = {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "ClusterRoleBinding",
      metadata: { name: "reader" },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "reader" },
      subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: "reader" }],
    };
    await admin.create(bindings, binding as never);
    const i = await follow(await box.client(box.server!.userKubeconfig("reader")));
    await admin.delete(bindings, "reader");
    // A watch that runs is not asked again for its rights; the next one is.
    await box.stop();
    await box.start();
    await until("403", () => i.state.lastErrorCode === 403);
    await admin.delete(kinds.IPPool, "a");
    await pause(1_500);
    expect(names()).toEqual(["a", "b", "c"]);
    expect(i.state.lastError).toContain("ippools.waggle.dev");
    await admin.create(bindings, binding as never);
    await until("caught up", () => i.state.fresh && names().join() === "b,c");
  }, 60_000);

  it("keeps a deleted kind's objects until the kind is back and has been listed", async () => {
    const i = await follow(admin);
    const name = "ippools.waggle.dev";
    const { apiVersion, kind, spec } = await admin.get(builtinKinds.CustomResourceDefinition, name);
    await admin.delete(builtinKinds.CustomResourceDefinition, name);
    await until("stale", () => !i.state.fresh);
    await pause(1_500);
    expect(names()).toEqual(["a", "b", "c"]);
    await admin.create(builtinKinds.CustomResourceDefinition, {
      apiVersion,
      kind,
      metadata: { name },
      spec,
    });
    for (let tries = 0; tries < 100 && !(await make("b").then(Boolean, () => false)); tries++)
      await pause(50);
    await until("listed again", () => i.state.fresh && names().join() === "b");
  }, 60_000);

  it("believes nothing of another cluster at the same address", async () => {
    const i = await follow(admin);
    const first = await clusterUID(admin);
    await box.stop();
    await box.start("two");
    const other = await box.client();
    expect(await clusterUID(other)).not.toBe(first);
    await other.create(kinds.IPPool, vips("intruder", ["10.7.0.0/24"]));
    // The other server has other keys and its own CA; without them it would say 401. Here it is even believed to be trusted.
    const fooled = new Informer({
      api: other,
      resource: kinds.IPPool,
      identity: new ClusterIdentity(other, { expected: first }),
    }).start();
    await until("noticed", () => fooled.state.lastError?.includes("another cluster") === true);
    expect(fooled.state.synced).toBe(false);
    expect(fooled.cache.size).toBe(0);
    fooled[Symbol.dispose]();
    expect(names()).toEqual(["a", "b", "c"]);
    await until("stale", () => !i.state.fresh);
    await box.stop();
    await box.start();
    await until("the right one again", () => i.state.fresh);
    expect(names()).toEqual(["a", "b", "c"]);
  }, 60_000);
});
