// cli: waggle ipam: pools, claims, and a check of all claims against blocks and Services.
import { Command } from "commander";
import { audit, type Finding } from "../ipam/index.ts";
import { kinds, sleep, systemClock } from "../kube/index.ts";
import { askEach, type ChosenCluster, type ClusterFlags, clusterOptions, withClusters } from "./clusters.ts";
import { type Column, exitCode, outputOption, printRows } from "./output.ts";

type Flags = ClusterFlags & { readonly output: "table" | "json" };

interface PoolRow {
  readonly cluster: string;
  readonly name: string;
  readonly purpose: string;
  readonly blocks: string;
  readonly allocated: number;
  readonly cooling: number;
  readonly capacity: string;
  readonly accepted: string;
}

interface ClaimRow {
  readonly cluster: string;
  readonly prefix: string;
  readonly pool: string;
  readonly owner: string;
  readonly phase: string;
}

type FindingRow = Finding & { readonly cluster: string };

async function pools({ client, name }: ChosenCluster): Promise<readonly PoolRow[]> {
  return (await client.list(kinds.IPPool)).items.map((p) => ({
    cluster: name,
    name: p.metadata.name,
    purpose: p.spec.purpose,
    blocks: p.spec.blocks.join(" "),
    allocated: p.status?.allocated ?? 0,
    cooling: p.status?.cooling ?? 0,
    capacity: p.status?.capacity ?? "-",
    accepted: p.status?.conditions?.find((c) => c.type === "Accepted")?.status ?? "Unknown",
  }));
}

async function claims({ client, name }: ChosenCluster): Promise<readonly ClaimRow[]> {
  return (await client.list(kinds.IPAllocation)).items.map(({ spec, status }) => ({
    cluster: name,
    prefix: spec.prefix,
    pool: spec.pool,
    owner: [spec.owner.kind, spec.owner.namespace, spec.owner.name].filter(Boolean).join("/"),
    phase: status?.phase ?? "Unverified",
  }));
}

/** Every claim against its pool, its owner and what is shown. */
async function auditOnce({ client, name }: ChosenCluster): Promise<readonly FindingRow[]> {
  const [claims, allPools, nodes, networks, services, reservations] = await Promise.all([
    client.list(kinds.IPAllocation),
    client.list(kinds.IPPool),
    client.list(kinds.Node),
    client.list(kinds.NodeNetwork),
    client.list(kinds.Service),
    client.list(kinds.IPReservation),
  ]);
  return audit({
    claims: claims.items,
    pools: allPools.items,
    nodes: nodes.items,
    networks: networks.items,
    services: services.items,
    reservations: reservations.items,
    now: Date.now(),
  }).map((finding) => ({ cluster: name, ...finding }));
}

/** The kinds are listed one after another while the cluster lives on, so only what is found twice is told. */
async function check(cluster: ChosenCluster): Promise<readonly FindingRow[]> {
  const first = await auditOnce(cluster);
  if (first.length === 0) return first;
  await sleep(systemClock, 1_000);
  const texts = new Set((await auditOnce(cluster)).map((f) => JSON.stringify(f)));
  return first.filter((f) => texts.has(JSON.stringify(f)));
}

async function show<T>(
  flags: Flags,
  question: (cluster: ChosenCluster) => Promise<readonly T[]>,
  columns: readonly Column<T>[],
  nothing: string,
): Promise<readonly T[]> {
  return await withClusters(flags, async (clusters) => {
    const { answers, failed } = await askEach(clusters, question);
    const rows = answers.flatMap((a) => a.answer);
    printRows(flags.output, rows, columns, nothing);
    if (failed > 0) process.exitCode = answers.length > 0 ? exitCode.partial : exitCode.failed;
    return rows;
  });
}

const sub = (name: string, description: string): Command =>
  clusterOptions(new Command(name)).description(description).addOption(outputOption());

export function command(): Command {
  const ipam = new Command("ipam").description("pools, claims and addresses: who has what");
  ipam.addCommand(
    sub("pools", "pools and how full they are").action(async (flags: Flags) => {
      await show(
        flags,
        pools,
        [
          { title: "cluster", value: (r) => r.cluster },
          { title: "pool", value: (r) => r.name },
          { title: "purpose", value: (r) => r.purpose },
          { title: "blocks", value: (r) => r.blocks },
          { title: "allocated", value: (r) => r.allocated, align: "right" },
          { title: "cooling", value: (r) => r.cooling, align: "right" },
          { title: "capacity", value: (r) => r.capacity, align: "right" },
          { title: "accepted", value: (r) => r.accepted },
        ],
        "no pools",
      );
    }),
  );
  ipam.addCommand(
    sub("allocations", "every claim and its owner").action(async (flags: Flags) => {
      await show(
        flags,
        claims,
        [
          { title: "cluster", value: (r) => r.cluster },
          { title: "prefix", value: (r) => r.prefix },
          { title: "pool", value: (r) => r.pool },
          { title: "owner", value: (r) => r.owner },
          { title: "phase", value: (r) => r.phase },
        ],
        "no claims",
      );
    }),
  );
  ipam.addCommand(
    sub("check", "duplicates, leaks, orphans; exit code 1 where there is one").action(
      async (flags: Flags) => {
        const findings = await show(
          flags,
          check,
          [
            { title: "cluster", value: (r) => r.cluster },
            { title: "finding", value: (r) => r.kind },
            { title: "subject", value: (r) => r.subject },
            { title: "message", value: (r) => r.message },
          ],
          "every claim has one owner, and every address its claim",
        );
        if (findings.length > 0) process.exitCode = exitCode.failed;
      },
    ),
  );
  return ipam;
}
