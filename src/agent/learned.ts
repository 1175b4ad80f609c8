// agent: learned routes: batches from the speaker into the table, the table into route maps and the kernel's table.
import { Family, type RouteBatch, type Session } from "../api/generated/proto/speaker_pb.js";
import type { MapUsage } from "../datapath/index.ts";
import { AddressError, formatPrefix, parsePrefix } from "../net/address.ts";
import { canonical, type InForce, type Plan } from "../plan/index.ts";
import {
  fibRefusalText,
  type LearnedRoute,
  PeerNumbers,
  RouteTable,
  type RouteView,
} from "../routes/index.ts";
import { attributesFrom, desiredKernelRoutes, desiredRoutes } from "./convert.ts";
import type { NamesPort } from "./names.ts";
import type { DatapathPort, KernelRoutesPort, Log } from "./ports.ts";
import { decodeRoute } from "./speaker/decode.ts";

export interface LearnedResult {
  readonly maps: readonly MapUsage[];
  readonly inFIB: number;
  readonly fibRefused: readonly { readonly prefix: string; readonly reason: string }[];
}

/** The route table of this node and what has been made of it. Times are monotonic ms. */
export class LearnedRoutes {
  /** Routes of the speaker that could not be read. */
  malformed = 0;
  readonly peers: PeerNumbers;
  readonly #table: RouteTable;
  readonly #log: Log;
  #configured = "";
  #pid = 0n;
  #mapsVersion = -1;
  #fib = "";
  #result: LearnedResult = { maps: [], inFIB: 0, fibRefused: [] };

  constructor(names: Pick<NamesPort, "storedPeers">, log: Log) {
    this.peers = new PeerNumbers(names.storedPeers());
    this.#table = new RouteTable(this.peers);
    this.#log = log;
  }

  get view(): RouteView {
    return this.#table.view();
  }

  /** Takes over what the pinned maps hold, so that ids keep their meaning. */
  async restore(datapath: DatapathPort, now: number): Promise<void> {
    const { attributes, prefixes } = await datapath.readRoutes();
    this.#table.restore(
      attributes.map((a) => ({ id: a.id, attributes: attributesFrom(a) })),
      prefixes.map((p) => ({ prefix: parsePrefix(p.prefix), routeId: p.routeId })),
      now,
    );
  }

  /** Takes the plan's policy over if it has changed. */
  configure(plan: InForce, now: number): void {
    const key = canonical([plan.routePolicy, plan.localPrefixes]);
    if (key === this.#configured) return;
    this.#configured = key;
    this.#table.configure(plan.routePolicy, plan.localPrefixes, now);
  }

  /** A connection to a speaker begins. `restartMs`: how long routes may be kept without being confirmed. */
  connected(pid: bigint, restartMs: number, now: number): void {
    this.#table.beginEpoch(pid !== 0n && pid === this.#pid, now + restartMs);
    this.#pid = pid;
  }

  apply(batch: RouteBatch, now: number): void {
    const routes: LearnedRoute[] = [];
    for (const route of batch.routes) {
      try {
        routes.push(decodeRoute(route));
      } catch (error) {
        if (!(error instanceof AddressError)) throw error;
        this.malformed += 1;
        this.#log.warn({ error: error.message, malformed: this.malformed }, "a learned route cannot be read");
      }
    }
    this.#table.apply(routes, now);
    for (const { peer, family } of batch.endOfRib)
      this.#table.endOfRib(peer, family === Family.IPV6_UNICAST ? 6 : 4, now);
    if (batch.snapshotDone) this.#table.snapshotDone(now);
  }

  /** End-of-RIBs that a session has seen before. */
  endOfRibs(session: Session, now: number): void {
    for (const { family, endOfRibReceived } of session.counts)
      if (endOfRibReceived)
        this.#table.endOfRib(session.range || session.peer, family === Family.IPV6_UNICAST ? 6 : 4, now);
  }

  /** Lets go of what the restart timer no longer covers. */
  expire(now: number): void {
    this.#table.expire(now);
  }

  /** Brings maps and kernel routes in line. What has not changed costs nothing. */
  async sync(plan: Plan, datapath: DatapathPort, kernelRoutes: KernelRoutesPort): Promise<LearnedResult> {
    const { view } = this;
    let { maps } = this.#result;
    if (plan.mode === "Announce" && view.version !== this.#mapsVersion) {
      maps = (await datapath.syncRoutes(desiredRoutes(view))).maps;
      this.#mapsVersion = view.version;
    }
    const wanted = desiredKernelRoutes(plan.kernelRoutes);
    // Where Routes are not ours, nothing waits for End-of-RIB: what we have installed goes.
    const prune = view.settled || plan.kernelRoutes === undefined;
    const key = JSON.stringify([wanted, prune]);
    let { inFIB, fibRefused } = this.#result;
    if (key !== this.#fib) {
      const result = await kernelRoutes.sync(wanted, prune);
      inFIB = result.installed;
      fibRefused = [
        ...(plan.kernelRoutes?.refused ?? []).map((r) => ({
          prefix: formatPrefix(r.prefix),
          reason: fibRefusalText[r.code],
        })),
        ...result.refused,
      ];
      this.#fib = key;
    }
    this.#result = { maps, inFIB, fibRefused };
    return this.#result;
  }

  /** The next sync writes everything again: something else may have changed it. */
  invalidate(): void {
    this.#mapsVersion = -1;
    this.#fib = "";
  }
}
