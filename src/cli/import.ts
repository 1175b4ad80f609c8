// cli: waggle import: manifests of Cilium, MetalLB or FRR-K8s as ours on stdout; what is different or left to do on stderr.
import { Argument, Command, InvalidArgumentError, Option } from "commander";
import { stringify } from "yaml";
import type { KubernetesObject } from "../api/index.ts";
import { type Dialect, dialects, type Finding, importManifests, type Source } from "../import/index.ts";
import type { KubeClient, Resource } from "../kube/index.ts";
import { type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import { crdCheck } from "./crd-check.ts";
import { type Manifest, pathOf, readManifests } from "./documents.ts";
import { exitCode, type Painter, painter, printJson, usageError } from "./output.ts";

interface Flags extends ClusterFlags {
  readonly live?: boolean;
  readonly clusterName?: string;
  readonly clusterId?: number;
  readonly mode: "Observe" | "Allocate" | "Announce";
  readonly notes?: boolean;
  readonly output: "yaml" | "json";
}

interface Read {
  readonly source: Source;
  /** Absent for what a cluster holds. */
  readonly manifest?: Manifest;
}

/** The objects of files, each with the number of its document. */
export function readSources(files: readonly string[]): readonly Read[] {
  return files.flatMap((file) => {
    const manifests = readManifests([file]);
    const documents = [...new Set(manifests.map((m) => m.source))];
    return manifests.map((manifest) => ({
      manifest,
      source: { file, document: documents.indexOf(manifest.source), object: manifest.object },
    }));
  });
}

const cilium = (kind: string, plural: string, version: string): Resource => ({
  group: "cilium.io",
  version,
  kind,
  plural,
  namespaced: false,
});
const metallb = (kind: string, plural: string, version = "v1beta1"): Resource => ({
  group: "metallb.io",
  version,
  kind,
  plural,
  namespaced: true,
});

/** What a cluster may hold of each dialect; of several versions of a kind the first that is served is read. */
const resources: Readonly<Record<Dialect, readonly (readonly Resource[])[]>> = {
  cilium: [
    ["CiliumBGPClusterConfig", "ciliumbgpclusterconfigs"],
    ["CiliumBGPPeerConfig", "ciliumbgppeerconfigs"],
    ["CiliumBGPAdvertisement", "ciliumbgpadvertisements"],
    ["CiliumBGPNodeConfigOverride", "ciliumbgpnodeconfigoverrides"],
    ["CiliumLoadBalancerIPPool", "ciliumloadbalancerippools"],
    ["CiliumPodIPPool", "ciliumpodippools"],
    ["CiliumL2AnnouncementPolicy", "ciliuml2announcementpolicies"],
  ].map(([kind = "", plural = ""]) => [cilium(kind, plural, "v2"), cilium(kind, plural, "v2alpha1")]),
  metallb: [
    [metallb("BGPPeer", "bgppeers", "v1beta2"), metallb("BGPPeer", "bgppeers")],
    [metallb("BGPAdvertisement", "bgpadvertisements")],
    [metallb("IPAddressPool", "ipaddresspools")],
    [metallb("AddressPool", "addresspools")],
    [metallb("L2Advertisement", "l2advertisements")],
    [metallb("Community", "communities")],
    [metallb("BFDProfile", "bfdprofiles")],
  ],
  "frr-k8s": [
    [
      {
        group: "frrk8s.metallb.io",
        version: "v1beta1",
        kind: "FRRConfiguration",
        plural: "frrconfigurations",
        namespaced: true,
      },
    ],
  ],
};

/** Items of a list carry neither kind nor version. */
const named = (object: KubernetesObject, r: Resource): KubernetesObject => ({
  ...object,
  apiVersion: r.group === "" ? r.version : `${r.group}/${r.version}`,
  kind: r.kind,
});

async function readLive(client: KubeClient, dialect: Dialect, withKinds: boolean): Promise<readonly Read[]> {
  const { isNotFound, kinds } = await import("../kube/index.ts");
  const wanted: (readonly Resource[])[] = [[kinds.Service], [kinds.Namespace]];
  if (withKinds) wanted.push(...resources[dialect]);
  const out: Read[] = [];
  for (const versions of wanted)
    for (const resource of versions) {
      try {
        const { items } = await client.list(resource);
        for (const object of items)
          out.push({ source: { file: "live", document: out.length, object: named(object, resource) } });
        break;
      } catch (error) {
        // This product, or this version of its kind, is not there.
        if (!isNotFound(error)) throw error;
      }
    }
  return out;
}

const colors = { error: "red", warning: "yellow", note: "dim" } as const;

function textOf(f: Finding, read: readonly Read[], paint: Painter): string {
  const from = read.find((r) => r.source.file === f.file && r.source.document === f.document);
  const exact = read.find(
    (r) =>
      r.source.file === f.file &&
      r.source.document === f.document &&
      f.object.endsWith(r.source.object.metadata.name),
  );
  const manifest = (exact ?? from)?.manifest;
  const place = manifest ? manifest.source.place([...manifest.at, ...pathOf(f.path)]) : f.file;
  const where = f.path === "" ? f.object : `${f.object} ${f.path}`;
  return `${place}: ${paint(colors[f.severity], f.severity)} [${f.code}] ${where}: ${f.message}`;
}

/** Checks what comes out as the API server would, with its defaults written out. */
async function completed(objects: readonly KubernetesObject[]): Promise<readonly KubernetesObject[]> {
  const crds = await crdCheck();
  return objects.map((o) => {
    const { object, problems } = crds.check(o);
    const [first] = problems;
    if (first)
      throw new Error(`${o.kind}/${o.metadata.name} would be refused: ${first.field} ${first.message}`);
    return object;
  });
}

async function run(dialect: Dialect, files: readonly string[], flags: Flags): Promise<void> {
  if (files.length === 0 && !flags.live)
    throw usageError("no file is named", "give files (- is stdin), or --live to read the cluster");
  if ((flags.clusterName === undefined) !== (flags.clusterId === undefined))
    throw usageError("--cluster-name and --cluster-id belong together");
  const read = [...readSources(files)];
  if (flags.live)
    await withClusters(flags, async (clusters) => {
      if (clusters.length !== 1) throw usageError(`${clusters.length} clusters`, "name one with --context");
      read.push(...(await readLive(clusters[0]!.client, dialect, files.length === 0)));
    });
  const imported = importManifests(
    dialect,
    read.map((r) => r.source),
    {
      mode: flags.mode,
      ...(flags.clusterName !== undefined && {
        cluster: { name: flags.clusterName, id: flags.clusterId! },
      }),
    },
  );
  const objects = await completed(imported.objects);
  const { findings } = imported;
  if (flags.output === "json") printJson({ objects, findings });
  else
    process.stdout.write(
      objects.map((o) => `---\n${stringify(o, { aliasDuplicateObjects: false })}`).join(""),
    );
  const paint = painter(process.stderr);
  const shown = findings.filter((f) => flags.notes !== false || f.severity !== "note");
  for (const f of shown) process.stderr.write(`${textOf(f, read, paint)}\n`);
  const count = (s: Finding["severity"]): number => findings.filter((f) => f.severity === s).length;
  process.stderr.write(
    `${objects.length} objects; ${count("error")} errors, ${count("warning")} warnings, ${count("note")} notes\n`,
  );
  if (count("error") > 0) process.exitCode = exitCode.partial;
}

const clusterId = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 0xffff_ffff)
    throw new InvalidArgumentError("a number from 1 to 4294967295");
  return value;
};

export function command(): Command {
  return clusterOptions(
    new Command("import")
      .addArgument(new Argument("<dialect>", "whose manifests they are").choices(dialects))
      .argument("[files...]", "manifests; - is stdin")
      .description("manifests of another product as ours; nothing is applied")
      .option(
        "--live",
        "read Services and Namespaces of the cluster, and without files the product's objects",
      )
      .option("--cluster-name <name>", "write a ClusterNetwork for the cluster of this name")
      .option("--cluster-id <number>", "its ID, unique in the fleet", clusterId)
      .addOption(
        new Option("--mode <mode>", "mode of the ClusterNetwork")
          .choices(["Observe", "Allocate", "Announce"])
          .default("Observe"),
      )
      .option("--no-notes", "leave out what is only a default written out"),
  )
    .addOption(new Option("-o, --output <format>", "output format").choices(["yaml", "json"]).default("yaml"))
    .addHelpText(
      "after",
      `
Objects go to stdout; what is different or left to do goes to stderr, each with its place and field. Addresses that Services show
(in the files or, with --live, in the cluster) become IPReservations.

Exit codes: 0 everything is converted, 1 failed, 2 usage, 3 something has no equal and is not in the result.`,
    )
    .action(run);
}
