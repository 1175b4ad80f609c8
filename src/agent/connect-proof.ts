// agent: the proof for VIPs that another component delivers: a TCP connection from this node, end to end, named as such.
import { connect } from "node:net";
import { formatAddress, formatPrefix, hostPrefix } from "../net/address.ts";
import type { InForce, Proof } from "../plan/index.ts";
import type { ConnectPort } from "./ports.ts";

export interface ConnectTarget {
  readonly prefix: string;
  readonly address: string;
  /** TCP ports that have a backend. */
  readonly ports: readonly number[];
}

const timeoutMs = 1_000;
/** Connections that are under way at once. */
const atOnce = 16;

/** What of a plan is proven by connecting. */
export const connectTargets = (plan: InForce): readonly ConnectTarget[] =>
  plan.mode !== "Announce"
    ? []
    : plan.delegated.map((vip) => ({
        prefix: formatPrefix(hostPrefix(vip.address)),
        address: formatAddress(vip.address),
        ports: vip.ports.filter((p) => p.protocol === "TCP" && p.backends.length > 0).map((p) => p.port),
      }));

async function proveOne({ address, ports }: ConnectTarget, open: ConnectPort): Promise<Proof> {
  if (ports.length === 0)
    return {
      state: "Unproven",
      reason: "another component delivers it, and it has no TCP port to connect to",
    };
  for (const port of ports) {
    const failure = await open(address, port, timeoutMs);
    if (failure !== undefined)
      return { state: "Failed", reason: `end-to-end connect to port ${port} failed: ${failure}` };
  }
  return {
    state: "Proven",
    reason: `end-to-end connect to port ${ports.join(", ")}; another component delivers it`,
  };
}

/** Proofs by canonical prefix. */
export async function proveByConnecting(
  targets: readonly ConnectTarget[],
  open: ConnectPort,
): Promise<ReadonlyMap<string, Proof>> {
  const out = new Map<string, Proof>();
  for (let i = 0; i < targets.length; i += atOnce)
    await Promise.all(
      targets.slice(i, i + atOnce).map(async (target) => {
        out.set(target.prefix, await proveOne(target, open));
      }),
    );
  return out;
}

/** A real connection in this process's network namespace. */
export const tcpConnect: ConnectPort = (address, port, limitMs) =>
  new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const end = (reason: string | undefined): void => {
      socket.destroy();
      resolve(reason);
    };
    socket.setTimeout(limitMs, () => end(`no answer within ${limitMs} ms`));
    socket.once("connect", () => end(undefined));
    socket.once("error", (error) => end(error.message));
  });
