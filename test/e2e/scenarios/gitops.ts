// e2e: what GitOps controllers do: server-side apply of everything, twice, under their own names; nothing differs and nobody else owns spec.
import { expect, it } from "vitest";
import type { KubernetesObject } from "../../../src/api/index.ts";
import { clusterManifests, toYaml } from "../../../src/lab/manifests.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { addressesOf, kubectl, newestKubectl } from "../support.ts";

const test = it.skipIf(!newestKubectl);
const why = newestKubectl ? "" : " (skipped: needs kubectl)";

interface Managed {
  readonly items: readonly (KubernetesObject & {
    readonly metadata: {
      readonly managedFields?: readonly {
        readonly manager: string;
        readonly subresource?: string;
        readonly fieldsV1?: Readonly<Record<string, unknown>>;
      }[];
    };
  })[];
}

export function gitopsScenario(lab: () => Lab): void {
  test(`applied as argocd-controller and as kustomize-controller, twice: nothing differs, nobody else owns spec${why}`, async () => {
    const cluster = lab().topology.clusters[0]!;
    const objects = clusterManifests(lab().topology, cluster);
    const yaml = toYaml(objects);
    const before = await addressesOf(lab());
    const kinds = [...new Set(objects.map((o) => `${o.kind.toLowerCase()}.waggle.dev`))].join(",");
    const read = async (): Promise<Managed> => {
      const { out } = await kubectl(lab(), "dc1", ["get", kinds, "-o", "json", "--show-managed-fields"]);
      return JSON.parse(out) as Managed;
    };
    for (const manager of ["argocd-controller", "kustomize-controller"]) {
      const apply = ["apply", "--server-side", "--force-conflicts", `--field-manager=${manager}`, "-f", "-"];
      for (const round of [1, 2]) {
        const applied = await kubectl(lab(), "dc1", apply, yaml);
        expect(applied.code, `${manager}, ${round}: ${applied.err}`).toBe(0);
      }
      const versions = (await read()).items.map((i) => [i.metadata.name, i.metadata.generation]);
      // A third time writes nothing: what it would change is empty.
      const diff = ["diff", "--server-side", "--force-conflicts", `--field-manager=${manager}`, "-f", "-"];
      const { code, out, err } = await kubectl(lab(), "dc1", diff, yaml);
      expect({ code, out }, err).toEqual({ code: 0, out: "" });
      expect((await read()).items.map((i) => [i.metadata.name, i.metadata.generation])).toEqual(versions);
    }
    const mine = new Set(objects.map((o) => `${o.kind}/${o.metadata.name}`));
    const owners = new Set<string>();
    for (const item of (await read()).items) {
      if (!mine.has(`${item.kind}/${item.metadata.name}`)) continue;
      for (const { manager, fieldsV1 } of item.metadata.managedFields ?? [])
        if (fieldsV1 && "f:spec" in fieldsV1) owners.add(manager);
    }
    // The lab applied them first, as the user would by hand; other scenarios have edited some with kubectl.
    const others = [...owners].filter((o) => !o.startsWith("kubectl")).sort();
    expect(others).toEqual(["argocd-controller", "kustomize-controller", "waggle-lab"]);
    expect(await addressesOf(lab())).toBe(before);
  }, 60_000);
}
