// agent: its smaller parts: files, conflist, passwords, status writes, other nodes' announcements, acknowledgements.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Acks } from "../../../src/agent/acks.ts";
import { removeConflist, syncConflist } from "../../../src/agent/conflist-file.ts";
import { tcpConnect } from "../../../src/agent/connect-proof.ts";
import { announcedElsewhere } from "../../../src/agent/elsewhere.ts";
import { connectedSubnets, serverAddresses } from "../../../src/agent/host.ts";
import { Names } from "../../../src/agent/names.ts";
import type { Log } from "../../../src/agent/ports.ts";
import { firstInMemory, Passwords } from "../../../src/agent/secrets.ts";
import { StatusWriter } from "../../../src/agent/status-writer.ts";
import { FileStore } from "../../../src/agent/store.ts";
import { AckState } from "../../../src/api/generated/proto/speaker_pb.js";
import type { NodeNetwork, NodeNetworkStatus, Secret } from "../../../src/api/index.ts";
import { ApiError, type KubeApi } from "../../../src/kube/index.ts";
import { formatAddress, formatPrefix } from "../../../src/net/address.ts";
import { noDrain, plan } from "../../../src/plan/index.ts";
import { inputs, node, nodeNetwork, snapshot } from "../plan/fixture.ts";
import { VirtualClock } from "./world.ts";

const lines: string[] = [];
const put = (members: object, message: string): void =>
  void lines.push(`${message} ${JSON.stringify(members)}`);
const log: Log = { debug: put, info: put, warn: put, error: put };

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "waggle-agent-unit-"));
  lines.length = 0;
});
afterEach(() => rmSync(directory, { recursive: true }));

/** An API of which a test uses one or two methods. */
const api = (parts: Partial<KubeApi>): KubeApi => parts as KubeApi;

describe("state directory", () => {
  it("gives back what was stored, with addresses, and only for its own node and cluster", () => {
    const store = new FileStore(directory, "node1", log);
    const p = plan(snapshot(), "node1", inputs());
    const { hash: _h, kernelRoutes: _k, held: _d, approved: _a, problems: _p, lastGood, ...inForce } = p;
    const progress = { inForce, drain: noDrain, retiring: [], guardSerial: 2, generation: 9 };
    store.writeSnapshot({ ...snapshot(), lastGood });
    store.writeProgress("uid-cluster", progress);
    expect(store.readSnapshot()).toEqual({ ...snapshot(), lastGood });
    expect(store.readProgress("uid-cluster")).toEqual(progress);
    expect(store.readProgress("another")).toBeUndefined();
    expect(new FileStore(directory, "node2", log).readSnapshot()).toBeUndefined();
    expect(statSync(join(directory, "snapshot.json")).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory).sort()).toEqual(["progress.json", "snapshot.json"]);
    // The next plan compares itself with what was stored and finds nothing new.
    const again = plan(
      snapshot(),
      "node1",
      inputs({ previous: store.readProgress("uid-cluster")!.inForce! }),
    );
    expect(again.hash).toBe(p.hash);
  });

  it("takes a broken file for none", () => {
    const store = new FileStore(directory, "node1", log);
    writeFileSync(join(directory, "snapshot.json"), '{"version":1,"cl');
    expect(store.readSnapshot()).toBeUndefined();
    expect(lines.join()).toContain("cannot be read");
  });
});

describe("conflist", () => {
  const wanted = plan(snapshot(), "node1", inputs()).conflist;
  const file = () => join(directory, "net.d/10-waggle.conflist");

  it("is written by rename, and again only when it has changed", () => {
    expect(syncConflist(join(directory, "net.d"), true, wanted)).toEqual({ state: "Written", path: file() });
    const before = statSync(file()).mtimeMs;
    syncConflist(join(directory, "net.d"), true, wanted);
    expect(statSync(file()).mtimeMs).toBe(before);
    expect(readdirSync(join(directory, "net.d"))).toEqual(["10-waggle.conflist"]);
  });

  it("is not written beside a foreign one, which is named", () => {
    mkdirSync(join(directory, "net.d"));
    writeFileSync(join(directory, "net.d/05-other.conflist"), '{"name":"cilium","plugins":[]}');
    expect(syncConflist(join(directory, "net.d"), true, wanted)).toEqual({
      state: "Foreign",
      owner: "05-other.conflist (network cilium)",
    });
    expect(readdirSync(join(directory, "net.d"))).toEqual(["05-other.conflist"]);
  });

  it("does not overwrite a file of its own name that is somebody else's, nor remove it", () => {
    mkdirSync(join(directory, "net.d"));
    writeFileSync(file(), '{"name":"mine"}');
    expect(syncConflist(join(directory, "net.d"), true, wanted)).toMatchObject({ state: "Foreign" });
    expect(removeConflist(join(directory, "net.d"))).toBe(false);
    expect(readFileSync(file(), "utf8")).toBe('{"name":"mine"}');
  });

  it("stays while there is no block, and where Pods are not ours the directory is not touched", () => {
    syncConflist(join(directory, "net.d"), true, wanted);
    expect(syncConflist(join(directory, "net.d"), true, undefined)).toEqual({ state: "Waits" });
    expect(readdirSync(join(directory, "net.d")).length).toBe(1);
    expect(syncConflist(join(directory, "other"), false, wanted)).toEqual({ state: "NotOwned" });
    expect(readdirSync(directory)).toEqual(["net.d"]);
    expect(removeConflist(join(directory, "net.d"))).toBe(true);
    expect(removeConflist(join(directory, "net.d"))).toBe(false);
  });
});

describe("passwords", () => {
  const secret = (password?: string): Secret => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "bgp" },
    data: password === undefined ? {} : { password: Buffer.from(password).toString("base64") },
  });
  const failure = (code: number, reason: string): ApiError =>
    new ApiError(code, reason, reason, [], undefined);

  /** `answer` is what the API server says next. */
  function make(answer: () => Secret | Error) {
    const clock = new VirtualClock();
    let changes = 0;
    const passwords = new Passwords({
      api: api({
        get: async () => {
          const a = answer();
          if (a instanceof Error) throw a;
          return a as never;
        },
      }),
      clock,
      random: () => 0.5,
      log,
      directory: join("/dev/shm", `waggle-unit-${process.pid}`),
      onChange: () => void changes++,
    });
    return { clock, passwords, changes: () => changes };
  }
  afterEach(() => rmSync(`/dev/shm/waggle-unit-${process.pid}`, { recursive: true, force: true }));

  it("come, change and go with their Secret, and nothing of them is logged", async () => {
    let answer: Secret | Error = failure(404, "NotFound");
    const { clock, passwords, changes } = make(() => answer);
    passwords.want(new Set(["bgp"]));
    expect(passwords.settled).toBe(false);
    await clock.advance(10);
    expect(passwords.settled).toBe(true);
    expect(passwords.present().size).toBe(0);
    answer = secret("geheim");
    await clock.advance(2_500);
    expect(passwords.passwords().get("bgp")).toBe("geheim");
    const before = changes();
    await clock.advance(120_000);
    expect(changes()).toBe(before);
    answer = failure(404, "NotFound");
    await clock.advance(40_000);
    expect(passwords.present().size).toBe(0);
    expect(lines.join()).not.toContain("geheim");
    passwords[Symbol.dispose]();
  });

  it("stay when the answer is anything but a plain 404, and over a restart", async () => {
    let answer: Secret | Error = secret("geheim");
    const first = make(() => answer);
    first.passwords.want(new Set(["bgp"]));
    await first.clock.advance(10);
    answer = failure(403, "Forbidden");
    await first.clock.advance(60_000);
    expect(first.passwords.passwords().get("bgp")).toBe("geheim");
    first.passwords[Symbol.dispose]();
    const second = make(() => answer);
    second.passwords.want(new Set(["bgp"]));
    expect(second.passwords.settled).toBe(true);
    expect(second.passwords.passwords().get("bgp")).toBe("geheim");
    second.passwords.want(new Set());
    expect(existsSync(`/dev/shm/waggle-unit-${process.pid}`)).toBe(false);
    second.passwords[Symbol.dispose]();
  });

  it("have a place only in memory", () => {
    expect(firstInMemory([directory, "/dev/shm/not/there/yet"])).toBe(
      firstInMemory([directory]) ?? "/dev/shm/not/there/yet",
    );
    expect(firstInMemory(["/proc/nowhere"])).toBeUndefined();
  });

  it("a Secret without the key has no password", async () => {
    const { clock, passwords } = make(() => secret());
    passwords.want(new Set(["bgp"]));
    await clock.advance(10);
    expect(passwords.settled).toBe(true);
    expect(passwords.present().size).toBe(0);
    passwords[Symbol.dispose]();
  });
});

describe("status writes", () => {
  function make(patch: KubeApi["patch"], get: KubeApi["get"] = async () => nodeNetwork() as never) {
    const clock = new VirtualClock();
    const writer = new StatusWriter({
      api: api({ patch, get }),
      node: "node1",
      clock,
      random: () => 0.5,
      log,
      current: () => nodeNetwork(),
    });
    return { clock, writer };
  }
  const status = (learned: number): NodeNetworkStatus => ({ routes: { learned } });

  it("happen once for a change, the newest wins, and nothing is written twice", async () => {
    const written: unknown[] = [];
    const { clock, writer } = make(async (_r, _n, _t, body) => {
      written.push((body as { status: unknown }).status);
      return { ...nodeNetwork(), status: (body as { status: NodeNetworkStatus }).status } as never;
    });
    writer.set(status(1));
    writer.set(status(2));
    await clock.advance(1_000);
    writer.set(status(2));
    await clock.advance(10_000);
    expect(written).toEqual([status(2)]);
    for (let i = 3; i < 100; i++) {
      writer.set(status(i));
      await clock.advance(10);
    }
    await clock.advance(1_000);
    expect(written.at(-1)).toEqual(status(99));
    expect(written.length).toBeLessThan(8);
    writer[Symbol.dispose]();
  });

  it("survive conflicts and refusals", async () => {
    let attempts = 0;
    const { clock, writer } = make(async (_r, _n, _t, body) => {
      attempts += 1;
      if (attempts === 1) throw new ApiError(409, "Conflict", "changed", [], undefined);
      if (attempts === 2) throw new ApiError(403, "Forbidden", "no", [], undefined);
      return { ...nodeNetwork(), status: (body as { status: NodeNetworkStatus }).status } as never;
    });
    writer.set(status(1));
    await clock.advance(5_000);
    expect(attempts).toBe(3);
    expect(writer.stats).toMatchObject({ conflicts: 1, failures: 1, writes: 1 });
    writer[Symbol.dispose]();
  });
});

describe("other nodes", () => {
  const network = (name: string, change: Partial<NodeNetworkStatus> = {}): NodeNetwork => ({
    ...nodeNetwork(),
    metadata: { name },
    status: {
      announced: [
        { prefix: "10.101.0.5/32", state: "Announced" },
        { prefix: "10.101.0.6/32", state: "DePreferred" },
      ],
      sessions: [{ peer: "tor", state: "Established" }],
      ...change,
    },
  });

  it("count only where they announce, are not draining, are heard and are up", () => {
    const nodes = [node(1), node(2)];
    const of = (n: NodeNetwork, list = nodes) => [...announcedElsewhere([n], "node1", list)];
    expect(of(network("node2"))).toEqual(["10.101.0.5/32"]);
    expect(of(network("node1"))).toEqual([]);
    expect(of(network("node2", { drain: { phase: "DePreferred" } }))).toEqual([]);
    expect(of(network("node2", { sessions: [{ peer: "tor", state: "Idle" }] }))).toEqual([]);
    expect(of(network("node2"), [node(1)])).toEqual([]);
    const down = { ...node(2), status: { conditions: [{ type: "Ready", status: "Unknown" }] } };
    expect(of(network("node2"), [node(1), down])).toEqual([]);
  });
});

describe("acknowledgements", () => {
  it("count for a generation and all before it, from who has sent it or is down", () => {
    const down = new Set<string>();
    const acks = new Acks((peer) => down.has(peer));
    expect(acks.waiting(1, ["a"])).toEqual(["a"]);
    acks.put("a", 3, AckState.ACK_SENT);
    expect(acks.waiting(3, ["a"])).toEqual([]);
    expect(acks.waiting(4, ["a"])).toEqual(["a"]);
    acks.put("a", 2, AckState.ACK_TIMEOUT);
    expect(acks.waiting(3, ["a"])).toEqual([]);
    acks.put("b", 3, AckState.ACK_TIMEOUT);
    expect(acks.waiting(3, ["a", "b"])).toEqual(["b"]);
    down.add("b");
    expect(acks.waiting(3, ["a", "b"])).toEqual([]);
    acks.put("c", 3, AckState.ACK_PEER_DOWN);
    expect(acks.waiting(3, ["c"])).toEqual([]);
    acks.clear();
    expect(acks.waiting(3, ["a", "c"])).toEqual(["a", "c"]);
  });
});

describe("names and host", () => {
  it("names.json merges owners' names and keeps peer numbers", () => {
    const ownerNames = join(directory, "owners.json");
    writeFileSync(
      ownerNames,
      JSON.stringify({ nodes: { 2: "node2" }, pods: { 7: "web" }, namespaces: { 1: "default" } }),
    );
    const names = new Names({ stateDir: directory, ownerNames, log });
    names.write({ node: "node1", cluster: "dc1", nodeIndex: 1 }, { 1: "dc1", 2: "dc2" }, { 3: "tor" });
    expect(JSON.parse(readFileSync(join(directory, "names.json"), "utf8"))).toEqual({
      node: "node1",
      cluster: "dc1",
      nodes: { 1: "node1", 2: "node2" },
      pods: { 7: "web" },
      namespaces: { 1: "default" },
      clusters: { 1: "dc1", 2: "dc2" },
      peers: { 3: "tor" },
    });
    expect(new Names({ stateDir: directory, ownerNames: undefined, log }).storedPeers()).toEqual({
      3: "tor",
    });
  });

  it("reads subnets of this machine and addresses of servers", () => {
    expect(connectedSubnets().map(formatPrefix)).toContain("127.0.0.0/8");
    expect(serverAddresses("https://10.1.2.3:6443").map(formatAddress)).toEqual(["10.1.2.3"]);
    expect(serverAddresses("https://[fd00::1]:6443").map(formatAddress)).toEqual(["fd00::1"]);
    expect(serverAddresses("https://api.example:6443")).toEqual([]);
  });

  it("connects or says why not", async () => {
    expect(await tcpConnect("127.0.0.1", 1, 1_000)).toMatch(/ECONNREFUSED/);
  });
});
