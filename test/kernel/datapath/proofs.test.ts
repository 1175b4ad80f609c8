// test: proofs say what is so, leave no trace, and see what somebody else did to the hook, the link and the maps.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ProofTarget } from "../../../src/datapath/index.ts";
import { buildObjects, type NodeDatapath, sh, TestNetwork } from "./topology.ts";

const root = process.getuid?.() === 0;

const targets: readonly ProofTarget[] = [
  { kind: "vip", address: "10.62.0.1" },
  { kind: "vip", address: "fd62::1" },
  { kind: "podBlock", prefix: "10.61.1.0/26" },
  { kind: "podBlock", prefix: "fd61:1::/122" },
];

describe.skipIf(!root)("proofs (skipped: needs root)", () => {
  let network: TestNetwork;
  let a: NodeDatapath;
  const pods = ["a1", "a2", "b1"] as const;

  const sync = () => a.run((d) => d.sync(network.desired("a", pods)));
  const states = () => a.run((d) => d.prove(targets)).map((r) => r.state);
  const reasons = () => a.run((d) => d.prove(targets)).map((r) => r.reason);
  const kinds = () => a.run((d) => d.inspect()).map((f) => `${f.kind} ${f.subject}`);
  const pin = (path: string) => a.run((d) => `${d.mapDirectory}/${path}`);
  const linkId = (name: string) =>
    (JSON.parse(sh(`bpftool -j link show pinned ${pin(`links/${name}`)}`)) as { id: number }).id;

  /** Attaches a program ahead of ours on eth0's ingress that drops, until undone. */
  const foreign = (): (() => void) => {
    const source = `${network.directory}/foreign.bpf.c`;
    sh(`cat > ${source} <<'C'
#define SEC(name) __attribute__((section(name), used))
SEC("tc") int redirects_all(void *ctx) { return 2; }
char _license[] SEC("license") = "GPL";
C
clang -O2 -target bpf -c ${source} -o ${network.directory}/foreign.bpf.o
bpftool prog load ${network.directory}/foreign.bpf.o ${network.bpffs}/foreign type classifier`);
    const undo = network.attachFirst("a", `${network.bpffs}/foreign`, "eth0", "ingress");
    return () => {
      undo();
      sh(`rm ${network.bpffs}/foreign`);
    };
  };

  beforeAll(() => {
    buildObjects();
    network = new TestNetwork("wdp-p");
    a = network.open("a");
  }, 60_000);

  beforeEach(() => {
    sync();
  });

  afterAll(async () => {
    a?.[Symbol.dispose]();
    await network?.[Symbol.asyncDispose]();
  });

  test("everything is proven, byte by byte, and nothing is found amiss", () => {
    expect(reasons()).toEqual([
      "5 synthetic packets through eth0 ingress; 2 synthetic packets through waggle0 ingress",
      "5 synthetic packets through eth0 ingress; 2 synthetic packets through waggle0 ingress",
      "1 synthetic packet through eth0 ingress",
      "1 synthetic packet through eth0 ingress",
    ]);
    expect(states()).toEqual(["Proven", "Proven", "Proven", "Proven"]);
    expect(kinds()).toEqual([]);
  });

  test("nothing remains of a proof", () => {
    const before = a.run((d) => [d.counters(), d.connections(), d.flowCounters()]);
    states();
    expect(a.run((d) => [d.counters(), d.connections(), d.flowCounters()])).toEqual(before);
  });

  test("before the first sync nothing is claimed", () => {
    using fresh = network.open("b");
    expect(fresh.run((d) => d.prove(targets)).map((r) => r.state)).toEqual(Array(4).fill("Unproven"));
    expect(fresh.run((d) => d.inspect())).toEqual([]);
  });

  test("what cannot be delivered is not proven", () => {
    const prove = (target: ProofTarget) => a.run((d) => d.prove([target]))[0];
    expect(prove({ kind: "vip", address: "10.62.0.99" })).toMatchObject({ state: "Failed" });
    expect(prove({ kind: "podBlock", prefix: "10.61.9.0/26" })).toMatchObject({ state: "Failed" });
    a.run((d) => d.sync(network.desired("a", pods, { entry: false })));
    expect(prove(targets[0]!)).toMatchObject({
      state: "Failed",
      reason: "this node is not an entry for the address",
    });
    a.run((d) => d.sync(network.desired("a", [])));
    expect(prove(targets[0]!)).toMatchObject({
      state: "Failed",
      reason: "10.62.0.1:80/TCP: no backend is ready",
    });
    a.run((d) => d.sync({ ...network.desired("a", pods), interfaces: [] }));
    expect(prove(targets[0]!)).toMatchObject({ state: "Unproven" });
    const missing = a.run((d) => d.sync({ ...network.desired("a", pods), interfaces: ["eth0", "eth7"] }));
    expect(missing.refused).toEqual([{ subject: "eth7", reason: "there is no interface named eth7" }]);
    expect(kinds()).toEqual(["InterfaceMissing eth7"]);
    expect(prove(targets[0]!)).toMatchObject({ state: "Failed", reason: "there is no interface named eth7" });
  });

  test("a foreign program ahead of ours: unproven, named, left alone", () => {
    const undo = foreign();
    try {
      expect(states()).toEqual(["Unproven", "Unproven", "Unproven", "Unproven"]);
      const [finding] = a.run((d) => d.inspect());
      expect(finding).toMatchObject({
        kind: "ForeignProgramAhead",
        subject: "eth0 ingress",
        repairable: false,
        program: { name: "redirects_all" },
      });
      expect(finding?.message).toContain("program redirects_all (id ");
      expect(a.run((d) => d.repair())).toMatchObject({
        repaired: [],
        left: [{ kind: "ForeignProgramAhead" }],
      });
    } finally {
      undo();
    }
    expect(states()).toEqual(["Proven", "Proven", "Proven", "Proven"]);
  });

  test("a foreign XDP program counts, too", () => {
    const source = `${network.directory}/xdp.bpf.c`;
    sh(`cat > ${source} <<'C'
#define SEC(name) __attribute__((section(name), used))
SEC("xdp") int shield(void *ctx) { return 2; }
char _license[] SEC("license") = "GPL";
C
clang -O2 -target bpf -c ${source} -o ${network.directory}/xdp.bpf.o
ip -n wdp-p-na link set eth0 xdpgeneric obj ${network.directory}/xdp.bpf.o sec xdp`);
    expect(kinds()).toEqual(["ForeignProgramAhead eth0 ingress"]);
    expect(states()[0]).toBe("Unproven");
    sh("ip -n wdp-p-na link set eth0 xdpgeneric off");
    expect(kinds()).toEqual([]);
  });

  test("our link detached: failed, found, put back", () => {
    sh(`bpftool link detach id ${linkId("eth0-ingress")}`);
    expect(states()).toEqual(["Failed", "Failed", "Failed", "Failed"]);
    expect(kinds()).toEqual(["LinkDetached eth0 ingress"]);
    const result = a.run((d) => d.repair());
    expect(result.repaired.map((f) => f.kind)).toEqual(["LinkDetached"]);
    expect(result.left).toEqual([]);
    expect(states()).toEqual(["Proven", "Proven", "Proven", "Proven"]);
  });

  test("our pin removed: the link goes with it, found, put back", () => {
    sh(`rm ${pin("links/eth0-egress")}`);
    expect(kinds()).toEqual(["LinkMissing eth0 egress"]);
    expect(a.run((d) => d.repair()).left).toEqual([]);
  });

  test("another program under our link: found, put back", () => {
    sh(`cat > ${network.directory}/swap.bpf.c <<'C'
#define SEC(name) __attribute__((section(name), used))
SEC("tc") int swapped(void *ctx) { return -1; }
char _license[] SEC("license") = "GPL";
C
clang -O2 -target bpf -c ${network.directory}/swap.bpf.c -o ${network.directory}/swap.bpf.o
bpftool prog load ${network.directory}/swap.bpf.o ${network.bpffs}/swap type classifier`);
    network.updateLink(pin("links/eth0-ingress"), `${network.bpffs}/swap`);
    sh(`rm ${network.bpffs}/swap`);
    expect(kinds()).toEqual(["ProgramChanged eth0 ingress"]);
    expect(states()[0]).toBe("Failed");
    expect(a.run((d) => d.repair()).left).toEqual([]);
    expect(states()[0]).toBe("Proven");
  });

  test("map entries emptied, changed, added: found by name, mended", () => {
    type Dump = { readonly key: string[]; readonly value: string[] }[];
    const dump = (map: string): Dump => JSON.parse(sh(`bpftool -j map dump pinned ${pin(map)}`)) as Dump;
    const hex = (bytes: readonly string[]) => bytes.map((b) => b.slice(2)).join(" ");
    const [service] = dump("services");
    sh(`bpftool map delete pinned ${pin("services")} key hex ${hex(service!.key)}`);
    const [vip] = dump("vips");
    sh(`bpftool map update pinned ${pin("vips")} key hex ${hex(vip!.key)} value hex 00 00 00 00`);
    const zeros = Array(16).fill("0x00");
    sh(`bpftool map update pinned ${pin("vips")} key hex ${hex(zeros)} value hex 01 00 00 00`);
    const found = kinds();
    expect(found.length).toBe(3);
    expect(found[0]).toMatch(/^MapEntryMissing services .*\/(TCP|UDP)$/);
    expect(found[1]).toMatch(/^MapEntryChanged vips (10\.62\.0\.1|fd62::1)$/);
    expect(found[2]).toBe("MapEntryExtra vips");
    expect(states()).toContain("Failed");
    const result = a.run((d) => d.repair());
    expect(result.repaired.length).toBe(3);
    expect(result.left).toEqual([]);
    expect(states()).toEqual(["Proven", "Proven", "Proven", "Proven"]);
  });

  test("tunnel device down or gone: found, made again", () => {
    sh("ip -n wdp-p-na link set waggle0 down");
    expect(kinds()).toEqual(["TunnelDeviceChanged waggle0"]);
    expect(a.run((d) => d.repair()).left).toEqual([]);
    sh("ip -n wdp-p-na link del waggle0");
    expect(kinds()).toEqual(["TunnelDeviceMissing waggle0"]);
    expect(states()[0]).toBe("Failed");
    expect(a.run((d) => d.repair()).left).toEqual([]);
    expect(states()[0]).toBe("Proven");
  });

  test("a tunnel port that is somebody else's is a refusal, not a failure", () => {
    sh("ip -n wdp-p-na link del waggle0; ip -n wdp-p-na link add theirs type vxlan external dstport 4789");
    const { refused } = sync();
    expect(refused).toMatchObject([{ subject: "waggle0" }]);
    expect(refused[0]?.reason).toContain("UDP port 4789");
    sh("ip -n wdp-p-na link del theirs");
    expect(sync().refused).toEqual([]);
  });

  test("with clsact: attached, proven, found, cleaned up", () => {
    using c = network.open("b", { attach: "clsact" });
    c.run((d) => d.sync(network.desired("b", ["b1"])));
    const own: ProofTarget[] = [targets[0]!, targets[1]!, { kind: "podBlock", prefix: "10.61.2.0/26" }];
    expect(c.run((d) => d.prove(own)).map((r) => r.state)).toEqual(["Proven", "Proven", "Proven"]);
    expect(sh("ip netns exec wdp-p-nb tc filter show dev eth0 ingress")).toContain(
      "waggle_fabric_ingress direct-action",
    );
    expect(c.run((d) => d.sync(network.desired("b", ["b1"]))).changed).toBe(0);
    sh("ip netns exec wdp-p-nb tc filter del dev eth0 ingress");
    expect(c.run((d) => d.inspect()).map((f) => f.kind)).toEqual(["LinkMissing"]);
    expect(c.run((d) => d.repair()).left).toEqual([]);
    network.cleanup("b");
    expect(sh("ip netns exec wdp-p-nb tc filter show dev eth0 ingress")).toBe("");
    expect(sh("ip -n wdp-p-nb link show")).not.toContain("waggle0");
  });
});
