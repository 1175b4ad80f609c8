import { describe, expect, it } from "vitest";
import type {
  IPAllocation,
  IPPool,
  IPReservation,
  Node,
  NodeNetwork,
  Service,
} from "../../../src/api/index.ts";
import { audit, type Books, claimLabels } from "../../../src/ipam/index.ts";
import { claimName, parsePrefix } from "../../../src/net/address.ts";

const apiVersion = "waggle.dev/v1alpha1" as const;
const now = Date.UTC(2026, 0, 1, 1);

const claim = (
  prefix: string,
  owner: IPAllocation["spec"]["owner"],
  pool: string,
  phase: "Bound" | "Releasing" | "Cooling" | "none" = "Bound",
): IPAllocation => ({
  apiVersion,
  kind: "IPAllocation",
  metadata: {
    name: claimName(parsePrefix(prefix)),
    creationTimestamp: "2026-01-01T00:00:00Z",
    labels: claimLabels(parsePrefix(prefix), pool),
  },
  spec: { prefix, pool, owner },
  ...(phase !== "none" && { status: { phase } }),
});
const ofNode = (uid = "u-n1") => ({ kind: "Node", name: "n1", uid }) as const;
const ofService = (uid = "u-web") => ({ kind: "Service", namespace: "shop", name: "web", uid }) as const;
const ofReservation = { kind: "IPReservation", namespace: "shop", name: "r", uid: "u-r" } as const;

const pool = (name: string, purpose: "Pods" | "LoadBalancers", block: string): IPPool => ({
  apiVersion,
  kind: "IPPool",
  metadata: { name },
  spec: { purpose, blocks: [block], priority: 100, cooldownSeconds: 30, disabled: false },
});
const node: Node = { apiVersion: "v1", kind: "Node", metadata: { name: "n1", uid: "u-n1" } };
const view: NodeNetwork = {
  apiVersion,
  kind: "NodeNetwork",
  metadata: { name: "n1" },
  spec: { podBlocks: [{ prefix: "10.1.0.0/26", pool: "pods" }] },
};
const web = (ip: string, more: Partial<Service["spec"]> = {}): Service => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { name: "web", namespace: "shop", uid: "u-web" },
  spec: { type: "LoadBalancer", loadBalancerClass: "waggle.dev/bgp", ...more },
  status: { loadBalancer: { ingress: [{ ip }] } },
});
const reservation: IPReservation = {
  apiVersion,
  kind: "IPReservation",
  metadata: { name: "r", namespace: "shop", uid: "u-r" },
  spec: { address: "10.101.0.9", serviceName: "web" },
};

const good: Books = {
  claims: [claim("10.1.0.0/26", ofNode(), "pods"), claim("10.101.0.0/32", ofService(), "vips")],
  pools: [pool("pods", "Pods", "10.1.0.0/16"), pool("vips", "LoadBalancers", "10.101.0.0/24")],
  nodes: [node],
  networks: [view],
  services: [web("10.101.0.0")],
  reservations: [],
  now,
};
const tell = (more: Partial<Books>): readonly string[] =>
  audit({ ...good, ...more }).map((f) => `${f.kind} ${f.subject}`);

describe("audit", () => {
  it("finds nothing in a cluster that is at rest, nor in addresses on their way out", () => {
    expect(tell({})).toEqual([]);
    const leaving = claim("10.101.0.5/32", ofService("u-gone"), "vips", "Cooling");
    expect(tell({ claims: [...good.claims, leaving] })).toEqual([]);
  });

  it("finds two claims of one address, wherever a third lies between them", () => {
    const wide = claim("10.1.0.0/24", ofNode("u-n1"), "pods", "Releasing");
    const between = claim("10.1.0.64/26", ofNode("u-n1"), "pods", "Cooling");
    const late = claim("10.1.0.128/26", ofNode("u-n1"), "pods", "Cooling");
    expect(tell({ claims: [...good.claims, late, wide, between] })).toEqual([
      "Duplicate 10.1.0.0/24",
      "Duplicate 10.1.0.0/24",
      "Duplicate 10.1.0.0/24",
    ]);
  });

  it.each<[string, Partial<Books>, readonly string[]]>([
    ["a claim of a Node that is gone", { nodes: [], networks: [] }, ["Leak 10.1.0.0/26"]],
    [
      "a claim of an earlier Service of the name",
      { claims: [good.claims[0]!, claim("10.101.0.0/32", ofService("u-old"), "vips")] },
      ["Leak 10.101.0.0/32", "Unclaimed Service shop/web"],
    ],
    ["a pool that is gone", { pools: [good.pools[1]!] }, ["Orphan 10.1.0.0/26"]],
    [
      "a claim outside its pool",
      { pools: [good.pools[0]!, pool("vips", "LoadBalancers", "10.102.0.0/24")] },
      ["Outside 10.101.0.0/32"],
    ],
    [
      "a name that locks another prefix",
      {
        claims: [
          { ...good.claims[0]!, metadata: { ...good.claims[0]!.metadata, name: "mine" } },
          good.claims[1]!,
        ],
      },
      ["Misnamed 10.1.0.0/26"],
    ],
    [
      "a claim without its label",
      { claims: [{ ...good.claims[0]!, metadata: { name: "v4-10-1-0-0-26" } }, good.claims[1]!] },
      ["Misnamed 10.1.0.0/26", "Misnamed 10.1.0.0/26", "Misnamed 10.1.0.0/26"],
    ],
    [
      "a claim that was never verified",
      { claims: [good.claims[0]!, claim("10.101.0.0/32", ofService(), "vips", "none")] },
      ["Unverified 10.101.0.0/32", "Unclaimed Service shop/web"],
    ],
    ["an address that nothing claims", { services: [web("10.101.0.7")] }, ["Unclaimed Service shop/web"]],
    ["a block that nothing claims", { claims: [good.claims[1]!] }, ["Unclaimed NodeNetwork n1"]],
    [
      "a second address for one Service",
      { claims: [...good.claims, claim("10.101.0.3/32", ofService(), "vips")] },
      ["Surplus 10.101.0.3/32"],
    ],
  ])("finds %s", (_, more, expected) => {
    expect(tell(more)).toEqual(expected);
  });

  it("knows that a reservation's claim is its Service's, and stays while the Service shows it", () => {
    const claims = [good.claims[0]!, claim("10.101.0.9/32", ofReservation, "vips")];
    expect(tell({ claims, services: [web("10.101.0.9")], reservations: [reservation] })).toEqual([]);
    expect(tell({ claims, services: [web("10.101.0.9")] })).toEqual([]);
    expect(tell({ claims, services: [], reservations: [reservation] })).toEqual([]);
    expect(tell({ claims, services: [] })).toEqual(["Leak 10.101.0.9/32"]);
  });

  it("leaves other controllers' addresses alone", () => {
    const { loadBalancerClass: _, ...classless } = web("192.0.2.1").spec;
    const claims = [good.claims[0]!];
    expect(tell({ claims, services: [{ ...web("192.0.2.1"), spec: classless }] })).toEqual([]);
    expect(tell({ claims, services: [{ ...web("10.101.0.4"), spec: classless }] })).toEqual([
      "Unclaimed Service shop/web",
    ]);
    expect(tell({ claims, services: [web("10.101.0.4", { loadBalancerClass: "example.com/lb" })] })).toEqual(
      [],
    );
  });

  it("does not stumble over what cannot be read", () => {
    const broken = { ...good.claims[0]!, spec: { ...good.claims[0]!.spec, prefix: "nonsense" } };
    expect(tell({ claims: [broken, good.claims[1]!] })).toEqual(["Unclaimed NodeNetwork n1"]);
  });
});
