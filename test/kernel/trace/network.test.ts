// trace: cluster(ip), prefix(ip) and their like, looked up in the kernel in pinned maps such as an agent fills.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MapFlag, MapType } from "../../../src/kernel/bpf.ts";
import { mountPointOf } from "../../../src/kernel/cgroup.ts";
import { type BpfMap, createMap } from "../../../src/kernel/maps.ts";
import { routeMapNames } from "../../../src/trace/prepare.ts";
import { cacheDirectory, canTrace, environment, rowsOf, runScript, skipped } from "./helper.ts";

const bpffs = canTrace ? mountPointOf("bpf", readFileSync("/proc/self/mounts", "utf8")) : undefined;
const directory = join(bpffs ?? "", `waggle-test-network-${process.pid}`);
const namesFile = join(cacheDirectory, "names.json");
const made: BpfMap[] = [];

/** {u32 bits; u8 address[16]} of an IPv4 prefix, v4-mapped. */
const routeKey = (address: readonly number[], length: number): Uint8Array =>
  Uint8Array.of(96 + length, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...address);

const words = (...list: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(list).buffer);

afterAll(() => {
  for (const map of made) map[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
  rmSync(cacheDirectory, { recursive: true, force: true });
});

describe.skipIf(!canTrace || bpffs === undefined)(`network words (${skipped}, and a bpffs)`, () => {
  beforeAll(() => {
    mkdirSync(directory);
    const routes = createMap({
      type: MapType.LPM_TRIE,
      name: routeMapNames.routes,
      keySize: 20,
      valueSize: 8,
      maxEntries: 16,
      flags: MapFlag.NO_PREALLOC,
    });
    const attributes = createMap({
      type: MapType.HASH,
      name: routeMapNames.attributes,
      keySize: 4,
      valueSize: 48,
      maxEntries: 16,
    });
    made.push(routes, attributes);
    routes.update(routeKey([127, 0, 0, 0], 8), words(7, 104));
    routes.update(routeKey([127, 1, 0, 0], 16), words(8, 112));
    const nextHop = [0, 0, 0xffff0000, 0x0200000a];
    attributes.update(words(7), words(2, 64_512, 3, 0, ...nextHop, (64_512 << 16) | 5, 0, 0, 0));
    attributes.update(words(8), words(4, 64_513, 0, 0, ...nextHop, 0, 0, 0, 0));
    routes.pin(join(directory, routeMapNames.routes));
    attributes.pin(join(directory, routeMapNames.attributes));
    writeFileSync(
      namesFile,
      JSON.stringify({
        clusters: { 2: "dc2", 4: "dc4" },
        peers: { 3: "tor" },
        nodes: {},
        pods: {},
        namespaces: {},
      }),
    );
  });

  /** Connects `times` to each address; each listens on its own. */
  async function connections(addresses: readonly string[], times: number): Promise<void> {
    for (const address of addresses) {
      const server = createServer((socket) => socket.end());
      await new Promise<void>((resolve) => server.listen(0, address, resolve));
      const { port } = server.address() as { port: number };
      for (let i = 0; i < times; i++)
        await new Promise<void>((resolve) =>
          connect(port, address)
            .resume()
            .on("close", () => resolve()),
        );
      await new Promise((resolve) => server.close(resolve));
    }
  }

  it("say where an address is by the longest prefix, each connection once, and unknown where nobody knows", async () => {
    const { maps } = await runScript(
      `tracepoint:sock:inet_sock_set_state /args.newstate == 2 && pid == ${process.pid}/ {
         @[cluster(args.daddr_v6), prefix(args.daddr_v6), peer(args.daddr_v6), asn(args.daddr_v6), nexthop(args.daddr_v6), ntop(args.daddr)] = count();
       }`,
      {
        environment: environment({ mapDirectory: directory, namesFile, nodeIndex: 1 }),
        work: () => connections(["127.0.0.1", "127.1.2.3"], 25),
      },
    );
    expect(rowsOf(maps, "@")).toEqual({
      "dc2,127.0.0.0/8,tor,64512,10.0.0.2,127.0.0.1": 25,
      "dc4,127.1.0.0/16,unknown,64513,10.0.0.2,127.1.2.3": 25,
    });
  });

  it("can be compared with names, and are unknown without an agent's maps", async () => {
    const script = `tracepoint:sock:inet_sock_set_state /args.newstate == 2 && pid == ${process.pid}/ { @[cluster(args.daddr_v6)] = count(); }`;
    const named = await runScript(script.replace("/ {", ' && cluster(args.daddr_v6) == "dc4"/ {'), {
      environment: environment({ mapDirectory: directory, namesFile, nodeIndex: 1 }),
      work: () => connections(["127.0.0.1", "127.1.2.3"], 3),
    });
    expect(rowsOf(named.maps, "@")).toEqual({ dc4: 3 });
    const alone = await runScript(script, { work: () => connections(["127.0.0.1"], 3) });
    expect(rowsOf(alone.maps, "@")).toEqual({ unknown: 3 });
  });
});
