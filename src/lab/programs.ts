// lab: programs that run inside the lab's places while a story or a test goes on, and waggle's own commands.
import { spawn } from "node:child_process";
import { commandIn, placeOf } from "./exec.ts";
import { waggle } from "./launcher.ts";
import { run, runIn, track } from "./shell.ts";
import type { LabState } from "./state.ts";
import type { LabCluster, LabNode } from "./topology.ts";

export interface Running {
  /** Asks it to finish and gives what it printed on stdout. */
  end(signal: NodeJS.Signals): Promise<string>;
}

/** Starts a program inside a place; its stdout is collected. */
export function begin(state: LabState, place: string, command: readonly string[]): Running {
  const [file, ...args] = commandIn(state, placeOf(state, place), command);
  const child = track(spawn(file!, args, { stdio: ["ignore", "pipe", "inherit"] }));
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    out += chunk;
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  return {
    async end(signal) {
      child.kill(signal);
      await ended;
      return out;
    },
  };
}

/** Runs a program inside a place to its end. @throws CommandError */
export function runAt(
  state: LabState,
  place: string,
  command: readonly string[],
  timeoutMs = 20_000,
): Promise<string> {
  const [file, ...args] = commandIn(state, placeOf(state, place), command);
  return run(file!, args, { timeoutMs });
}

/** Fetches a page from inside a place, through that place's network. @throws CommandError */
export const fetchFrom = async (state: LabState, place: string, url: string): Promise<string> =>
  (await runAt(state, place, waggle("lab", "workload", "fetch", url))).trim();

export const urlOf = (address: string, port: number): string =>
  `http://${address.includes(":") ? `[${address}]` : address}:${port}/`;

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a waggle command here and gives all that it said, whatever its exit code. */
export function runWaggle(args: readonly string[]): Promise<Outcome> {
  const [file, ...rest] = waggle(...args);
  return new Promise((resolve, reject) => {
    const child = track(spawn(file!, rest, { stdio: ["ignore", "pipe", "pipe"] }));
    const out = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (chunk: string) => {
        out[name] += chunk;
      });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code: code ?? 128, ...out }));
  });
}

/** Packets that a cluster's routers have sent on their ports towards a node. */
export async function sentTowards(cluster: LabCluster, node: LabNode): Promise<number> {
  let packets = 0;
  for (const { netns } of cluster.routers) {
    const [link] = JSON.parse(await runIn(netns, ["ip", "-j", "-s", "link", "show", "dev", node.port])) as [
      { stats64: { tx: { packets: number } } },
    ];
    packets += link.stats64.tx.packets;
  }
  return packets;
}

/** What ping's summary says. @throws Error where there is none */
export function pingLoss(output: string): { readonly sent: number; readonly lost: number } {
  const numbers = output.match(/(\d+) packets transmitted, (\d+) received/);
  if (!numbers) throw new Error(`ping said nothing: ${output}`);
  return { sent: Number(numbers[1]), lost: Number(numbers[1]) - Number(numbers[2]) };
}
