// bench: the speakers that are compared, each told the same: who its neighbours are, one import policy and one export policy.
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** The speaker's own address and AS number. */
export const own = { address: "10.98.0.2", asn: 65000 } as const;

export interface Neighbour {
  readonly name: string;
  readonly address: string;
  readonly asn: number;
  /** Its routes are taken, by the import policy. */
  readonly sends: boolean;
  /** It hears, by the export policy. */
  readonly hears: boolean;
}

export interface Speaker {
  readonly name: string;
  readonly installed: boolean;
  /** Writes its configuration into a directory of its own; the command stays in the foreground. */
  command(directory: string, neighbours: readonly Neighbour[]): readonly string[];
}

const found = (...paths: string[]): string | undefined => paths.find((p) => existsSync(p));

function put(directory: string, name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** Ours. Everything is rejected but by policy: nothing shorter than /8 comes in, nothing of 10.0.0.0/8 goes out. */
export const ours: Speaker = {
  name: "Waggle",
  installed: true,
  command(directory, neighbours) {
    const policy = (name: string, prefix: string, ge: number, le: number) => ({
      name,
      rules: [
        { name: "not", action: "reject", match: { prefixes: [{ prefix, ge, le }], source: "any" } },
        { name: "rest", action: "accept", match: { source: "any" } },
      ],
    });
    const config = {
      asn: own.asn,
      routerID: own.address,
      listen: [{ address: own.address }],
      peers: neighbours.map((n) => ({
        name: n.name,
        address: n.address,
        asn: n.asn,
        families: ["ipv4"],
        passive: true,
        holdSeconds: 180,
        gracefulRestart: { enabled: false },
        maxPrefixes: { ipv4: 8_000_000 },
        ...(n.sends ? { import: ["taken"] } : {}),
        ...(n.hears ? { export: ["given"] } : {}),
      })),
      policies: [policy("taken", "0.0.0.0/0", 0, 7), policy("given", "10.0.0.0/8", 8, 32)],
    };
    const file = put(directory, "speaker.yaml", JSON.stringify(config));
    const program = found("bin/waggle") ? ["bin/waggle"] : [process.execPath, "src/cli/main.ts"];
    return [...program, "bgpd", "-f", file, "--log-level", "error"];
  },
};

const bird: Speaker = {
  name: "BIRD",
  installed: found("/usr/sbin/bird", "/usr/local/sbin/bird") !== undefined,
  command(directory, neighbours) {
    const config = `log stderr { error, fatal, bug };
router id ${own.address};
protocol device {}
filter taken { if net ~ [ 0.0.0.0/0{0,7} ] then reject; accept; }
filter given { if net ~ [ 10.0.0.0/8+ ] then reject; accept; }
template bgp neighbour { local ${own.address} as ${own.asn}; passive on; hold time 180; }
${neighbours
  .map(
    (n) =>
      `protocol bgp ${n.name} from neighbour { neighbor ${n.address} as ${n.asn};` +
      ` ipv4 { import ${n.sends ? "filter taken" : "none"}; export ${n.hears ? "filter given" : "none"}; }; }\n`,
  )
  .join("")}`;
    return [
      found("/usr/sbin/bird", "/usr/local/sbin/bird")!,
      ...["-f", "-c", put(directory, "bird.conf", config), "-s", join(directory, "bird.ctl")],
    ];
  },
};

const frr: Speaker = {
  name: "FRR",
  installed: found("/usr/lib/frr/bgpd") !== undefined,
  command(directory, neighbours) {
    const config = `ip prefix-list short permit 0.0.0.0/0 le 7
ip prefix-list own permit 10.0.0.0/8 le 32
route-map taken deny 10
 match ip address prefix-list short
route-map taken permit 20
route-map given deny 10
 match ip address prefix-list own
route-map given permit 20
route-map none deny 10
router bgp ${own.asn}
 bgp router-id ${own.address}
${neighbours
  .map((n) => ` neighbor ${n.address} remote-as ${n.asn}\n neighbor ${n.address} passive\n`)
  .join("")} address-family ipv4 unicast
${neighbours
  .map(
    (n) =>
      `  neighbor ${n.address} route-map ${n.sends ? "taken" : "none"} in\n` +
      `  neighbor ${n.address} route-map ${n.hears ? "given" : "none"} out\n`,
  )
  .join("")}`;
    const file = put(directory, "frr.conf", config);
    // -Z, -n: without zebra and kernel; -S: no change of user.
    const flags = ["-Z", "-n", "-S", "-P", "0", "-l", own.address, "-i", join(directory, "pid")];
    return ["/usr/lib/frr/bgpd", ...flags, "-f", file, "--vty_socket", directory];
  },
};

const gobgp: Speaker = {
  name: "GoBGP",
  installed: found("/usr/bin/gobgpd") !== undefined,
  command(directory, neighbours) {
    const quoted = (list: readonly Neighbour[]) => list.map((n) => `"${n.address}"`).join(", ");
    const deaf = neighbours.filter((n) => !n.hears);
    // Policies of a neighbour of its own are for clients of route servers alone.
    const refused = (set: string, kind: "prefix" | "neighbor") => `
[[policy-definitions.statements]]
[policy-definitions.statements.conditions.match-${kind}-set]
${kind}-set = "${set}"
[policy-definitions.statements.actions]
route-disposition = "reject-route"
`;
    const config = `[global.config]
as = ${own.asn}
router-id = "${own.address}"
local-address-list = ["${own.address}"]
[global.apply-policy.config]
import-policy-list = ["taken"]
default-import-policy = "accept-route"
export-policy-list = ["given"]
default-export-policy = "accept-route"
[[defined-sets.prefix-sets]]
prefix-set-name = "short"
[[defined-sets.prefix-sets.prefix-list]]
ip-prefix = "0.0.0.0/0"
masklength-range = "0..7"
[[defined-sets.prefix-sets]]
prefix-set-name = "own"
[[defined-sets.prefix-sets.prefix-list]]
ip-prefix = "10.0.0.0/8"
masklength-range = "8..32"
[[defined-sets.neighbor-sets]]
neighbor-set-name = "deaf"
neighbor-info-list = [${quoted(deaf)}]
[[policy-definitions]]
name = "taken"
${refused("short", "prefix")}
[[policy-definitions]]
name = "given"
${refused("own", "prefix")}${deaf.length > 0 ? refused("deaf", "neighbor") : ""}
${neighbours
  .map(
    (n) => `[[neighbors]]
[neighbors.config]
neighbor-address = "${n.address}"
peer-as = ${n.asn}
[neighbors.transport.config]
passive-mode = true
[neighbors.timers.config]
hold-time = 180
`,
  )
  .join("")}`;
    const file = put(directory, "gobgpd.toml", config);
    return ["/usr/bin/gobgpd", "-f", file, "--pprof-disable", "--log-level", "error", "--log-plain"];
  },
};

const openbgpd: Speaker = {
  name: "OpenBGPD",
  installed: found("/usr/sbin/bgpd") !== undefined,
  command(directory, neighbours) {
    const config = `AS ${own.asn}
router-id ${own.address}
fib-update no
holdtime 180
listen on ${own.address}
socket "${join(directory, "openbgpd.sock")}"
${neighbours
  .map(
    (n) => `neighbor ${n.address} {
  descr "${n.name}"
  remote-as ${n.asn}
  passive
  ${n.hears ? "" : "export none"}
}
`,
  )
  .join("")}allow from any
deny from any prefix 0.0.0.0/0 prefixlen 0 - 7
${neighbours.map((n) => (n.sends ? "" : `deny from ${n.address}\n`)).join("")}allow to any
deny to any prefix 10.0.0.0/8 prefixlen 8 - 32
`;
    // Where its processes lock themselves in; the service that Debian ships makes it at boot.
    mkdirSync("/run/openbgpd", { recursive: true });
    return ["/usr/sbin/bgpd", "-d", "-f", put(directory, "openbgpd.conf", config)];
  },
};

/** The first is what ours is measured against in the goals. */
export const others: readonly Speaker[] = [bird, frr, openbgpd, gobgp];
