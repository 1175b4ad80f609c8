// bgp/daemon: wires the speaker to sockets, clock, control socket and log; lives until it is told to stop.
import type { Socket } from "node:net";
import { hostname, setPriority } from "node:os";
import pino from "pino";
import { listenMetrics, type MetricsOptions, processSource } from "../../metrics/index.ts";
import { type Address, formatAddress } from "../../net/address.ts";
import { BmpExporter } from "../bmp/exporter.ts";
import { rehearse } from "../session/rehearsal.ts";
import { Speaker } from "../session/speaker.ts";
import { type MrtConfig, type SpeakerConfig, State } from "../session/types.ts";
import { Bfd } from "./bfd.ts";
import { systemClock } from "./clock.ts";
import { speakerConfig } from "./config.ts";
import { ControlServer } from "./control.ts";
import { monitoringMessage } from "./convert.ts";
import { RouterLinks, withAddresses } from "./links.ts";
import { listenProblem } from "./messages.ts";
import { type DaemonCounts, speakerSource } from "./metrics.ts";
import { MrtDumper } from "./mrt-dump.ts";
import {
  addressOf,
  Listener,
  type ListenSocket,
  listenSockets,
  prepareAccepted,
  type TcpConnection,
  tcpTransport,
  zoneOf,
} from "./tcp.ts";

export interface RunOptions {
  readonly socket: string | undefined;
  readonly version: string;
  readonly logLevel: string;
  readonly metrics?: Pick<MetricsOptions, "listen" | "tls">;
  /** Reads the configuration of a speaker that runs from a file; read again on SIGHUP. */
  readonly file?: () => SpeakerConfig;
}

/** How long farewells may take to leave when the speaker stops. */
const STOP_MS = 500;
/** So many paths are a table, not a few routes: whoever sends them is not to wait for a rehearsal of it. */
const TABLE_PATHS = 2_000;
/** A taken port is tried again this often. */
const LISTEN_RETRY_MS = 2_000;

/** As daemons of routing are commonly run: before what merely computes, behind what the kernel needs. */
const NICENESS = -5;

/** Hold timers do not wait for whatever else a busy node runs. Needs CAP_SYS_NICE; without it the speaker is a process like others. */
function comeFirst(): string | undefined {
  try {
    setPriority(NICENESS);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Runs a speaker until SIGTERM or SIGINT. Returns the exit code. */
export async function run(options: RunOptions): Promise<number> {
  const log = pino(
    { level: options.logLevel, base: { pid: process.pid, name: "bgpd" } },
    pino.destination(2),
  );
  const common = comeFirst();
  if (common !== undefined) log.debug({ reason: common }, "runs with ordinary priority");
  let control: ControlServer | undefined;
  const counts: DaemonCounts = { connectionsRefused: 0 };
  const listening = new Listening(
    (socket) => accept(socket),
    (text) => log.warn(text),
  );
  const speaker: Speaker = new Speaker({
    clock: systemClock,
    random: Math.random,
    transport: tcpTransport,
    events: {
      acknowledged: (generation, peer, state) => control?.acknowledged(generation, peer, state),
      sessionChanged: (session) => {
        log.debug({ peer: session.name, state: session.state, reason: session.downReason }, "session");
        control?.sessionChanged(session);
        mrt?.sessionChanged(session);
      },
      routesChanged: () => {
        control?.routesChanged();
        bmp.changed();
      },
      sessionUp: (session) => bmp.sessionUp(session),
      sessionDown: (session, ending) => bmp.sessionDown(session, ending),
      endOfRib: (peer, afi) => control?.endOfRib(peer, afi),
      log: (level, peer, text, fields) => log[level]({ ...fields, peer }, text),
    },
  });
  const bmp = new BmpExporter({
    rib: speaker.rib,
    clock: systemClock,
    random: Math.random,
    transport: tcpTransport,
    sysName: hostname(),
    sysDescription: `waggle bgpd ${options.version}`,
    local: () => ({ asn: speaker.config?.asn ?? 0, routerId: speaker.config?.routerId ?? 0 }),
    flush: () => speaker.flush(),
    log: (level, text, fields) => log[level](fields, text),
  });
  const bfd = new Bfd({
    changed: (peers, status) => {
      for (const name of peers) speaker.session(name)?.bfdChanged(status);
    },
    log: (level, text, fields) => log[level](fields ?? {}, text),
  });
  let mrt: MrtDumper | undefined;
  let mrtKey = "";
  const setMrt = (config: MrtConfig | undefined): void => {
    const key = JSON.stringify(config ?? null);
    if (key === mrtKey) return;
    mrtKey = key;
    mrt?.[Symbol.dispose]();
    mrt = config && new MrtDumper(config, speaker, (text) => log.warn(text));
  };
  const links = new RouterLinks({
    found: (link, address) => neighborFound(link, address),
    log: (level, text, fields) => log[level](fields ?? {}, text),
  });
  let wanted: SpeakerConfig | undefined;
  const apply = (config: SpeakerConfig): void => {
    wanted = config;
    links.set(new Set(config.peers.flatMap((p) => (p.unnumbered && p.interface ? [p.interface] : []))));
    const now = withAddresses(config, links.addresses);
    setMrt(now.mrt);
    speaker.apply(now);
    bfd.set(now);
    bmp.set(now.stations ?? []);
    void listening.set(now);
  };

  /** The neighbour of an interface has shown itself. As long as its session lives, it is who it was. */
  function neighborFound(link: string, address: Address): void {
    const peer = wanted?.peers.find((p) => p.unnumbered && p.interface === link);
    if (!wanted || !peer || speaker.session(peer.name)?.state === State.established) return;
    if (!links.settle(link, address)) return;
    log.info({ peer: peer.name, link, address: formatAddress(address) }, "neighbour found");
    const now = withAddresses(wanted, links.addresses);
    speaker.amend(now.peers.find((p) => p.name === peer.name)!);
    bfd.set(now);
    void listening.set(now);
  }

  function accept(socket: Socket): void {
    const remote = addressOf(socket.remoteAddress);
    const link = zoneOf(socket.remoteAddress);
    // A neighbour that connects has shown itself as well as one that advertises.
    if (remote && link !== undefined) neighborFound(link, remote);
    const peer = remote && speaker.admit(remote, addressOf(socket.localAddress), link);
    if (!peer) {
      counts.connectionsRefused++;
      log.debug({ from: socket.remoteAddress }, "connection from a stranger refused");
      socket.destroy();
      return;
    }
    let connection: TcpConnection | undefined;
    try {
      connection = prepareAccepted(socket, peer.config);
      const handler = speaker.accept(peer, connection);
      if (!handler) {
        connection.destroy();
        return;
      }
      connection.open(handler);
      handler.connected();
    } catch (error) {
      counts.connectionsRefused++;
      log.warn(
        { peer: peer.name, reason: (error as Error).message },
        "connection refused: its protection cannot be had",
      );
      (connection ?? socket).destroy();
    }
  }

  if (options.file) {
    apply(options.file());
    // Whoever runs a speaker of its own expects tables; an agent's has a node's routes, and many may start at once.
    const come = (): boolean =>
      speaker.rib.tables[1].pathCount + speaker.rib.tables[2].pathCount > TABLE_PATHS;
    rehearse(systemClock, come).catch((error: unknown) =>
      log.error({ reason: String(error) }, "the rehearsal of a table failed"),
    );
  }
  if (options.socket !== undefined)
    control = await ControlServer.open({
      path: options.socket,
      speaker,
      version: options.version,
      monitoring: () => monitoringMessage(bmp.status, mrt?.status),
      fileControlled: options.file !== undefined,
      apply: (state) => apply(speakerConfig(state)),
      log: (level, text, fields) => log[level](fields ?? {}, text),
    });
  await using _metrics =
    options.metrics &&
    (await listenMetrics({
      ...options.metrics,
      sources: [
        processSource("speaker", options.version),
        speakerSource(
          speaker,
          counts,
          () => control?.counts,
          () => ({ bfdRefused: bfd.refused, stations: bmp.status, mrt: mrt?.status }),
        ),
      ],
      notReady: () => undefined,
      log,
    }));
  log.info({ socket: options.socket, version: options.version }, "speaker ready");

  process.on("SIGHUP", () => {
    if (!options.file) return;
    try {
      apply(options.file());
      log.info("configuration read again");
    } catch (error) {
      log.error(
        { reason: (error as Error).message },
        "the new configuration is refused; the old one stays in force",
      );
    }
  });
  const signal = await new Promise<string>((resolve) => {
    process.once("SIGTERM", () => resolve("SIGTERM"));
    process.once("SIGINT", () => resolve("SIGINT"));
  });
  log.info({ signal }, "stopping");
  listening.close();
  links[Symbol.dispose]();
  await bfd.stop();
  speaker.stop();
  bmp[Symbol.dispose]();
  mrt?.[Symbol.dispose]();
  control?.close();
  await new Promise((resolve) => setTimeout(resolve, STOP_MS));
  return 0;
}

/** The listening sockets that the configuration asks for, retried where one cannot be had. */
class Listening {
  readonly #accept: (socket: Socket) => void;
  readonly #warn: (text: string) => void;
  readonly #open = new Map<string, Listener>();
  readonly #complained = new Set<string>();
  #config: SpeakerConfig | undefined;
  #busy = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(accept: (socket: Socket) => void, warn: (text: string) => void) {
    this.#accept = accept;
    this.#warn = warn;
  }

  async set(config: SpeakerConfig): Promise<void> {
    this.#config = config;
    if (this.#busy) return;
    this.#busy = true;
    try {
      // A configuration that arrives meanwhile is taken by the next round.
      for (let done: SpeakerConfig | undefined; done !== this.#config && !this.#closed; ) {
        done = this.#config;
        await this.#sync(done);
      }
    } finally {
      this.#busy = false;
    }
  }

  async #sync(config: SpeakerConfig): Promise<void> {
    clearTimeout(this.#timer);
    const wanted = new Map(listenSockets(config.listen).map((s) => [keyOf(s), s]));
    for (const [key, listener] of this.#open)
      if (!wanted.has(key)) {
        listener.close();
        this.#open.delete(key);
      }
    let missing = false;
    for (const [key, { address, family, port }] of wanted) {
      if (this.#open.has(key)) continue;
      try {
        this.#open.set(key, await Listener.open(address, family, port, this.#accept));
        this.#complained.delete(key);
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        // A machine without IPv6 is not short of anything when all addresses were asked for.
        if (!address && code === "EAFNOSUPPORT") continue;
        missing = true;
        if (!this.#complained.has(key)) this.#warn(listenProblem(key, code ?? message));
        this.#complained.add(key);
      }
    }
    for (const listener of this.#open.values())
      for (const { peer, reason } of listener.setKeys(config.peers))
        this.#warn(`no TCP-MD5 key for ${peer}: ${reason}`);
    if (missing && !this.#closed)
      this.#timer = setTimeout(() => {
        if (this.#config) void this.set(this.#config);
      }, LISTEN_RETRY_MS);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const listener of this.#open.values()) listener.close();
  }
}

const keyOf = (s: ListenSocket): string =>
  `${s.address ? formatAddress(s.address) : s.family === 4 ? "0.0.0.0" : "[::]"} port ${s.port}`;
