// bgp/daemon: MRT dumps in a directory: messages as they pass, tables at intervals, bounded in size and number of files.
import { type FileHandle, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { type MrtSession, messageRecord, stateRecord } from "../mrt/record.ts";
import { tableDump } from "../mrt/snapshot.ts";
import type { Channel } from "../session/channel.ts";
import type { PeerSession } from "../session/peer.ts";
import type { Speaker } from "../session/speaker.ts";
import { type MrtConfig, State } from "../session/types.ts";
import { type Afi, HEADER_BYTES, MessageType } from "../wire/constants.ts";
import { readAttributes } from "../wire/routes.ts";
import { mrtProblem } from "./messages.ts";

/** Octets of messages that wait for the disk; beyond them records are dropped and counted. */
const WAITING_BYTES_MAX = 8 * 1024 * 1024;
/** After a failure nothing is tried for so long. */
const PAUSE_MS = 10_000;

export interface MrtStatus {
  readonly directory: string;
  readonly files: number;
  readonly bytes: number;
  /** Records that found no room, or a disk that failed. */
  readonly dropped: number;
  readonly problem: string;
}

export class MrtDumper {
  readonly #config: MrtConfig;
  readonly #speaker: Speaker;
  readonly #warn: (text: string) => void;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #states = new Map<string, number>();
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #writing = false;
  #file: { readonly handle: FileHandle; size: number } | undefined;
  #pausedUntil = 0;
  #dumping = false;
  #closed = false;
  #sequence = 0;
  #files = 0;
  #bytes = 0;
  #dropped = 0;
  #problem = "";

  constructor(config: MrtConfig, speaker: Speaker, warn: (text: string) => void) {
    this.#config = config;
    this.#speaker = speaker;
    this.#warn = warn;
    if (config.tableSeconds > 0)
      this.#timer = setInterval(() => void this.dumpTable(), config.tableSeconds * 1000);
    this.#timer?.unref();
    if (config.messages) {
      speaker.tap = (peer, channel, sent, bytes) => this.#message(peer, channel, sent, bytes);
      for (const session of speaker.sessions) this.#states.set(session.name, session.state);
    }
  }

  get status(): MrtStatus {
    return {
      directory: this.#config.directory,
      files: this.#files,
      bytes: this.#bytes,
      dropped: this.#dropped,
      problem: this.#problem,
    };
  }

  /** A session's state may have changed. */
  sessionChanged(peer: PeerSession): void {
    if (!this.#config.messages) return;
    const before = this.#states.get(peer.name) ?? State.idle;
    this.#states.set(peer.name, peer.state);
    if (before === peer.state) return;
    // RFC 6396 counts states from 1, Idle.
    this.#append(stateRecord(Date.now(), sessionOf(peer, undefined), before + 1, peer.state + 1));
  }

  #message(peer: PeerSession, channel: Channel, sent: boolean, bytes: Uint8Array): void {
    const n = channel.negotiated;
    const session = sessionOf(peer, channel);
    for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
      const length = (bytes[at + 16]! << 8) | bytes[at + 17]!;
      const message = bytes.subarray(at, at + length);
      const paths = n && (sent ? n.pathsOut : n.pathsIn);
      const addPath = paths !== undefined && hasPathIds(message, paths);
      this.#append(
        messageRecord(Date.now(), session, message, {
          as4: n?.as4 ?? true,
          local: sent,
          addPath,
        }),
      );
      at += length;
    }
  }

  #append(record: Uint8Array): void {
    if (this.#waitingBytes + record.length > WAITING_BYTES_MAX) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(record);
    this.#waitingBytes += record.length;
    if (!this.#writing) void this.#drain();
  }

  /** Writes what waits, one write at a time. */
  async #drain(): Promise<void> {
    this.#writing = true;
    // What comes within this turn goes with it.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const records = this.#waiting;
      this.#waiting = [];
      this.#waitingBytes = 0;
      if (Date.now() < this.#pausedUntil) {
        this.#dropped += records.length;
        continue;
      }
      try {
        const bytes = Buffer.concat(records);
        this.#file ??= { handle: await this.#create(this.#name("messages")), size: 0 };
        await this.#file.handle.appendFile(bytes);
        this.#file.size += bytes.length;
        this.#bytes += bytes.length;
        if (this.#file.size >= this.#config.fileBytesMax) await this.#closeFile();
      } catch (error) {
        this.#dropped += records.length;
        await this.#failed(error as Error);
      }
    }
    this.#writing = false;
    if (this.#closed) await this.#closeFile();
  }

  async #closeFile(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.handle.close();
  }

  async #failed(error: Error): Promise<void> {
    this.#pausedUntil = Date.now() + PAUSE_MS;
    if (this.#problem !== error.message) this.#warn(mrtProblem(this.#config.directory, error.message));
    this.#problem = error.message;
    try {
      await this.#closeFile();
    } catch {
      // The file that failed cannot be closed properly either; the failure itself has been told.
    }
  }

  #name(kind: "messages" | "table"): string {
    const stamp = new Date().toISOString().replace(/[-:]/g, "").replace(/\..*/, "Z");
    return `${kind}.${stamp}.${String(this.#sequence++).padStart(4, "0")}.mrt`;
  }

  async #create(name: string): Promise<FileHandle> {
    const { directory, filesMax } = this.#config;
    await mkdir(directory, { recursive: true });
    await removeOldest(directory, name.slice(0, name.indexOf(".")), filesMax - 1);
    const handle = await open(join(directory, name), "a", 0o640);
    this.#files++;
    this.#problem = "";
    return handle;
  }

  /** Dumps the Loc-RIB into a file of its own, which has its name only when it is whole. One at a time. */
  async dumpTable(): Promise<void> {
    if (this.#dumping || this.#closed || Date.now() < this.#pausedUntil) return;
    this.#dumping = true;
    const name = this.#name("table");
    const path = join(this.#config.directory, name);
    let handle: FileHandle | undefined;
    try {
      handle = await this.#create(`${name}.part`);
      this.#speaker.flush();
      const { rib, config, sessions } = this.#speaker;
      const addresses = new Map([...sessions].map((s) => [s.rib.index, s.config.address]));
      const routerId = config?.routerId ?? 0;
      const pieces = tableDump(rib, {
        timeMs: Date.now(),
        local: { address: { family: 4, hi: 0n, lo: 0n }, asn: config?.asn ?? 0, routerId },
        address: (index) => addresses.get(index),
      });
      for (const piece of pieces) {
        // The write waits for the disk; sessions go on meanwhile.
        if (piece.length > 0) await handle.appendFile(piece);
        this.#bytes += piece.length;
        await new Promise((resolve) => setImmediate(resolve));
        if (this.#closed) break;
      }
      await handle.close();
      handle = undefined;
      await (this.#closed ? unlink(`${path}.part`) : rename(`${path}.part`, path));
    } catch (error) {
      await handle?.close().catch(() => undefined);
      await this.#failed(error as Error);
    } finally {
      this.#dumping = false;
    }
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#speaker.tap = undefined;
    if (!this.#writing) void this.#closeFile();
  }
}

/** Removes the oldest files of ours beyond `keep`; names sort by time. */
async function removeOldest(directory: string, kind: string, keep: number): Promise<void> {
  const pattern = new RegExp(`^${kind}\\.\\d{8}T\\d{6}Z\\.\\d{4,}\\.mrt(\\.part)?$`);
  const own = (await readdir(directory)).filter((name) => pattern.test(name)).sort();
  for (const name of own.slice(0, Math.max(own.length - keep, 0))) await unlink(join(directory, name));
}

/** Whether the routes of a message have path identifiers, which may have been negotiated for one family alone. */
function hasPathIds(message: Uint8Array, paths: Readonly<Record<Afi, boolean>>): boolean {
  if (message[18] !== MessageType.update || !(paths[1] || paths[2])) return false;
  if (paths[1] && paths[2]) return true;
  const start = HEADER_BYTES + 4 + ((message[19]! << 8) | message[20]!);
  const end = start + ((message[start - 2]! << 8) | message[start - 1]!);
  const seen = end <= message.length ? readAttributes(message, start, end, 1, true) : "";
  const afi = typeof seen === "string" ? 1 : (seen.reach?.afi ?? seen.unreach?.afi ?? 1);
  return afi === 1 || afi === 2 ? paths[afi] : false;
}

function sessionOf(peer: PeerSession, channel: Channel | undefined): MrtSession {
  const { peerAsn, localAsn, address } = peer.config;
  const none = { family: address.family, hi: 0n, lo: 0n } as const;
  const local = channel?.connection?.local ?? peer.localAddress ?? none;
  return {
    peerAsn,
    localAsn,
    peerAddress: address,
    localAddress: local.family === address.family ? local : none,
  };
}
