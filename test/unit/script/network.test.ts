// test, script: the network words against route maps, and the owner of an event.
import { describe, expect, test } from "vitest";
import { parseAddress, parsePrefix, toMappedBytes } from "../../../src/net/address.ts";
import { types } from "./fixture.ts";
import { record, start } from "./run.ts";

const POINT = "sock:inet_sock_set_state";

/** Entries of the `routes` map. */
function route(text: string, id: number): readonly [Uint8Array, Uint8Array] {
  const prefix = parsePrefix(text);
  const bits = prefix.length + (prefix.family === 4 ? 96 : 0);
  const key = new Uint8Array(20);
  new DataView(key.buffer).setUint32(0, bits, true);
  key.set(toMappedBytes(prefix), 4);
  const value = new Uint8Array(8);
  new DataView(value.buffer).setUint32(0, id, true);
  value[4] = bits;
  return [key, value];
}

function attributes(
  id: number,
  a: { cluster: number; asn: number; peer: number; nextHop: string; community: number },
): readonly [Uint8Array, Uint8Array] {
  const value = new Uint8Array(48);
  const view = new DataView(value.buffer);
  view.setUint32(0, a.cluster, true);
  view.setUint32(4, a.asn, true);
  view.setUint32(8, a.peer, true);
  value.set(toMappedBytes(parseAddress(a.nextHop)), 16);
  view.setUint32(32, a.community, true);
  return [new Uint8Array(Uint32Array.of(id).buffer), value];
}

const external = {
  routes: [route("10.2.0.0/16", 2), route("10.2.3.0/24", 3), route("fd00:2::/32", 4), route("::/0", 5)],
  route_attributes: [
    attributes(2, { cluster: 22, asn: 65002, peer: 5, nextHop: "192.0.2.1", community: (65002 << 16) | 7 }),
    attributes(3, { cluster: 33, asn: 4200000001, peer: 6, nextHop: "2001:db8::1", community: 0 }),
    attributes(4, { cluster: 44, asn: 65004, peer: 7, nextHop: "192.0.2.9", community: 1 }),
  ],
};

const mapped = (text: string): number[] => [...toMappedBytes(parseAddress(text))];
const ask = (expression: string, address: string, more: object = {}): string => {
  const run = start(`t:${POINT} { print(${expression}); }`, { ...more }, { external });
  const bytes = mapped(address);
  return run
    .fire(record(POINT, { daddr_v6: bytes, daddr: bytes.slice(12) }))
    .output()
    .trimEnd();
};

describe("network words", () => {
  test.each([
    ["prefix(args.daddr_v6)", "10.2.3.77", "10.2.3.0/24"],
    ["prefix(args.daddr_v6)", "10.2.200.1", "10.2.0.0/16"],
    ["prefix(args.daddr)", "10.2.200.1", "10.2.0.0/16"],
    ["prefix(args.daddr_v6)", "10.9.0.1", "unknown"],
    ["prefix(args.daddr_v6)", "fd00:2:abcd::1", "fd00:2::/32"],
    ["prefix(args.daddr_v6)", "fd01::1", "::/0"],
    ["cluster(args.daddr)", "10.2.3.77", "cluster33"],
    ["cluster(args.daddr_v6)", "fd00:2::9", "cluster44"],
    ["cluster(args.daddr_v6)", "10.9.0.1", "unknown"],
    ["peer(args.daddr)", "10.2.0.1", "peer5"],
    ["asn(args.daddr)", "10.2.3.1", "4200000001"],
    ["nexthop(args.daddr)", "10.2.0.1", "192.0.2.1"],
    ["nexthop(args.daddr)", "10.2.3.1", "2001:db8::1"],
    ["nexthop(args.daddr)", "11.0.0.1", "unknown"],
    ["community(args.daddr)", "10.2.0.1", "65002:7"],
    ["community(args.daddr)", "10.2.3.1", "unknown"],
    ["ntop(args.daddr)", "10.2.3.1", "10.2.3.1"],
    ["ntop(args.daddr_v6)", "fd00::1", "fd00::1"],
    ["ntop(args.daddr_v6)", "10.2.3.1", "::ffff:10.2.3.1"],
    ["ntop(2, args.daddr)", "10.2.3.1", "10.2.3.1"],
    ["cluster(ntop(args.daddr))", "10.2.3.1", "cluster33"],
    ["prefix(nexthop(args.daddr))", "10.2.3.1", "::/0"],
  ])("%s of %s is %s", (expression, address, value) => {
    expect(ask(expression, address)).toBe(value);
  });

  test("without an agent everything is unknown", () => {
    expect(ask("(cluster(args.daddr), prefix(args.daddr))", "10.2.3.1", { network: false })).toBe(
      "(unknown, unknown)",
    );
  });

  test("as keys, with one lookup for one address", () => {
    const source = `t:${POINT} { @[node, cluster(args.daddr_v6), prefix(args.daddr_v6)] = count(); }`;
    const run = start(source, {}, { external });
    run.fire(record(POINT, { daddr_v6: mapped("10.2.3.4") }));
    run.fire(record(POINT, { daddr_v6: mapped("10.2.3.5") }));
    run.fire(record(POINT, { daddr_v6: mapped("10.3.3.5") }));
    expect(run.maps()).toBe("@[unknown, unknown, unknown]: 1\n@[unknown, cluster33, 10.2.3.0/24]: 2\n");
    const { relocations } = run.script.programs[0] ?? { relocations: [] };
    expect(relocations.filter((r) => r.map === "routes")).toHaveLength(1);
  });

  test("in predicates, by name and by prefix", () => {
    const source = `t:${POINT} /cluster(args.daddr) == "dc2" && prefix(args.daddr) != "10.2.3.0/24"/ { @ = count(); }`;
    const nameId = (dictionary: string, name: string): number | undefined =>
      dictionary === "cluster" && name === "dc2" ? 22 : undefined;
    const run = start(source, { nameId }, { external });
    for (const address of ["10.2.0.1", "10.2.3.1", "10.9.0.1"])
      run.fire(record(POINT, { daddr: mapped(address).slice(12) }));
    expect(run.maps()).toBe("@: 1\n");
  });

  test("a socket address by its family", () => {
    const run = start(
      "t:tcp:tcp_send_reset { print((ntop(args.daddr), cluster(args.daddr))); }",
      {},
      { external },
    );
    const v4 = [2, 0, 0, 80, 10, 2, 3, 4, ...new Array(20).fill(0)] as number[];
    const v6 = [10, 0, 0, 80, 0, 0, 0, 0, ...mapped("fd00:2::5"), 0, 0, 0, 0];
    run.fire(record("tcp:tcp_send_reset", { daddr: v4 })).fire(record("tcp:tcp_send_reset", { daddr: v6 }));
    expect(run.output()).toBe("(10.2.3.4, cluster33)\n(fd00:2::5, cluster44)\n");
  });
});

describe("owners", () => {
  const offset = (structure: string, ...path: string[]): number => {
    let at = types.structure(structure);
    let sum = 0;
    for (const name of path) {
      const field = at?.fields.find((f) => f.name === name);
      sum += field?.offset ?? 0;
      at = field?.type.kind === "struct" ? types.structure(field.type.name) : undefined;
    }
    return sum;
  };
  const owner = (
    key: bigint,
    node: number,
    pod: number,
    namespace: number,
  ): readonly [Uint8Array, Uint8Array] => [
    new Uint8Array(BigUint64Array.of(key).buffer),
    new Uint8Array(Uint32Array.of(node, pod, namespace).buffer),
  ];
  const maps = {
    owner_netns: [owner(901n, 1, 11, 21), owner(902n, 2, 12, 22)],
    owner_cgroup: [owner(7n, 1, 13, 23), owner(8n, 2, 14, 24)],
  };
  const lab = { node: 1, unownedIsNode: false, countsUnattributed: true };

  /** A socket in a network namespace with this cookie. */
  function socket(run: ReturnType<typeof start>, cookie: bigint): bigint {
    const net = new Uint8Array(8192);
    new DataView(net.buffer).setBigUint64(offset("struct net", "net_cookie"), cookie, true);
    const sock = new Uint8Array(1024);
    new DataView(sock.buffer).setBigUint64(
      offset("struct sock_common", "skc_net", "net"),
      run.vm.place(net),
      true,
    );
    return run.vm.place(sock);
  }
  const unattributed = (run: ReturnType<typeof start>): bigint =>
    new DataView(
      (run.vm.read(run.script.output.counters)[0]?.values[0] ?? new Uint8Array(32)).buffer,
    ).getBigUint64(16, true);

  test("a socket's namespace decides, whoever is running", () => {
    const run = start(
      `t:${POINT} { @[node, pod, namespace] = count(); }`,
      { ownership: lab },
      { external: maps, cgroup: 8n },
    );
    run.fire(record(POINT, { skaddr: socket(run, 901n) }));
    run.fire(record(POINT, { skaddr: socket(run, 902n) }));
    run.fire(record(POINT, { skaddr: socket(run, 903n) }));
    expect(run.maps()).toBe("@[node1, pod11, namespace21]: 1\n");
    expect(unattributed(run)).toBe(1n);
  });

  test("without a socket it is the packet's device, then the packet's socket", () => {
    const run = start("t:skb:kfree_skb { @[pod] = count(); }", { ownership: lab }, { external: maps });
    const net = new Uint8Array(8192);
    new DataView(net.buffer).setBigUint64(offset("struct net", "net_cookie"), 901n, true);
    const device = new Uint8Array(4096);
    new DataView(device.buffer).setBigUint64(
      offset("struct net_device", "nd_net", "net"),
      run.vm.place(net),
      true,
    );
    const skb = new Uint8Array(512);
    const deviceAt = findOffset("struct sk_buff", "dev");
    new DataView(skb.buffer).setBigUint64(deviceAt, run.vm.place(device), true);
    run.fire(record("skb:kfree_skb", { skbaddr: run.vm.place(skb) }));
    const without = new Uint8Array(512);
    new DataView(without.buffer).setBigUint64(findOffset("struct sk_buff", "sk"), socket(run, 901n), true);
    run.fire(record("skb:kfree_skb", { skbaddr: run.vm.place(without) }));
    expect(run.maps()).toBe("@[pod11]: 2\n");
  });

  test("elsewhere it is the current task's cgroup", () => {
    const run = start(
      "t:syscalls:sys_enter_getppid { @[pod] = count(); }",
      { ownership: lab },
      { external: maps, cgroup: 7n },
    );
    run.fire();
    run.vm.cgroup = 8n;
    run.fire();
    run.vm.cgroup = 9n;
    run.fire();
    expect(run.maps()).toBe("@[pod13]: 1\n");
    expect(unattributed(run)).toBe(1n);
  });

  test("on a real node what nobody owns is the node's own", () => {
    const ownership = { node: 1, unownedIsNode: true, countsUnattributed: false };
    const run = start(
      "t:syscalls:sys_enter_getppid { @[node, pod] = count(); }",
      { ownership },
      { external: maps, cgroup: 9n },
    );
    run.fire();
    expect(run.maps()).toBe("@[node1, unknown]: 1\n");
    expect(unattributed(run)).toBe(0n);
  });

  test("timers and BEGIN belong to nobody and always run", () => {
    const run = start(
      "BEGIN { @b[node] = count(); } i:s:1 { @i[node, pod] = count(); }",
      { ownership: lab },
      { external: maps, cgroup: 8n },
    );
    run.fire();
    expect(run.maps()).toBe("@b[node1]: 1\n@i[node1, unknown]: 1\n");
  });

  function findOffset(structure: string, name: string): number {
    const visit = (at: string): number | undefined => {
      for (const field of types.structure(at)?.fields ?? []) {
        if (field.name === name) return field.offset;
        if (field.name !== "" || field.type.kind !== "struct") continue;
        const inner = visit(field.type.name);
        if (inner !== undefined) return field.offset + inner;
      }
      return undefined;
    };
    return visit(structure) ?? 0;
  }
});
