// bgp/daemon: the unix socket of the speaker: who may connect, who controls.
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { DesiredState } from "../../api/generated/proto/speaker_pb.js";
import type { PeerSession } from "../session/peer.ts";
import type { AckState, Speaker } from "../session/speaker.ts";
import type { Afi } from "../wire/constants.ts";
import { Client, type ClientHost } from "./client.ts";
import type { MonitoringReply } from "./convert.ts";
import { refusal, startError } from "./messages.ts";

const CLIENTS_MAX = 64;
/** sun_path of struct sockaddr_un, without its closing zero. */
const PATH_BYTES_MAX = 107;

export interface ControlOptions {
  readonly path: string;
  readonly speaker: Speaker;
  readonly version: string;
  readonly monitoring?: () => MonitoringReply;
  /** The configuration is a file: no agent may control. */
  readonly fileControlled: boolean;
  /** Throws for a state that makes no sense; its message goes to the agent. */
  readonly apply: (state: DesiredState) => void;
  readonly log: (level: "info" | "warn", text: string, fields?: Readonly<Record<string, unknown>>) => void;
}

export class ControlServer implements ClientHost {
  readonly #options: ControlOptions;
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  #controller: Client | undefined;
  #refused = 0;
  #statesRefused = 0;

  private constructor(options: ControlOptions) {
    this.#options = options;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Opens the socket with mode 0600. @throws Error when another speaker answers there */
  static async open(options: ControlOptions): Promise<ControlServer> {
    const { path } = options;
    if (Buffer.byteLength(path) > PATH_BYTES_MAX) throw new Error(startError.pathTooLong(path));
    await removeStale(path);
    const server = new ControlServer(options);
    // Until the mode is set, the mask keeps others out.
    const mask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        server.#server.once("error", reject);
        server.#server.listen(path, () => {
          server.#server.removeListener("error", reject);
          resolve();
        });
        process.umask(mask);
      });
    } finally {
      process.umask(mask);
    }
    chmodSync(path, 0o600);
    return server;
  }

  get speaker(): Speaker {
    return this.#options.speaker;
  }

  monitoring(): MonitoringReply {
    return this.#options.monitoring?.() ?? { stations: [] };
  }

  get version(): string {
    return this.#options.version;
  }

  /** For metrics. */
  get counts(): { readonly clients: number; readonly refused: number; readonly statesRefused: number } {
    return { clients: this.#clients.size, refused: this.#refused, statesRefused: this.#statesRefused };
  }

  #accept(socket: Socket): void {
    const client = new Client(socket, this);
    if (this.#clients.size >= CLIENTS_MAX) {
      this.#refused++;
      client.refuse(refusal.tooManyClients);
    } else this.#clients.add(client);
  }

  takeControl(client: Client): string | undefined {
    if (this.#options.fileControlled) return refusal.fileControlled;
    const before = this.#controller;
    this.#controller = client;
    if (before && before !== client) before.refuse(refusal.replaced);
    this.#options.log("info", "an agent has taken control");
    return undefined;
  }

  desired(client: Client, state: DesiredState): void {
    if (client !== this.#controller) {
      client.refuse(refusal.replaced);
      return;
    }
    try {
      this.#options.apply(state);
    } catch (error) {
      this.#statesRefused++;
      const reason = `generation ${state.generation}: ${(error as Error).message}`;
      this.#options.log("warn", "desired state refused", { reason });
      client.complain(reason);
    }
  }

  gone(client: Client): void {
    this.#clients.delete(client);
    if (client !== this.#controller) return;
    this.#controller = undefined;
    this.#options.log("warn", "the agent is gone; sessions and routes stay as they are");
  }

  acknowledged(generation: bigint, peer: string, state: AckState): void {
    this.#controller?.acknowledged(generation, peer, state);
  }

  sessionChanged(session: PeerSession): void {
    for (const client of this.#clients) client.sessionChanged(session);
  }

  routesChanged(): void {
    for (const client of this.#clients) client.routesChanged();
  }

  endOfRib(peer: string, afi: Afi): void {
    for (const client of this.#clients) client.endOfRib(peer, afi);
  }

  close(): void {
    this.#server.close();
  }
}

/** Removes a socket that a dead speaker left. */
async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket()) throw new Error(startError.notASocket(path));
  const answered = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (answered) throw new Error(startError.socketInUse(path));
  unlinkSync(path);
}
