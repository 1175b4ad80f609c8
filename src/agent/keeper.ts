// agent: the datapath as the loop keeps it: programs what the plan says, proves it, looks after it, mends what is ours.
import type { Finding } from "../datapath/index.ts";
import { type Clock, describeError } from "../kube/index.ts";
import type { InForce, Proof } from "../plan/index.ts";
import { type ConnectTarget, connectTargets, proveByConnecting } from "./connect-proof.ts";
import { desiredDatapath, type Provable, proofsOf, provable } from "./convert.ts";
import type { LearnedResult } from "./learned.ts";
import type { ConnectPort, DatapathPort, Log } from "./ports.ts";
import type { DatapathView } from "./status.ts";

/** The datapath is looked at this often, ms. */
export const inspectMs = 1_500;
/** A proof is repeated this often although nothing has changed, ms. */
const proveMs = 10_000;
/** After a failure the next attempt has to wait, ms. */
const retryMs = 1_000;

const never = Number.NEGATIVE_INFINITY;
const nothing: DatapathView = {
  refused: [],
  findings: [],
  repaired: [],
  repairedAt: 0,
  maps: [],
  inFIB: 0,
  fibRefused: [],
};
const subjectOf = (f: Finding): string => `${f.kind} ${f.subject}`;

export class DatapathKeeper {
  readonly #datapath: DatapathPort;
  readonly #connect: ConnectPort;
  readonly #onProofs: () => void;
  readonly #clock: Clock;
  readonly #log: Log;
  #view: DatapathView = nothing;
  #routes: LearnedResult = { maps: [], inFIB: 0, fibRefused: [] };
  #proofs: ReadonlyMap<string, Proof> = new Map();
  /** By canonical prefix: the last proof, and how it was programmed then. */
  #proven: ReadonlyMap<string, { readonly signature: string; readonly proof: Proof }> = new Map();
  /** What of the last plan is to be proven. */
  #targets:
    | {
        readonly of: InForce;
        readonly connect: readonly ConnectTarget[];
        readonly provable: ReadonlyMap<string, Provable>;
      }
    | undefined;
  #connectProofs: ReadonlyMap<string, Proof> = new Map();
  #connects = "[]";
  #connectedAt = never;
  #connecting = false;
  #provenAt = never;
  #retriedAt = never;
  #programmed = "";
  /** The plan that {@link DatapathKeeper.#programmed} was made of last. */
  #plan: InForce | undefined;
  #programmedOnce = false;
  #inspectedAt = never;
  #failedAt = never;
  #generation = 0;

  /** `onProofs`: connections have been tried; what they showed is in {@link proofs}. */
  constructor(datapath: DatapathPort, connect: ConnectPort, clock: Clock, log: Log, onProofs: () => void) {
    this.#onProofs = onProofs;
    this.#datapath = datapath;
    this.#connect = connect;
    this.#clock = clock;
    this.#log = log;
  }

  /** The same object until a proof has changed. */
  get proofs(): ReadonlyMap<string, Proof> {
    return this.#proofs;
  }

  get view(): DatapathView {
    const { maps, inFIB, fibRefused } = this.#routes;
    // Both say how full the route maps are; what the routes' own sync said is newer.
    const newest = new Map([...this.#view.maps, ...maps].map((m) => [m.name, m]));
    return { ...this.#view, maps: [...newest.values()], inFIB, fibRefused };
  }

  /** What has become of learned routes. */
  setRoutes(result: LearnedResult): void {
    this.#routes = result;
  }

  /** Looks whether links, programs and maps are as they were left, and mends. True where something was not. */
  async inspect(): Promise<boolean> {
    if (!this.#programmedOnce || this.#clock.monotonic() - this.#inspectedAt < inspectMs) return false;
    this.#inspectedAt = this.#clock.monotonic();
    try {
      return await this.#inspectNow();
    } catch (error) {
      this.failed("the datapath cannot be inspected", error);
      return false;
    }
  }

  /** Pods come and go between two plans. */
  async followPods(): Promise<void> {
    if (!this.#programmedOnce) return;
    try {
      const attached = await this.#datapath.followPods();
      if (attached > 0) this.#log.info({ attached }, "attached to interfaces of pods");
    } catch (error) {
      this.failed("interfaces of pods cannot be followed", error);
    }
  }

  async #inspectNow(): Promise<boolean> {
    const found = await this.#datapath.inspect();
    const known = new Set(this.#view.findings.map(subjectOf));
    if (found.length === 0) {
      if (known.size > 0) this.#provenAt = never;
      if (known.size > 0) this.#view = { ...this.#view, findings: [] };
      return false;
    }
    for (const finding of found)
      if (!known.has(subjectOf(finding)))
        this.#log.warn({ ...finding }, "the datapath is not as it was left");
    let left = found;
    if (found.some((f) => f.repairable)) {
      const result = await this.#datapath.repair();
      left = result.left;
      if (result.repaired.length > 0)
        this.#view = { ...this.#view, repaired: result.repaired, repairedAt: this.#clock.now() };
    }
    this.#view = { ...this.#view, findings: left };
    // Whether packets still get through is not for the inspection to say. What is known already is proven at its own pace.
    if (left.length !== known.size || left.some((f) => !known.has(subjectOf(f)))) this.#provenAt = never;
    return true;
  }

  /** Programs the plan, where it is not what is programmed already. */
  async program(plan: InForce): Promise<void> {
    if (plan.mode !== "Announce" && !this.#programmedOnce) return;
    if (plan === this.#plan && this.#programmed !== "") return;
    const wanted = desiredDatapath(plan, this.#generation + 1);
    const text = JSON.stringify({ ...wanted, generation: 0 });
    if (text === this.#programmed) {
      this.#plan = plan;
      return;
    }
    if (this.#clock.monotonic() - this.#failedAt < retryMs) return;
    try {
      const result = await this.#datapath.sync(wanted);
      this.#generation += 1;
      this.#programmed = text;
      this.#plan = plan;
      this.#programmedOnce = true;
      this.#failedAt = never;
      const { failure: _, ...rest } = this.#view;
      this.#view = { ...rest, refused: result.refused, maps: result.maps };
    } catch (error) {
      // What is attached and programmed stays.
      this.failed("the datapath cannot be programmed", error);
    }
  }

  /**
   * Proves what the plan wants proven: at once what is programmed differently than when it was last proven, and everything
   * now and then, or when the datapath was found damaged.
   */
  async prove(plan: InForce): Promise<void> {
    if (this.#targets?.of !== plan)
      this.#targets = { of: plan, connect: connectTargets(plan), provable: provable(plan) };
    this.#connectInBackground(this.#targets.connect);
    const wanted = this.#programmedOnce ? this.#targets.provable : new Map<string, Provable>();
    const all = this.#clock.monotonic() - this.#provenAt >= proveMs;
    // What fails is tried again soon: it may be what a new route waits for.
    const again = this.#clock.monotonic() - this.#retriedAt >= retryMs;
    const due = [...wanted].filter(([prefix, { signature }]) => {
      const known = this.#proven.get(prefix);
      return all || known?.signature !== signature || (again && known.proof.state !== "Proven");
    });
    if (again) this.#retriedAt = this.#clock.monotonic();
    const gone = [...this.#proven.keys()].some((prefix) => !wanted.has(prefix));
    if (due.length === 0 && !gone) {
      if (all) this.#provenAt = this.#clock.monotonic();
      return;
    }
    try {
      const results = due.length > 0 ? await this.#datapath.prove(due.map(([, p]) => p.target)) : [];
      const fresh = proofsOf(results);
      this.#proven = new Map(
        [...wanted].flatMap(([prefix, { signature }]) => {
          const proof = fresh.get(prefix) ?? this.#proven.get(prefix)?.proof;
          return proof ? [[prefix, { signature, proof }] as const] : [];
        }),
      );
      if (all) this.#provenAt = this.#clock.monotonic();
      this.#mergeProofs();
    } catch (error) {
      // No proof is no failure of what was proven; what is new has to wait.
      this.failed("proofs cannot be run", error);
    }
  }

  /** A connection may take a second to fail: no round waits for it. */
  #connectInBackground(targets: readonly ConnectTarget[]): void {
    const text = JSON.stringify(targets);
    const due = text !== this.#connects || this.#clock.monotonic() - this.#connectedAt >= proveMs;
    if (this.#connecting || !due) return;
    if (targets.length === 0) {
      this.#connects = text;
      this.#connectProofs = new Map();
      this.#mergeProofs();
      return;
    }
    this.#connecting = true;
    void proveByConnecting(targets, this.#connect).then((proofs) => {
      this.#connecting = false;
      this.#connects = text;
      this.#connectedAt = this.#clock.monotonic();
      this.#connectProofs = proofs;
      this.#mergeProofs();
      this.#onProofs();
    });
  }

  #mergeProofs(): void {
    const proofs = new Map([...this.#proven].map(([prefix, p]) => [prefix, p.proof] as const));
    for (const [prefix, proof] of this.#connectProofs) proofs.set(prefix, proof);
    if (!sameProofs(proofs, this.#proofs)) this.#proofs = proofs;
  }

  /** Tells a failure; the next success of programming ends it. */
  failed(message: string, error: unknown): void {
    this.#failedAt = this.#clock.monotonic();
    this.#programmed = "";
    const failure = `${message}: ${describeError(error)}`;
    if (this.#view.failure !== failure) this.#log.error({ error: describeError(error) }, message);
    this.#view = { ...this.#view, failure };
  }
}

const sameProofs = (a: ReadonlyMap<string, Proof>, b: ReadonlyMap<string, Proof>): boolean =>
  a.size === b.size &&
  [...a].every(([prefix, p]) => {
    const other = b.get(prefix);
    return other?.state === p.state && other.reason === p.reason;
  });
