// test/kube: one node in a network namespace with a real speaker, agent and datapath, a BIRD router beside it, and the
// embedded API server above.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { BGPPeer, ClusterNetwork, KubernetesObject, NodeNetwork } from "../../src/api/index.ts";
import { type KubeClient, kinds, loadKubeConfig, type Resource } from "../../src/kube/index.ts";
import { claimName, parsePrefix } from "../../src/net/address.ts";
import { advertisement, clusterNetwork, peer, peering, pool, service, slice } from "../unit/plan/fixture.ts";

const root = join(import.meta.dirname, "../..");
const bpffsMount = "/sys/fs/bpf";

export const router = { ipv4: "172.28.1.1", ipv6: "fd28:1::1", asn: 65101 } as const;
export const own = { ipv4: "172.28.1.11", ipv6: "fd28:1::11", asn: 64701 } as const;

/** Why the node cannot run here; empty where it can. */
export function missing(): string {
  if (process.getuid?.() !== 0) return "root";
  for (const [path, what] of [
    ["/usr/sbin/bird", "BIRD 2"],
    [`${bpffsMount}/maps.debug`, "a mounted bpffs"],
    [join(root, "build/bpf/datapath.bpf.o"), "make bpf"],
  ] as const)
    if (!existsSync(path)) return what;
  return "";
}

export const blocks = ["10.1.0.0/26", "fd10:1::/122"];
export const vips = ["10.101.0.5/32", "fd20:1::5/128"];
export const everything = [...blocks, ...vips].sort();

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Repeats until `check` gives something. @throws Error that says what was waited for */
export async function until<T>(
  what: string,
  check: () => T | Promise<T>,
  ms = 10_000,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value as NonNullable<T>;
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(25);
  }
}

/** Everything is gone after dispose. */
export class AgentNode implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "waggle-agent-"));
  readonly bpffs: string;
  readonly node = "node1";
  readonly #suffix = `${process.pid % 10_000}`;
  readonly #processes = new Map<string, ChildProcess>();
  /** By name of the process: its capabilities, as a container would have them; without an entry all. */
  readonly capabilities = new Map<string, readonly string[]>();
  client!: KubeClient;

  constructor() {
    this.bpffs = join(bpffsMount, `agt-${this.#suffix}`);
    mkdirSync(this.bpffs);
    const ip = (netns: string, ...args: string[]): string => run("ip", "-n", netns, ...args);
    for (const netns of [this.netns, this.routerNetns]) {
      run("ip", "netns", "add", netns);
      ip(netns, "link", "set", "lo", "up");
      run("nsenter", `--net=/run/netns/${netns}`, "--", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1");
      run(
        "nsenter",
        `--net=/run/netns/${netns}`,
        "--",
        "sysctl",
        "-q",
        "-w",
        "net.ipv6.conf.all.forwarding=1",
      );
    }
    run(
      "ip",
      "link",
      "add",
      "eth0",
      "netns",
      this.netns,
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      this.routerNetns,
    );
    for (const [netns, a] of [
      [this.netns, own],
      [this.routerNetns, router],
    ] as const) {
      ip(netns, "addr", "add", `${a.ipv4}/24`, "dev", "eth0");
      ip(netns, "addr", "add", `${a.ipv6}/64`, "dev", "eth0", "nodad");
      ip(netns, "link", "set", "eth0", "up");
    }
  }

  get netns(): string {
    return `agt-node-${this.#suffix}`;
  }
  get routerNetns(): string {
    return `agt-tor-${this.#suffix}`;
  }
  path(name: string): string {
    return join(this.directory, name);
  }
  log(name: string): string {
    return existsSync(this.path(`${name}.log`)) ? readFileSync(this.path(`${name}.log`), "utf8") : "";
  }

  start(name: string, netns: string | undefined, ...command: string[]): void {
    const log = openSync(this.path(`${name}.log`), "a");
    const only = this.capabilities.get(name)?.map((c) => `,+${c.toLowerCase()}`);
    const inside = [
      ...(netns ? ["nsenter", `--net=/run/netns/${netns}`, "--"] : []),
      ...(only
        ? ["setpriv", "--no-new-privs", `--bounding-set=-all${only.join("")}`, "--inh-caps=-all", "--"]
        : []),
    ];
    const [program, ...args] = [...inside, ...command];
    this.#processes.set(name, spawn(program!, args, { stdio: ["ignore", log, log] }));
  }

  waggle(name: string, netns: string | undefined, ...args: string[]): void {
    this.start(name, netns, process.execPath, join(root, "src/cli/main.ts"), ...args);
  }

  async kill(name: string, signal: NodeJS.Signals = "SIGKILL"): Promise<number> {
    const child = this.#processes.get(name);
    this.#processes.delete(name);
    const begun = performance.now();
    if (!child || child.exitCode !== null) return 0;
    await new Promise<void>((resolve) => {
      child.once("exit", () => resolve());
      child.kill(signal);
    });
    return performance.now() - begun;
  }

  async startApiServer(): Promise<void> {
    this.waggle(
      "apiserver",
      undefined,
      ...[
        "apiserver",
        "--data-dir",
        this.path("data"),
        "--listen",
        "127.0.0.1:0",
        "--socket",
        this.path("api.sock"),
      ],
      ...["--kubeconfig", this.path("kubeconfig"), "--crds", join(root, "crds"), "--cluster-name", "dc1"],
    );
    await until("API server", async () => {
      if (!existsSync(this.path("kubeconfig")) || !existsSync(this.path("api.sock"))) return false;
      const { client } = await loadKubeConfig({
        kubeconfig: this.path("kubeconfig"),
        socket: this.path("api.sock"),
      });
      try {
        await client.list(kinds.Node, { retries: 0 });
        this.client = client;
        return true;
      } catch {
        await client[Symbol.asyncDispose]();
        return false;
      }
    });
  }

  startSpeaker(...more: string[]): void {
    this.waggle("bgpd", this.netns, "bgpd", "--socket", this.path("bgpd.sock"), ...more);
  }

  startAgent(...more: string[]): void {
    this.waggle(
      "agent",
      this.netns,
      ...[
        "agent",
        "--node",
        this.node,
        "--kubeconfig",
        this.path("kubeconfig"),
        "--socket",
        this.path("api.sock"),
      ],
      ...[
        "--speaker-socket",
        this.path("bgpd.sock"),
        "--bpffs",
        this.bpffs,
        "--state-dir",
        this.path("state"),
      ],
      ...["--cni-conf-dir", this.path("cni"), "--cni-data-dir", this.path("cni-data")],
      ...["--password-dir", `/dev/shm/waggle-agent-${this.#suffix}`, "--cache-dir", this.path("cache")],
      ...more,
    );
  }

  startRouter(password = ""): void {
    writeFileSync(
      this.path("bird.conf"),
      `router id ${router.ipv4};
log stderr all;
protocol device { scan time 2; }
protocol static { ipv4; route 10.2.0.0/26 blackhole { bgp_large_community.add((64702, 2, 1)); }; route 10.9.0.0/24 blackhole; route 0.0.0.0/0 blackhole; }
protocol static static6 { ipv6; route fd10:2::/64 blackhole { bgp_large_community.add((64702, 2, 1)); }; }
protocol bgp node1 {
  local ${router.ipv4} as ${router.asn}; neighbor ${own.ipv4} as ${own.asn};
  graceful restart on; connect retry time 1; connect delay time 1; error wait time 1, 2;
  ${password ? `password "${password}";` : ""}
  ipv4 { import all; export all; next hop self; };
  ipv6 { import all; export all; next hop address ${router.ipv6}; };
}
`,
    );
    this.start(
      "bird",
      this.routerNetns,
      "/usr/sbin/bird",
      "-f",
      "-c",
      this.path("bird.conf"),
      "-s",
      this.path("bird.ctl"),
    );
  }

  birdc(...command: string[]): string {
    try {
      return run("birdc", "-s", this.path("bird.ctl"), ...command);
    } catch {
      // Not there yet.
      return "";
    }
  }

  /** Prefixes that the router has from the node, sorted. */
  heard(): readonly string[] {
    const text = this.birdc("show", "route", "protocol", "node1");
    return [...text.matchAll(/^([0-9a-f.:]+\/\d+)\s/gm)].map((m) => m[1]!).sort();
  }

  async apply(...objects: readonly object[]): Promise<void> {
    for (const object of objects as KubernetesObject[]) {
      const resource = (Object.values(kinds) as Resource[]).find((k) => k.kind === object.kind)!;
      const { name, namespace } = object.metadata;
      await this.client.patch(resource, name, "apply", object, {
        fieldManager: "test",
        force: true,
        ...(namespace !== undefined && { namespace }),
      });
    }
  }

  async network(): Promise<NodeNetwork> {
    return this.client.get(kinds.NodeNetwork, this.node);
  }

  /** `status reason: message` of a condition. */
  async condition(type: string): Promise<string> {
    const c = (await this.network()).status?.conditions?.find((x) => x.type === type);
    return c ? `${c.status} ${c.reason}: ${c.message}` : "";
  }

  cleanup(): readonly string[] {
    const text = run(
      "nsenter",
      `--net=/run/netns/${this.netns}`,
      "--",
      process.execPath,
      join(root, "src/cli/main.ts"),
      ...["agent", "cleanup", "--node", this.node, "--bpffs", this.bpffs, "--state-dir", this.path("state")],
      ...[
        "--cni-conf-dir",
        this.path("cni"),
        "--password-dir",
        `/dev/shm/waggle-agent-${this.#suffix}`,
        "-o",
        "json",
      ],
    );
    return (JSON.parse(text) as { removed: string[] }).removed;
  }

  pins(): readonly string[] {
    return existsSync(this.bpffs) ? readdirSync(this.bpffs, { recursive: true, encoding: "utf8" }) : [];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client?.[Symbol.asyncDispose]();
    for (const name of [...this.#processes.keys()]) await this.kill(name);
    rmSync(this.bpffs, { recursive: true, force: true });
    for (const netns of [this.netns, this.routerNetns]) run("ip", "netns", "del", netns);
    rmSync(`/dev/shm/waggle-agent-${this.#suffix}`, { recursive: true, force: true });
    if (!process.env["WAGGLE_KEEP"]) rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A ClusterNetwork whose one rule is in this mode. */
export const networkIn = (mode: "Observe" | "Announce"): ClusterNetwork =>
  clusterNetwork({ mode, localASN: own.asn }, { drainSeconds: 1 });

/** The cluster of one node as the operator would leave it: claims verified, view written. */
export async function populate(
  n: AgentNode,
  network = networkIn("Announce"),
  peerSpec: Partial<BGPPeer["spec"]> = {},
): Promise<void> {
  await n.apply(
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "waggle-system" } },
    network,
    {
      ...pool("pods", "Pods", ["10.1.0.0/16", "fd10:1::/48"]),
      spec: {
        ...pool("pods", "Pods", ["10.1.0.0/16", "fd10:1::/48"]).spec,
        nodeSelector: {},
        blockSize: { ipv4: 26, ipv6: 122 },
      },
    },
    peer("tor", { address: router.ipv4, peerASN: router.asn, connectRetrySeconds: 1, ...peerSpec }),
    advertisement("all"),
    peering(),
    { apiVersion: "v1", kind: "Node", metadata: { name: n.node, labels: { host: n.node } } },
    {
      apiVersion: "waggle.dev/v1alpha1",
      kind: "NodeNetwork",
      metadata: { name: n.node },
      // The view, as the operator writes it after the claims.
      spec: { podBlocks: blocks.map((prefix) => ({ prefix, pool: "pods" })) },
    },
  );
  await n.client.patch(
    kinds.Node,
    n.node,
    "merge",
    { status: { addresses: [own.ipv4, own.ipv6].map((address) => ({ type: "InternalIP", address })) } },
    { subresource: "status" },
  );
  const node = await n.client.get(kinds.Node, n.node);
  const { uid: _, ...web } = service("web").metadata;
  await n.apply({ ...service("web"), metadata: web });
  const { metadata } = await n.client.get(kinds.Service, "web", { namespace: "default" });
  const claim = (prefix: string, owner: object, from: string): object => ({
    apiVersion: "waggle.dev/v1alpha1",
    kind: "IPAllocation",
    metadata: { name: claimName(parsePrefix(prefix)) },
    spec: { prefix, pool: from, owner },
  });
  await n.apply(
    ...blocks.map((b) => claim(b, { kind: "Node", name: n.node, uid: node.metadata.uid }, "pods")),
    ...vips.map((v) =>
      claim(v, { kind: "Service", namespace: "default", name: "web", uid: metadata.uid }, "vips"),
    ),
    slice("web", 4, [{ address: "10.1.0.2", node: 1 }]),
    slice("web", 6, [{ address: "fd10:1::2", node: 1 }]),
  );
  // As the operator does once it has verified a claim.
  for (const prefix of [...blocks, ...vips])
    await n.client.patchStatus(kinds.IPAllocation, claimName(parsePrefix(prefix)), { phase: "Bound" });
}
