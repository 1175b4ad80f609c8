// lab: the story that `waggle lab demo` tells: two clusters, six steps, everything real; each claim is checked as it is made.
import { setTimeout as sleep } from "node:timers/promises";
import type { NodeNetwork } from "../api/index.ts";
import { kinds } from "../kube/index.ts";
import { applyManifests, startClusters } from "./control-plane.ts";
import { waggle } from "./launcher.ts";
import { applyWebService, registerNodes, startWebPods, webPort, webVips } from "./pods.ts";
import { begin, fetchFrom, type Outcome, pingLoss, runWaggle, sentTowards, urlOf } from "./programs.ts";
import { changeRouter, kindOf, largeCommunityIn, pathsIn, routerView, startRouters } from "./routers.ts";
import { familiesOf } from "./routing.ts";
import { runIn, until } from "./shell.ts";
import { Story } from "./story.ts";
import { type Addresses, type LabCluster, type LabRouter, sessionAddress } from "./topology.ts";
import { type Lab, makeLab, type UpOptions } from "./up.ts";
import { announced, learned, nodeNetworks, nodesReady, untilQuiet } from "./wait.ts";
import type { StreamResult } from "./workload.ts";

/** A claim of the story that did not hold. */
export class StoryError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "StoryError";
  }
}

const insist = (holds: boolean, claim: string): void => {
  if (!holds) throw new StoryError(claim);
};

const hostPrefix = (address: string): string => `${address}/${address.includes(":") ? 128 : 32}`;

/** Steps 1 and 2: also what `waggle lab up` does. */
export async function raise(options: UpOptions, note: (text: string) => void): Promise<Lab> {
  const lab = await makeLab(options);
  await startRouters(lab, {
    ...(options.bgpPassword && { password: options.bgpPassword }),
    ...(options.stripCommunities && { stripCommunities: true }),
  });
  registerNodes(lab);
  await startClusters(lab, note);
  return lab;
}

/** Manifests, pods and Service, until every node announces and has learned what the others announce. */
export async function settle(
  lab: Lab,
  options: Pick<UpOptions, "bgpPassword">,
  note: (text: string) => void,
): Promise<void> {
  await applyManifests(lab, options.bgpPassword);
  await startWebPods(lab, note);
  await applyWebService(lab);
  await nodesReady(lab);
  await announced(lab, async (cluster) => (await webVips(lab, cluster)).map(hostPrefix));
  await learned(lab, routesOfOthers(lab));
}

/** Address families of the lab. */
const familiesIn = (lab: Lab): readonly (keyof Addresses)[] => familiesOf(lab.topology.clusters[0]!.pods);

/** A block for each node and a VIP, of each family and every other cluster. */
const routesOfOthers = (lab: Lab): number =>
  (lab.topology.clusters.length - 1) * familiesIn(lab).length * (lab.state.options.nodes + 1);

async function allocate(lab: Lab, story: Story, options: UpOptions): Promise<void> {
  await applyManifests(lab, options.bgpPassword);
  story.note("examples/two-clusters applied to both clusters");
  await startWebPods(lab, (text) => story.note(text));
  await applyWebService(lab);
  for (const cluster of lab.topology.clusters) {
    const vips = await until(async () => {
      const found = await webVips(lab, cluster.name);
      return found.length === familiesIn(lab).length ? found : undefined;
    }, 10_000);
    insist(vips !== undefined, `Service web of ${cluster.name} got no address of each family within 10 s`);
    const claims = (await lab.client(cluster.name).list(kinds.IPAllocation)).items;
    story.say(`${cluster.name}: ${claims.length} IPAllocations; Service web has ${vips!.join(" and ")}`);
    story.table([
      ["PREFIX", "POOL", "OWNER", "NAME OF THE CLAIM"],
      ...claims.map((c) => [
        c.spec.prefix,
        c.spec.pool,
        `${c.spec.owner.kind}/${c.spec.owner.name}`,
        c.metadata.name,
      ]),
    ]);
    const prefixes = claims.map((c) => c.spec.prefix);
    insist(new Set(prefixes).size === prefixes.length, `${cluster.name} has claimed a prefix twice`);
  }
}

async function proveAndAnnounce(lab: Lab, story: Story): Promise<void> {
  await nodesReady(lab);
  await announced(lab, async (cluster) => (await webVips(lab, cluster)).map(hostPrefix));
  for (const cluster of lab.topology.clusters) {
    for (const network of await nodeNetworks(lab, cluster.name)) {
      const proofs = network.status?.proofs ?? [];
      const proven = proofs.filter((p) => p.state === "Proven");
      insist(
        proven.length > 0 && proven.length === proofs.length,
        `${network.metadata.name} announces what is not proven`,
      );
      story.say(`${network.metadata.name}: ${proven.length} prefixes proven by a packet, then announced`);
    }
  }
  for (const cluster of lab.topology.clusters)
    for (const router of cluster.routers)
      for (const family of familiesIn(lab)) {
        const view = await routerView(lab, router, family, ownPrefixes(cluster, family));
        story.quote(`${view.command}     # on ${router.name}`, view.text);
        insist(
          pathsIn(lab, view.text) >= 2 * cluster.nodes.length,
          `${router.name} lacks routes of ${family}`,
        );
      }
}

/** Prefixes of a cluster's pods and VIPs. */
const ownPrefixes = (cluster: LabCluster, family: keyof Addresses): readonly string[] =>
  [cluster.pods[family], cluster.vips[family]].filter((p) => p !== undefined);

const tagMissing = (networks: readonly NodeNetwork[]): string[] =>
  networks.flatMap((n) => [...(n.status?.routes?.tagMissing ?? [])]);

async function learn(lab: Lab, story: Story, password: string | undefined): Promise<void> {
  await learned(lab, routesOfOthers(lab));
  const [one, two] = lab.topology.clusters;
  const node = one!.nodes[0]!;
  const families = familiesIn(lab);
  for (const family of families) {
    const flag = family === "ipv4" ? "-4" : "-6";
    story.quote(
      `ip ${flag} route show proto 87     # on ${node.name}: what BGP taught it about ${two!.name}`,
      await runIn(node.netns, ["ip", flag, "route", "show", "proto", "87"]),
    );
  }
  const router = one!.routers[0];
  const large = await routerView(lab, router, families[0]!, [two!.vips[families[0]!]!], true);
  const tag = largeCommunityIn(large.text, two!.id);
  insist(tag !== undefined, `the routes of ${two!.name} reach ${router.name} without their tag`);
  story.say(`their tag on ${router.name}: ${tag}`);
  const from = lab.state.pods.find((p) => p.cluster === one!.name)!;
  const to = lab.state.pods.find((p) => p.cluster === two!.name)!;
  const pages = async (): Promise<void> => {
    for (const address of to.addresses) {
      const page = await fetchFrom(lab.state, from.name, urlOf(address, webPort));
      story.say(`${from.name} (${one!.name}) -> pod ${address}: ${page}`);
      insist(page.includes(to.name), `the page of ${to.name} came from somebody else: ${page}`);
    }
    for (const vip of await webVips(lab, two!.name)) {
      const page = await fetchFrom(lab.state, from.name, urlOf(vip, 80));
      story.say(`${from.name} (${one!.name}) -> VIP ${vip}: ${page}`);
      insist(page.includes(`hello from ${two!.name}-`), `the page of the VIP came from elsewhere: ${page}`);
    }
  };
  await pages();

  const strip = async (router: LabRouter, stripCommunities: boolean): Promise<void> =>
    changeRouter(lab, one!, router, { ...(password && { password }), stripCommunities });
  for (const router of one!.routers) {
    story.note(`${router.name} strips every community from now on`);
    await strip(router, true);
  }
  const reported = await until(
    async () => tagMissing(await nodeNetworks(lab, one!.name)).includes(two!.name),
    10_000,
  );
  insist(reported === true, "a router strips communities and no node reports TagMissing within 10 s");
  story.say(
    `reported: TagMissing for ${two!.name}; the declared prefixes name the cluster, and pages still come:`,
  );
  await pages();
  for (const router of one!.routers) await strip(router, false);
}

async function ask(lab: Lab, story: Story): Promise<void> {
  const [one, two] = lab.topology.clusters;
  const streams = [];
  for (const [here, there] of [
    [one!, two!],
    [two!, one!],
  ] as const) {
    const urls = (await webVips(lab, there.name)).map((vip) => urlOf(vip, 80));
    const pods = lab.state.pods.filter((p) => p.cluster === here.name);
    for (const pod of [pods[0]!, pods.at(-1)!])
      streams.push(
        begin(lab.state, pod.name, waggle("lab", "workload", "connections", "--per-second", "20", ...urls)),
      );
  }
  const questions = [
    [
      "--for",
      "5s",
      "-e",
      "tracepoint:sock:inet_sock_set_state /args.newstate == 1/ { @[node, cluster(args.daddr_v6), prefix(args.daddr_v6)] = count(); }",
    ],
    ["--for", "3s", "-e", "tracepoint:net:netif_receive_skb { @bytes = hist(args.len); }"],
  ];
  const kubeconfigs = lab.state.clusters.flatMap((c) => ["--kubeconfig", c.kubeconfig]);
  for (const question of questions) {
    const answer = await mustRun(["trace", ...kubeconfigs, ...question]);
    story.quote(
      `waggle trace ${question.map((w) => (w.includes(" ") ? `'${w}'` : w)).join(" ")}`,
      `${answer.stdout.trim()}\n${answer.stderr.trim()}`,
      60,
    );
    const nodes = lab.topology.clusters.reduce((n, c) => n + c.nodes.length, 0);
    insist(
      answer.stderr.includes(`${nodes}/${nodes} nodes`),
      `not all of ${nodes} nodes answered: ${answer.stderr}`,
    );
    insist(/@\S*[:[]/.test(answer.stdout), "the answer is empty");
  }
  for (const stream of streams) {
    const result = JSON.parse(await stream.end("SIGTERM")) as StreamResult;
    insist(
      result.failed === 0,
      `${result.failed} of ${result.opened} connections failed meanwhile: ${result.errors[0]}`,
    );
  }
}

/** A waggle command that must succeed. */
async function mustRun(args: readonly string[]): Promise<Outcome> {
  const outcome = await runWaggle(args);
  insist(outcome.code === 0, `waggle ${args[0]} ended with ${outcome.code}: ${outcome.stderr.trim()}`);
  return outcome;
}

async function withdraw(lab: Lab, story: Story): Promise<void> {
  const [one, two] = lab.topology.clusters;
  const vips = await webVips(lab, two!.name);
  const drained = two!.nodes[0]!;
  const client = one!.client.name;
  const before = await sentTowards(two!, drained);
  const ping = begin(lab.state, client, ["ping", "-i", "0.01", "-W", "1", "-q", vips[0]!]);
  const stream = begin(
    lab.state,
    client,
    waggle("lab", "workload", "connections", "--per-second", "100", ...vips.map((v) => urlOf(v, 80))),
  );
  const held = begin(lab.state, client, waggle("lab", "workload", "hold", "--count", "50", vips[0]!));
  await sleep(2_500);
  const entered = (await sentTowards(two!, drained)) - before;
  story.say(
    `ping, 100 new connections a second and 50 held ones from ${client} to the VIP; ${entered} packets have entered by ${drained.name}`,
  );
  insist(entered > 100, `nothing enters by ${drained.name}: ECMP does not spread`);

  const kubeconfig = lab.state.clusters[1]!.kubeconfig;
  const drain = await runWaggle([
    "drain",
    drained.name,
    "--kubeconfig",
    kubeconfig,
    "--wait",
    "--timeout",
    "30s",
  ]);
  story.quote(`waggle drain ${drained.name}`, `${drain.stderr.trim()}\n${drain.stdout.trim()}`.trim());
  for (const [i, router] of two!.routers.entries()) {
    const family = familiesIn(lab)[0]!;
    const view = await routerView(lab, router, family, ownPrefixes(two!, family));
    story.quote(`${view.command}     # on ${router.name}, after`, view.text);
    const address = drained.uplinks[i]!.address[family]!;
    insist(
      !new RegExp(`${address.replaceAll(".", "\\.")}\\b`).test(view.text),
      `${router.name} still has routes by way of ${drained.name}`,
    );
  }
  await sleep(1_000);

  const pinged = await ping.end("SIGINT");
  const { sent, lost } = pingLoss(pinged);
  const streamed = JSON.parse(await stream.end("SIGTERM")) as StreamResult;
  const living = JSON.parse(await held.end("SIGTERM")) as { connected: number; alive: number };
  story.say(`ping: ${sent} sent, ${lost} lost`);
  story.say(
    `new connections: ${streamed.opened} opened, ${streamed.failed} failed; served by ${Object.entries(
      streamed.servedBy,
    )
      .map(([who, n]) => `${who}: ${n}`)
      .join(", ")}`,
  );
  story.say(`long-lived connections: ${living.alive} of ${living.connected} lived on`);
  // ping's own last packet may be on its way when it is told to stop.
  insist(lost <= 1, `${lost} pings were lost while ${drained.name} drained`);
  insist(streamed.failed === 0, `${streamed.failed} new connections failed: ${streamed.errors.join("; ")}`);
  await untilQuiet("release", 10_000, async () => {
    const network = (await nodeNetworks(lab, two!.name)).find((n) => n.metadata.name === drained.name);
    return network?.status?.drain?.phase === "Released"
      ? []
      : [`${drained.name} is ${network?.status?.drain?.phase}`];
  });
}

const programName = { bird: "BIRD", frr: "FRR" } as const;

/** Tells the whole story. Throws where a claim does not hold; the caller takes the lab down either way. */
export async function demo(options: UpOptions): Promise<number> {
  const story = new Story();
  story.heading("1. Lab up.");
  await using lab = await raise(options, (text) => story.note(text));
  for (const cluster of lab.topology.clusters)
    story.say(
      `${cluster.name}: AS ${cluster.nodeASN}; ${cluster.nodes.map((n) => `${n.name} ${sessionAddress(n.address)}`).join(", ")}; ${cluster.routers.map((r) => `${r.name} runs ${programName[kindOf(lab)]}, AS ${r.asn}`).join("; ")}`,
    );
  story.say(`${lab.state.processes.length} processes: API servers, operators, agents, speakers, routers`);
  story.heading("2. Allocate.");
  await allocate(lab, story, options);
  story.heading("3. Prove, announce.");
  await proveAndAnnounce(lab, story);
  story.heading("4. Learn.");
  await learn(lab, story, options.bgpPassword);
  story.heading("5. Ask.");
  await ask(lab, story);
  story.heading("6. Withdraw.");
  await withdraw(lab, story);
  story.endStep();
  return story.seconds;
}
