// One address of several Services, as a node announces and delivers it.
import { describe, expect, it } from "vitest";
import type { IPAllocation, Service } from "../../../src/api/index.ts";
import { sharerOf } from "../../../src/ipam/index.ts";
import { explain } from "../../../src/plan/explain.ts";
import { type Plan, plan } from "../../../src/plan/index.ts";
import { advertisement, inputs, proven, service, slice, snapshot, vipClaim } from "./fixture.ts";

const dns = (name: string, protocol: "TCP" | "UDP", port = 53): Service =>
  service(name, { ports: [{ name: "dns", port, protocol }] });

const prefix = "10.101.0.9/32";
const shared = (owner: string, ...users: readonly Service[]): IPAllocation => {
  const claim = vipClaim(prefix, owner);
  return {
    ...claim,
    status: {
      ...claim.status,
      phase: "Bound",
      sharing: { key: "dns", users: users.map((u) => sharerOf(u)) },
    },
  };
};

const dnsSlice = (name: string, address: string, node: number) => {
  const s = slice(name, 4, [{ address, node }]);
  const port = { name: "dns", port: 5353 };
  return {
    ...s,
    ports: [
      { ...port, protocol: "TCP" as const },
      { ...port, protocol: "UDP" as const },
    ],
  };
};

const facts = { sessions: new Map(), proofs: proven([prefix]), localAddress: () => undefined };
const planned = (claim: IPAllocation, services: readonly Service[], more = {}): Plan =>
  plan(
    snapshot({
      services,
      allocations: [claim],
      endpointSlices: [dnsSlice("tcp", "10.1.0.2", 1), dnsSlice("udp", "10.1.0.3", 1)],
      ...more,
    }),
    "node1",
    inputs({ proofs: proven([prefix]) }),
  );
const ports = (p: Plan): readonly string[] =>
  p.vips.flatMap((v) => v.ports.map((o) => `${o.protocol}/${o.port} ${o.backends.length}`));

describe("an address that Services share", () => {
  const tcp = dns("tcp", "TCP");
  const udp = dns("udp", "UDP");

  it("has every port of each, is one route, and says whose it is", () => {
    const p = planned(shared("tcp", tcp, udp), [tcp, udp]);
    expect(ports(p)).toEqual(["TCP/53 1", "UDP/53 1"]);
    const about = p.announcements.filter((a) => a.prefix === prefix);
    expect(about).toMatchObject([{ state: "Announced", owner: { name: "tcp" }, sharedBy: ["default/udp"] }]);
    expect(p.speaker.origins.length).toBe(1);
    // Nobody else is said to lack an address or a claim.
    expect(p.announcements.length).toBe(1);
    for (const name of ["tcp", "udp"])
      expect(explain(p, facts, { service: { namespace: "default", name } })).toMatchObject([
        { prefix, owner: { name: "tcp" }, sharedBy: ["default/udp"] },
      ]);
  });

  it("is announced where an advertisement selects one of them, or one has an endpoint", () => {
    const all = advertisement("some").spec;
    const some = advertisement("some", {
      ...all,
      advertise: [
        {
          ...all.advertise[0]!,
          type: "Services",
          addresses: ["LoadBalancerIP"],
          serviceSelector: { matchLabels: { app: "udp" } },
        },
      ],
    });
    const claim = shared("tcp", tcp, udp);
    const state = (more: object): string | undefined =>
      planned(claim, [tcp, udp], more).announcements.find((a) => a.prefix === prefix)?.state;
    expect(state({ advertisements: [some] })).toBe("Announced");
    expect(state({ endpointSlices: [dnsSlice("udp", "10.1.0.3", 1)] })).toBe("Announced");
    expect(state({ endpointSlices: [] })).toBe("Withdrawn");
  });

  it("belongs to who is left when one goes, though the claim has not been passed on yet", () => {
    const p = planned(shared("tcp", tcp, udp), [udp]);
    expect(ports(p)).toEqual(["UDP/53 1"]);
    expect(p.announcements).toMatchObject([{ state: "Announced", owner: { name: "udp" } }]);
    expect(p.announcements[0]).not.toHaveProperty("sharedBy");
  });

  it("leads to who came first where an edit made two ask for one port, on every node", () => {
    const late = dns("udp", "TCP");
    const p = planned(shared("tcp", tcp, udp), [late, tcp]);
    expect(
      p.vips.flatMap((v) => v.ports.flatMap((o) => o.backends.map((b) => b.address.lo & 0xffn))),
    ).toEqual([2n]);
  });

  it("is nobody's who is not in the claim", () => {
    const p = planned(shared("tcp", tcp), [tcp, udp]);
    expect(ports(p)).toEqual(["TCP/53 1"]);
  });
});
