// test/interop: two network namespaces with a link, real BIRD in one and our speaker in the other.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  type DesiredStateSchema,
  Family,
  type FromSpeaker,
  type OriginSchema,
  type PeerSchema,
  QueryKind,
  type Session,
  Source,
} from "../../src/api/generated/proto/speaker_pb.js";
import { SpeakerClient } from "../../src/bgp/daemon/speaker-client.ts";
import { parseAddress, parsePrefix, toBytes } from "../../src/net/address.ts";

export const isRoot = process.getuid?.() === 0;
export const birdPath = ["/usr/sbin/bird", "/usr/local/sbin/bird"].find((p) => existsSync(p));
export const canRun = isRoot && birdPath !== undefined;

export const ours = { ipv4: "10.99.0.2", ipv6: "fd99::2" } as const;
export const theirs = { ipv4: "10.99.0.1", ipv6: "fd99::1" } as const;
export const asn = { ours: 64512, bird: 65001 } as const;

const run = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: "utf8" });

/** Repeats until `check` is true or returns something. Says what it waited for when it gives up. */
export async function until<T>(
  what: string,
  check: () => T | Promise<T>,
  ms = 10_000,
): Promise<NonNullable<T>> {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value) return value as NonNullable<T>;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(50);
  }
}

/** For what waits on the timers of several daemons: a starved machine may delay each of them by seconds. */
export const untilPatient = <T>(
  what: string,
  check: () => T | Promise<T>,
  ms = 40_000,
): Promise<NonNullable<T>> => until(what, check, ms);

/** Namespaces, link and processes of one test file; everything is gone after dispose. */
export class BgpLab {
  readonly directory = mkdtempSync(join(tmpdir(), "waggle-bgp-"));
  readonly #name: string;
  readonly #processes: ChildProcess[] = [];
  log = "";

  constructor(name: string) {
    this.#name = `wgbgp-${name}-${process.pid % 10000}`;
    for (const side of ["a", "b"]) run("ip", "netns", "add", this.netns(side));
    run(
      "ip",
      "-n",
      this.netns("a"),
      "link",
      "add",
      "veth0",
      "type",
      "veth",
      "peer",
      "name",
      "veth0",
      "netns",
      this.netns("b"),
    );
    for (const [side, own] of [
      ["a", theirs],
      ["b", ours],
    ] as const) {
      const ip = (...args: string[]) => run("ip", "-n", this.netns(side), ...args);
      ip("link", "set", "lo", "up");
      ip("addr", "add", `${own.ipv4}/24`, "dev", "veth0");
      ip("addr", "add", `${own.ipv6}/64`, "dev", "veth0", "nodad");
      ip("link", "set", "veth0", "up");
    }
  }

  /** a: BIRD, b: the speaker. */
  netns(side: string): string {
    return `${this.#name}${side}`;
  }

  in(side: string, command: string, ...args: string[]): string {
    return run("ip", "netns", "exec", this.netns(side), command, ...args);
  }

  #spawn(side: string, command: string, args: readonly string[]): ChildProcess {
    const child = spawn("nsenter", [`--net=/var/run/netns/${this.netns(side)}`, command, ...args], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      this.log += chunk.toString();
    });
    this.#processes.push(child);
    return child;
  }

  /** Starts BIRD with protocols of its own below the common head. */
  async bird(protocols: string): Promise<Bird> {
    const config = join(this.directory, "bird.conf");
    const socket = join(this.directory, "bird.ctl");
    writeFileSync(
      config,
      `log stderr all;\nrouter id ${theirs.ipv4};\nprotocol device { scan time 2; }\n${protocols}`,
    );
    const child = this.#spawn("a", birdPath!, ["-f", "-c", config, "-s", socket]);
    const bird = new Bird(child, config, socket);
    await until("bird answers", () => bird.ask("show status").includes("up and running"));
    return bird;
  }

  /** Kills a process with the lab that the caller has started. */
  own(child: ChildProcess): void {
    this.#processes.push(child);
  }

  /** Starts a command on a side; it is killed with the lab. */
  start(side: string, command: string, ...args: string[]): ChildProcess {
    return this.#spawn(side, command, args);
  }

  /** Starts a speaker and takes control of it. */
  async speaker(onMessage?: (m: FromSpeaker["message"]) => void, wantRoutes = false): Promise<Bgpd> {
    const path = join(this.directory, "bgpd.sock");
    const child = this.#spawn("b", process.execPath, [
      "src/cli/main.ts",
      "bgpd",
      "--socket",
      path,
      "--log-level",
      "debug",
    ]);
    const bgpd = new Bgpd(child, path);
    await until("the speaker answers", () => bgpd.connect(onMessage, wantRoutes));
    return bgpd;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#processes) if (child.exitCode === null) child.kill("SIGKILL");
    await sleep(50);
    for (const side of ["a", "b"])
      if (existsSync(`/var/run/netns/${this.netns(side)}`)) run("ip", "netns", "del", this.netns(side));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export class Bird {
  readonly process: ChildProcess;
  readonly #config: string;
  readonly #socket: string;

  constructor(child: ChildProcess, config: string, socket: string) {
    this.process = child;
    this.#config = config;
    this.#socket = socket;
  }

  ask(...words: string[]): string {
    try {
      return execFileSync("birdc", ["-s", this.#socket, ...words.join(" ").split(" ")], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
    } catch {
      return "";
    }
  }

  routes(more = ""): string {
    return this.ask(`show route all ${more}`.trim());
  }

  established(protocol = "waggle"): boolean {
    return /BGP state:\s+Established/.test(this.ask(`show protocols all ${protocol}`));
  }

  reconfigure(edit: (config: string) => string): void {
    writeFileSync(this.#config, edit(readFileSync(this.#config, "utf8")));
    this.ask("configure");
  }
}

export class Bgpd {
  readonly process: ChildProcess;
  readonly path: string;
  #client: SpeakerClient | undefined;
  #generation = 0n;
  readonly messages: FromSpeaker["message"][] = [];

  constructor(child: ChildProcess, path: string) {
    this.process = child;
    this.path = path;
  }

  async connect(onMessage?: (m: FromSpeaker["message"]) => void, wantRoutes = false): Promise<boolean> {
    if (!existsSync(this.path)) return false;
    try {
      const { client, hello } = await SpeakerClient.open({
        path: this.path,
        controller: true,
        wantRoutes,
        onMessage: (m, from) => {
          this.messages.push(m);
          if (m.case === "routes") from.acknowledge(m.value.sequence);
          onMessage?.(m);
        },
      });
      this.#client = client;
      this.#generation = hello.generation;
      return true;
    } catch {
      return false;
    }
  }

  get client(): SpeakerClient {
    return this.#client!;
  }

  /** Sends a desired state and returns its generation. */
  desire(state: Omit<MessageInitShape<typeof DesiredStateSchema>, "$typeName">): bigint {
    this.#generation += 1n;
    this.#client!.desire({
      asn: asn.ours,
      routerId: Number(parseAddress(ours.ipv4).lo),
      policies: [acceptAll, originated],
      complete: true,
      ...state,
      generation: this.#generation,
    });
    return this.#generation;
  }

  acks(generation: bigint): { peer: string; state: number }[] {
    return this.messages.flatMap((m) =>
      m.case === "ack" && m.value.generation === generation
        ? [{ peer: m.value.peer, state: m.value.state }]
        : [],
    );
  }

  async session(name = "bird"): Promise<Session | undefined> {
    for await (const piece of this.#client!.query({ kind: QueryKind.QUERY_PEERS }))
      return piece.sessions.find((s) => s.peer === name);
    return undefined;
  }

  async routes(kind: QueryKind, peer = "") {
    const out = [];
    for await (const piece of this.#client!.query({ kind, peer })) out.push(...piece.routes);
    return out;
  }
}

export const acceptAll = {
  name: "all",
  rules: [{ name: "accept", accept: true, match: { source: Source.ANY } }],
};
export const originated = { name: "own", rules: [{ name: "accept", accept: true }] };

/** BIRD as a neighbour with both families and graceful restart. */
export const birdPeer = (
  more: Omit<MessageInitShape<typeof PeerSchema>, "$typeName"> = {},
): MessageInitShape<typeof PeerSchema> => ({
  name: "bird",
  address: toBytes(parseAddress(theirs.ipv4)),
  peerAsn: asn.bird,
  families: [Family.IPV4_UNICAST, Family.IPV6_UNICAST],
  connectRetrySeconds: 1,
  gracefulRestart: true,
  forwardingPreserved: true,
  importPolicies: ["all"],
  exportPolicies: ["own"],
  nextHopIpv6: toBytes(parseAddress(ours.ipv6)),
  ...more,
});

export function origin(
  prefix: string,
  more: Omit<MessageInitShape<typeof OriginSchema>, "$typeName"> = {},
): MessageInitShape<typeof OriginSchema> {
  const p = parsePrefix(prefix);
  return { prefix: toBytes(p), length: p.length, peers: ["bird"], ...more };
}

/** BIRD's side of the session. */
export const birdBgp = (options = "", channel = "import all; export all;"): string => `
protocol static static4 { ipv4; route 192.0.2.0/24 unreachable; route 198.51.100.0/24 unreachable; }
protocol static static6 { ipv6; route 2001:db8:1::/48 unreachable; }
protocol bgp waggle {
  local ${theirs.ipv4} as ${asn.bird};
  neighbor ${ours.ipv4} as ${asn.ours};
  graceful restart on; graceful restart time 20;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ${options}
  ipv4 { ${channel} next hop self; };
  ipv6 { ${channel} next hop address ${theirs.ipv6}; };
}
`;
