// test, vm: the datapath on Linux 6.1: the verifier takes it, clsact carries it, proofs pass, packets arrive, upgrades go unnoticed.
import { beforeAll, describe, expect, test } from "vitest";
import { buildObjects } from "../kernel/datapath/topology.ts";
import { Observations } from "./guest/say.ts";
import { bootVm, canBoot, how } from "./vm.ts";

const proven = ["Proven", "Proven", "Proven", "Proven"];
const ourFilters = [
  "eth0 ingress waggle_fabric_ingress",
  "eth0 egress waggle_fabric_egress",
  "pod1 egress waggle_pod_egress",
  "pod2 egress waggle_pod_egress",
  "waggle0 ingress waggle_tunnel_ingress",
];

describe.skipIf(!canBoot)(`datapath on Linux 6.1 (${how})`, () => {
  let seen = new Observations("");

  beforeAll(async () => {
    buildObjects();
    const other = buildObjects(true);
    const { output } = await bootVm({
      memoryMb: 1024,
      run: `node test/vm/guest/datapath.ts '${other}'`,
      timeoutMs: 900_000,
    });
    seen = new Observations(output);
  }, 3_000_000);

  test("there is no tcx, and the object loads", () => {
    expect(seen.get("tcx")).toBe(false);
    const programs = seen.get("object") as [name: string, instructions: number][];
    expect(programs.map(([name]) => name).sort()).toEqual([
      "fabric_egress",
      "fabric_ingress",
      "pod_egress",
      "tunnel_ingress",
    ]);
    // The verifier's limit is a million; what it walks over differs by kernel.
    for (const [, instructions] of programs) expect(instructions).toBeLessThan(250_000);
  });

  test("clsact is attached to once", () => {
    expect(seen.get("first sync")).toEqual([[], []]);
    expect((seen.get("filters") as string[]).sort()).toEqual([...ourFilters].sort());
    expect(seen.get("second sync")).toBe(0);
  });

  test("proofs pass, by packets through the filters, and nothing is found amiss", () => {
    const states = seen.get("proof") as string[];
    expect(states).toHaveLength(4);
    for (const state of states) expect(state).toMatch(/^Proven: \d+ synthetic packets? through eth0 ingress/);
    expect(seen.get("findings")).toEqual([]);
    expect((seen.get("remote proof") as string[]).map((s) => s.split(":")[0])).toEqual(proven);
  });

  test("VIPs are served by a pod of the entry node, the client's address kept", () => {
    expect(seen.get("local IPv4")).toBe("a1 172.27.0.2: hello");
    expect(seen.get("local IPv6")).toBe("a1 fd27::2: hello");
    expect(seen.get("ping")).toContain("3 received");
  });

  test("VIPs are served by a pod of another node, through the tunnel", () => {
    expect(seen.get("remote sync")).toEqual([[], []]);
    expect(seen.get("remote IPv4")).toBe("b1 172.27.0.2: hello");
    expect(seen.get("remote IPv6")).toBe("b1 fd27::2: hello");
    expect(seen.get("bulk")).toBe("200000");
    expect(seen.get("UDP")).toBe("b1 172.27.0.2: hello");
  });

  test("a filter that somebody deletes is missed, and put back", () => {
    expect(seen.get("somebody deletes the filter")).toMatchObject({
      found: ["LinkMissing eth0 ingress"],
      before: ["Failed", "Failed", "Failed", "Failed"],
      after: proven,
    });
  });

  test("the next process finds everything in its place", () => {
    expect(seen.get("the next process takes over")).toEqual({ changed: 0, refused: [], same: true });
  });

  test("another layout takes the filters over, and connections live on", () => {
    const { filters, ...rest } = seen.get("another layout takes over") as { filters: string[] };
    expect(rest).toEqual({ refused: [], sameProgram: false, sameLayout: false, states: proven });
    expect(filters.sort()).toEqual([...ourFilters].sort());
    expect(seen.get("a connection that is to live on")).toBe("b1 172.27.0.2: hello");
    expect(seen.get("it lives on")).toBe("b1 172.27.0.2: again");
    expect(seen.get("new ones come")).toBe("b1 172.27.0.2: hello");
  });

  test("clean-up leaves nothing", () => {
    expect(seen.get("cleanup")).toEqual({ some: true, filters: [] });
  });
});
