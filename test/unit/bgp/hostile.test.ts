// test/unit/bgp: hostile messages over real TCP, external and internal, judged at an observer behind the speaker.
import { createServer, type Server, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../../src/bgp/daemon/clock.ts";
import { addressOf, prepareAccepted, tcpTransport } from "../../../src/bgp/daemon/tcp.ts";
import { Speaker } from "../../../src/bgp/session/speaker.ts";
import type { Case } from "./hostile-cases.ts";
import { routes } from "./hostile-routes.ts";
import { asns, Observer, play, problemsOf, type Target } from "./hostile-run.ts";
import { sessions } from "./hostile-sessions.ts";
import { table } from "./hostile-table.ts";
import { peerConfig, speakerConfig } from "./world.ts";

const cases: readonly Case[] = [...table, ...routes, ...sessions].filter((c) => !c.link);
/** Cases that are played at a time. */
const AT_ONCE = 16;

let server: Server;
let target: Target;
let observer: Observer;
const complaints: string[] = [];
const speaker = new Speaker({
  clock: systemClock,
  random: Math.random,
  transport: tcpTransport,
  events: {
    acknowledged: () => {},
    sessionChanged: () => {},
    routesChanged: () => {},
    endOfRib: () => {},
    log: (level, peer, text, fields) => {
      if (level === "error") complaints.push(`${peer}: ${text} ${JSON.stringify(fields)}`);
    },
  },
});

function accept(socket: Socket): void {
  const remote = addressOf(socket.remoteAddress);
  const peer = remote && speaker.peerFor(remote, undefined);
  const connection = peer && prepareAccepted(socket, peer.config);
  const handler = peer && connection && speaker.accept(peer, connection);
  if (!handler) {
    (connection ?? socket).destroy();
    return;
  }
  connection!.open(handler);
  handler!.connected();
}

beforeAll(async () => {
  const source = (index: number): string => `127.97.${(index + 1) >> 8}.${(index + 1) & 255}`;
  const passive = { passive: true, gracefulRestart: false, localAsn: asns.speaker };
  const hop4 = Uint8Array.of(10, 97, 255, 1);
  const nextHop = { 1: hop4, 2: Uint8Array.from([0xfd, 0x97, ...new Array<number>(12).fill(0), 255, 255]) };
  speaker.apply(
    speakerConfig(
      [
        ...cases.map((c, i) =>
          peerConfig(`c${i}`, source(i), c.kind === "external" ? asns.external : asns.speaker, {
            ...passive,
            nextHop,
            exportPolicies: [],
          }),
        ),
        peerConfig("observer", "127.0.0.9", asns.observer, { ...passive, nextHop }),
      ],
      { routerId: 0x0a000001 },
    ),
  );
  server = createServer({ pauseOnConnect: true, noDelay: true }, accept);
  await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0, backlog: 512 }, resolve));
  const { port } = server.address() as { port: number };
  target = { host: "127.0.0.1", port, source, observer: "127.0.0.9" };
  observer = new Observer(target);
  expect(await observer.ready()).toBe(true);
}, 60_000);

afterAll(() => {
  for (const session of speaker.sessions) session[Symbol.dispose]();
  observer.line.socket.destroy();
  server.close();
});

test(`${cases.length} cases`, async () => {
  const problems: string[] = [];
  const indexes = cases.keys();
  const only = process.env["WAGGLE_HOSTILE_CASE"];
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const i of indexes) {
        const c = cases[i]!;
        if (only !== undefined && !c.name.includes(only)) continue;
        problems.push(...problemsOf(c, await play(target, observer, i, c)));
      }
    }),
  );
  expect(problems).toEqual([]);
  expect(complaints).toEqual([]);
  // Whatever was sent, the observer was never sent anything malformed, and kept its session.
  expect(observer.faults).toEqual([]);
  expect(observer.line.over).toBe(false);
}, 600_000);
