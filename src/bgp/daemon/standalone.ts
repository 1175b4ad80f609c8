// bgp/daemon: speaker.yaml: checked against its JSON Schema, then turned into the same desired state that an agent would send.
import { readFileSync } from "node:fs";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Ajv } from "ajv";
import { parse } from "yaml";
import {
  type BmpStationSchema,
  DesiredStateSchema,
  Family,
  LimitAction,
  type PeerSchema,
  Role,
} from "../../api/generated/proto/speaker_pb.js";
import { parseAddress, parsePrefix, toBytes } from "../../net/address.ts";
import type { SpeakerConfig } from "../session/types.ts";
import { speakerConfig } from "./config.ts";
import schema from "./speaker.schema.json" with { type: "json" };
import {
  type AttributesYaml,
  attributesOf,
  type RuleYaml,
  ruleOf,
  SpeakerFileError,
} from "./speaker-policy.ts";

export { SpeakerFileError };

interface PeerYaml {
  readonly name: string;
  readonly address?: string;
  readonly ranges?: readonly string[];
  readonly limit?: number;
  readonly port?: number;
  readonly asn: number | "external";
  readonly localASN?: number;
  readonly localAddress?: string;
  readonly localPort?: number;
  readonly interface?: string;
  readonly families?: readonly ("ipv4" | "ipv6")[];
  readonly holdSeconds?: number;
  readonly connectRetrySeconds?: number;
  readonly connectRetryMaxSeconds?: number;
  readonly password?: string;
  readonly passwordFile?: string;
  readonly ttlSecurityHops?: number;
  readonly multihopTTL?: number;
  readonly gracefulRestart?: {
    readonly enabled?: boolean;
    readonly restartSeconds?: number;
    readonly longLivedSeconds?: number;
    readonly forwardingPreserved?: boolean;
  };
  readonly maxPrefixes?: {
    readonly ipv4?: number;
    readonly ipv6?: number;
    readonly action?: keyof typeof actions;
    readonly warnPercent?: number;
    readonly restartSeconds?: number;
  };
  readonly maxPrefixesSent?: { readonly ipv4?: number; readonly ipv6?: number };
  readonly import?: readonly string[];
  readonly export?: readonly string[];
  readonly nextHop?: { readonly ipv4?: string; readonly ipv6?: string };
  readonly passive?: boolean;
  readonly adminDown?: boolean;
  readonly allowASIn?: number;
  readonly asOverride?: boolean;
  readonly removePrivateAS?: boolean;
  readonly nextHopUnchanged?: boolean;
  readonly reflectorClient?: boolean;
  readonly routeServerClient?: boolean;
  readonly role?: keyof typeof roles;
  readonly strictRole?: boolean;
  readonly bfd?: {
    readonly transmitInterval?: number;
    readonly receiveInterval?: number;
    readonly detectMultiplier?: number;
    readonly multihop?: boolean;
  };
  readonly addPath?: { readonly ipv4?: AddPathYaml; readonly ipv6?: AddPathYaml };
  readonly extendedNextHop?: boolean;
}

interface AddPathYaml {
  readonly mode: "receive" | "send" | "both";
  readonly best?: number;
}

interface StationYaml {
  readonly name: string;
  readonly address: string;
  readonly port?: number;
  readonly localAddress?: string;
  readonly monitor?: readonly ("pre-policy" | "post-policy" | "loc-rib")[];
  readonly statisticsSeconds?: number;
}

interface SpeakerYaml {
  readonly asn: number;
  readonly routerID: string;
  readonly clusterID?: string;
  readonly listen?: "none" | readonly { readonly address?: string; readonly port?: number }[];
  readonly peers: readonly PeerYaml[];
  readonly origins?: readonly {
    readonly prefix: string;
    readonly peers: readonly string[];
    readonly attributes?: AttributesYaml;
  }[];
  readonly policies?: readonly { readonly name: string; readonly rules: readonly RuleYaml[] }[];
  readonly mrt?: {
    readonly directory: string;
    readonly tableIntervalSeconds?: number;
    readonly messages?: boolean;
    readonly fileBytesMax?: number;
    readonly filesMax?: number;
  };
  readonly multipath?: {
    readonly external?: number;
    readonly internal?: number;
    readonly relaxASPath?: boolean;
  };
  readonly bmp?: { readonly stations: readonly StationYaml[] };
}

const ajv = new Ajv({ allErrors: true, useDefaults: true, allowUnionTypes: true, formats: { ipv4: true } });
const validate = ajv.compile<SpeakerYaml>(schema);
let generation = 0n;

/** Reads a configuration. @throws SpeakerFileError, AddressError, or what reading the file throws */
export function readSpeakerFile(path: string): SpeakerConfig {
  const document: unknown = parse(readFileSync(path, "utf8"));
  return parseSpeaker(document, path);
}

/** The desired state of a parsed document; `name` is for messages. */
export function parseSpeaker(document: unknown, name: string): SpeakerConfig {
  if (!validate(document)) {
    const errors = (validate.errors ?? []).map((e) => `${e.instancePath || "/"} ${e.message}`);
    throw new SpeakerFileError(`${name}: ${errors.join("; ")}`);
  }
  const routerId = Number(parseAddress(document.routerID).lo);
  generation += 1n;
  return speakerConfig(
    create(DesiredStateSchema, {
      generation,
      asn: document.asn,
      routerId,
      clusterId: document.clusterID === undefined ? 0 : Number(parseAddress(document.clusterID).lo),
      listen: (document.listen === undefined || document.listen === "none" ? [] : document.listen).map(
        (l) => ({
          address: l.address === undefined ? new Uint8Array(0) : bytes(l.address),
          port: l.port ?? 179,
        }),
      ),
      peers: document.peers.map(peerOf),
      origins: (document.origins ?? []).map((o, i) => {
        const prefix = parsePrefix(o.prefix);
        return {
          prefix: toBytes(prefix),
          length: prefix.length,
          peers: [...o.peers],
          ...(o.attributes
            ? { attributes: attributesOf(o.attributes, `${name}: /origins/${i}/attributes`) }
            : {}),
        };
      }),
      policies: (document.policies ?? []).map((p, i) => ({
        name: p.name,
        rules: p.rules.map((r, k) => ruleOf(r, `${name}: /policies/${i}/rules/${k}`)),
      })),
      complete: true,
      ...(document.multipath && {
        multipath: {
          external: document.multipath.external ?? 0,
          internal: document.multipath.internal ?? 0,
          samePath: document.multipath.relaxASPath === false,
        },
      }),
      ...(document.mrt && {
        mrt: {
          directory: document.mrt.directory,
          tableSeconds: document.mrt.tableIntervalSeconds ?? 0,
          messages: document.mrt.messages ?? true,
          fileBytesMax: BigInt(document.mrt.fileBytesMax ?? 0),
          filesMax: document.mrt.filesMax ?? 0,
        },
      }),
      bmpStations: (document.bmp?.stations ?? []).map(stationOf),
    }),
  );
}

function stationOf(s: StationYaml): MessageInitShape<typeof BmpStationSchema> {
  const monitor = s.monitor ?? ["pre-policy"];
  return {
    name: s.name,
    address: bytes(s.address),
    port: s.port ?? 0,
    ...(s.localAddress === undefined ? {} : { localAddress: bytes(s.localAddress) }),
    prePolicy: monitor.includes("pre-policy"),
    postPolicy: monitor.includes("post-policy"),
    locRib: monitor.includes("loc-rib"),
    statisticsSeconds: s.statisticsSeconds ?? 60,
  };
}

const bytes = (text: string): Uint8Array => toBytes(parseAddress(text));
const families = { ipv4: Family.IPV4_UNICAST, ipv6: Family.IPV6_UNICAST } as const;
const actions = {
  teardown: LimitAction.LIMIT_TEARDOWN,
  discard: LimitAction.LIMIT_DISCARD,
  warn: LimitAction.LIMIT_WARN,
} as const;
const roles = {
  provider: Role.PROVIDER,
  "route-server": Role.ROUTE_SERVER,
  "route-server-client": Role.ROUTE_SERVER_CLIENT,
  customer: Role.CUSTOMER,
  peer: Role.PEER,
} as const;

function peerOf(p: PeerYaml): MessageInitShape<typeof PeerSchema> {
  const password = p.passwordFile === undefined ? p.password : readFileSync(p.passwordFile, "utf8").trim();
  return {
    name: p.name,
    ...(p.address === undefined ? {} : { address: bytes(p.address) }),
    ranges: (p.ranges ?? []).map((text) => {
      const prefix = parsePrefix(text);
      return { prefix: toBytes(prefix), length: prefix.length };
    }),
    rangeLimit: p.limit ?? 0,
    port: p.port ?? 179,
    ...(p.asn === "external" ? { external: true } : { peerAsn: p.asn }),
    localAsn: p.localASN ?? 0,
    ...(p.localAddress === undefined ? {} : { localAddress: bytes(p.localAddress) }),
    families: (p.families ?? ["ipv4", "ipv6"]).map((f) => families[f]),
    holdSeconds: p.holdSeconds ?? 0,
    connectRetrySeconds: p.connectRetrySeconds ?? 0,
    connectRetryMaxSeconds: p.connectRetryMaxSeconds ?? 0,
    password: password ?? "",
    ttlSecurityHops: p.ttlSecurityHops ?? 0,
    multihopTtl: p.multihopTTL ?? 0,
    gracefulRestart: p.gracefulRestart?.enabled ?? true,
    restartSeconds: p.gracefulRestart?.restartSeconds ?? 0,
    longLivedSeconds: p.gracefulRestart?.longLivedSeconds ?? 0,
    forwardingPreserved: p.gracefulRestart?.forwardingPreserved ?? false,
    maxPrefixesIpv4: p.maxPrefixes?.ipv4 ?? 0,
    maxPrefixesIpv6: p.maxPrefixes?.ipv6 ?? 0,
    maxPrefixesAction: actions[p.maxPrefixes?.action ?? "teardown"],
    maxPrefixesWarnPercent: p.maxPrefixes?.warnPercent ?? 0,
    maxPrefixesRestartSeconds: p.maxPrefixes?.restartSeconds ?? 0,
    maxSentIpv4: p.maxPrefixesSent?.ipv4 ?? 0,
    maxSentIpv6: p.maxPrefixesSent?.ipv6 ?? 0,
    localPort: p.localPort ?? 0,
    importPolicies: [...(p.import ?? [])],
    exportPolicies: [...(p.export ?? [])],
    ...(p.nextHop?.ipv4 === undefined ? {} : { nextHopIpv4: bytes(p.nextHop.ipv4) }),
    ...(p.nextHop?.ipv6 === undefined ? {} : { nextHopIpv6: bytes(p.nextHop.ipv6) }),
    passive: p.passive ?? false,
    interface: p.interface ?? "",
    adminDown: p.adminDown ?? false,
    allowAsIn: p.allowASIn ?? 0,
    asOverride: p.asOverride ?? false,
    removePrivateAs: p.removePrivateAS ?? false,
    nextHopUnchanged: p.nextHopUnchanged ?? false,
    reflectorClient: p.reflectorClient ?? false,
    routeServerClient: p.routeServerClient ?? false,
    role: p.role === undefined ? Role.ROLE_NONE : roles[p.role],
    strictRole: p.strictRole ?? false,
    ...(p.bfd && {
      bfd: {
        transmitMs: p.bfd.transmitInterval ?? 0,
        receiveMs: p.bfd.receiveInterval ?? 0,
        detectMultiplier: p.bfd.detectMultiplier ?? 0,
        multihop: p.bfd.multihop ?? (p.multihopTTL ?? 0) > 1,
      },
    }),
    addPath: (["ipv4", "ipv6"] as const).flatMap((family) => {
      const given = p.addPath?.[family];
      if (!given) return [];
      return [
        {
          family: families[family],
          receive: given.mode !== "send",
          send: given.mode !== "receive",
          sendMax: given.best ?? 0,
        },
      ];
    }),
    ...(p.extendedNextHop === undefined ? {} : { extendedNextHop: p.extendedNextHop }),
  };
}
