// test, vm: runs in the guest: two nodes, pods and a client as namespaces; the datapath on clsact, where there is no tcx. Usage: the
// directory of objects with another layout.
import { Datapath, type ProofTarget } from "../../../src/datapath/index.ts";
import { features } from "../../../src/kernel/features.ts";
import { listInterfaces } from "../../../src/kernel/interfaces.ts";
import { BpfObject } from "../../../src/kernel/libbpf.ts";
import { NetlinkSocket } from "../../../src/kernel/netlink.ts";
import { type FilterInfo, listFilters } from "../../../src/kernel/tc.ts";
import { type NodeDatapath, sh, TestNetwork } from "../../kernel/datapath/topology.ts";
import { observe } from "./say.ts";

const [otherObjects = ""] = process.argv.slice(2);
const pods = ["a1", "a2", "b1"] as const;
const targets: readonly ProofTarget[] = [
  { kind: "vip", address: "10.62.0.1" },
  { kind: "vip", address: "fd62::1" },
  { kind: "podBlock", prefix: "10.61.1.0/26" },
  { kind: "podBlock", prefix: "fd61:1::/122" },
];

await observe("tcx", () => features.tcx.test());
await observe("object", () => {
  using object = BpfObject.open("build/bpf/datapath.bpf.o");
  object.load();
  return [...object.openPrograms()].map(([name, program]) => {
    using opened = program;
    return [name, opened.info().verifiedInstructions];
  });
});

const network = new TestNetwork("wvm");
await network.serve();
network.routeVips("a");
let a = network.open("a");
const b = network.open("b");

const states = (of: NodeDatapath) =>
  of.run((d) => d.prove(targets).map((r) => `${r.state}: ${r.reason ?? ""}`));

/** Our filters on a node's eth0 and pods, in the order in which they run. */
const filters = (letter: "a" | "b"): string[] =>
  network.on(letter, () => {
    using netlink = new NetlinkSocket();
    const name = (f: FilterInfo, on: string): string => `${on} ${f.direction} ${f.name}`;
    return listInterfaces(netlink).flatMap((i) =>
      (["ingress", "egress"] as const).flatMap((direction) =>
        listFilters(netlink, i.index, direction).map((f) => name(f, i.name)),
      ),
    );
  });

const programOf = (letter: "a" | "b"): number | undefined =>
  network.on(letter, () => {
    using netlink = new NetlinkSocket();
    const eth0 = listInterfaces(netlink).find((i) => i.name === "eth0");
    return listFilters(netlink, eth0?.index ?? 0, "ingress")[0]?.programId;
  });

async function ask(host: string, id: string, keep = false): Promise<string> {
  await network.client.call({ op: "connect", id, host, port: 80 });
  const answer = await network.client.call({ op: "ask", id, text: "hello" });
  if (!keep) await network.client.call({ op: "close", id });
  return answer;
}

const sync = (letter: "a" | "b", names: readonly (typeof pods)[number][]) =>
  (letter === "a" ? a : b).run((d) => d.sync(network.desired(letter, names)));

await observe("first sync", () => [sync("a", ["a1"]).refused, sync("b", ["a1"]).refused]);
await observe("filters", () => filters("a"));
await observe("second sync", () => sync("a", ["a1"]).changed);
await observe("proof", () => states(a));
await observe("findings", () => a.run((d) => d.inspect()));
await observe("local IPv4", () => ask("10.62.0.1", "l4"));
await observe("local IPv6", () => ask("fd62::1", "l6"));
await observe("ping", () => sh("ip netns exec wvm-c ping -n -q -c 3 -i 0.2 10.62.0.1 | grep received"));

await observe("remote sync", () => [sync("a", ["b1"]).refused, sync("b", ["b1"]).refused]);
await observe("remote IPv4", () => ask("10.62.0.1", "r4"));
await observe("remote IPv6", () => ask("fd62::1", "r6"));
await observe("bulk", async () => {
  await network.client.call({ op: "connect", id: "bulk", host: "10.62.0.1", port: 80 });
  return network.client.call({ op: "ask", id: "bulk", text: "send 200000" });
});
await observe("UDP", () =>
  network.client.call({ op: "udp", id: "u", host: "10.62.0.1", port: 53, text: "hello" }),
);
await observe("remote proof", () => states(a));

await observe("somebody deletes the filter", () => {
  sh("tc -n wvm-na filter del dev eth0 ingress");
  const found = a.run((d) => d.inspect()).map((f) => `${f.kind} ${f.subject}`);
  const before = states(a).map((s) => s.split(":")[0]);
  const repaired = a.run((d) => d.repair());
  return { found, before, repaired, after: states(a).map((s) => s.split(":")[0]) };
});

await observe("a connection that is to live on", () => ask("10.62.0.1", "kept", true));
await observe("the next process takes over", () => {
  const before = programOf("a");
  a[Symbol.dispose]();
  a = network.open("a");
  const { changed, refused } = sync("a", ["b1"]);
  return { changed, refused, same: programOf("a") === before };
});
await observe("another layout takes over", () => {
  const [before, layout] = [programOf("a"), a.datapath.layout];
  a[Symbol.dispose]();
  a = network.open("a", { objectDirectory: otherObjects });
  const { refused } = sync("a", ["b1"]);
  return {
    refused,
    sameProgram: programOf("a") === before,
    sameLayout: a.datapath.layout === layout,
    filters: filters("a"),
    states: states(a).map((s) => s.split(":")[0]),
  };
});
await observe("it lives on", () => network.client.call({ op: "ask", id: "kept", text: "again" }));
await observe("new ones come", () => ask("10.62.0.1", "new"));

await observe("cleanup", () => {
  const removed = network.on("a", () => Datapath.cleanup(network.options("a")));
  return { some: removed > 0, filters: filters("a") };
});

a[Symbol.dispose]();
b[Symbol.dispose]();
await network[Symbol.asyncDispose]();
process.exit(0);
