// test: VIPs carried by real packets between namespaces: local, over the tunnel, both families, both protocols.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildObjects, type NodeDatapath, sh, TestNetwork } from "./topology.ts";

const root = process.getuid?.() === 0;
const vips = { IPv4: "10.62.0.1", IPv6: "fd62::1" } as const;
const families = Object.keys(vips) as (keyof typeof vips)[];
const clients = { IPv4: "172.27.0.2", IPv6: "fd27::2" } as const;

let serial = 0;

describe.skipIf(!root)("delivery (skipped: needs root)", () => {
  let network: TestNetwork;
  let a: NodeDatapath;
  let b: NodeDatapath;

  const sync = (
    pods: readonly ("a1" | "a2" | "b1")[],
    options: { entryA?: boolean; entryB?: boolean } = {},
  ): void => {
    a.run((d) => d.sync(network.desired("a", pods, { entry: options.entryA ?? true })));
    b.run((d) => d.sync(network.desired("b", pods, { entry: options.entryB ?? true })));
  };

  /** Connects and asks once: which pod answered, and whom it saw. */
  async function ask(host: string, text = "hello"): Promise<string> {
    const id = `t${serial++}`;
    await network.client.call({ op: "connect", id, host, port: 80 });
    const answer = await network.client.call({ op: "ask", id, text });
    await network.client.call({ op: "close", id });
    return answer;
  }

  async function askAll(host: string, times: number): Promise<string[]> {
    const answers: string[] = [];
    for (let i = 0; i < times; i++) answers.push(await ask(host));
    return answers;
  }

  beforeAll(async () => {
    buildObjects();
    network = new TestNetwork("wdp-d");
    await network.serve();
    a = network.open("a");
    b = network.open("b");
  }, 60_000);

  afterAll(async () => {
    a?.[Symbol.dispose]();
    b?.[Symbol.dispose]();
    await network?.[Symbol.asyncDispose]();
  });

  test.each(families)("%s TCP: to a backend on the entry node, the client's address kept", async (family) => {
    network.routeVips("a");
    sync(["a1"]);
    expect(await ask(vips[family])).toBe(`a1 ${clients[family]}: hello`);
  });

  test.each(families)(
    "%s TCP: to a backend on another node, the answer goes straight back",
    async (family) => {
      network.routeVips("a");
      sync(["b1"]);
      const before = { a: a.run((d) => d.counters()), b: b.run((d) => d.counters()) };
      expect(await ask(vips[family])).toBe(`b1 ${clients[family]}: hello`);
      const after = { a: a.run((d) => d.counters()), b: b.run((d) => d.counters()) };
      expect(after.a.vipTunnelled - before.a.vipTunnelled).toBeGreaterThan(3n);
      expect(after.b.tunnelDelivered - before.b.tunnelDelivered).toBeGreaterThan(3n);
      expect(after.b.reply - before.b.reply).toBeGreaterThan(2n);
      expect(after.a.reply).toBe(before.a.reply);
    },
  );

  test.each(families)("%s: both ways in bulk, through the tunnel at its MTU", async (family) => {
    network.routeVips("a");
    sync(["b1"]);
    const id = `bulk${serial++}`;
    await network.client.call({ op: "connect", id, host: vips[family], port: 80 });
    const upload = "count ".padEnd(2_000_000, "y");
    expect(await network.client.call({ op: "ask", id, text: upload })).toBe("b1 got 2000000");
    expect(await network.client.call({ op: "ask", id, text: "send 2000000" })).toBe("2000000");
    expect(b.run((d) => d.counters()).mssClamped).toBeGreaterThan(0n);
    // Nothing had to be fragmented: what the client sends fits with the tunnel around it.
    expect(sh("ip netns exec wdp-d-na nstat -az IpFragCreates Ip6FragCreates")).toMatch(/IpFragCreates +0 /);
  });

  test.each(families)("%s UDP: local and remote", async (family) => {
    network.routeVips("a");
    for (const pod of ["a1", "b1"] as const) {
      sync([pod]);
      const request = { op: "udp", id: `u${serial++}`, host: vips[family], port: 53, text: "hi" } as const;
      expect(await network.client.call(request)).toBe(`${pod} ${clients[family]}: hi`);
    }
  });

  test.each(families)("%s: ping is answered by the entry node, with any backends", (family) => {
    network.routeVips("a");
    sync(["b1"]);
    const before = a.run((d) => d.counters()).echo;
    const text = sh(`ip netns exec wdp-d-c ping -n -c 3 -i 0.05 -W 1 -s 1200 ${vips[family]}`);
    expect(text).toContain(" 0% packet loss");
    expect(a.run((d) => d.counters()).echo - before).toBe(3n);
  });

  test.each(families)("%s: connections are spread over all backends, by all nodes alike", async (family) => {
    sync(["a1", "a2", "b1"]);
    network.routeVips("a");
    const byA = await askAll(vips[family], 24);
    expect(new Set(byA.map((t) => t.slice(0, 2)))).toEqual(new Set(["a1", "a2", "b1"]));
  });

  test.each(families)(
    "%s: connections live on when the router moves them to another node",
    async (family) => {
      sync(["a1", "a2", "b1"]);
      network.routeVips("a");
      const ids = Array.from({ length: 12 }, () => `live${serial++}`);
      const first: string[] = [];
      for (const id of ids) {
        await network.client.call({ op: "connect", id, host: vips[family], port: 80 });
        first.push(await network.client.call({ op: "ask", id, text: "one" }));
      }
      expect(new Set(first.map((t) => t.slice(0, 2))).size).toBeGreaterThan(1);
      network.routeVips("b");
      for (const [i, id] of ids.entries())
        expect(await network.client.call({ op: "ask", id, text: "one" })).toBe(first[i]);
      network.routeVips("a", "b");
      for (const [i, id] of ids.entries())
        expect(await network.client.call({ op: "ask", id, text: "one" })).toBe(first[i]);
      for (const id of ids) await network.client.call({ op: "close", id });
    },
  );

  test.each(families)("%s: connections live on when backends come", async (family) => {
    network.routeVips("a");
    sync(["a1"]);
    const id = `grow${serial++}`;
    await network.client.call({ op: "connect", id, host: vips[family], port: 80 });
    sync(["a1", "a2", "b1"]);
    for (let i = 0; i < 3; i++)
      expect(await network.client.call({ op: "ask", id, text: "x" })).toBe(`a1 ${clients[family]}: x`);
  });

  test("a connection that another node knows better is sent on once more", async () => {
    network.routeVips("a");
    sync(["b1"]);
    const id = `hop${serial++}`;
    await network.client.call({ op: "connect", id, host: vips.IPv4, port: 80 });
    expect(await network.client.call({ op: "ask", id, text: "x" })).toBe(`b1 ${clients.IPv4}: x`);
    // Node b now thinks that all is at a, and a alone knows of the connection to b: b has lost it.
    sync(["a1"]);
    network.routeVips("b");
    const before = a.run((d) => d.counters()).tunnelForwarded;
    sh(`ip netns exec wdp-d-nb true`);
    b.run((d) => {
      const map = sh(`bpftool map dump pinned ${d.mapDirectory}/connections -j`);
      for (const { key } of JSON.parse(map) as { key: string[] }[])
        sh(
          `bpftool map delete pinned ${d.mapDirectory}/connections key hex ${key.map((k) => k.slice(2)).join(" ")}`,
        );
    });
    sync(["a1", "b1"]);
    b.run((d) => d.sync({ ...network.desired("b", ["a1"]), generation: 9 }));
    // b has no connection and chooses a; a sends it on to b, where there is no local backend any more: dropped there,
    // and not sent round in circles.
    await network.client.call({ op: "ask", id, text: "y" }).catch((error: unknown) => {
      expect(String(error)).toContain("no answer");
    });
    const after = a.run((d) => d.counters()).tunnelForwarded;
    expect(after - before).toBeGreaterThan(0n);
    expect(after - before).toBeLessThan(20n);
    expect(b.run((d) => d.counters()).noBackend).toBeGreaterThan(0n);
  }, 20_000);

  test.each(families)("%s: a pod reaches another pod of its node by the VIP", async (family) => {
    network.routeVips("a");
    sync(["a1"]);
    const id = `pin${serial++}`;
    await network.pods.a2.call({ op: "connect", id, host: vips[family], port: 80 });
    const from = family === "IPv4" ? "10.61.1.3" : "fd61:1::3";
    expect(await network.pods.a2.call({ op: "ask", id, text: "hi" })).toBe(`a1 ${from}: hi`);
  });

  test.each(families)(
    "%s: a node that is no entry any more still serves what others send it",
    async (family) => {
      sync(["a1", "b1"], { entryA: false });
      network.routeVips("b");
      const answers = await askAll(vips[family], 16);
      expect(new Set(answers.map((t) => t.slice(0, 2)))).toEqual(new Set(["a1", "b1"]));
      const before = a.run((d) => d.counters());
      network.routeVips("a");
      await expect(ask(vips[family])).rejects.toThrow();
      const after = a.run((d) => d.counters());
      expect(after.vipLocal + after.vipTunnelled).toBe(before.vipLocal + before.vipTunnelled);
      network.routeVips("b");
    },
    20_000,
  );

  test("over an underlay without IPv4", async () => {
    network.routeVips("a");
    for (const [node, letter] of [
      [a, "a"],
      [b, "b"],
    ] as const)
      node.run((d) => {
        const desired = network.desired(letter, ["b1"]);
        d.sync({ ...desired, node: { ipv6: network.nodes[letter].ipv6 } });
      });
    for (const family of families) expect(await ask(vips[family])).toBe(`b1 ${clients[family]}: hello`);
  });

  test("with strict reverse-path filtering on all interfaces", async () => {
    network.routeVips("a");
    sync(["b1"]);
    for (const ns of ["wdp-d-na", "wdp-d-nb"]) {
      sh(`ip netns exec ${ns} sysctl -qw net.ipv4.conf.all.rp_filter=1`);
      sh(`ip -n ${ns} link del waggle0`);
    }
    expect(a.run((d) => d.inspect()).map((f) => f.kind)).toContain("TunnelDeviceMissing");
    sync(["b1"]);
    expect(await ask(vips.IPv4)).toBe(`b1 ${clients.IPv4}: hello`);
    for (const ns of ["wdp-d-na", "wdp-d-nb"])
      sh(`ip netns exec ${ns} sysctl -qw net.ipv4.conf.all.rp_filter=0`);
  });

  test.each(families)("%s: a narrower path on the way to the client is learnt by the pod", async (family) => {
    network.routeVips("a");
    for (const pod of ["a1", "b1"] as const) {
      sync([pod]);
      const before = a.run((d) => d.counters()).icmpError;
      // The client still offers an MSS for 1500; the router has to say that 1400 is what there is.
      const id = `pmtu${serial++}`;
      await network.client.call({ op: "connect", id, host: vips[family], port: 80 });
      sh("ip -n wdp-d-r link set client mtu 1400");
      try {
        expect(await network.client.call({ op: "ask", id, text: "send 500000" })).toBe("500000");
      } finally {
        sh("ip -n wdp-d-r link set client mtu 1500");
      }
      expect(a.run((d) => d.counters()).icmpError).toBeGreaterThan(before);
    }
  });

  test("fragments, unknown ports and strange protocols to a VIP are dropped and counted", () => {
    network.routeVips("a");
    sync(["a1"]);
    const before = a.run((d) => d.counters());
    const quiet = (command: string) => sh(`ip netns exec wdp-d-c ${command} >/dev/null 2>&1 || true`);
    quiet(`ping -n -c 1 -W 1 -s 3000 ${vips.IPv4}`);
    quiet(`timeout 1 bash -c 'echo x > /dev/tcp/${vips.IPv4}/81'`);
    const after = a.run((d) => d.counters());
    expect(after.fragment - before.fragment).toBeGreaterThan(1n);
    expect(after.noService - before.noService).toBeGreaterThan(0n);
  });

  test("what arrives in the tunnel and is none of ours goes no further", () => {
    sync(["a1"]);
    // A forged packet for a pod, from a VXLAN device in the router's namespace.
    sh(`ip -n wdp-d-r link add forged type vxlan id 7823719 remote 172.28.0.11 dstport 4789
        ip -n wdp-d-r link set forged up; ip -n wdp-d-r addr add 10.99.0.1/24 dev forged
        ip -n wdp-d-r neigh add 10.99.0.2 lladdr 02:00:00:00:00:02 dev forged
        ip -n wdp-d-r route add 10.61.1.2/32 via 10.99.0.2 dev forged`);
    const before = a.run((d) => d.counters()).tunnelStranger;
    sh("ip netns exec wdp-d-r ping -n -c 2 -i 0.1 -W 1 10.61.1.2 >/dev/null || true");
    sh("ip -n wdp-d-r link del forged");
    // The two pings, and what IPv6 says by itself on a new interface.
    expect(a.run((d) => d.counters()).tunnelStranger - before).toBeGreaterThanOrEqual(2n);
    expect(sh("ip netns exec wdp-d-a1 nstat -az IcmpInEchos")).toMatch(/IcmpInEchos +0 /);
  });

  test("UDP follows when its backend is gone; TCP that is established stays", async () => {
    network.routeVips("a");
    sync(["a1"]);
    const tcp = `keep${serial++}`;
    const udp = `move${serial++}`;
    await network.client.call({ op: "connect", id: tcp, host: vips.IPv4, port: 80 });
    await network.client.call({ op: "ask", id: tcp, text: "x" });
    const datagram = { op: "udp", id: udp, host: vips.IPv4, port: 53, text: "x" } as const;
    expect(await network.client.call(datagram)).toMatch(/^a1 /);
    sync(["b1"]);
    expect(await network.client.call(datagram)).toMatch(/^b1 /);
    expect(await network.client.call({ op: "ask", id: tcp, text: "x" })).toMatch(/^a1 /);
  });
});
