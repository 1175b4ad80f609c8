// test: seeded simulation of whole clusters: operators that die in the middle of a request, two that lead at once, late caches, lost
// answers, agents that report late or are cut off and go on announcing, clocks that jump, an API server whose data is restored
// from a backup, users who change everything. After every single write the rules are checked.
import type { IPPool, Service } from "../../../src/api/index.ts";
import { ApiError, TransportError } from "../../../src/kube/errors.ts";
import { kinds } from "../../../src/kube/resource.ts";
import type { Backup } from "../kube/simulated-api.ts";
import { Agents } from "./model-agent.ts";
import { host, Rules } from "./model-rules.ts";
import { ingress, network, node, pods, reservation, service, vips, World } from "./world.ts";

const shows = (w: World, prefix: string): boolean =>
  w.api.all(kinds.Service).some((s) => ingress(s).some((ip) => host(ip) === prefix));

/** A Service that shares its address with those of its key whose port is another. */
const sharer = (name: string, key: string, port: number, more: Record<string, string> = {}): Service =>
  service(
    name,
    { ports: [{ name: "p", protocol: "TCP", port }] },
    { annotations: { "waggle.dev/sharing-key": key, ...more } },
  );

/** A node with its agent, unless it is there. */
function join(w: World, agents: Agents, name: string): void {
  if (w.api.read(kinds.Node, name)) return;
  w.api.put(kinds.Node, node(name, `172.30.1.1${name.slice(1)}`));
  agents.run(name);
}

/** The API server's data as it was a while ago; then users apply what they had, and kubelets register again. */
function restore(w: World, agents: Agents, rules: Rules, backup: Backup): void {
  const services = w.api.all(kinds.Service);
  const nodes = w.api.all(kinds.Node).map((n) => n.metadata.name);
  w.api.restore(backup, w.random() < 0.3);
  rules.restored();
  for (const s of services)
    w.clock.after(w.random() * 60_000, () => {
      if (!w.service(s.metadata.name) && w.random() < 0.8) {
        const { name, namespace, annotations } = s.metadata;
        const metadata = { name, ...(namespace && { namespace }), ...(annotations && { annotations }) };
        w.api.put(kinds.Service, { apiVersion: "v1", kind: "Service", metadata, spec: s.spec });
      }
    });
  for (const name of nodes) w.clock.after(w.random() * 30_000, () => join(w, agents, name));
}

/** Two pools of one second that overlap, with names against their order; or a pool that grows into another and back. */
function poolGames(w: World, agents: Agents, pick: <T>(list: readonly T[]) => T): void {
  const widen = (pool: IPPool, block: string): void => {
    const has = pool.spec.blocks.includes(block);
    const blocks = has ? pool.spec.blocks.filter((b) => b !== block) : [...pool.spec.blocks, block];
    const generation = (pool.metadata.generation ?? 1) + 1;
    w.api.put(kinds.IPPool, {
      ...pool,
      metadata: { ...pool.metadata, generation },
      spec: { ...pool.spec, blocks },
    });
  };
  const game = pick(["twins", "pods", "vips"]);
  if (game === "pods") {
    widen(w.pool("pods")!, "10.101.0.0/24");
    join(w, agents, "n4");
  } else if (game === "vips") {
    widen(w.pool("vips")!, "10.1.0.0/25");
    if (!w.service("s9"))
      w.api.put(kinds.Service, service("s9", {}, { annotations: { "waggle.dev/addresses": "10.1.0.5" } }));
  } else
    for (const name of ["z-twin", "a-twin"])
      if (w.pool(name)) w.api.remove(kinds.IPPool, name);
      else w.api.put(kinds.IPPool, vips(name, ["10.105.0.0/28"], { priority: 1, cooldownSeconds: 1 }));
}

/**
 * The pods' pool moves to where addresses come from, a node and Services come at the same time, and one operator has not
 * heard of it: a block and an address inside it are wanted at once, and their claims have different names.
 */
async function clash(
  w: World,
  agents: Agents,
  lags: Map<string, number>,
  pick: <T>(list: readonly T[]) => T,
): Promise<void> {
  const late = pick(w.processes).name;
  for (const kind of ["IPPool", "IPAllocation"]) lags.set(`${late} ${kind}`, 12_000);
  const pool = w.pool("pods")!;
  const away = pool.spec.blocks.includes("10.101.0.0/24");
  const blocks = [away ? "10.1.0.0/24" : "10.101.0.0/24", "fd10:1::/118"];
  const generation = (pool.metadata.generation ?? 1) + 1;
  w.api.put(kinds.IPPool, {
    ...pool,
    metadata: { ...pool.metadata, generation },
    spec: { ...pool.spec, blocks },
  });
  join(w, agents, "n5");
  for (const name of ["s6", "s7", "s8"]) {
    await w.clock.advance(w.random() * 1_500);
    if (!w.service(name)) w.api.put(kinds.Service, service(name));
  }
}

export async function simulate(
  seed: number,
  steps: number,
  watch: (world: World) => void = () => undefined,
): Promise<{ readonly rules: Rules; readonly world: World }> {
  const w = new World(seed, 40);
  const rules = new Rules(w);
  const agents = new Agents(w, rules);
  watch(w);
  let backup: Backup | undefined;
  let restores = 0;
  const { random } = w;
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  w.api.put(kinds.ClusterNetwork, network());
  w.api.put(
    kinds.IPPool,
    pods("pods", ["10.1.0.0/24", "fd10:1::/118"], {
      cooldownSeconds: 3,
      blockSize: { ipv4: 28, ipv6: 122 },
      maxBlocksPerNode: 3,
    }),
  );
  w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/28", "fd20:1::/124"], { cooldownSeconds: 2, quota: 10 }));
  for (const n of ["n1", "n2"]) join(w, agents, n);
  // In every other cluster election does not work at all: all operators lead, all the time.
  const anarchy = seed % 2 === 0;
  const lags = new Map<string, number>();
  let trouble = 0.05;
  w.api.fault = (operation, effect, client) => {
    if (client.startsWith("agent-") && agents.isCutOff(client.slice("agent-".length)))
      return new TransportError("connect", "cut off");
    if (random() >= trouble || operation.verb === "watch") return undefined;
    // Lost before it had an effect, or only its answer lost.
    if (effect && operation.verb !== "get" && operation.verb !== "list")
      return new TransportError("connect", "answer lost");
    return pick([new TransportError("connect", "reset"), new ApiError(500, "InternalError", "oops")]);
  };
  w.api.stall = (operation) =>
    // Long enough for a leader to be replaced while its writes are still on their way.
    operation.kind !== "Lease" && random() < trouble / 5 ? random() * 25_000 : 0;
  // Some caches are seconds behind, for a while.
  w.api.lag = (client, kind) => (trouble > 0 ? (lags.get(`${client} ${kind}`) ?? 0) * random() : 0);
  w.start(anarchy);
  w.start(anarchy);
  for (let i = 0; i < steps; i++) {
    const what = random();
    const name = `s${Math.floor(random() * 6)}`;
    if (what < 0.3) {
      if (w.service(name)) w.api.remove(kinds.Service, name, "shop");
      else
        w.api.put(
          kinds.Service,
          pick([
            service(name),
            service(name, { ipFamilies: ["IPv4", "IPv6"], ipFamilyPolicy: "RequireDualStack" }),
            service(name, { ipFamilies: ["IPv6", "IPv4"], ipFamilyPolicy: "PreferDualStack" }),
            sharer(name, pick(["k1", "k1", "k2"]), pick([80, 81, 82, 83, 84, 85])),
            sharer(name, "k1", pick([80, 81, 82]), { "waggle.dev/addresses": "10.101.0.3" }),
            service(
              name,
              {},
              { annotations: { "waggle.dev/addresses": `10.101.0.${Math.floor(random() * 18)}` } },
            ),
          ]),
        );
    } else if (what < 0.32) {
      // Ports and key of what there is change, into a clash now and then.
      const s = w.service(name);
      if (s?.metadata.annotations?.["waggle.dev/sharing-key"]) {
        const next = sharer(name, pick(["k1", "k2"]), pick([80, 81, 82, 83]));
        w.api.put(kinds.Service, {
          ...s,
          metadata: { ...s.metadata, annotations: { ...next.metadata.annotations } },
          spec: next.spec,
        });
      }
    } else if (what < 0.38) {
      const n = pick(["n1", "n2", "n3"]);
      if (w.api.read(kinds.Node, n)) w.api.remove(kinds.Node, n);
      else join(w, agents, n);
    } else if (what < 0.48) {
      const r = `r${Math.floor(random() * 2)}`;
      if (w.api.read(kinds.IPReservation, r, "shop")) w.api.remove(kinds.IPReservation, r, "shop");
      else w.api.put(kinds.IPReservation, reservation(r, `10.101.0.${Math.floor(random() * 16)}`, name));
    } else if (what < 0.56) {
      // A second pool comes and goes that overlaps both of the others, with blocks of another size.
      if (w.pool("odd")) w.api.remove(kinds.IPPool, "odd");
      else
        w.api.put(
          kinds.IPPool,
          pick([
            pods("odd", ["10.101.0.0/26"]),
            vips("odd", ["10.1.0.0/27"]),
            vips("odd", ["10.104.0.0/30"]),
          ]),
        );
    } else if (what < 0.72) w.kill(pick(w.processes));
    else if (what < 0.8) w.api.cutWatches();
    else if (what < 0.84) w.api.compact();
    else if (what < 0.88) w.api.remove(kinds.Lease, "waggle-operator", "waggle-system");
    else if (what < 0.94) {
      const kind = pick(["Service", "IPAllocation", "NodeNetwork", "IPPool", "Node", "IPReservation"]);
      lags.set(`${pick(w.processes).name} ${kind}`, random() < 0.3 ? 0 : random() * 8_000);
    } else if (what < 0.95) poolGames(w, agents, pick);
    else if (what < 0.965) await clash(w, agents, lags, pick);
    else if (what < 0.98)
      agents.cutOff.set(pick(["n1", "n2", "n3"]), w.clock.monotonic() + random() * 90_000);
    else if (what < 0.99) w.clock.jumpWall((random() - 0.5) * 7_200_000);
    else if (!backup) backup = w.api.backup();
    else if (restores < 1) {
      restores += 1;
      restore(w, agents, rules, backup);
    }
    while (w.processes.length < 2) w.start(anarchy);
    await w.clock.advance(random() * random() * 12_000);
    if (rules.broken.length > 0) break;
  }
  // Then everything heals, and what is wanted must come true.
  trouble = 0;
  agents.cutOff.clear();
  agents.calm = true;
  if (rules.broken.length === 0) await w.clock.advance(restores > 0 ? 660_000 : 480_000);
  return { rules, world: w };
}

/**
 * A backup, then so many addresses that are given out while Services come and go, some shared, then the backup's data is put
 * back under operators and agents that run on; what was applied is applied again.
 */
export async function restored(
  seed: number,
  allocations: number,
): Promise<{ readonly rules: Rules; readonly world: World }> {
  const w = new World(seed, 20);
  const rules = new Rules(w);
  const agents = new Agents(w, rules);
  agents.calm = true;
  w.api.put(kinds.ClusterNetwork, network());
  w.api.put(kinds.IPPool, pods("pods", ["10.1.0.0/20", "fd10:1::/112"], { cooldownSeconds: 3 }));
  w.api.put(kinds.IPPool, vips("vips", ["10.101.0.0/20"], { cooldownSeconds: 2 }));
  for (const n of ["n1", "n2", "n3"]) join(w, agents, n);
  w.start();
  w.start();
  await w.clock.advance(30_000);
  const backup = w.api.backup();
  for (let i = 0; i < allocations; i++) {
    const name = `t${i}`;
    w.api.put(kinds.Service, i % 5 === 0 ? sharer(name, `k${Math.floor(i / 25)}`, 1000 + i) : service(name));
    if (i % 3 === 2) w.api.remove(kinds.Service, `t${i - 2}`, "shop");
    if (i % 40 === 39) await w.clock.advance(3_000);
    if (i % 400 === 399) w.kill(w.processes[0]!);
    while (w.processes.length < 2) w.start();
  }
  await w.clock.advance(60_000);
  restore(w, agents, rules, backup);
  await w.clock.advance(660_000);
  return { rules, world: w };
}

/** What must be so once nothing is disturbed any more. */
export function complaints(w: World): string[] {
  const out: string[] = [];
  for (const claim of w.claims()) {
    const { kind, namespace, name, uid } = claim.spec.owner;
    const owner =
      kind === "Node"
        ? w.api.read(kinds.Node, name)
        : kind === "Service"
          ? w.api.read(kinds.Service, name, namespace)
          : w.api.read(kinds.IPReservation, name, namespace);
    if (claim.status?.phase !== "Bound") out.push(`${claim.spec.prefix} is still ${claim.status?.phase}`);
    if (owner?.metadata.uid !== uid && !shows(w, claim.spec.prefix))
      out.push(`${claim.spec.prefix} leaks: ${kind} ${name} is gone`);
    if (kind === "Service" && !shows(w, claim.spec.prefix))
      out.push(`${claim.spec.prefix} is claimed and not shown`);
    for (const u of claim.status?.sharing?.users ?? []) {
      const s = w.api.read(kinds.Service, u.name, u.namespace);
      if (s?.metadata.uid !== u.uid || !ingress(s).some((ip) => host(ip) === claim.spec.prefix))
        out.push(`${claim.spec.prefix} is ${u.name}'s by its claim, which shows ${ingress(s)}`);
    }
    if (kind === "Node" && !w.view(name)?.spec.podBlocks?.some((b) => b.prefix === claim.spec.prefix))
      out.push(`${claim.spec.prefix} is claimed and not in the view of ${name}`);
  }
  const short =
    w.condition(w.api.read(kinds.ClusterNetwork, "default"), "Ready") === "False NodesWithoutBlock" ||
    !w.pool("pods")?.spec.blocks.some((b) => b.includes("."));
  for (const n of w.api.all(kinds.Node))
    for (const mark of [".", ":"])
      if (!w.view(n.metadata.name)?.spec.podBlocks?.some((b) => b.prefix.includes(mark)) && !short)
        out.push(`${n.metadata.name} has no block with ${mark}`);
  for (const s of w.api.all(kinds.Service)) {
    const condition = w.condition(s, "waggle.dev/Allocated");
    if (condition === "absent") out.push(`Service ${s.metadata.name} was never looked at`);
    // A restore can leave an address with its Service whose pool it has lost.
    const poolLost = w.api.epoch > 0 && condition === "False AddressOutsidePools";
    if (!poolLost && condition.startsWith("True") !== ingress(s).length > 0)
      out.push(`Service ${s.metadata.name}: ${condition} with ${ingress(s)}`);
    const plainAndRoomy = !s.metadata.annotations && s.spec.ipFamilyPolicy === "SingleStack";
    const reserved = w.api.all(kinds.IPReservation).some((r) => r.spec.serviceName === s.metadata.name);
    const used = w.claims().filter((c) => c.spec.pool === "vips").length;
    // While pools were widened into one another, a node can have got a block where addresses come from.
    const usual =
      w.condition(w.pool("vips"), "Accepted") === "True Accepted" &&
      !w.claims().some((c) => c.spec.owner.kind === "Node" && c.spec.prefix.startsWith("10.101."));
    if (plainAndRoomy && usual && !reserved && ingress(s).length === 0 && used < 8)
      out.push(`Service ${s.metadata.name} has nothing (${condition}) while ${used} of 10 are used`);
  }
  return out;
}

/** For people who look at a failure. */
export const picture = (w: World): string =>
  [
    ...w.claimLines(),
    ...w.api
      .all(kinds.Service)
      .map(
        (s) =>
          `${s.metadata.name} ${s.spec.ipFamilyPolicy} ${s.metadata.annotations?.["waggle.dev/addresses"] ?? ""} ${ingress(s)} ${JSON.stringify(s.status?.conditions)}`,
      ),
    ...w.api.all(kinds.IPPool).map((p) => `${p.metadata.name} ${p.spec.blocks} ${JSON.stringify(p.status)}`),
    JSON.stringify(w.api.read(kinds.ClusterNetwork, "default")?.status),
    ...w.lines.slice(-40),
  ].join("\n");
