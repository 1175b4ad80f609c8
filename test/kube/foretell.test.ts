// kube: explain, diff, uninstall and collect as processes against control planes, with reports of agents written by the test.
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import type { IPPool, KubernetesObject, NodeNetworkStatus } from "../../src/api/index.ts";
import { encodePeer, initiation, peerUp, routeMonitoring, textTlv } from "../../src/bgp/bmp/message.ts";
import { peerIndexTable, ribRecord } from "../../src/bgp/mrt/record.ts";
import { encodeCanonical } from "../../src/bgp/wire/canonical.ts";
import { encodeOpen } from "../../src/bgp/wire/open.ts";
import { UpdateWriter } from "../../src/bgp/wire/writer.ts";
import { type KubeClient, kinds, type Resource } from "../../src/kube/index.ts";
import { parseAddress } from "../../src/net/address.ts";
import type { Explanation, NodeDifference } from "../../src/plan/index.ts";
import {
  advertisement,
  clusterNetwork,
  everything,
  peer,
  podClaim,
  pool,
  service,
  slice,
  vipClaim,
} from "../unit/plan/fixture.ts";
import { type Plane, planes } from "./fleet-plane.ts";

const passwords = { plain: "Correct-Horse-77", odd: 'q"uo\\te-99' } as const;

const resources = new Map<string, Resource>(Object.values(kinds).map((r) => [r.kind, r]));

const selecting = (object: IPPool, selector: Partial<IPPool["spec"]>): IPPool => ({
  ...object,
  spec: { ...object.spec, ...selector },
});

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

for (const { name: planeName, skipped, start } of planes)
  describe.skipIf(skipped)(`what would be heard, on ${planeName}`, () => {
    const directory = mkdtempSync(join(tmpdir(), "waggle-foretell-"));
    let plane: Plane;
    let client: KubeClient;

    /** The command line as a process of its own: the embedded server lives in this one. */
    const waggle = (...args: readonly string[]): Promise<Run> =>
      new Promise((resolve) => {
        execFile(
          process.execPath,
          ["src/cli/main.ts", ...args, "--kubeconfig", plane.kubeconfig],
          { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" }, maxBuffer: 64 * 1024 * 1024 },
          (error, out, err) =>
            resolve({ code: error ? Number((error as { code?: unknown }).code ?? -1) : 0, out, err }),
        );
      });
    const put = (name: string, ...objects: readonly object[]): string => {
      const path = join(directory, name);
      writeFileSync(path, objects.map((o) => `---\n${stringify(o)}`).join(""));
      return path;
    };
    const diff = async (
      ...args: readonly string[]
    ): Promise<{ code: number; nodes: readonly NodeDifference[]; err: string }> => {
      const { code, out, err } = await waggle("diff", "-o", "json", ...args);
      return { code, nodes: out ? (JSON.parse(out) as NodeDifference[]) : [], err };
    };
    const lines = (nodes: readonly NodeDifference[]): readonly string[] =>
      nodes.flatMap((n) =>
        n.routes.map(
          (r) =>
            `${n.node} ${r.peer} ${r.before ? "-" : ""}${r.after ? "+" : ""} ${r.prefix} ${r.why.code}${r.waitsFor.map((w) => ` ${w}`).join("")}`,
        ),
      );

    const report = (change: Partial<NodeNetworkStatus> = {}): NodeNetworkStatus => ({
      sessions: [
        {
          peer: "tor",
          state: "Established",
          localAddress: "172.30.1.11",
          families: ["IPv4Unicast", "IPv6Unicast"],
        },
      ],
      announced: everything.map((prefix) => ({ prefix, state: "Announced", peers: ["tor"] })),
      proofs: everything.map((prefix) => ({ prefix, state: "Proven", reason: "tried" })),
      drain: { phase: "None" },
      ...change,
    });
    const status = (change: Partial<NodeNetworkStatus> = {}) =>
      client.patchStatus(kinds.NodeNetwork, "node1", report(change));

    beforeAll(async () => {
      plane = await start("dc1");
      client = plane.client;
      const create = async (object: KubernetesObject): Promise<KubernetesObject> =>
        client.create(resources.get(object.kind)!, object);
      const uids = new Map<string, string>();
      const made = await create({
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: "node1", labels: { host: "node1" } },
      });
      uids.set("uid-node1", made.metadata.uid!);
      await client.patchStatus(kinds.Node, "node1", {
        addresses: [
          { type: "InternalIP", address: "172.30.1.11" },
          { type: "InternalIP", address: "fd30:1::11" },
        ],
      });
      const { metadata: _, ...web } = service("web");
      const labels = { app: "web" };
      const svc = await create({ ...web, metadata: { name: "web", namespace: "default", labels } });
      uids.set("uid-web", svc.metadata.uid!);
      for (const object of [
        clusterNetwork(),
        selecting(pool("pods", "Pods", ["10.1.0.0/16", "fd10:1::/48"]), { nodeSelector: {} }),
        selecting(pool("vips", "LoadBalancers", ["10.101.0.0/24", "fd20:1::/112"]), { serviceSelector: {} }),
        peer("tor", { passwordSecretName: "bgp-tor" }),
        advertisement("all"),
        slice("web", 4, [{ address: "10.1.0.2", node: 1 }]),
        slice("web", 6, [{ address: "fd10:1::2", node: 1 }]),
      ])
        await create(object);
      for (const claim of [
        podClaim("10.1.0.0/26", 1),
        podClaim("fd10:1::/122", 1),
        vipClaim("10.101.0.5/32", "web"),
        vipClaim("fd20:1::5/128", "web"),
      ]) {
        const owner = { ...claim.spec.owner, uid: uids.get(claim.spec.owner.uid)! };
        await create({ ...claim, spec: { ...claim.spec, owner } } as KubernetesObject);
        await client.patchStatus(kinds.IPAllocation, claim.metadata.name, { phase: "Bound" });
      }
      await create({
        apiVersion: "waggle.dev/v1alpha1",
        kind: "NodeNetwork",
        metadata: { name: "node1" },
        spec: {},
      } as KubernetesObject);
      await status();
    }, 120_000);
    afterAll(async () => {
      await plane?.[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true });
    });

    // What it reads of a cluster is what the others here read, on every control plane.
    if (planeName === planes[0]!.name)
      describe("diff --against today's speaker", () => {
        /** What the router heard of node1: one prefix that Waggle announces, too, and one that it does not. */
        const attributes = encodeCanonical({
          afi: 1,
          origin: 0,
          asPath: [{ type: 2, asns: [64601] }],
          nextHop: Uint8Array.of(172, 30, 1, 11),
          large: [[64601, 1, 1]],
        });
        const heard = [0x0a010000, 0xc0000200] as const;
        const lengths = [26, 24] as const;
        const expected = [
          "node1 tor + 10.101.0.5/32 Hears",
          "node1 tor - 192.0.2.0/24 NoCandidate",
          "node1 tor + fd10:1::/122 Hears",
          "node1 tor + fd20:1::5/128 Hears",
        ];

        it("mrt: a table that the router dumped", async () => {
          const path = join(directory, "table.mrt");
          const address = parseAddress("172.30.1.11");
          const peers = [
            { address: parseAddress("192.0.2.77"), asn: 64999, routerId: 9 },
            { address, asn: 64601, routerId: 1 },
          ];
          const records = heard.map((prefix, i) =>
            ribRecord(0, i, 1, Uint32Array.of(prefix), 0, lengths[i]!, [
              { peer: 1, originated: 0, pathId: 0, attributes },
            ]),
          );
          writeFileSync(path, Buffer.concat([peerIndexTable(0, 1, "", peers), ...records]));
          const { code, nodes } = await diff("--against", "mrt", "--mrt", path, "--neighbor", "172.30.1.1");
          expect([code, lines(nodes)]).toEqual([1, expected]);
          // Whose dump it is, it does not say itself.
          const { code: unnamed, err } = await diff("--against", "mrt", "--mrt", path);
          expect([unnamed, err]).toEqual([2, expect.stringContaining("--neighbor") as unknown]);
        });

        it("bmp: a router that connects", async () => {
          const listening = diff("--against", "bmp", "--listen", "127.0.0.1:21019", "--for", "5s");
          const header = encodePeer({
            type: 0,
            distinguisher: "0",
            address: parseAddress("172.30.1.11"),
            asn: 64601,
            routerId: 1,
            postPolicy: false,
            adjRibOut: false,
            as2: false,
            filtered: false,
            timeUs: 0n,
          });
          const open = encodeOpen({ asn: 65001, holdSeconds: 90, routerId: 5, capabilities: { as4: 65001 } });
          const writer = new UpdateWriter();
          writer.begin(4096);
          writer.announce(1, attributes, 0, attributes.length);
          for (const [i, prefix] of heard.entries()) writer.add(Uint32Array.of(prefix), 0, lengths[i]!);
          const stream = Buffer.concat([
            initiation([textTlv(2, "tor")]),
            peerUp(header, {
              localAddress: parseAddress("172.30.1.1"),
              localPort: 179,
              remotePort: 1,
              sentOpen: open,
              receivedOpen: open,
              information: [],
            }),
            routeMonitoring(header, writer.finish()),
          ]);
          const socket = await new Promise<Socket>((resolve) => {
            const attempt = (): void => {
              const s = connect(21019, "127.0.0.1", () => resolve(s));
              s.once("error", () => setTimeout(attempt, 50));
            };
            attempt();
          });
          socket.on("error", () => socket.destroy());
          socket.write(stream);
          const { code, nodes } = await listening;
          socket.destroy();
          expect([code, lines(nodes)]).toEqual([1, expected]);
        });

        it("birdc: on the node where BIRD runs", async () => {
          writeFileSync(
            join(directory, "birdc"),
            `#!/bin/sh
case "$*" in
*"show protocols all") printf 'tor BGP --- up 10:00 Established\n    Neighbor address: 172.30.1.1\n' ;;
*"show route export tor all") printf '192.0.2.0/24 unicast [s 10:00] * (1)\n\tBGP.origin: IGP\n' ;;
*) exit 1 ;;
esac
`,
            { mode: 0o755 },
          );
          const { code, nodes } = await diff(
            "--against",
            "birdc",
            "--birdc",
            join(directory, "birdc"),
            "--node",
            "node1",
          );
          expect([code, lines(nodes)]).toEqual([1, ["node1 tor + 10.1.0.0/26 Hears", ...expected]]);
        });
      });

    it("explain says what is heard from live state, and where the agent reports something else", async () => {
      const { code, out, err } = await waggle("bgp", "explain", "default/web", "-o", "json");
      expect([code, err]).toEqual([0, ""]);
      const explanations = JSON.parse(out) as (Explanation & { cluster: string })[];
      expect(explanations.map((e) => [e.prefix, e.state, e.agrees])).toEqual([
        ["10.101.0.5/32", "Announced", true],
        ["fd20:1::5/128", "Announced", true],
      ]);
      expect(explanations[0]!.peers).toMatchObject([
        {
          peer: "tor",
          hears: true,
          rule: "waggle:originated/vips",
          route: { asPath: [64601], nextHop: "172.30.1.11" },
        },
      ]);
      await status({
        sessions: [{ peer: "tor", state: "Active", reason: "no route to host" }],
        announced: [],
      });
      const text = await waggle("bgp", "explain", "10.101.0.5");
      expect(text.out).toContain("tor  does not hear it  the session is Active: no route to host");
      expect(text.out).toContain("the agent reports nothing of it");
      await status();
      expect((await waggle("bgp", "explain", "10.101.0.77")).err).toContain(
        "it lies in IPPool vips, and nothing claims it",
      );
      expect((await waggle("bgp", "explain", "10.101.0.77")).code).toBe(1);
      expect((await waggle("bgp", "explain", "10.1/8")).code).toBe(2);
      const elsewhere = await waggle("bgp", "explain", "default/web", "--node", "nope");
      expect([elsewhere.code, elsewhere.err.split("\n")[0]]).toEqual([
        2,
        expect.stringContaining("no node nope in "),
      ]);
    }, 60_000);

    it("diff: 0 without a difference, 1 with some, and nothing is stored", async () => {
      const same = put("same.yaml", advertisement("all"));
      expect(await diff("-f", same)).toEqual({ code: 0, nodes: [], err: "" });
      const before = await client.get(kinds.BGPAdvertisement, "all");
      const narrow = put(
        "narrow.yaml",
        advertisement("all", { advertise: [{ type: "PodBlocks", attributes: { med: 5 } }] }),
      );
      const { code, nodes } = await diff("-f", narrow);
      expect(code).toBe(1);
      expect(lines(nodes)).toEqual([
        "node1 tor -+ 10.1.0.0/26 Hears",
        "node1 tor - 10.101.0.5/32 NoAdvertisement Approval",
        "node1 tor -+ fd10:1::/122 Hears",
        "node1 tor - fd20:1::5/128 NoAdvertisement Approval",
      ]);
      expect(nodes[0]!.routes[0]).toMatchObject({ after: { med: 5 } });
      const text = await waggle("diff", "-f", narrow);
      expect(text.out).toContain(
        "node1 -> tor\n  - 10.1.0.0/26  AS path 64601, next hop 172.30.1.11, communities 64601:1:1\n  + 10.1.0.0/26  AS path 64601, next hop 172.30.1.11, MED 5",
      );
      expect(await client.get(kinds.BGPAdvertisement, "all")).toEqual(before);
    }, 60_000);

    it("diff: several objects, a new neighbour, and what would wait for a proof", async () => {
      const extra = put(
        "extra.yaml",
        peer("spine", { address: "172.30.1.2" }),
        {
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "other", namespace: "default" },
          spec: { ports: [{ port: 80 }] },
        },
        { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "not-ours", namespace: "default" } },
      );
      const { code, nodes, err } = await diff("-f", extra);
      expect(code).toBe(1);
      expect(err).toBe("ConfigMap/default/not-ours: no route depends on it\n");
      expect(nodes[0]!.peers).toEqual([{ peer: "spine", change: "Added", fields: [], restarts: false }]);
      expect(lines(nodes).length).toBe(4);
      await status({ proofs: [], announced: [] });
      expect(lines((await diff("-f", extra)).nodes)).toContain("node1 spine + 10.101.0.5/32 Hears Proof");
      await status();
    }, 60_000);

    it("diff: a neighbour whose session would be made anew, one that would go, and a drain", async () => {
      const slow = put("slow.yaml", peer("tor", { passwordSecretName: "bgp-tor", holdSeconds: 9 }));
      expect((await diff("-f", slow)).nodes[0]!.peers).toEqual([
        { peer: "tor", change: "Changed", fields: ["holdSeconds"], restarts: true },
      ]);
      const gone = await diff("--delete", "BGPPeer/tor");
      expect(gone.code).toBe(1);
      expect(gone.nodes[0]!.peers).toEqual([{ peer: "tor", change: "Removed", fields: [], restarts: false }]);
      expect(lines(gone.nodes).every((l) => l.endsWith(" Approval"))).toBe(true);
      expect((await diff("--delete", "BGPPeer/none")).code).toBe(2);
      const drained = put("drained.yaml", {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: "node1" },
        spec: { taints: [{ key: "waggle.dev/drain", value: "force", effect: "NoSchedule" }] },
      });
      expect(lines((await diff("-f", drained)).nodes)).toEqual(
        everything.map((p) => `node1 tor - ${p} Drained`),
      );
    }, 60_000);

    it("diff: what was applied before and is left out now is taken away, as kubectl apply does it", async () => {
      const policy = (rules: object[]) => ({
        apiVersion: "waggle.dev/v1alpha1",
        kind: "BGPPolicy",
        metadata: { name: "none" },
        spec: { rules },
      });
      await client.create(kinds.BGPPolicy, policy([{ name: "no", action: "Reject" }]) as never);
      const spine = peer("spine", { address: "172.30.1.2", exportPolicies: ["none"] });
      const annotations = { "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify(spine) };
      await client.create(kinds.BGPPeer, { ...spine, metadata: { ...spine.metadata, annotations } });
      const { exportPolicies: _, ...without } = spine.spec;
      const file = put("without.yaml", { ...spine, spec: without });
      expect(lines((await diff("-f", file)).nodes)).toEqual(
        everything.map((p) => `node1 spine + ${p} Hears`),
      );
      // Another manager's server-side apply does not own the field, and so does not take it away.
      expect((await diff("-f", file, "--server-side", "--force-conflicts")).code).toBe(0);
      await client.delete(kinds.BGPPeer, "spine");
      await client.delete(kinds.BGPPolicy, "none");
    }, 60_000);

    it("diff: what the API server refuses, and what an agent would refuse, are errors above 1 with their places", async () => {
      const wrong = put(
        "wrong.yaml",
        { ...peer("tor"), spec: { ...peer("tor").spec, peerASN: 0 } },
        advertisement("all"),
      );
      const refused = await diff("-f", wrong);
      expect(refused.code).toBe(2);
      expect(refused.err).toMatch(
        /wrong\.yaml:\d+: BGPPeer\/tor: spec\.peerASN: .*greater than or equal to 1/,
      );
      const line = Number(/wrong\.yaml:(\d+)/.exec(refused.err)![1]);
      expect(readFileSync(wrong, "utf8").split("\n")[line - 1]).toContain("peerASN: 0");
      const orphan = put("orphan.yaml", peer("tor", { exportPolicies: ["nobody"] }));
      const told = await diff("-f", orphan);
      expect(told.code).toBe(2);
      expect(told.err).toContain(
        "node1: BGPPeer/tor: spec.exportPolicies[0] there is no BGPPolicy nobody (its last good configuration stays in force)",
      );
      expect((await diff()).code).toBe(2);
      expect((await diff("-f", join(directory, "absent.yaml"))).code).toBe(2);
      writeFileSync(join(directory, "broken.yaml"), "a: [b\n");
      expect((await diff("-f", join(directory, "broken.yaml"))).err).toMatch(/broken\.yaml:\d+: /);
    }, 60_000);

    it("diff: a paused object's change waits", async () => {
      const object = await client.get(kinds.BGPAdvertisement, "all");
      await client.patch(kinds.BGPAdvertisement, "all", "merge", {
        metadata: { annotations: { "waggle.dev/paused": "true" } },
      });
      await client.patchStatus(kinds.BGPAdvertisement, "all", {
        observedGeneration: object.metadata.generation,
      });
      const none = put("none.yaml", advertisement("all", { advertise: [{ type: "PodBlocks" }] }));
      expect((await diff("-f", none)).code).toBe(0);
      await client.patch(kinds.BGPAdvertisement, "all", "merge", {
        metadata: { annotations: { "waggle.dev/paused": null } },
      });
      expect((await diff("-f", none)).code).toBe(1);
    }, 60_000);

    it("uninstall says what it would do, does it when told, and refuses where something is paused", async () => {
      expect((await waggle("uninstall")).code).toBe(2);
      const asked = await waggle("uninstall", "--withdraw");
      expect([asked.code, asked.out]).toEqual([2, ""]);
      expect(asked.err).toContain("1 nodes of dc1 would withdraw 4 routes; nothing has been done");
      const pause = (value: string | null) =>
        client.patch(kinds.Node, "node1", "merge", {
          metadata: { annotations: { "waggle.dev/paused": value } },
        });
      await pause("true");
      expect((await waggle("uninstall", "--withdraw", "--yes")).err).toContain("node/node1 is paused");
      await pause(null);
      expect((await client.get(kinds.ClusterNetwork, "default")).metadata.annotations ?? {}).toEqual({});
      // The agent's part, as it reports it.
      const late = await waggle("uninstall", "--withdraw", "--yes", "--timeout", "300ms");
      expect(late.code).toBe(3);
      expect((await client.get(kinds.ClusterNetwork, "default")).metadata.annotations).toEqual({
        "waggle.dev/withdraw": "dc1",
      });
      await status({ drain: { phase: "Released" }, announced: [] });
      const done = await waggle("uninstall", "--withdraw", "--yes");
      expect(done.code).toBe(0);
      expect(done.out).toContain("Nothing is announced any more");
      await status();
      expect((await waggle("uninstall", "--withdraw", "--undo")).code).toBe(0);
      expect((await client.get(kinds.ClusterNetwork, "default")).metadata.annotations ?? {}).toEqual({});
    }, 60_000);

    it("collect holds objects, statuses and plans, and no secret that was planted anywhere", async () => {
      const system = { namespace: "waggle-system" };
      await client.create(kinds.Secret, {
        apiVersion: "v1",
        kind: "Secret",
        metadata: { name: "bgp-tor", ...system },
        data: {
          password: Buffer.from(passwords.plain).toString("base64"),
          other: Buffer.from(passwords.odd).toString("base64"),
        },
      });
      await client.patch(kinds.BGPPeer, "tor", "merge", {
        metadata: {
          annotations: {
            note: `the password is ${passwords.plain}`,
            encoded: Buffer.from(passwords.plain).toString("base64"),
            odd: passwords.odd,
            "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify({
              secret: "Planted-In-A-Copy-1",
            }),
            url: "https://admin:Planted-In-A-URL-2@example.test/",
          },
        },
      });
      await status({
        sessions: [
          { peer: "tor", state: "Idle", reason: `password=Planted-In-A-Reason-3 ${passwords.plain}` },
        ],
      });
      const token = ["eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJwbGFudGVkIn0", "UGxhbnRlZC1JbS1KV1Q"].join(".");
      await client.patch(
        kinds.Service,
        "web",
        "merge",
        { metadata: { annotations: { token } } },
        { namespace: "default" },
      );
      const planted = [
        passwords.plain,
        Buffer.from(passwords.plain).toString("base64"),
        Buffer.from(passwords.plain).toString("hex"),
        passwords.odd,
        JSON.stringify(passwords.odd).slice(1, -1),
        "Planted-In-A-Copy-1",
        "Planted-In-A-URL-2",
        "Planted-In-A-Reason-3",
        token,
      ];
      const to = join(directory, "bundle");
      const { code, err } = await waggle("collect", "--to", to);
      expect(code, err).toBe(0);
      const files = readdirSync(to, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
      const texts = new Map(
        files.map((f) => [f.name, readFileSync(join(f.parentPath, f.name), "utf8")] as const),
      );
      for (const [name, text] of texts)
        for (const secret of planted) expect(text.includes(secret), `${secret} in ${name}`).toBe(false);
      // The test can fail: everything that the secrets were planted in is there.
      expect(texts.get("bgppeers.json")).toContain("the password is (redacted)");
      expect(texts.get("bgppeers.json")).toContain('"passwordSecretName": "bgp-tor"');
      expect(texts.get("nodenetworks.json")).toContain("(redacted)");
      expect(texts.has("secrets.json")).toBe(false);
      expect(texts.get("node1.json")).toContain('"prefix": "10.101.0.5/32"');
      expect(JSON.parse(texts.get("index.json")!)).toMatchObject({
        version: expect.stringContaining("."),
        clusters: [expect.any(String)],
      });
      for (const part of ["clusternetworks", "nodenetworks", "ippools", "events", "version", "services"])
        expect(texts.has(`${part}.json`)).toBe(true);

      const archive = join(directory, "bundle.tar.gz");
      expect((await waggle("collect", "--to", archive)).code).toBe(0);
      const bytes = gunzipSync(readFileSync(archive)).toString("latin1");
      for (const secret of planted) expect(bytes.includes(secret), secret).toBe(false);
      expect(bytes).toContain("bundle/index.json");
      expect((await waggle("collect", "--to", archive)).code).toBe(2);
    }, 90_000);
  });
