// agent: the connection to the speaker: hello, desired state, acknowledgements, sessions, routes. Comes back by itself.
import { createConnection, type Socket } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type Ack,
  type DesiredState,
  FromSpeakerSchema,
  type HelloReply,
  QueryKind,
  QuerySchema,
  type RouteBatch,
  type Session,
  type ToSpeaker,
  ToSpeakerSchema,
} from "../../api/generated/proto/speaker_pb.js";
import { backoff, type Clock, type Random, type Timer } from "../../kube/index.ts";
import type { Log } from "../ports.ts";
import { encodeFrame, FrameReader } from "./frames.ts";

/** What the agent hears. Called in order; must not throw. */
export interface SpeakerListener {
  connected(hello: HelloReply): void;
  disconnected(reason: string): void;
  /** The last desired state was not taken; the connection lives and the earlier state is in force. */
  refused(reason: string): void;
  ack(ack: Ack): void;
  session(session: Session): void;
  routes(batch: RouteBatch): void;
}

/** The speaker as the loop sees it. */
export interface SpeakerPort {
  readonly connected: boolean;
  /** False when there is no connection; the state must then be sent again after the next `connected`. */
  sendDesired(state: DesiredState): boolean;
  ackRoutes(sequence: bigint): void;
  /** Asks for the whole picture of each session; the answers come as `session`. */
  askSessions(): void;
}

export interface SpeakerClientOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export const speakerProtocol = 1;
/** Bytes that may wait for the speaker to read them; a reader that slow is gone. */
const backlogLimit = 32 * 1024 * 1024;
/** A connection that has lived this long was a good one, ms. */
const goodMs = 5_000;
/** A speaker that has not answered Hello within this long is asked again on a new connection, ms. */
const helloTimeoutMs = 5_000;

export class SpeakerClient implements SpeakerPort, Disposable {
  readonly stats = { connects: 0, failures: 0, messages: 0 };
  readonly #o: SpeakerClientOptions;
  #listener: SpeakerListener | undefined;
  #socket: Socket | undefined;
  #ready = false;
  #readyAt = 0;
  #lastRefusal = "";
  #queries = 0n;
  #timer: Timer | undefined;
  #disposed = false;
  readonly #pause;

  constructor(options: SpeakerClientOptions) {
    this.#o = options;
    this.#pause = backoff(50, 2_000, options.random);
  }

  get connected(): boolean {
    return this.#ready;
  }

  /** Begins to connect, and does so again for ever until it is disposed. */
  start(listener: SpeakerListener): void {
    this.#listener = listener;
    this.#connect();
  }

  sendDesired(state: DesiredState): boolean {
    return this.#send({ case: "desired", value: state });
  }

  ackRoutes(sequence: bigint): void {
    this.#send({ case: "routesAck", value: { $typeName: "waggle.speaker.v1.RoutesAck", sequence } });
  }

  askSessions(): void {
    this.#send({
      case: "query",
      value: create(QuerySchema, { id: ++this.#queries, kind: QueryKind.QUERY_PEERS }),
    });
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#socket?.destroy();
  }

  #connect(): void {
    if (this.#disposed) return;
    const socket = createConnection({ path: this.#o.path });
    this.#socket = socket;
    this.#lastRefusal = "";
    const reader = new FrameReader();
    let reason = "the speaker closed the connection";
    const give = (why: string): void => {
      reason = why;
      socket.destroy();
    };
    this.#timer = this.#o.clock.after(helloTimeoutMs, () => give("the speaker does not answer"));
    socket.on("connect", () => {
      this.stats.connects += 1;
      this.#write(socket, {
        case: "hello",
        value: {
          $typeName: "waggle.speaker.v1.Hello",
          protocol: speakerProtocol,
          controller: true,
          wantRoutes: true,
        },
      });
    });
    socket.on("data", (chunk: Uint8Array) => {
      try {
        for (const message of reader.push(chunk)) this.#receive(message, give);
      } catch (error) {
        give(
          `the speaker's message cannot be read: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      reason = error.code === "ENOENT" ? `${this.#o.path} is not there` : error.message;
    });
    socket.on("close", () => this.#closed(socket, reason));
  }

  #closed(socket: Socket, reason: string): void {
    if (this.#socket !== socket) return;
    this.#timer?.[Symbol.dispose]();
    this.#socket = undefined;
    this.stats.failures += 1;
    const wasReady = this.#ready;
    this.#ready = false;
    if (this.#disposed) return;
    this.#listener?.disconnected(this.#lastRefusal || reason);
    if (wasReady && this.#o.clock.monotonic() - this.#readyAt >= goodMs) this.#pause.reset();
    this.#timer = this.#o.clock.after(this.#pause.next(), () => this.#connect());
  }

  #receive(bytes: Uint8Array, give: (why: string) => void): void {
    this.stats.messages += 1;
    const { message } = fromBinary(FromSpeakerSchema, bytes);
    switch (message.case) {
      case "hello":
        if (message.value.protocol !== speakerProtocol) {
          give(`the speaker speaks protocol ${message.value.protocol}, this agent ${speakerProtocol}`);
          return;
        }
        this.#timer?.[Symbol.dispose]();
        this.#ready = true;
        this.#readyAt = this.#o.clock.monotonic();
        this.#listener?.connected(message.value);
        return;
      case "ack":
        this.#listener?.ack(message.value);
        return;
      case "session":
        if (message.value.session) this.#listener?.session(message.value.session);
        return;
      case "routes":
        this.#listener?.routes(message.value);
        return;
      case "reply":
        for (const session of message.value.sessions) this.#listener?.session(session);
        return;
      case "refusal":
        // After hello it may be about one message only; where it is the end, the speaker closes the connection.
        this.#lastRefusal = message.value.reason;
        if (this.#ready) this.#listener?.refused(message.value.reason);
        else give(message.value.reason);
        return;
      default:
        // A message of a newer speaker.
        this.#o.log.debug({ message: message.case ?? "unknown" }, "message of the speaker ignored");
    }
  }

  #send(message: ToSpeaker["message"]): boolean {
    if (!this.#ready || !this.#socket) return false;
    if (this.#socket.writableLength > backlogLimit) {
      this.#socket.destroy(new Error("the speaker does not read"));
      return false;
    }
    this.#write(this.#socket, message);
    return true;
  }

  #write(socket: Socket, message: ToSpeaker["message"]): void {
    socket.write(encodeFrame(toBinary(ToSpeakerSchema, create(ToSpeakerSchema, { message }))));
  }
}
