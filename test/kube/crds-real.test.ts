// kube: the real kube-apiserver takes our CRDs, examples and base objects, and refuses what we say it refuses.
import { execFile } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findAssets, type RealControlPlane, startReal } from "./real.ts";

const assets = findAssets();

describe.skipIf(!assets)(
  `CRDs on a real kube-apiserver${assets ? "" : " (skipped: needs make assets)"}`,
  () => {
    let real: RealControlPlane;
    beforeAll(async () => {
      real = await startReal(assets!);
    }, 90_000);
    afterAll(async () => {
      await real?.[Symbol.asyncDispose]();
    });

    const kubectl = (args: string[], input = ""): Promise<{ code: number; out: string; err: string }> =>
      new Promise((resolve) => {
        const child = execFile(
          real.kubectl,
          ["--kubeconfig", real.kubeconfig, ...args],
          { timeout: 40_000 },
          (error, out, err) => resolve({ code: error ? 1 : 0, out, err }),
        );
        child.stdin?.end(input);
      });

    it("are established, every one, without a warning", async () => {
      const applied = await kubectl(["apply", "-f", "crds"]);
      expect(applied.err).toBe("");
      expect(applied.out.match(/created/g)).toHaveLength(10);
      const waited = await kubectl(["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]);
      expect(waited.err).toBe("");
      const list = JSON.parse((await kubectl(["get", "crd", "-o", "json"])).out) as {
        items: { status: { conditions: { type: string; status: string; message: string }[] } }[];
      };
      const violations = list.items
        .flatMap((c) => c.status.conditions)
        .filter((c) => c.type === "NonStructuralSchema" && c.status === "True");
      expect(violations).toEqual([]);
    }, 60_000);

    it("take the base objects and the examples", async () => {
      for (const path of [
        "deploy/base.yaml",
        "examples/two-clusters/dc1.yaml",
        "examples/two-clusters/web.yaml",
      ]) {
        const applied = await kubectl(["apply", "--validate=strict", "-f", path]);
        expect(applied.err, path).toBe("");
        expect(applied.code, path).toBe(0);
      }
      const again = await kubectl(["diff", "-f", "examples/two-clusters/dc1.yaml"]);
      expect(again.out).toBe("");
    }, 60_000);

    it.each([
      [
        "a pool without its selector",
        "kind: IPPool\nmetadata: {name: x}\nspec: {purpose: Pods, blocks: [10.9.0.0/16]}",
        /spec\.nodeSelector.*write \{\} for all nodes/,
      ],
      [
        "host bits",
        "kind: IPPool\nmetadata: {name: x}\nspec: {purpose: Pods, blocks: [10.9.0.1/16], nodeSelector: {}}",
        /spec\.blocks\[0\].*host bits/,
      ],
      [
        "an unknown field",
        "kind: IPPool\nmetadata: {name: x}\nspec: {purpose: Pods, blocks: [10.9.0.0/16], nodeSelector: {}, size: 1}",
        /unknown field "spec\.size"/,
      ],
      [
        "address and interface",
        "kind: BGPPeer\nmetadata: {name: x}\nspec: {nodeSelector: {}, peerASN: 1, address: 10.0.0.1, interface: eth0}",
        /either address, interface or ranges/,
      ],
      [
        "a second ClusterNetwork",
        "kind: ClusterNetwork\nmetadata: {name: other}\nspec: {clusterName: a, clusterID: 1, nodes: [{nodeSelector: {}, mode: Observe, owns: [], localASN: 1}]}",
        /its name is default/,
      ],
      [
        "a changed cluster ID",
        "kind: ClusterNetwork\nmetadata: {name: default}\nspec: {clusterName: dc1, clusterID: 7, nodes: [{nodeSelector: {}, mode: Observe, owns: [], localASN: 1}]}",
        /spec\.clusterID.*immutable/,
      ],
      [
        "a role towards ourselves",
        "kind: BGPPeer\nmetadata: {name: x}\nspec: {nodeSelector: {}, peerASN: 1, localASN: 1, address: 10.0.0.1, role: Provider}",
        /spec\.localASN.*external neighbours/,
      ],
      [
        "an external reflector client",
        "kind: BGPPeer\nmetadata: {name: x}\nspec: {nodeSelector: {}, peerASN: 1, localASN: 2, address: 10.0.0.1, reflectorClient: true}",
        /spec\.reflectorClient.*internal neighbours/,
      ],
      [
        "neither an AS number nor any",
        "kind: BGPPeer\nmetadata: {name: x}\nspec: {nodeSelector: {}, address: 10.0.0.1}",
        /spec\.peerASN.*either peerASN or external/,
      ],
      [
        "a strict role without a role",
        "kind: BGPPeer\nmetadata: {name: x}\nspec: {nodeSelector: {}, peerASN: 1, address: 10.0.0.1, strictRole: true}",
        /strictRole needs role/,
      ],
      [
        "a next hop of the other family",
        "kind: BGPPeer\nmetadata: {name: x}\nspec: {nodeSelector: {}, peerASN: 1, address: 10.0.0.1, nextHop: {ipv6: 10.0.0.2}}",
        /spec\.nextHop\.ipv6.*IPv6 address/,
      ],
      [
        "pools without their names",
        "kind: BGPAdvertisement\nmetadata: {name: x}\nspec: {nodeSelector: {}, peerSelector: {}, advertise: [{type: Pools, serviceSelector: {}}]}",
        /Pools needs pools and serviceSelector/,
      ],
      [
        "pools of Services",
        "kind: BGPAdvertisement\nmetadata: {name: x}\nspec: {nodeSelector: {}, peerSelector: {}, advertise: [{type: Services, serviceSelector: {}, addresses: [LoadBalancerIP], pools: [a]}]}",
        /pools is for type Pools/,
      ],
    ])("refuse %s", async (_, yaml, message) => {
      const refused = await kubectl(["apply", "-f", "-"], `apiVersion: waggle.dev/v1alpha1\n${yaml}\n`);
      expect(refused.code).not.toBe(0);
      expect(refused.err).toMatch(message);
    });

    it("take every knob of a neighbour, with its defaults written out", async () => {
      const yaml = `apiVersion: waggle.dev/v1alpha1
kind: BGPPeer
metadata: {name: knobs}
spec: {nodeSelector: {}, address: 10.0.0.1, peerASN: 65001, localASN: 65002, role: Customer, strictRole: true, allowASIn: 1,
  asOverride: true, removePrivateAS: true, nextHopUnchanged: true, routeServerClient: true, nextHop: {ipv4: 10.0.0.2, ipv6: "fd00::2"}}
`;
      const applied = await kubectl(["apply", "--validate=strict", "-f", "-"], yaml);
      expect(applied.err).toBe("");
      const { spec } = JSON.parse((await kubectl(["get", "bgppeer", "knobs", "-o", "json"])).out) as {
        spec: Record<string, unknown>;
      };
      expect(spec).toMatchObject({
        adminDown: false,
        reflectorClient: false,
        allowASIn: 1,
        role: "Customer",
      });
    });

    it("explain themselves", async () => {
      const explained = await kubectl(["explain", "bgppeer.spec.passwordSecretName"]);
      expect(explained.out).toContain("TCP-MD5");
      expect((await kubectl(["explain", "bgppeer.spec.role"])).out).toContain("RFC 9234");
    });
  },
);
