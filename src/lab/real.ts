// lab: a real control plane: etcd, kube-apiserver and, where it is wanted, kube-controller-manager, on loopback under an
// authority of their own. What to start, in which order; who starts it decides how.
import { generateKeyPairSync, randomInt } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import type { KubeClient } from "../kube/index.ts";
import type { CertificateRequest, KeyPair } from "./certificates.ts";
import { until } from "./shell.ts";

/** What to tell where {@link findAssets} finds nothing for a lab. */
export const missingAssets =
  "etcd, kube-apiserver and kube-controller-manager (make assets, or KUBEBUILDER_ASSETS)";

/** Programs of a bare API server, and of a whole control plane: other makers of assets often leave the last one out. */
const programsOf = {
  server: ["etcd", "kube-apiserver"],
  plane: ["etcd", "kube-apiserver", "kube-controller-manager"],
} as const;

/** Directory that has them: KUBEBUILDER_ASSETS, else the newest of the cache that `make assets` fills. */
export function findAssets(what: keyof typeof programsOf = "server"): string | undefined {
  const named = process.env.KUBEBUILDER_ASSETS;
  const isWhole = (d: string): boolean => programsOf[what].every((name) => existsSync(join(d, name)));
  if (named && isWhole(named)) return named;
  const cache =
    process.env.WAGGLE_ASSETS ??
    join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "waggle/assets");
  if (!existsSync(cache)) return undefined;
  return readdirSync(cache)
    .sort()
    .reverse()
    .map((d) => join(cache, d))
    .find(isWhole);
}

export interface RealOptions {
  /** See {@link findAssets}. */
  readonly assets: string;
  /** Where everything is kept: keys, certificates, etcd's data. Mode 0700. */
  readonly directory: string;
  /** Name of cluster and context in kubeconfigs. */
  readonly name: string;
  /** Without it nothing makes ServiceAccounts, EndpointSlices or an end of namespaces, as on a bare API server. */
  readonly controllerManager: boolean;
  /** Ranges of cluster addresses of Services, one a family, the main one first. */
  readonly serviceRanges: readonly string[];
}

export interface RealProgram {
  readonly name: "etcd" | "apiserver" | "controller-manager";
  readonly command: readonly string[];
}

export interface RealPlane {
  /** https://127.0.0.1:port */
  readonly server: string;
  readonly port: number;
  /** Administrator's kubeconfig as YAML; a credential. */
  readonly kubeconfig: string;
  /** In the order in which they are started; the controller manager gives up where the API server is not ready soon. */
  readonly programs: readonly RealProgram[];
}

interface Ports {
  readonly client: number;
  readonly peer: number;
  readonly secure: number;
}

/**
 * Ports below those that the kernel gives to outgoing connections (net.ipv4.ip_local_port_range): one of those might be taken
 * again by somebody's connection before its server comes.
 */
const portRange = { from: 20_000, to: 32_000 } as const;
const portTries = 100;

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });

/** Ports that this process has given out: several control planes come up at once. */
const given = new Set<number>();

/** @throws Error when none of a good number of tries is free */
async function freePort(): Promise<number> {
  for (let i = 0; i < portTries; i++) {
    const port = randomInt(portRange.from, portRange.to);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error(
    `no free port of 127.0.0.1 in ${portTries} tries between ${portRange.from} and ${portRange.to}`,
  );
}

/** Writes so that a reader finds the old file or the whole new one, and nobody else finds either. */
function writePrivate(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/** The same ports at every start, so that kubeconfigs stay true. */
async function portsOf(directory: string): Promise<Ports> {
  const path = join(directory, "ports.json");
  if (existsSync(path)) return JSON.parse(readFileSync(path, "utf8")) as Ports;
  const ports: Ports = { client: await freePort(), peer: await freePort(), secure: await freePort() };
  writePrivate(path, JSON.stringify(ports));
  return ports;
}

const certificatePath = (directory: string, name: string): string => join(directory, `${name}.crt`);
const keyPath = (directory: string, name: string): string => join(directory, `${name}.key`);

function readPair(directory: string, name: string): KeyPair | undefined {
  const [certificate, key] = [certificatePath(directory, name), keyPath(directory, name)];
  if (!existsSync(certificate) || !existsSync(key)) return undefined;
  return { certificate: readFileSync(certificate, "utf8"), privateKey: readFileSync(key, "utf8") };
}

async function pairOf(directory: string, name: string, make: () => Promise<KeyPair>): Promise<KeyPair> {
  const known = readPair(directory, name);
  if (known) return known;
  const made = await make();
  writePrivate(keyPath(directory, name), made.privateKey);
  writePrivate(certificatePath(directory, name), made.certificate);
  return made;
}

const loopback = { names: ["localhost"], addresses: ["127.0.0.1", "::1"] } as const;

const identities: Readonly<
  Record<"etcd" | "apiserver" | "admin" | "controller-manager", CertificateRequest>
> = {
  etcd: { commonName: "etcd", ...loopback },
  apiserver: {
    commonName: "kube-apiserver",
    names: [...loopback.names, "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
    addresses: loopback.addresses,
  },
  admin: { commonName: "admin", organizations: ["system:masters"] },
  "controller-manager": { commonName: "system:kube-controller-manager" },
};

function signingKey(directory: string): { readonly key: string; readonly publicKey: string } {
  const key = join(directory, "service-accounts.key");
  const publicKey = join(directory, "service-accounts.pub");
  if (!existsSync(key)) {
    const made = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    writePrivate(publicKey, made.publicKey.export({ type: "spki", format: "pem" }).toString());
    writePrivate(key, made.privateKey.export({ type: "sec1", format: "pem" }).toString());
  }
  return { key, publicKey };
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

function kubeconfigFor(
  options: RealOptions,
  server: string,
  authority: KeyPair,
  user: string,
  own: KeyPair,
): string {
  const { name } = options;
  return stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      "current-context": name,
      clusters: [
        {
          name,
          cluster: {
            server,
            "certificate-authority-data": base64(authority.certificate),
            // By the name and not by the address, so that the certificate holds behind the relay as well.
            "tls-server-name": "localhost",
          },
        },
      ],
      users: [
        {
          name: user,
          user: {
            "client-certificate-data": base64(own.certificate),
            "client-key-data": base64(own.privateKey),
          },
        },
      ],
      contexts: [{ name, context: { cluster: name, user } }],
    },
    { lineWidth: 0 },
  );
}

/** Controllers that need neither kubelet nor cloud. Nodes of a lab send no heartbeats: nothing may judge them by that. */
const controllers = [
  "endpointslice-controller",
  "endpointslice-mirroring-controller",
  "garbage-collector-controller",
  "namespace-controller",
  "serviceaccount-controller",
  "root-ca-certificate-publisher-controller",
  "clusterrole-aggregation-controller",
  "pod-garbage-collector-controller",
];

/** kube-apiserver insists on an address of the Services' main family; nobody is told of it. */
const advertised = (range: string | undefined): string => (range?.includes(":") ? "fd00::1" : "127.0.0.1");

/**
 * Makes what is missing in the directory (ports, keys, certificates) and says what to start. The same directory gives the
 * same control plane again.
 */
export async function planReal(options: RealOptions): Promise<RealPlane> {
  const { assets, directory } = options;
  const { makeAuthority, makeCertificate } = await import("./certificates.ts");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const ports = await portsOf(directory);
  const now = Date.now();
  const authority = await pairOf(directory, "ca", () => makeAuthority(`${options.name} lab`, now));
  const pairs: Partial<Record<string, KeyPair>> = {};
  for (const [name, request] of Object.entries(identities))
    pairs[name] = await pairOf(directory, name, () => makeCertificate(authority, request, now));
  const tokens = signingKey(directory);
  const server = `https://127.0.0.1:${ports.secure}`;
  const config = (user: string): string => kubeconfigFor(options, server, authority, user, pairs[user]!);
  const at = (name: string): string => join(directory, name);
  const [ca, crt, key] = [
    at("ca.crt"),
    (name: string) => certificatePath(directory, name),
    (name: string) => keyPath(directory, name),
  ];
  const [clientURL, peerURL] = [`https://127.0.0.1:${ports.client}`, `https://127.0.0.1:${ports.peer}`];
  const programs: RealProgram[] = [
    {
      name: "etcd",
      command: [
        join(assets, "etcd"),
        ...[`--data-dir=${at("etcd")}`, "--name=lab", "--log-level=warn"],
        ...[`--listen-client-urls=${clientURL}`, `--advertise-client-urls=${clientURL}`],
        ...[`--listen-peer-urls=${peerURL}`, `--initial-advertise-peer-urls=${peerURL}`],
        `--initial-cluster=lab=${peerURL}`,
        ...["", "peer-"].flatMap((p) => [
          ...[`--${p}cert-file=${crt("etcd")}`, `--${p}key-file=${key("etcd")}`],
          ...[`--${p}trusted-ca-file=${ca}`, `--${p}client-cert-auth`],
        ]),
      ],
    },
    {
      name: "apiserver",
      command: [
        join(assets, "kube-apiserver"),
        ...[`--etcd-servers=${clientURL}`, `--etcd-cafile=${ca}`],
        ...[`--etcd-certfile=${crt("apiserver")}`, `--etcd-keyfile=${key("apiserver")}`],
        ...["--bind-address=127.0.0.1", `--secure-port=${ports.secure}`],
        ...[`--tls-cert-file=${crt("apiserver")}`, `--tls-private-key-file=${key("apiserver")}`],
        ...[`--client-ca-file=${ca}`, "--authorization-mode=RBAC"],
        "--service-account-issuer=https://kubernetes.default.svc",
        ...[
          `--service-account-key-file=${tokens.publicKey}`,
          `--service-account-signing-key-file=${tokens.key}`,
        ],
        `--service-cluster-ip-range=${options.serviceRanges.join(",")}`,
        ...[`--advertise-address=${advertised(options.serviceRanges[0])}`, "--endpoint-reconciler-type=none"],
        // Nothing makes the default ServiceAccounts without a controller manager.
        ...(options.controllerManager ? [] : ["--disable-admission-plugins=ServiceAccount"]),
      ],
    },
  ];
  if (options.controllerManager) {
    const kubeconfig = at("controller-manager.kubeconfig");
    writePrivate(kubeconfig, config("controller-manager"));
    programs.push({
      name: "controller-manager",
      command: [
        join(assets, "kube-controller-manager"),
        ...[`--kubeconfig=${kubeconfig}`, "--leader-elect=false", "--secure-port=0"],
        ...[`--service-account-private-key-file=${tokens.key}`, `--root-ca-file=${ca}`],
        ...["--use-service-account-credentials", `--controllers=${controllers.join(",")}`],
      ],
    });
  }
  return { server, port: ports.secure, kubeconfig: config("admin"), programs };
}

/** A kubeconfig, as YAML, of an ordinary user; what the user may do is said by RBAC. Needs {@link planReal} to have been there. */
export async function realUser(
  options: RealOptions,
  user: string,
  groups: readonly string[] = [],
): Promise<string> {
  const { makeCertificate } = await import("./certificates.ts");
  const authority = readPair(options.directory, "ca");
  if (!authority) throw new Error(`${options.directory} holds no control plane's keys`);
  const own = await makeCertificate(authority, { commonName: user, organizations: groups }, Date.now());
  const { secure } = await portsOf(options.directory);
  return kubeconfigFor(options, `https://127.0.0.1:${secure}`, authority, user, own);
}

/** How long a start may take on a busy machine, ms; 3 to 7 s on a quiet one. */
export const realReadyMs = 90_000;

/** What the server answers with 200 once it is ready, and once namespace default takes pods. */
export const milestones = {
  ready: { path: "/readyz", what: "kube-apiserver did not get ready" },
  takesPods: {
    path: "/api/v1/namespaces/default/serviceaccounts/default",
    what: "kube-controller-manager made no ServiceAccount default",
  },
} as const;

/**
 * Waits for one of the milestones. `dead`: says which program has ended, if one has.
 * @throws Error when one ends, or after `limitMs`
 */
export async function untilReal(
  client: KubeClient,
  milestone: keyof typeof milestones,
  dead: () => string | undefined,
  limitMs = realReadyMs,
): Promise<void> {
  const { path, what } = milestones[milestone];
  const reached = async (): Promise<boolean> => {
    const name = dead();
    if (name !== undefined) throw new Error(`${name} has ended`);
    try {
      await client.raw({ method: "GET", path, retries: 0, timeoutMs: 2_000 });
      return true;
    } catch {
      // Not there yet; the limit decides when that becomes an error of the caller's.
      return false;
    }
  };
  if (!(await until(reached, limitMs, 250))) throw new Error(`${what} within ${limitMs / 1000} s`);
}

/** The end of a log, for an error's message. */
export function lastWords(log: string): string {
  const lines = existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n") : [];
  return lines
    .slice(-3)
    .map((l) => l.slice(0, 300))
    .join("\n");
}
