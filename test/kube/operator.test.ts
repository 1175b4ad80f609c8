// kube: the operator as a process against control planes, embedded and real: rights, kill -9, two replicas, lost kinds and rights.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type IPAllocation, type Service, systemNamespace } from "../../src/api/index.ts";
import { builtinKinds, type KubeClient, kinds, type Resource } from "../../src/kube/index.ts";
import { network, pods, reservation, service, vips } from "../unit/operator/world.ts";
import { kubeconfigWith, type Plane, planes, tokenOf } from "./fleet-plane.ts";

const roles: Resource = {
  group: "rbac.authorization.k8s.io",
  version: "v1",
  kind: "ClusterRoleBinding",
  plural: "clusterrolebindings",
  namespaced: false,
};

async function until(what: string, condition: () => Promise<boolean>, limitMs = 15_000): Promise<number> {
  const began = performance.now();
  while (!(await condition())) {
    if (performance.now() - began > limitMs) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return performance.now() - began;
}

const ipsOf = (s: Service): readonly string[] =>
  (s.status?.loadBalancer?.ingress ?? []).map((i) => i.ip ?? "");

for (const { name: planeName, skipped, start } of planes)
  describe.skipIf(skipped)(`the operator on ${planeName}`, () => {
    const directory = mkdtempSync(join(tmpdir(), "waggle-operator-"));
    const kubeconfig = join(directory, "operator.kubeconfig");
    const processes = new Map<string, ChildProcess>();
    let plane: Plane;
    let client: KubeClient;
    let log = "";

    /** Starts a replica, the sources as they are, with the rights of deploy/base.yaml. */
    function operator(identity: string): void {
      const child = spawn(
        process.execPath,
        [
          ...["src/cli/main.ts", "operator", "--kubeconfig", kubeconfig, "--identity", identity],
          ...["--state-dir", join(directory, "state"), "--hub-socket", join(directory, `${identity}.sock`)],
          ...["--log-level", "debug"],
        ],
        { stdio: ["ignore", "inherit", "pipe"] },
      );
      child.stderr!.on("data", (data: Buffer) => {
        log += data.toString();
      });
      processes.set(identity, child);
    }
    async function kill(identity: string, signal: NodeJS.Signals): Promise<void> {
      const child = processes.get(identity);
      processes.delete(identity);
      if (!child || child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill(signal);
      await ended;
    }
    const get = (name: string): Promise<Service> => client.get(kinds.Service, name, { namespace: "shop" });
    const allocated = (name: string) => async (): Promise<boolean> => ipsOf(await get(name)).length > 0;
    const claims = async (): Promise<readonly IPAllocation[]> =>
      (await client.list(kinds.IPAllocation)).items;
    const claimLines = async (): Promise<readonly string[]> =>
      (await claims()).map((c) => `${c.spec.prefix} ${c.status?.phase} ${c.spec.owner.name}`).sort();
    const createNode = async (name: string, address: string): Promise<void> => {
      await client.create(kinds.Node, {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name, labels: { "kubernetes.io/hostname": name } },
      });
      await client.patchStatus(kinds.Node, name, { addresses: [{ type: "InternalIP", address }] });
    };
    const createService = (name: string, more: Partial<Service["spec"]> = {}): Promise<Service> =>
      client.create(
        kinds.Service,
        service(name, { ports: [{ port: 80, protocol: "TCP" }], selector: { app: name }, ...more }),
      );

    beforeAll(async () => {
      plane = await start("dc1");
      client = plane.client;
      writeFileSync(
        kubeconfig,
        kubeconfigWith(plane.kubeconfig, "dc1", await tokenOf(client, "waggle-operator", undefined)),
        { mode: 0o600 },
      );
      await client.create(builtinKinds.Namespace, {
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name: "shop" },
      });
      await client.create(kinds.ClusterNetwork, network());
      await client.create(kinds.IPPool, pods("pods", ["10.1.0.0/16", "fd10:1::/48"]));
      const lb = vips("vips", ["10.101.0.0/24", "fd20:1::/112"], { cooldownSeconds: 1 });
      await client.create(kinds.IPPool, lb);
      await createNode("n1", "172.30.1.11");
      await createNode("n2", "172.30.1.12");
      operator("one");
      await until(
        "blocks",
        async () => (await claims()).filter((c) => c.status?.phase === "Bound").length === 4,
      );
    });
    afterAll(async () => {
      for (const identity of processes.keys()) await kill(identity, "SIGKILL");
      await plane?.[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    });

    it("gives nodes blocks and Services addresses, with the rights of deploy/base.yaml", async () => {
      await createService("web", { ipFamilies: ["IPv4", "IPv6"], ipFamilyPolicy: "RequireDualStack" });
      await until("address", allocated("web"));
      expect(ipsOf(await get("web"))).toEqual(["10.101.0.0", "fd20:1::"]);
      await until("views", async () =>
        (await client.list(kinds.NodeNetwork)).items.every((n) => n.spec.podBlocks?.length === 2),
      );
      expect((await client.get(kinds.NodeNetwork, "n1")).spec.routerID).toBe("172.30.1.11");
      await until("counts", async () => (await client.get(kinds.IPPool, "vips")).status?.allocated === 2);
      const condition = (await get("web")).status?.conditions?.find((c) => c.type === "waggle.dev/Allocated");
      expect(condition).toMatchObject({ status: "True", reason: "Allocated" });
      expect(log).not.toMatch(/"error":"403/);
    });

    it("shows a new address within a second", async () => {
      const began = performance.now();
      await createService("fast");
      await until("address", allocated("fast"));
      expect(performance.now() - began).toBeLessThan(1_000);
    });

    it("survives kill -9: nothing moves, and a second replica goes on", async () => {
      const before = await claimLines();
      const shown = ipsOf(await get("web"));
      operator("two");
      await kill("one", "SIGKILL");
      await createService("after-kill");
      await until("address", allocated("after-kill"), 30_000);
      operator("one");
      expect(ipsOf(await get("web"))).toEqual(shown);
      expect(await claimLines()).toEqual(expect.arrayContaining([...before]));
    });

    it("hands over at once when it is asked to stop, and takes nothing back", async () => {
      const before = await claimLines();
      await until("a leader", async () => {
        const lease = await client.get(builtinKinds.Lease, "waggle-operator", { namespace: systemNamespace });
        return ["one", "two"].includes(lease.spec?.holderIdentity ?? "");
      });
      const lease = await client.get(builtinKinds.Lease, "waggle-operator", { namespace: systemNamespace });
      await kill(lease.spec!.holderIdentity!, "SIGTERM");
      const took = performance.now();
      await createService("after-stop");
      await until("address", allocated("after-stop"));
      expect(performance.now() - took).toBeLessThan(12_000);
      expect(await claimLines()).toEqual(expect.arrayContaining([...before]));
      operator(lease.spec!.holderIdentity!);
    });

    it("two replicas that both give out addresses never give one twice", async () => {
      // Without its Lease each of the two believes that it may lead for a while.
      const names = Array.from({ length: 30 }, (_, i) => `many-${i}`);
      const dropping = (async () => {
        for (let i = 0; i < 10; i++) {
          await client
            .delete(builtinKinds.Lease, "waggle-operator", { namespace: systemNamespace })
            .catch(() => undefined);
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
      })();
      await Promise.all(names.map((name) => createService(name)));
      for (const name of names) await until(name, allocated(name), 30_000);
      await dropping;
      const all = (await client.list(kinds.Service, { namespace: "shop" })).items.flatMap(ipsOf);
      expect(new Set(all).size).toBe(all.length);
      await until("no surplus", async () => {
        const bound = (await claims()).filter((c) => c.spec.owner.kind === "Service");
        return bound.length === all.length;
      });
    });

    it("releases an address after it has been withdrawn and has rested", async () => {
      const [ip] = ipsOf(await get("fast"));
      const prefix = `${ip}/32`;
      await client.patchStatus(kinds.NodeNetwork, "n1", { announced: [{ prefix, state: "Announced" }] });
      await client.delete(kinds.Service, "fast", { namespace: "shop" });
      const claim = async () => (await claims()).find((c) => c.spec.prefix === prefix);
      await until("releasing", async () => (await claim())?.status?.announcedBy?.[0] === "n1");
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      expect((await claim())?.status?.phase).toBe("Releasing");
      await client.patchStatus(kinds.NodeNetwork, "n1", { announced: [] });
      await until("free", async () => (await claim()) === undefined, 20_000);
    });

    it("passes a shared address on, and lets nobody take its block out of the pool while somebody has it", async () => {
      const shared = async (name: string, port: number): Promise<void> => {
        const metadata = { annotations: { "waggle.dev/sharing-key": "one" }, labels: { pool: "small" } };
        const made = service(
          name,
          { ports: [{ port, protocol: "TCP" }] },
          { name, namespace: "shop", ...metadata },
        );
        await client.create(kinds.Service, made);
        await until(name, allocated(name));
      };
      const blocks = (list: readonly string[]) =>
        client.patch(kinds.IPPool, "small", "merge", { spec: { blocks: list } });
      const selector = {
        serviceSelector: { matchLabels: { pool: "small" } },
        cooldownSeconds: 0,
        priority: 1,
      };
      await client.create(kinds.IPPool, vips("small", ["10.102.0.0/28", "10.102.1.0/28"], selector));
      await until("acceptance", async () =>
        ((await client.get(kinds.IPPool, "small")).status?.conditions ?? []).some(
          (c) => c.type === "Accepted" && c.status === "True",
        ),
      );
      await shared("share-a", 1);
      await shared("share-b", 2);
      expect(ipsOf(await get("share-b"))).toEqual(["10.102.0.0"]);
      await client.delete(kinds.Service, "share-a", { namespace: "shop" });
      const ownerIs = (name: string) => async (): Promise<boolean> =>
        (await claims()).some((c) => c.spec.prefix === "10.102.0.0/32" && c.spec.owner.name === name);
      await until("the next owner", ownerIs("share-b"));
      expect(ipsOf(await get("share-b"))).toEqual(["10.102.0.0"]);
      await until("the pool says so", async () =>
        ((await client.get(kinds.IPPool, "small")).status?.inUse ?? []).some((u) =>
          u.users.includes("share-b"),
        ),
      );
      await expect(blocks(["10.102.1.0/28"])).rejects.toThrow(
        /a prefix in use cannot be taken out; in use are 10\.102\.0\.0\/32 by Service shop\/share-b/,
      );
      // Around what is in use it may shrink, and what nobody uses may go.
      await blocks(["10.102.0.0/30"]);
      await client.delete(kinds.Service, "share-b", { namespace: "shop" });
      await until(
        "it is free",
        async () => (await client.get(kinds.IPPool, "small")).status?.inUse === undefined,
      );
      await blocks(["10.102.1.0/28"]);
      await until("no claim is left", async () => !(await claims()).some((c) => c.spec.pool === "small"));
      // An owner is changed by nobody otherwise.
      const [other] = await claims();
      const owner = { kind: "Service", namespace: "shop", name: "thief", uid: "x" };
      await expect(
        client.patch(kinds.IPAllocation, other!.metadata.name, "merge", { spec: { owner } }),
      ).rejects.toThrow(/spec\.owner.*is immutable/);
    }, 60_000);

    it("accepts no pool inside the ranges of Services, which it learns from the API server", async () => {
      const [range] = (await client.list(builtinKinds.ServiceCIDR)).items;
      const cidr = range!.spec!.cidrs!.find((c) => c.includes("."))!;
      await client.create(kinds.IPPool, vips("inside", [`${cidr.split("/")[0]}/28`], { priority: 0 }));
      await until("a verdict", async () => {
        const pool = await client.get(kinds.IPPool, "inside");
        const accepted = pool.status?.conditions?.find((c) => c.type === "Accepted");
        return accepted?.status === "False" && accepted.reason === "OverlapsServices";
      });
      await client.delete(kinds.IPPool, "inside");
      expect(log).not.toMatch(/"error":"403/);
    });

    it("keeps every claim when its rights are taken away, and goes on when they are back", async () => {
      const before = await claimLines();
      const binding = (await client.get(roles, "waggle-operator")) as unknown as Record<string, unknown>;
      await client.delete(roles, "waggle-operator");
      await createService("waits");
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      expect(await claimLines()).toEqual(before);
      const metadata = { name: "waggle-operator" };
      await client.create(roles, { ...binding, metadata } as never);
      await until("address", allocated("waits"), 60_000);
      expect(await claimLines()).toEqual(expect.arrayContaining([...before]));
    }, 90_000);

    it("keeps every claim when the kind of reservations is deleted, and reservations work when it is back", async () => {
      await client.create(kinds.IPReservation, reservation("r", "10.101.0.200", "later"));
      await until("kept", async () =>
        (await claimLines()).some((l) => l.startsWith("10.101.0.200/32 Bound r")),
      );
      const before = await claimLines();
      const definition = await client.get(builtinKinds.CustomResourceDefinition, "ipreservations.waggle.dev");
      await client.delete(builtinKinds.CustomResourceDefinition, "ipreservations.waggle.dev");
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      expect(await claimLines()).toEqual(before);
      await until("the kind is gone", async () =>
        (await client.list(builtinKinds.CustomResourceDefinition)).items.every(
          (d) => d.metadata.name !== "ipreservations.waggle.dev",
        ),
      );
      const { name } = definition.metadata;
      await client.create(builtinKinds.CustomResourceDefinition, {
        apiVersion: definition.apiVersion,
        kind: definition.kind,
        metadata: { name },
        spec: definition.spec,
      });
      await until("the kind is back", () =>
        client.list(kinds.IPReservation, { retries: 0 }).then(
          () => true,
          () => false,
        ),
      );
      expect((await claimLines()).filter((l) => !l.includes("10.101.0.200"))).toEqual(
        before.filter((l) => !l.includes("10.101.0.200")),
      );
    }, 90_000);
  });
