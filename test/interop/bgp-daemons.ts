// test/interop: FRR, GoBGP, OpenBGPD and ExaBGP as neighbours: how each is started, told what to announce, and asked what it holds.
import { execFileSync } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { asn, type BgpLab, ours, theirs, until } from "./bgp-lab.ts";

/** A route as the other daemon itself shows it. */
export interface SeenRoute {
  readonly prefix: string;
  readonly nextHop: string;
  /** AS numbers, nearest first, with spaces between. */
  readonly asPath: string;
}

export interface OtherDaemon {
  established(): boolean;
  /** What it has from us. */
  routes(): SeenRoute[];
  announce(prefix: string): void;
  withdraw(prefix: string): void;
}

export interface DaemonKind {
  readonly name: string;
  readonly program: string;
  /** Debian's package. */
  readonly package: string;
  start(lab: BgpLab, password: string | undefined, options?: DaemonOptions): Promise<OtherDaemon>;
}

export interface DaemonOptions {
  /** ADD-PATH in both directions for IPv4. */
  readonly addPath?: boolean;
  /** A further neighbour beside the daemon, with AS 65011. */
  readonly feeder?: string;
}

const isV6 = (prefix: string): boolean => prefix.includes(":");
const parse = (text: string): unknown => (text.trim() === "" ? {} : JSON.parse(text));

/** Runs a question to a daemon; empty where it does not answer (yet), which callers repeat until their deadline. */
function ask(lab: BgpLab, command: string, ...args: string[]): string {
  try {
    return execFileSync("ip", ["netns", "exec", lab.netns("a"), command, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
  } catch {
    return "";
  }
}

const frr: DaemonKind = {
  name: "FRR",
  program: "/usr/lib/frr/bgpd",
  package: "frr",
  async start(lab, password, options = {}) {
    const config = join(lab.directory, "frr.conf");
    writeFileSync(
      config,
      `router bgp ${asn.bird}
 bgp router-id ${theirs.ipv4}
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 neighbor ${ours.ipv4} remote-as ${asn.ours}
 neighbor ${ours.ipv4} timers connect 1
 ${password ? `neighbor ${ours.ipv4} password ${password}` : "!"}
 ${options.feeder ? `neighbor ${options.feeder} remote-as 65011` : "!"}
 address-family ipv4 unicast
  neighbor ${ours.ipv4} activate
  ${options.addPath ? `neighbor ${ours.ipv4} addpath-tx-all-paths` : "!"}
  ${options.feeder ? `neighbor ${options.feeder} activate` : "!"}
 exit-address-family
 address-family ipv6 unicast
  neighbor ${ours.ipv4} activate
  neighbor ${ours.ipv4} route-map v6 out
 exit-address-family
route-map v6 permit 10
 set ipv6 next-hop global ${theirs.ipv6}
`,
    );
    const sockets = join(lab.directory, "frr");
    mkdirSync(sockets);
    // -Z: without zebra, so nothing goes into the kernel; -S: no change of user.
    const flags = ["-Z", "-S", "-P", "0", "-l", theirs.ipv4, "-f", config, "-i", join(sockets, "pid")];
    lab.start("a", this.program, ...flags, "--vty_socket", sockets);
    const vtysh = (...commands: string[]): string =>
      ask(lab, "vtysh", "--vty_socket", sockets, "-d", "bgpd", ...commands.flatMap((c) => ["-c", c]));
    await until("FRR answers", () => vtysh("show bgp summary json").includes("{"));
    const network = (no: string, prefix: string): string =>
      vtysh(
        "configure terminal",
        `router bgp ${asn.bird}`,
        `address-family ${isV6(prefix) ? "ipv6" : "ipv4"} unicast`,
        `${no}network ${prefix}`,
      );
    type Table = {
      routes?: Record<string, { path?: string; peerId?: string; nexthops?: { ip?: string }[] }[]>;
    };
    return {
      established: () => vtysh("show bgp neighbors json").includes('"bgpState":"Established"'),
      routes: () =>
        ["ipv4", "ipv6"].flatMap((family) => {
          const table = parse(vtysh(`show bgp ${family} unicast json`)) as Table;
          return Object.entries(table.routes ?? {}).flatMap(([prefix, paths]) =>
            paths
              .filter((p) => p.peerId === ours.ipv4)
              .map((p) => ({ prefix, nextHop: p.nexthops?.[0]?.ip ?? "", asPath: p.path ?? "" })),
          );
        }),
      announce: (prefix) => void network("", prefix),
      withdraw: (prefix) => void network("no ", prefix),
    };
  },
};

const gobgp: DaemonKind = {
  name: "GoBGP",
  program: "/usr/bin/gobgpd",
  package: "gobgpd",
  async start(lab, password, options = {}) {
    const config = join(lab.directory, "gobgpd.toml");
    writeFileSync(
      config,
      `[global.config]
as = ${asn.bird}
router-id = "${theirs.ipv4}"
local-address-list = ["${theirs.ipv4}"]
[[neighbors]]
[neighbors.config]
neighbor-address = "${ours.ipv4}"
peer-as = ${asn.ours}
${password ? `auth-password = "${password}"` : ""}
[neighbors.timers.config]
connect-retry = 5
idle-hold-time-after-reset = 1
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
${options.addPath ? "[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8" : ""}
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
${options.feeder ? `[[neighbors]]\n[neighbors.config]\nneighbor-address = "${options.feeder}"\npeer-as = 65011` : ""}
`,
    );
    lab.start("a", this.program, "-f", config, "--api-hosts", "127.0.0.1:50051", "--pprof-disable");
    const gobgp = (...args: string[]): string => ask(lab, "gobgp", "-p", "50051", ...args);
    await until("GoBGP answers", () => gobgp("-j", "neighbor").includes("{"));
    const rib = (verb: string, prefix: string): string =>
      gobgp(
        ...["global", "rib", verb, prefix, "-a", isV6(prefix) ? "ipv6" : "ipv4"],
        ...["nexthop", isV6(prefix) ? theirs.ipv6 : theirs.ipv4],
      );
    type Attribute = { type: number; nexthop?: string; as_paths?: { asns: number[] }[] };
    type Table = Record<string, { attrs: Attribute[]; "source-id"?: string }[]>;
    return {
      established: () => / Establ /.test(gobgp("neighbor")),
      routes: () =>
        ["ipv4", "ipv6"].flatMap((family) =>
          Object.entries(parse(gobgp("-j", "global", "rib", "-a", family)) as Table).flatMap(
            ([prefix, paths]) =>
              paths
                .filter((p) => p["source-id"] === ours.ipv4)
                .map((p) => ({
                  prefix,
                  nextHop: p.attrs.find((a) => a.nexthop)?.nexthop ?? "",
                  asPath: p.attrs.flatMap((a) => a.as_paths?.flatMap((s) => s.asns) ?? []).join(" "),
                })),
          ),
        ),
      announce: (prefix) => void rib("add", prefix),
      withdraw: (prefix) => void rib("del", prefix),
    };
  },
};

const openbgpd: DaemonKind = {
  name: "OpenBGPD",
  program: "/usr/sbin/bgpd",
  package: "openbgpd",
  async start(lab, password) {
    const config = join(lab.directory, "openbgpd.conf");
    const socket = join(lab.directory, "openbgpd.sock");
    writeFileSync(
      config,
      `AS ${asn.bird}
router-id ${theirs.ipv4}
fib-update no
connect-retry 1
listen on ${theirs.ipv4}
socket "${socket}"
neighbor ${ours.ipv4} {
  remote-as ${asn.ours}
  local-address ${theirs.ipv4}
  announce IPv4 unicast
  announce IPv6 unicast
  ${password ? `tcp md5sig password ${password}` : ""}
}
allow from any
allow to any
`,
      { mode: 0o600 },
    );
    // On a session over IPv4 it takes the first IPv6 address of the machine as next hop of IPv6 routes: not ::1, which nobody accepts.
    lab.in("a", "ip", "addr", "del", "::1/128", "dev", "lo");
    lab.in("a", "ip", "addr", "add", `${theirs.ipv6}/128`, "dev", "lo", "nodad");
    // Where its processes lock themselves in; the service that Debian ships makes it at boot.
    mkdirSync("/run/openbgpd", { recursive: true });
    lab.start("a", this.program, "-d", "-f", config);
    const bgpctl = (...args: string[]): string => ask(lab, "bgpctl", "-s", socket, ...args);
    await until("OpenBGPD answers", () => bgpctl("-j", "show", "neighbor").includes("{"));
    type Rib = { rib?: { prefix: string; aspath: string; exit_nexthop: string }[] };
    return {
      established: () => bgpctl("-j", "show", "neighbor").includes('"state": "Established"'),
      routes: () =>
        ((parse(bgpctl("-j", "show", "rib", "neighbor", ours.ipv4)) as Rib).rib ?? []).map((r) => ({
          prefix: r.prefix,
          nextHop: r.exit_nexthop,
          asPath: r.aspath,
        })),
      announce: (prefix) => void bgpctl("network", "add", prefix),
      withdraw: (prefix) => void bgpctl("network", "delete", prefix),
    };
  },
};

const exabgp: DaemonKind = {
  name: "ExaBGP",
  program: "/usr/sbin/exabgp",
  package: "exabgp",
  async start(lab, password) {
    const [config, script, commands, events] = ["exabgp.conf", "exabgp.sh", "commands", "events"].map((f) =>
      join(lab.directory, f),
    ) as [string, string, string, string];
    writeFileSync(commands, "");
    writeFileSync(events, "");
    writeFileSync(script, `#!/bin/sh\ntail -n +1 -f ${commands} &\nexec cat >>${events}\n`, { mode: 0o755 });
    writeFileSync(
      config,
      `process api { run ${script}; encoder json; }
neighbor ${ours.ipv4} {
  router-id ${theirs.ipv4};
  local-address ${theirs.ipv4};
  local-as ${asn.bird};
  peer-as ${asn.ours};
  ${password ? `md5-password "${password}";` : ""}
  family { ipv4 unicast; ipv6 unicast; }
  api { processes [ api ]; neighbor-changes; receive { parsed; update; } }
}
`,
    );
    const settings = ["exabgp.daemon.user=root", "exabgp.api.cli=false", "exabgp.log.destination=stderr"];
    lab.start("a", "env", ...settings, this.program, config);
    type Nlri = { nlri: string };
    type Event = {
      neighbor?: {
        state?: string;
        message?: {
          update?: {
            attribute?: { "as-path"?: number[] };
            announce?: Record<string, Record<string, Nlri[]>>;
            withdraw?: Record<string, Nlri[]>;
          };
        };
      };
    };
    const history = (): Event[] =>
      readFileSync(events, "utf8")
        .split("\n")
        .filter((line) => line.startsWith("{") && line.endsWith("}"))
        .map((line) => JSON.parse(line) as Event);
    const state = (): string | undefined =>
      history().reduce<string | undefined>((last, e) => e.neighbor?.state ?? last, undefined);
    const say = (verb: string, prefix: string): void =>
      appendFileSync(
        commands,
        `${verb} route ${prefix} next-hop ${isV6(prefix) ? theirs.ipv6 : theirs.ipv4}\n`,
      );
    return {
      established: () => state() === "up",
      routes: () => {
        const table = new Map<string, SeenRoute>();
        for (const { neighbor } of history()) {
          if (neighbor?.state === "down") table.clear();
          const update = neighbor?.message?.update;
          for (const gone of Object.values(update?.withdraw ?? {}).flat()) table.delete(gone.nlri);
          const asPath = (update?.attribute?.["as-path"] ?? []).join(" ");
          for (const byNextHop of Object.values(update?.announce ?? {}))
            for (const [nextHop, list] of Object.entries(byNextHop))
              for (const { nlri } of list) table.set(nlri, { prefix: nlri, nextHop, asPath });
        }
        return [...table.values()];
      },
      announce: (prefix) => say("announce", prefix),
      withdraw: (prefix) => say("withdraw", prefix),
    };
  },
};

export const daemons: readonly DaemonKind[] = [frr, gobgp, openbgpd, exabgp];
export const installed = (kind: DaemonKind): boolean => existsSync(kind.program);
