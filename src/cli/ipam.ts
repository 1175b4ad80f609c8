// cli: waggle ipam: pools, claims, and a check of all claims against blocks and Services.
import { Command } from "commander";
import { loadBalancerClass } from "../api/index.ts";
import { kinds } from "../kube/index.ts";
import {
  claimName,
  comparePrefix,
  contains,
  endOf,
  formatPrefix,
  hostPrefix,
  overlaps,
  parseAddress,
  parsePrefix,
} from "../net/address.ts";
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

interface Finding {
  readonly cluster: string;
  readonly kind: "Duplicate" | "Orphan" | "Leak" | "Outside" | "Misnamed" | "Unclaimed";
  readonly subject: string;
  readonly message: string;
}

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
    phase: status?.phase ?? "Bound",
  }));
}

/** Compares claims with one another, with their pools, their owners, and with the addresses that Services show. */
async function check({ client, name }: ChosenCluster): Promise<readonly Finding[]> {
  const [allocations, allPools, nodes, services] = await Promise.all([
    client.list(kinds.IPAllocation),
    client.list(kinds.IPPool),
    client.list(kinds.Node),
    client.list(kinds.Service),
  ]);
  const out: Finding[] = [];
  const find = (kind: Finding["kind"], subject: string, message: string): void => {
    out.push({ cluster: name, kind, subject, message });
  };
  const parsed = allocations.items.map((claim) => ({ claim, prefix: parsePrefix(claim.spec.prefix) }));
  const sorted = parsed.toSorted((a, b) => comparePrefix(a.prefix, b.prefix));
  for (const { claim, prefix } of parsed) {
    if (claim.metadata.name !== claimName(prefix))
      find(
        "Misnamed",
        claim.metadata.name,
        `claims ${claim.spec.prefix}; its name must be ${claimName(prefix)}`,
      );
    const pool = allPools.items.find((p) => p.metadata.name === claim.spec.pool);
    if (!pool) find("Orphan", claim.spec.prefix, `its pool ${claim.spec.pool} does not exist`);
    else if (!pool.spec.blocks.some((b) => contains(parsePrefix(b), prefix)))
      find("Outside", claim.spec.prefix, `lies outside the blocks of its pool ${claim.spec.pool}`);
    const { owner } = claim.spec;
    const released = claim.status?.phase === "Releasing" || claim.status?.phase === "Cooling";
    const lives =
      owner.kind === "Node"
        ? nodes.items.some((n) => n.metadata.uid === owner.uid)
        : owner.kind === "Service"
          ? services.items.some((s) => s.metadata.uid === owner.uid)
          : true;
    if (!lives && !released)
      find(
        "Leak",
        claim.spec.prefix,
        `its owner ${owner.kind} ${owner.name} is gone and it is not being released`,
      );
  }
  // In address order, whatever overlaps an earlier block begins before that block ends.
  let widest = sorted[0];
  for (const next of sorted.slice(1)) {
    if (overlaps(widest!.prefix, next.prefix))
      find("Duplicate", widest!.claim.spec.prefix, `overlaps ${next.claim.spec.prefix}`);
    if (next.prefix.family !== widest!.prefix.family || endOf(next.prefix) > endOf(widest!.prefix))
      widest = next;
  }
  const held = new Map(allocations.items.map((c) => [c.spec.prefix, c.spec.owner.uid]));
  for (const service of services.items) {
    if (service.spec.loadBalancerClass !== loadBalancerClass) continue;
    for (const ingress of service.status?.loadBalancer?.ingress ?? []) {
      if (!ingress.ip) continue;
      const prefix = formatPrefix(hostPrefix(parseAddress(ingress.ip)));
      if (held.get(prefix) !== service.metadata.uid)
        find(
          "Unclaimed",
          `${service.metadata.namespace}/${service.metadata.name}`,
          `shows ${ingress.ip} without holding its claim`,
        );
    }
  }
  return out;
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
