// test: a client, a router, two nodes with pods, as network namespaces; and processes in them.
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  Datapath,
  type DatapathOptions,
  type DesiredBackend,
  type DesiredDatapath,
} from "../../../src/datapath/index.ts";
import { listInterfaces } from "../../../src/kernel/interfaces.ts";
import { BpfLink, linkTcx } from "../../../src/kernel/links.ts";
import { NetlinkSocket } from "../../../src/kernel/netlink.ts";
import { inNetns } from "../../../src/kernel/netns.ts";
import { BpfProgram } from "../../../src/kernel/programs.ts";

export type PeerRequest =
  | { readonly op: "serve"; readonly protocol: "TCP" | "UDP"; readonly port: number; readonly name: string }
  | {
      readonly op: "connect";
      readonly id: string;
      readonly host: string;
      readonly port: number;
      readonly localPort?: number;
    }
  | { readonly op: "ask"; readonly id: string; readonly text: string }
  | {
      readonly op: "udp";
      readonly id: string;
      readonly host: string;
      readonly port: number;
      readonly text: string;
    }
  | {
      readonly op: "hammer";
      readonly host: string;
      readonly port: number;
      readonly milliseconds: number;
      readonly pauseMs: number;
    }
  | { readonly op: "close"; readonly id: string };

export const sh = (command: string): string =>
  execFileSync("bash", ["-ec", command], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

const objects = fileURLToPath(new URL("../../../build/bpf", import.meta.url));

/** Builds the object as it is, or with a field more, where that has not been done. */
export function buildObjects(extraField = false): string {
  const root = fileURLToPath(new URL("../../..", import.meta.url));
  if (!extraField) {
    sh(`make -s -C ${root} bpf`);
    return objects;
  }
  const directory = join(objects, "..", "bpf-extra-field");
  sh(`make -s -C ${root} bpf BPF_BUILD=${directory} BPF_CFLAGS=-DWAGGLE_EXTRA_FIELD`);
  return directory;
}

/** A process in a namespace. */
export class Peer implements Disposable {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { done(text: string): void; failed(error: Error): void }>();
  #serial = 0;

  constructor(netns: string) {
    const script = fileURLToPath(new URL("peer.ts", import.meta.url));
    this.#child = fork(script, [], {
      execPath: "nsenter",
      execArgv: [`--net=/run/netns/${netns}`, process.execPath],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child.on("message", (message: { serial: number; result?: string; error?: string }) => {
      const waiting = this.#waiting.get(message.serial);
      this.#waiting.delete(message.serial);
      if (message.error !== undefined) waiting?.failed(new Error(message.error));
      else waiting?.done(message.result ?? "");
    });
  }

  call(request: PeerRequest): Promise<string> {
    const serial = ++this.#serial;
    return new Promise((done, failed) => {
      this.#waiting.set(serial, { done, failed });
      this.#child.send({ serial, request });
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}

export interface TestNode {
  readonly name: string;
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly podBlocks: readonly string[];
}

/**
 * client 172.27.0.2 - router - nodes 172.28.0.11 and .12 - pods: a1, a2 on node a, b1 on node b.
 * Names begin with wdp-; the prefix makes two test files possible at once.
 */
export class TestNetwork implements AsyncDisposable {
  readonly prefix: string;
  readonly directory: string;
  readonly bpffs: string;
  readonly nodes: Readonly<Record<"a" | "b", TestNode>>;
  readonly client: Peer;
  readonly pods: Readonly<Record<"a1" | "a2" | "b1", Peer>>;

  constructor(prefix: string, options: { readonly mtu?: number } = {}) {
    this.prefix = prefix;
    this.directory = mkdtempSync(join(tmpdir(), "waggle-datapath-"));
    this.bpffs = join(this.directory, "bpf");
    const node = (letter: "a" | "b", n: number): TestNode => ({
      name: `${prefix}.node-${letter}`,
      netns: `${prefix}-n${letter}`,
      ipv4: `172.28.0.1${n}`,
      ipv6: `fd28::1${n}`,
      podBlocks: [`10.61.${n}.0/26`, `fd61:${n}::/122`],
    });
    this.nodes = { a: node("a", 1), b: node("b", 2) };
    this.removeNamespaces();
    mkdirSync(this.bpffs);
    sh(`mount -t bpf bpf ${this.bpffs}`);
    this.#build(options.mtu ?? 1500);
    this.client = new Peer(`${prefix}-c`);
    this.pods = {
      a1: new Peer(`${prefix}-a1`),
      a2: new Peer(`${prefix}-a2`),
      b1: new Peer(`${prefix}-b1`),
    };
  }

  #build(mtu: number): void {
    const p = this.prefix;
    const sysctl = (ns: string): string =>
      [
        `ip netns add ${ns}; ip -n ${ns} link set lo up;`,
        `ip netns exec ${ns} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`,
        "net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_dad=0",
        "net.ipv6.conf.all.accept_dad=0 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0",
        "net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1 net.ipv4.ping_group_range='0 0'",
      ].join(" ");
    const script: string[] = [sysctl(`${p}-r`), sysctl(`${p}-c`)];
    script.push(
      `ip -n ${p}-r link add br0 mtu ${mtu} type bridge; ip -n ${p}-r link set br0 up`,
      `ip -n ${p}-r addr add 172.28.0.1/24 dev br0; ip -n ${p}-r addr add fd28::1/64 dev br0 nodad`,
      `ip link add eth0 netns ${p}-c type veth peer name client netns ${p}-r`,
      `ip -n ${p}-r addr add 172.27.0.1/24 dev client; ip -n ${p}-r addr add fd27::1/64 dev client nodad`,
      `ip -n ${p}-r link set client up; ip -n ${p}-c link set eth0 up`,
      `ip -n ${p}-c addr add 172.27.0.2/24 dev eth0; ip -n ${p}-c addr add fd27::2/64 dev eth0 nodad`,
      `ip -n ${p}-c route add default via 172.27.0.1; ip -n ${p}-c route add default via fd27::1`,
    );
    for (const [letter, n] of [
      ["a", 1],
      ["b", 2],
    ] as const) {
      const { netns, ipv4, ipv6, podBlocks } = this.nodes[letter];
      script.push(
        sysctl(netns),
        `ip link add eth0 netns ${netns} mtu ${mtu} type veth peer name node${letter} netns ${p}-r mtu ${mtu}`,
        `ip -n ${p}-r link set node${letter} master br0 up; ip -n ${netns} link set eth0 up`,
        `ip -n ${netns} addr add ${ipv4}/24 dev eth0; ip -n ${netns} addr add ${ipv6}/64 dev eth0 nodad`,
        `ip -n ${netns} route add default via 172.28.0.1; ip -n ${netns} route add default via fd28::1`,
        ...podBlocks.map(
          (block) => `ip -n ${p}-r route add ${block} via ${block.includes(":") ? ipv6 : ipv4}`,
        ),
      );
      for (const i of letter === "a" ? [1, 2] : [1]) {
        const pod = `${p}-${letter}${i}`;
        const host = `pod${i}`;
        script.push(
          `${sysctl(pod)} net.ipv4.ip_forward=0`,
          `ip link add eth0 netns ${pod} mtu ${mtu} type veth peer name ${host} netns ${netns} mtu ${mtu}`,
          `ip -n ${netns} link set ${host} up; ip -n ${pod} link set eth0 up`,
          `ip -n ${netns} addr add 169.254.1.1/32 dev ${host}; ip -n ${netns} addr add fe80::1/64 dev ${host} nodad`,
          `ip -n ${netns} route add 10.61.${n}.${i + 1}/32 dev ${host}`,
          `ip -n ${netns} route add fd61:${n}::${i + 1}/128 dev ${host}`,
          `ip -n ${pod} addr add 10.61.${n}.${i + 1}/32 dev eth0; ip -n ${pod} addr add fd61:${n}::${i + 1}/128 dev eth0 nodad`,
          `ip -n ${pod} route add 169.254.1.1 dev eth0; ip -n ${pod} route add default via 169.254.1.1`,
          `ip -n ${pod} route add default via fe80::1 dev eth0`,
        );
      }
    }
    sh(script.join("\n"));
  }

  removeNamespaces(): void {
    const p = this.prefix;
    for (const ns of ["c", "r", "na", "nb", "a1", "a2", "b1"])
      sh(`ip netns del ${p}-${ns} 2>/dev/null || true`);
  }

  /** Points the VIPs at nodes: one, or both as ECMP. */
  routeVips(...letters: ("a" | "b")[]): void {
    const paths = (family: "ipv4" | "ipv6") =>
      letters.map((l) => `nexthop via ${this.nodes[l][family]}`).join(" ");
    sh(
      `ip -n ${this.prefix}-r route replace 10.62.0.0/24 ${paths("ipv4")}
       ip -n ${this.prefix}-r -6 route flush fd62::/64
       ip -n ${this.prefix}-r -6 route add fd62::/64 ${paths("ipv6")}`,
    );
  }

  options(letter: "a" | "b", objectDirectory = objects): DatapathOptions {
    return {
      bpffs: this.bpffs,
      node: this.nodes[letter].name,
      objectDirectory,
      stateDirectory: this.directory,
    };
  }

  /** Work in a node's namespace; synchronous. */
  on<T>(letter: "a" | "b", work: () => T): T {
    return inNetns(`/run/netns/${this.nodes[letter].netns}`, work);
  }

  open(letter: "a" | "b", options: Partial<DatapathOptions> = {}): NodeDatapath {
    const datapath = this.on(letter, () => Datapath.open({ ...this.options(letter), ...options }));
    return new NodeDatapath(this, letter, datapath);
  }

  /** Backends by pod name, as a node sees them. */
  backends(
    letter: "a" | "b",
    pods: readonly ("a1" | "a2" | "b1")[],
    family: 4 | 6,
    port: number,
  ): DesiredBackend[] {
    return pods.map((pod) => {
      const owner = pod.startsWith("a") ? "a" : "b";
      const n = owner === "a" ? 1 : 2;
      const i = Number(pod.slice(1)) + 1;
      const { ipv4, ipv6 } = this.nodes[owner];
      return {
        address: family === 4 ? `10.61.${n}.${i}` : `fd61:${n}::${i}`,
        port,
        node: { ipv4, ipv6 },
        local: owner === letter,
      };
    });
  }

  /** The usual desired state: TCP 80 and UDP 53 on 10.62.0.1 and fd62::1, pods on 8080 and 5353. */
  desired(
    letter: "a" | "b",
    pods: readonly ("a1" | "a2" | "b1")[],
    options: { readonly entry?: boolean; readonly generation?: number } = {},
  ): DesiredDatapath {
    const { ipv4, ipv6, podBlocks } = this.nodes[letter];
    const entry = options.entry ?? true;
    return {
      generation: options.generation ?? 1,
      node: { ipv4, ipv6 },
      interfaces: ["eth0"],
      podBlocks,
      services: ([4, 6] as const).flatMap((family) => {
        const vip = family === 4 ? "10.62.0.1" : "fd62::1";
        const of = (port: number) => this.backends(letter, pods, family, port);
        return [
          { vip, port: 80, protocol: "TCP" as const, entry, backends: of(8080) },
          { vip, port: 53, protocol: "UDP" as const, entry, backends: of(5353) },
        ];
      }),
    };
  }

  /** Puts a pinned program first on a hook, as somebody else would. Returns how to take it away. */
  attachFirst(letter: "a" | "b", pinned: string, name: string, direction: "ingress" | "egress"): () => void {
    return this.on(letter, () => {
      using netlink = new NetlinkSocket();
      using program = BpfProgram.openPinned(pinned);
      const { index } = listInterfaces(netlink).find((i) => i.name === name)!;
      const link = linkTcx(program.fd, index, direction, { at: "first" });
      return () => link[Symbol.dispose]();
    });
  }

  updateLink(link: string, program: string): void {
    using opened = BpfLink.openPinned(link);
    using other = BpfProgram.openPinned(program);
    opened.update(other.fd);
  }

  cleanup(letter: "a" | "b"): number {
    return this.on(letter, () => Datapath.cleanup(this.options(letter)));
  }

  async serve(): Promise<void> {
    for (const [name, pod] of Object.entries(this.pods)) {
      await pod.call({ op: "serve", protocol: "TCP", port: 8080, name });
      await pod.call({ op: "serve", protocol: "UDP", port: 5353, name });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    for (const pod of Object.values(this.pods)) pod[Symbol.dispose]();
    this.cleanup("a");
    this.cleanup("b");
    this.removeNamespaces();
    sh(`umount ${this.bpffs}`);
    rmSync(this.directory, { recursive: true });
  }
}

/** A Datapath whose every call is made in its node's namespace. */
export class NodeDatapath implements Disposable {
  readonly #network: TestNetwork;
  readonly #letter: "a" | "b";
  readonly datapath: Datapath;

  constructor(network: TestNetwork, letter: "a" | "b", datapath: Datapath) {
    this.#network = network;
    this.#letter = letter;
    this.datapath = datapath;
  }

  run<T>(work: (datapath: Datapath) => T): T {
    return this.#network.on(this.#letter, () => work(this.datapath));
  }

  [Symbol.dispose](): void {
    this.datapath[Symbol.dispose]();
  }
}
