// bench: routes in, policy, best path, routes out: our speaker beside the others that are installed, turn by turn. Needs root.
// Without settings every case runs. WAGGLE_BENCH_PREFIXES, WAGGLE_BENCH_SENDERS and WAGGLE_BENCH_CROWD (neighbours that never read, flap
// or read slowly) choose one load, WAGGLE_BENCH_IDLE so many sessions without routes. WAGGLE_BENCH_SPEAKERS=BIRD,FRR,OpenBGPD,GoBGP
// chooses whom to compare with, WAGGLE_BENCH_ROUNDS (default 3) how often. All but BIRD run once where a table is large: they take long.

import { setUp, tearDown } from "./bgp-net.ts";
import { addressesOf, type Figures, idle, idleAddresses, type Load, run, Unfinished } from "./bgp-run.ts";
import { others, ours, type Speaker } from "./bgp-speakers.ts";
import { report } from "./harness.ts";

const setting = (name: string): number | undefined => {
  const text = process.env[`WAGGLE_BENCH_${name}`];
  return text === undefined ? undefined : Number(text);
};
const rounds = setting("ROUNDS") ?? 3;
/** A speaker that has not finished a step by then is left out. */
const LIMIT_SECONDS = setting("LIMIT_SECONDS") ?? 300;
const IDLE_SECONDS = 60;
/** Above so many paths, all but BIRD run once. */
const LARGE = 200_000;

const wanted = process.env["WAGGLE_BENCH_SPEAKERS"]?.split(",");
const compared = others.filter((s) => (wanted ? wanted.includes(s.name) : true) && s.installed);

const chosen = ["PREFIXES", "SENDERS", "CROWD"].some((name) => setting(name) !== undefined);
const load = (prefixes: number, senders = 1, crowd = 0): Load => ({ prefixes, senders, crowd });
const loads: readonly Load[] = chosen
  ? [load(setting("PREFIXES") ?? 100_000, setting("SENDERS"), setting("CROWD"))]
  : setting("IDLE") !== undefined
    ? []
    : [load(100_000), load(500_000), load(1_000_000), load(100_000, 10)];
const idleSessions = setting("IDLE") ?? (chosen ? 0 : 1_000);

const skipped = (name: string, speaker: string, reason: string): void =>
  console.log(JSON.stringify({ bench: "bgp", case: name, peer: speaker, skipped: reason }));

const columns = [
  ["until the observer has all", "s", "load"],
  ["CPU of the load", "s", "loadCpu"],
  ["CPU of the load, its first thread", "s", "loadMain"],
  ["waiting for a CPU, first thread", "s", "loadWait"],
  ["withdrawal of all", "s", "withdraw"],
  ["CPU of the withdrawal", "s", "withdrawCpu"],
  ["memory a path", "bytes", "bytesPerPath"],
  ["resident set", "MB", "rss"],
  ["resident set at most", "MB", "peak"],
] as const;

async function loadCase(l: Load): Promise<void> {
  const name = `${l.senders} x ${l.prefixes}${l.crowd > 0 ? `, bad crowd of ${l.crowd}` : ""}`;
  const own: Figures[] = [];
  const theirs = new Map<Speaker, Figures[]>(compared.map((s) => [s, []]));
  setUp(addressesOf(l));
  try {
    for (let round = 0; round < rounds; round++) {
      own.push(await run(ours, l, LIMIT_SECONDS));
      for (const [speaker, figures] of theirs) {
        if (round > 0 && speaker.name !== "BIRD" && l.prefixes * l.senders > LARGE) continue;
        try {
          figures.push(await run(speaker, l, LIMIT_SECONDS));
        } catch (error) {
          if (!(error instanceof Unfinished)) throw error;
          skipped(name, speaker.name, error.message);
          theirs.delete(speaker);
        }
      }
    }
  } finally {
    tearDown();
  }
  for (const [what, unit, field] of columns) {
    const values = own.map((f) => f[field]);
    if (theirs.size === 0) report("bgp", `${name}: ${what}`, unit, values);
    for (const [speaker, figures] of theirs)
      report("bgp", `${name}: ${what}`, unit, values, {
        name: speaker.name,
        values: figures.map((f) => f[field]),
      });
  }
}

async function idleCase(sessions: number): Promise<void> {
  const name = `${sessions} idle sessions`;
  setUp(idleAddresses(sessions));
  try {
    const own = await idle(ours, sessions, IDLE_SECONDS, LIMIT_SECONDS);
    for (const speaker of compared.filter((s) => s.name === "BIRD")) {
      const theirs = await idle(speaker, sessions, IDLE_SECONDS, LIMIT_SECONDS);
      report("bgp", `${name}: share of a core`, "%", [own.share], {
        name: speaker.name,
        values: [theirs.share],
      });
      report("bgp", `${name}: resident set`, "MB", [own.rss], { name: speaker.name, values: [theirs.rss] });
    }
    if (!compared.some((s) => s.name === "BIRD")) report("bgp", `${name}: share of a core`, "%", [own.share]);
  } finally {
    tearDown();
  }
}

if (process.getuid?.() !== 0) console.log(JSON.stringify({ bench: "bgp", skipped: "needs root" }));
else {
  for (const l of loads) await loadCase(l);
  if (idleSessions > 0) await idleCase(idleSessions);
}
