// test: the kernel room on this kernel: maps, programs, links, libbpf, rtnetlink, namespaces, features.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LinkType, MapFlag, MapType, ProgramType } from "../../src/kernel/bpf.ts";
import { type FeatureName, features } from "../../src/kernel/features.ts";
import { hasCode, KernelError, open } from "../../src/kernel/ffi.ts";
import { listInterfaces } from "../../src/kernel/interfaces.ts";
import { BpfObject } from "../../src/kernel/libbpf.ts";
import { linkTcx, queryTcx } from "../../src/kernel/links.ts";
import { BpfMap, createMap, possibleCpus } from "../../src/kernel/maps.ts";
import { NetlinkGroup, NetlinkMonitor, NetlinkSocket, Rtm } from "../../src/kernel/netlink.ts";
import { inNetns, netnsCookie, ownNetns } from "../../src/kernel/netns.ts";
import { kernelVersion, preflight } from "../../src/kernel/preflight.ts";
import { BpfProgram, loadProgram, VerifierError } from "../../src/kernel/programs.ts";
import { deleteRoutes, listRoutes, lookupRoute, writeRoutes } from "../../src/kernel/routes.ts";
import { addClsact, deleteFilter, listFilters, writeFilter } from "../../src/kernel/tc.ts";
import { formatPrefix, parseAddress, parsePrefix } from "../../src/net/address.ts";
import { buildObjects, sh } from "./datapath/topology.ts";

const root = process.getuid?.() === 0;
const u32 = (n: number): Uint8Array => new Uint8Array(new Uint32Array([n]).buffer);
const number = (bytes: Uint8Array | undefined): number | undefined =>
  bytes && new Uint32Array(bytes.slice().buffer)[0];

const instruction = (op: number, registers: number, offset: number, immediate: number): Uint8Array => {
  const v = new DataView(new ArrayBuffer(8));
  v.setUint8(0, op);
  v.setUint8(1, registers);
  v.setInt16(2, offset, true);
  v.setInt32(4, immediate, true);
  return new Uint8Array(v.buffer);
};
const returns = (value: number): Uint8Array =>
  Buffer.concat([instruction(0xb7, 0, 0, value), instruction(0x95, 0, 0, 0)]);

const classifier = (name: string, value: number): BpfProgram =>
  loadProgram({ type: ProgramType.SCHED_CLS, name, code: returns(value) });

const netns = "wdp-kernel";
const netnsPath = `/run/netns/${netns}`;

const fdCount = (): number => readdirSync("/proc/self/fd").length;

describe.skipIf(!root)("kernel (skipped: needs root)", () => {
  beforeAll(() => {
    sh(`ip netns del ${netns} 2>/dev/null || true; ip netns add ${netns}; ip -n ${netns} link set lo up`);
    sh(
      `ip -n ${netns} link add v0 type veth peer name v1; ip -n ${netns} link set v0 up; ip -n ${netns} link set v1 up`,
    );
    sh(`ip -n ${netns} addr add 192.0.2.1/24 dev v0; ip -n ${netns} addr add 2001:db8::1/64 dev v0 nodad`);
  });
  afterAll(() => {
    sh(`ip netns del ${netns}`);
  });

  describe("maps", () => {
    test.each([
      ["hash", MapType.HASH, 0],
      ["hash without preallocation", MapType.HASH, MapFlag.NO_PREALLOC],
      ["LRU hash", MapType.LRU_HASH, 0],
    ])("%s: single elements, batches, all of them", (_, type, flags) => {
      using map = createMap({ type, name: "t", keySize: 4, valueSize: 4, maxEntries: 4096, flags });
      map.update(u32(1), u32(10));
      expect(number(map.lookup(u32(1)))).toBe(10);
      expect(map.lookup(u32(2))).toBeUndefined();
      expect([map.delete(u32(1)), map.delete(u32(1))]).toEqual([true, false]);
      const entries = Array.from({ length: 3000 }, (_, i) => [u32(i), u32(i * 2)] as const);
      expect(map.updateBatch(entries)).toBe(3000);
      const read = new Map([...map.entries()].map(([k, v]) => [number(k), number(v)]));
      expect(read.size).toBe(3000);
      expect(read.get(2999)).toBe(5998);
    });

    test("a full hash says how much went in", () => {
      using map = createMap({ type: MapType.HASH, name: "t", keySize: 4, valueSize: 4, maxEntries: 5 });
      expect(map.updateBatch(Array.from({ length: 9 }, (_, i) => [u32(i), u32(i)]))).toBe(5);
      expect(() => map.update(u32(77), u32(1))).toThrow(/E2BIG/);
    });

    test("per-CPU values come one after the other", () => {
      using map = createMap({
        type: MapType.PERCPU_HASH,
        name: "t",
        keySize: 4,
        valueSize: 4,
        maxEntries: 5,
      });
      expect(map.lookupSize).toBe(possibleCpus() * 8);
      map.update(u32(1), new Uint8Array(map.lookupSize).fill(3));
      expect(map.lookupPercpu(u32(1))).toEqual(new Uint8Array(map.lookupSize).fill(3));
      expect([...map.entries()].length).toBe(1);
    });

    test("a trie: batch, walk, longest match", () => {
      const spec = { type: MapType.LPM_TRIE, name: "t", keySize: 8, valueSize: 4, maxEntries: 10 } as const;
      using map = createMap({ ...spec, flags: MapFlag.NO_PREALLOC });
      const key = (length: number, ...address: number[]) =>
        Buffer.concat([u32(length), Uint8Array.from(address)]);
      expect(
        map.updateBatch([
          [key(8, 10, 0, 0, 0), u32(1)],
          [key(16, 10, 1, 0, 0), u32(2)],
        ]),
      ).toBe(2);
      expect(number(map.lookup(key(32, 10, 1, 2, 3)))).toBe(2);
      expect([...map.entries()].length).toBe(2);
    });

    test("wrong sizes never reach the kernel", () => {
      using map = createMap({ type: MapType.HASH, name: "t", keySize: 4, valueSize: 4, maxEntries: 5 });
      expect(() => map.lookup(new Uint8Array(3))).toThrow(RangeError);
      expect(() => map.update(u32(1), new Uint8Array(5))).toThrow(RangeError);
    });

    test("descriptors are closed, and used no more", () => {
      const before = fdCount();
      const map = createMap({ type: MapType.HASH, name: "t", keySize: 4, valueSize: 4, maxEntries: 5 });
      const { id } = map.info();
      map[Symbol.dispose]();
      map[Symbol.dispose]();
      expect(() => map.lookup(u32(1))).toThrow(/closed/);
      expect(fdCount()).toBe(before);
      using again = BpfMap.openById(id);
      expect(again).toBeUndefined();
    });
  });

  describe("programs", () => {
    test("load, run, look", () => {
      using program = classifier("answer", 42);
      expect(program.testRun({ dataIn: new Uint8Array(64), repeat: 1 }).retval).toBe(42);
      expect(program.info()).toMatchObject({ name: "answer", translatedBytes: 16, verifiedInstructions: 2 });
    });

    test("a refusal brings the verifier's log", () => {
      const bad = () =>
        loadProgram({ type: ProgramType.SCHED_CLS, name: "bad", code: instruction(0x95, 0, 0, 0) });
      expect(bad).toThrow(VerifierError);
      try {
        bad();
      } catch (error) {
        const refusal = error as VerifierError;
        expect(refusal.code).toBe("EACCES");
        expect(refusal.log).toContain("R0 !read_ok");
        expect(refusal.message).toBe("bpf(PROG_LOAD): EACCES: permission denied (bad: R0 !read_ok)");
      }
    });
  });

  test("errors name the call, the errno and what it was about", () => {
    try {
      open("/proc/self/nowhere", 0);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(KernelError);
      expect(hasCode(error, "ENOENT")).toBe(true);
      expect(error).toMatchObject({ syscall: "open", errno: 2, code: "ENOENT" });
    }
  });

  describe("links", () => {
    test.skipIf(!root || !features.tcx.test())("tcx: order, update, detach (skipped: needs tcx)", () => {
      inNetns(netnsPath, () => {
        using netlink = new NetlinkSocket();
        const { index } = listInterfaces(netlink).find((i) => i.name === "v0")!;
        using first = classifier("first", 1);
        using second = classifier("second", 2);
        const a = linkTcx(first.fd, index, "ingress");
        const b = linkTcx(second.fd, index, "ingress", { at: "first" });
        const names = () =>
          queryTcx(index, "ingress").entries.map((e) => {
            using program = BpfProgram.openById(e.programId);
            return program?.info().name;
          });
        expect(names()).toEqual(["second", "first"]);
        const { revision } = queryTcx(index, "ingress");
        expect(a.info()).toMatchObject({ type: LinkType.TCX, interfaceIndex: index });
        expect(() => a.update(second.fd)).toThrow(/EEXIST/);
        using third = classifier("third", 3);
        a.update(third.fd);
        expect(names()).toEqual(["second", "third"]);
        expect(() => linkTcx(first.fd, index, "ingress", { at: "last" }, revision + 100n)).toThrow(/ESTALE/);
        a.detach();
        expect(a.info().interfaceIndex).toBe(0);
        expect(names()).toEqual(["second"]);
        a[Symbol.dispose]();
        b[Symbol.dispose]();
        expect(names()).toEqual([]);
      });
    });

    test("clsact: written, listed in order, replaced, deleted", () => {
      inNetns(netnsPath, () => {
        using netlink = new NetlinkSocket();
        const { index } = listInterfaces(netlink).find((i) => i.name === "v1")!;
        using first = classifier("first", 1);
        using second = classifier("second", 2);
        addClsact(netlink, index);
        addClsact(netlink, index);
        const place = { interfaceIndex: index, direction: "egress", priority: 5, handle: 7 } as const;
        writeFilter(netlink, place, first.fd, "ours");
        writeFilter(netlink, { ...place, priority: 3 }, second.fd, "theirs");
        writeFilter(netlink, place, second.fd, "ours");
        const filters = listFilters(netlink, index, "egress");
        expect(filters.map((f) => [f.name, f.priority, f.programId])).toEqual([
          ["theirs", 3, second.info().id],
          ["ours", 5, second.info().id],
        ]);
        for (const filter of filters) deleteFilter(netlink, filter);
        expect(listFilters(netlink, index, "egress")).toEqual([]);
        expect(listFilters(netlink, index, "ingress")).toEqual([]);
      });
    });
  });

  describe("rtnetlink", () => {
    const wanted = (prefix: string, ...gateways: string[]) => ({
      prefix: parsePrefix(prefix),
      nextHops: gateways.map((g) => ({ gateway: parseAddress(g), interfaceIndex: 0 })),
      protocol: 87,
      metric: 1087,
    });

    test("routes: one hop, several, IPv4 by IPv6, replaced, removed", () => {
      inNetns(netnsPath, () => {
        using netlink = new NetlinkSocket();
        const routes = [
          wanted("10.70.0.0/24", "192.0.2.9"),
          wanted("10.71.0.0/24", "192.0.2.9", "192.0.2.10"),
          wanted("fd70::/64", "2001:db8::9", "2001:db8::a"),
        ];
        expect(writeRoutes(netlink, routes)).toEqual([undefined, undefined, undefined]);
        expect(writeRoutes(netlink, [wanted("10.71.0.0/24", "192.0.2.11")])).toEqual([undefined]);
        const text = sh(`ip -n ${netns} route show proto 87`);
        expect(text).toContain("10.71.0.0/24 via 192.0.2.11 dev v0 metric 1087");
        const [failure] = writeRoutes(netlink, [wanted("10.72.0.0/24", "203.0.113.1")]);
        expect(failure?.message).toBe(
          "RTM_NEWROUTE: ENETUNREACH: network is unreachable (Nexthop has invalid gateway)",
        );
        const found = listRoutes(netlink, { protocol: 87 });
        expect(found.map((r) => [formatPrefix(r.prefix), r.nextHops.length])).toEqual([
          ["10.70.0.0/24", 1],
          ["10.71.0.0/24", 1],
          ["fd70::/64", 2],
        ]);
        expect(lookupRoute(netlink, parseAddress("10.70.0.7"))?.nextHops[0]?.gateway).toEqual(
          parseAddress("192.0.2.9"),
        );
        expect(deleteRoutes(netlink, found)).toEqual([undefined, undefined, undefined]);
        expect(listRoutes(netlink, { protocol: 87 })).toEqual([]);
        expect(deleteRoutes(netlink, found.slice(0, 1))[0]?.code).toBe("ESRCH");
      });
    });

    test("a thousand routes in batches", () => {
      inNetns(netnsPath, () => {
        using netlink = new NetlinkSocket();
        const many = Array.from({ length: 1000 }, (_, i) =>
          wanted(`10.80.${i >> 8}.${i & 255}/32`, "192.0.2.9"),
        );
        expect(writeRoutes(netlink, many).filter(Boolean)).toEqual([]);
        expect(listRoutes(netlink, { protocol: 87 }).length).toBe(1000);
        expect(deleteRoutes(netlink, many).filter(Boolean)).toEqual([]);
      });
    });

    test("a monitor tells of a new interface", async () => {
      const seen: number[] = [];
      const monitor = inNetns(
        netnsPath,
        () =>
          new NetlinkMonitor(NetlinkGroup.LINK, {
            message: (m) => seen.push(m.type),
            overrun: () => undefined,
            failed: (error) => expect.unreachable(String(error)),
          }),
      );
      sh(`ip -n ${netns} link add br7 type bridge`);
      await expect.poll(() => seen).toContain(Rtm.NEWLINK);
      monitor[Symbol.dispose]();
      monitor[Symbol.dispose]();
    });
  });

  test("namespaces: cookies differ, and the way back is taken whatever happens", () => {
    const own = netnsCookie(ownNetns);
    expect(netnsCookie(netnsPath)).not.toBe(own);
    expect(() =>
      inNetns(netnsPath, () => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(netnsCookie(ownNetns)).toBe(own);
  });

  test.each(Object.keys(features) as FeatureName[])(
    "feature %s: a kernel that should have it says so",
    (name) => {
      const [major, minor] = kernelVersion(release());
      const [sinceMajor, sinceMinor] = kernelVersion(features[name].since);
      const should = major > sinceMajor || (major === sinceMajor && minor >= sinceMinor);
      if (should) expect(features[name].test()).toBe(true);
    },
  );

  test("libbpf: an object's maps and programs under descriptors that outlive it", () => {
    const object = BpfObject.open(`${buildObjects()}/datapath.bpf.o`);
    using shared = createMap({
      ...{ type: MapType.PERCPU_ARRAY, name: "counters", keySize: 4, valueSize: 8 },
      maxEntries: object.maps().find((m) => m.name === "counters")!.maxEntries,
    });
    object.reuseMap("counters", shared);
    object.load();
    using counters = object.openMap("counters");
    const programs = object.openPrograms();
    object[Symbol.dispose]();
    expect(counters.info().id).toBe(shared.info().id);
    expect([...programs.keys()].sort()).toEqual([
      "fabric_egress",
      "fabric_ingress",
      "pod_egress",
      "tunnel_ingress",
    ]);
    for (const program of programs.values()) {
      expect(program.info().mapIds).toContain(shared.info().id);
      program[Symbol.dispose]();
    }
    expect(() => object.maps()).toThrow(/closed/);
    expect(() => BpfObject.open("/etc/passwd")).toThrow(/EFORMAT/);
  });

  test("libbpf: what the verifier says of an object comes back", () => {
    const directory = mkdtempSync(join(tmpdir(), "waggle-kernel-"));
    try {
      const path = join(directory, "refused.bpf.o");
      const source = '__attribute__((section("tc"))) int refused(unsigned *skb) { return skb[1000]; }';
      execFileSync("clang", ["-target", "bpf", "-O2", "-g", "-x", "c", "-c", "-o", path, "-"], {
        input: source,
      });
      using object = BpfObject.open(path);
      let error: unknown;
      try {
        object.load();
      } catch (e) {
        error = e;
      }
      expect(error).toBeInstanceOf(VerifierError);
      const refusal = error as VerifierError;
      expect(refusal.code).toBe("EACCES");
      expect(refusal.message).toContain("invalid bpf_context access off=4000 size=4");
      expect(refusal.log).toContain("r0 = *(u32 *)(r1 +4000)");
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("preflight: everything that the lab needs is judged, nothing throws", () => {
    const results = preflight({ purpose: "lab", cniPath: "/proc/self/nowhere" });
    expect(results.filter((r) => r.state === "failed" && r.fix === undefined)).toEqual([]);
    const node = preflight({ purpose: "node", bpffs: "/proc/self/nowhere" });
    expect(node.find((r) => r.name === "bpffs")).toMatchObject({ state: "failed" });
    expect(execFileSync("uname", ["-r"], { encoding: "utf8" })).toContain(
      results.find((r) => r.name === "kernel")!.detail,
    );
  });
});
