// e2e: 10 MB both ways over a link with a small MTU, to a pod and to the VIP, with DF set: what does not fit is told, not cut.
import { expect, it } from "vitest";
import { waggle } from "../../../src/lab/launcher.ts";
import { webPort, webVips } from "../../../src/lab/pods.ts";
import { runAt, urlOf } from "../../../src/lab/programs.ts";
import type { TransferResult } from "../../../src/lab/transfer.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { runIn } from "../support.ts";

const bytes = 10_000_000;

/** Counters of the kernel in a namespace, summed over both families' names for the same thing. */
async function counters(netns: string): Promise<{ readonly cut: number; readonly tooBig: number }> {
  const out = await runIn(netns, [
    "nstat",
    "-asz",
    "IpFragCreates",
    "Ip6FragCreates",
    "IpFragFails",
    "Ip6FragFails",
  ]);
  const sum = (name: string): number =>
    [...out.matchAll(new RegExp(`^Ip6?${name}\\s+(\\d+)`, "gm"))].reduce((n, m) => n + Number(m[1]), 0);
  return { cut: sum("FragCreates"), tooBig: sum("FragFails") };
}

export function transferScenario(lab: () => Lab): void {
  const namespaces = (): string[] =>
    lab().state.clusters.flatMap((c) => [...c.routers, ...c.nodes].map((p) => p.netns));
  const total = async () => {
    let cut = 0;
    let tooBig = 0;
    for (const netns of namespaces()) {
      const here = await counters(netns);
      cut += here.cut;
      tooBig += here.tooBig;
    }
    return { cut, tooBig };
  };
  /** Nobody remembers an earlier answer: each transfer has to find out for itself. */
  const forget = async (): Promise<void> => {
    const ends = [...lab().state.pods, ...lab().state.clusters.map((c) => c.client)];
    for (const { netns } of ends)
      for (const family of ["-4", "-6"]) await runIn(netns, ["ip", family, "route", "flush", "cache"]);
  };

  for (const from of ["a pod", "a host"])
    it(`10 MB both ways between ${from} and a pod and the VIP of the other cluster, nothing cut on the way`, async () => {
      const [here, there] = lab().topology.clusters;
      const place = from === "a pod" ? `${here!.name}-web-1` : here!.client.name;
      const server = lab().state.pods.find((p) => p.cluster === there!.name)!;
      const urls = [
        ...server.addresses.map((a) => urlOf(a, webPort)),
        // Several times: by another node, to another backend.
        ...Array(4)
          .fill((await webVips(lab(), there!.name)).map((v) => urlOf(v, 80)))
          .flat(),
      ] as string[];
      for (const url of urls) {
        await forget();
        const before = await total();
        const words = waggle("lab", "workload", "transfer", "--bytes", String(bytes), url);
        const results = JSON.parse(await runAt(lab().state, place, words, 90_000)) as TransferResult[];
        expect(results.map((r) => [r.direction, r.bytes, r.intact])).toEqual([
          ["down", bytes, true],
          ["up", bytes, true],
        ]);
        const after = await total();
        // Both ends send packets of 1500 bytes at first: a router refused one in each direction, with DF set.
        expect(after.tooBig - before.tooBig, url).toBeGreaterThanOrEqual(2);
        expect(after.cut - before.cut, url).toBe(0);
      }
    }, 240_000);
}
