// kube: addresses are safe on a real API server: operators that are killed at any moment, and etcd's data put back from a backup.
// WAGGLE_KILL_RUNS=20 kills as often and restores once; without it there is one kill, and no restore, which takes minutes.
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Service } from "../../src/api/index.ts";
import { audit } from "../../src/ipam/index.ts";
import {
  builtinKinds,
  Heartbeat,
  isNotFound,
  type KubeClient,
  kinds,
  systemClock,
} from "../../src/kube/index.ts";
import { network, node, pods, service, vips } from "../unit/operator/world.ts";
import { kubeconfigWith, prepare, tokenOf } from "./fleet-plane.ts";
import { findAssets, type RealControlPlane, startReal } from "./real.ts";

const assets = findAssets();
const asked = process.env["WAGGLE_KILL_RUNS"];
const runs = Number(asked ?? 1);

async function until(what: string, condition: () => Promise<boolean>, limitMs = 90_000): Promise<void> {
  const began = performance.now();
  while (!(await condition().catch(() => false))) {
    if (performance.now() - began > limitMs) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
const ipsOf = (s: Service): readonly string[] =>
  (s.status?.loadBalancer?.ingress ?? []).map((i) => i.ip ?? "");

describe.skipIf(!assets)(
  `operators killed on a real kube-apiserver${assets ? "" : " (skipped: needs make assets)"}`,
  () => {
    const directory = mkdtempSync(join(tmpdir(), "waggle-kills-"));
    const kubeconfig = join(directory, "operator.kubeconfig");
    const processes = new Map<string, ChildProcess>();
    /** By UID: what a Service has shown. */
    const shown = new Map<string, string>();
    /** What each node's agent has in use. */
    const uses = new Map<string, readonly { readonly prefix: string; readonly service?: string }[]>();
    const heartbeats: Heartbeat[] = [];
    let plane: RealControlPlane;
    let client: KubeClient;

    const start = (identity: string): void => {
      const args = ["src/cli/main.ts", "operator", "--kubeconfig", kubeconfig, "--identity", identity];
      const child = spawn(process.execPath, [...args, "--log-level", "error"], { stdio: "ignore" });
      processes.set(identity, child);
    };
    const kill = async (identity: string): Promise<void> => {
      const child = processes.get(identity);
      processes.delete(identity);
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    };
    const create = (name: string): Promise<Service> =>
      client.create(
        kinds.Service,
        service(name, { ports: [{ port: 80, protocol: "TCP" }], selector: { app: name } }),
      );
    const services = async (): Promise<readonly Service[]> =>
      (await client.list(kinds.Service, { namespace: "shop" })).items;
    const served = async (): Promise<boolean> => (await services()).every((s) => ipsOf(s).length === 1);
    const report = async (name: string): Promise<boolean> => {
      try {
        const announced = (uses.get(name) ?? []).map((u) => ({ ...u, state: "Announced" as const }));
        await client.patchStatus(kinds.NodeNetwork, name, { announced });
        return true;
      } catch (error) {
        if (isNotFound(error)) return false;
        throw error;
      }
    };

    /** No address twice, none moved, and the books are in order. */
    async function check(): Promise<void> {
      const all = await services();
      const ips = all.flatMap(ipsOf);
      expect(new Set(ips).size).toBe(ips.length);
      for (const s of all)
        for (const ip of ipsOf(s)) {
          const uid = s.metadata.uid!;
          expect(`${s.metadata.name} ${shown.get(uid) ?? ip}`).toBe(`${s.metadata.name} ${ip}`);
          shown.set(uid, ip);
        }
      let findings: readonly unknown[] = [];
      await until(
        "books in order",
        async () => {
          const list = async <T>(kind: { readonly plural: string }) =>
            (await client.list(kind as never)).items as unknown as readonly T[];
          findings = audit({
            claims: await list(kinds.IPAllocation),
            pools: await list(kinds.IPPool),
            nodes: await list(kinds.Node),
            networks: await list(kinds.NodeNetwork),
            services: await list(kinds.Service),
            reservations: await list(kinds.IPReservation),
            now: Date.now(),
          });
          return findings.length === 0;
        },
        30_000,
      ).catch((error: Error) => {
        throw new Error(`${error.message}: ${JSON.stringify(findings)}`);
      });
    }

    beforeAll(async () => {
      plane = await startReal(assets!);
      client = plane.client;
      await prepare(client, plane.kubeconfig);
      const token = await tokenOf(client, "waggle-operator", undefined);
      writeFileSync(kubeconfig, kubeconfigWith(plane.kubeconfig, "dc1", token), { mode: 0o600 });
      const metadata = { name: "shop" };
      await client.create(builtinKinds.Namespace, { apiVersion: "v1", kind: "Namespace", metadata });
      await client.create(kinds.ClusterNetwork, network());
      await client.create(kinds.IPPool, pods("pods", ["10.1.0.0/16"]));
      await client.create(kinds.IPPool, vips("vips", ["10.101.0.0/23"], { cooldownSeconds: 1 }));
      for (const name of ["n1", "n2"]) {
        await client.create(kinds.Node, node(name, "172.30.1.11"));
        const beat = new Heartbeat({
          api: client,
          namespace: "waggle-system",
          name: `waggle-agent-${name}`,
          kind: "agent",
          holder: name,
          clock: systemClock,
          random: Math.random,
          settle: () => report(name),
          seen: () => undefined,
          onRewound: () => undefined,
          onError: () => undefined,
        });
        heartbeats.push(beat.start());
      }
      start("one");
      start("two");
      await until("blocks", async () => (await client.list(kinds.IPAllocation)).items.length === 2);
    }, 120_000);
    afterAll(async () => {
      for (const identity of [...processes.keys()]) await kill(identity);
      await Promise.all(heartbeats.map((h) => h[Symbol.asyncDispose]()));
      await plane?.[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    }, 60_000);

    it(
      `no address twice, none moved, nothing left over (${runs} kills)`,
      async () => {
        for (let run = 0; run < runs; run++) {
          const made = Promise.all([0, 1, 2, 3].map((i) => create(`s${run}-${i}`)));
          await new Promise((resolve) => setTimeout(resolve, (run * 137) % 700));
          const victim = run % 2 === 0 ? "one" : "two";
          await kill(victim);
          await made;
          if (run > 0) await client.delete(kinds.Service, `s${run - 1}-0`, { namespace: "shop" });
          start(victim);
          await until(`addresses of run ${run}`, served);
          await check();
        }
      },
      60_000 + runs * 60_000,
    );

    it.skipIf(asked === undefined)(
      `etcd's data from a backup gives no address away that is in use${asked ? "" : " (skipped: needs WAGGLE_KILL_RUNS, takes minutes)"}`,
      async () => {
        const etcd = readdirSync(plane.directory).find(
          (name) => name.includes("etcd") && !name.includes("."),
        )!;
        await create("before");
        await until("address", served);
        await plane.stop();
        cpSync(join(plane.directory, etcd), join(directory, "backup"), { recursive: true });
        await plane.restart();
        const lost = ["lost-1", "lost-2", "lost-3"];
        for (const name of lost) await create(name);
        await until("addresses", served);
        const inUse = new Map<string, string>();
        for (const s of await services())
          if (lost.includes(s.metadata.name)) inUse.set(s.metadata.name, ipsOf(s)[0]!);
        uses.set(
          "n1",
          [...inUse].map(([name, ip]) => ({ prefix: `${ip}/32`, service: `shop/${name}` })),
        );
        await report("n1");
        await new Promise((resolve) => setTimeout(resolve, 12_000));

        await plane.stop();
        rmSync(join(plane.directory, etcd), { recursive: true });
        cpSync(join(directory, "backup"), join(plane.directory, etcd), { recursive: true });
        await plane.restart();
        expect((await services()).some((s) => lost.includes(s.metadata.name))).toBe(false);
        await Promise.all([0, 1, 2, 3].map((i) => create(`after-${i}`)));
        await until("addresses after the restore", served, 180_000);
        const now = await services();
        for (const s of now) expect([...inUse.values()]).not.toContain(ipsOf(s)[0]);
        const claims = (await client.list(kinds.IPAllocation)).items;
        for (const ip of inUse.values())
          expect(claims.find((c) => c.spec.prefix === `${ip}/32`)?.status?.conditions?.[0]?.reason).toBe(
            "Quarantined",
          );
        await create("lost-2");
        await until("the lost one is back", served);
        const back = (await services()).find((s) => s.metadata.name === "lost-2")!;
        expect(ipsOf(back)[0]).toBe(inUse.get("lost-2"));
        await check();
      },
      600_000,
    );
  },
);
