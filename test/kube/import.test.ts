// kube: waggle import --live as a process: Services of a cluster are pinned, the product's own objects are read, and what comes out is taken.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import type { KubernetesObject, Service } from "../../src/api/index.ts";
import type { Finding } from "../../src/import/index.ts";
import { type KubeClient, kinds, type Resource } from "../../src/kube/index.ts";
import { type Plane, planes } from "./fleet-plane.ts";

const resources = new Map<string, Resource>(Object.values(kinds).map((r) => [r.kind, r]));
const pools: Resource = {
  group: "metallb.io",
  version: "v1beta1",
  kind: "IPAddressPool",
  plural: "ipaddresspools",
  namespaced: true,
};

describe("waggle import --live", () => {
  let plane: Plane;
  let client: KubeClient;

  const waggle = (...args: readonly string[]): Promise<{ code: number; out: string; err: string }> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        ["src/cli/main.ts", "import", ...args],
        { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } },
        (error, out, err) =>
          resolve({ code: error ? Number((error as { code?: unknown }).code ?? -1) : 0, out, err }),
      );
    });

  beforeAll(async () => {
    plane = await planes[0]!.start("dc1");
    client = plane.client;
    const web: Service = {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "web", namespace: "default" },
      spec: { type: "LoadBalancer", ports: [{ port: 80 }] },
    };
    await client.create(kinds.Service, web);
    await client.patchStatus(
      kinds.Service,
      "web",
      { loadBalancer: { ingress: [{ ip: "203.0.113.5" }] } },
      { namespace: "default" },
    );
    await client.create(kinds.CustomResourceDefinition, {
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: "ipaddresspools.metallb.io" },
      spec: {
        group: "metallb.io",
        scope: "Namespaced",
        names: {
          kind: "IPAddressPool",
          listKind: "IPAddressPoolList",
          plural: "ipaddresspools",
          singular: "ipaddresspool",
        },
        versions: [
          {
            name: "v1beta1",
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: {
                type: "object",
                properties: {
                  spec: {
                    type: "object",
                    properties: { addresses: { type: "array", items: { type: "string" } } },
                  },
                },
              },
            },
          },
        ],
      },
    } as unknown as KubernetesObject);
    for (let tries = 0; ; tries++) {
      try {
        await client.create(
          pools,
          {
            apiVersion: "metallb.io/v1beta1",
            kind: "IPAddressPool",
            metadata: { name: "public", namespace: "default" },
            spec: { addresses: ["203.0.113.0/26"] },
          } as KubernetesObject,
          { namespace: "default" },
        );
        break;
      } catch (error) {
        // The new kind is served a moment after its definition.
        if (tries > 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }, 60_000);
  afterAll(() => plane?.[Symbol.asyncDispose]());

  it("without files reads the product's objects, and pins what Services show", async () => {
    const { code, out, err } = await waggle(
      "metallb",
      "--live",
      "--kubeconfig",
      plane.kubeconfig,
      "-o",
      "json",
    );
    expect([code, err.trimEnd().split("\n").at(-1)]).toEqual([
      0,
      expect.stringMatching(/^2 objects; 0 errors/),
    ]);
    const { objects, findings } = JSON.parse(out) as {
      objects: readonly KubernetesObject[];
      findings: readonly Finding[];
    };
    expect(objects.map((o) => `${o.kind}/${o.metadata.name}`)).toEqual([
      "IPPool/public",
      "IPReservation/web-203-0-113-5",
    ]);
    expect(findings.find((f) => f.code === "Pinned")).toMatchObject({
      file: "live",
      object: "Service/default/web",
      path: "status.loadBalancer.ingress[0].ip",
    });
  });

  it("what comes out of files is taken by the API server", async () => {
    const file = "test/import/metallb/07-advertisements-unite.yaml";
    const { code, out } = await waggle(
      ...["metallb", file, "--live", "--kubeconfig", plane.kubeconfig],
      ...["--cluster-name", "dc1", "--cluster-id", "1"],
    );
    expect(code).toBe(0);
    const objects = parseAllDocuments(out).map((d) => d.toJS() as KubernetesObject);
    expect(objects.map((o) => o.kind)).toContain("IPReservation");
    for (const object of objects) {
      const { namespace } = object.metadata;
      await client.create(resources.get(object.kind)!, object, {
        ...(namespace !== undefined && { namespace }),
      });
    }
  });

  it("says what the page shows, and by its exit code whether something is missing", async () => {
    const [, command = "", line = ""] =
      /^ {4}\$ waggle import (.*)\n {4}(.*)$/m.exec(readFileSync("docs/import.md", "utf8")) ?? [];
    expect(command).toBe("metallb metallb.yaml --cluster-name dc1 --cluster-id 1 > waggle.yaml");
    const file = "test/import/metallb/01-smallest.yaml";
    const shown = await waggle("metallb", file, "--cluster-name", "dc1", "--cluster-id", "1");
    expect(shown.code).toBe(0);
    expect(shown.err.replaceAll(file, "metallb.yaml")).toContain(`${line}\n`);
    expect(
      (await waggle("metallb", "test/import/metallb/17-what-has-no-equal.yaml", "--no-notes")).code,
    ).toBe(3);
    expect((await waggle("metallb")).code).toBe(2);
    expect((await waggle("calico", file)).code).toBe(2);
  });
});
