// bgp/daemon: the other end of the speaker's unix socket: for the command line and for whoever controls a speaker.
import { connect, type Socket } from "node:net";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import {
  type DesiredStateSchema,
  type FromSpeaker,
  FromSpeakerSchema,
  type HelloReply,
  type Query,
  type QueryReply,
  QuerySchema,
  ToSpeakerSchema,
} from "../../api/generated/proto/speaker_pb.js";
import { FrameSplitter, frame } from "./framing.ts";

const REPLY_BYTES_MAX = 16 * 1024 * 1024;

/** The speaker said no; the message is its reason. */
export class SpeakerRefusal extends Error {}

export interface SpeakerClientOptions {
  readonly path: string;
  readonly controller?: boolean;
  readonly wantRoutes?: boolean;
  /** Everything but answers to queries. RouteBatches are to be acknowledged by {@link SpeakerClient.acknowledge}. */
  readonly onMessage?: (message: FromSpeaker["message"], client: SpeakerClient) => void;
  readonly onClose?: (reason: string) => void;
}

type Waiting = (message: QueryReply | Error) => void;

/** A connection to a speaker that has said hello. */
export class SpeakerClient {
  readonly #socket: Socket;
  readonly #options: SpeakerClientOptions;
  readonly #waiting = new Map<bigint, Waiting>();
  #next = 1n;
  #refused: string | undefined;
  #helloDone: ((reply: HelloReply | Error) => void) | undefined;

  private constructor(options: SpeakerClientOptions) {
    this.#options = options;
    const frames = new FrameSplitter(REPLY_BYTES_MAX);
    this.#socket = connect(options.path);
    this.#socket.on("data", (chunk) => {
      const ok = frames.push(chunk as Uint8Array, (bytes) =>
        this.#message(fromBinary(FromSpeakerSchema, bytes).message),
      );
      if (!ok) this.#socket.destroy(new Error("message of the speaker is too long"));
    });
    let failure: Error | undefined;
    this.#socket.on("error", (error) => {
      failure = error;
    });
    this.#socket.on("close", () => {
      const error = this.#refused === undefined ? failure : new SpeakerRefusal(this.#refused);
      this.#closed(error ?? new Error("the speaker closed the connection"));
    });
  }

  /** Connects and says hello. @throws NodeJS.ErrnoException ENOENT, ECONNREFUSED, EACCES; SpeakerRefusal */
  static async open(options: SpeakerClientOptions): Promise<{ client: SpeakerClient; hello: HelloReply }> {
    const client = new SpeakerClient(options);
    const hello = await new Promise<HelloReply>((resolve, reject) => {
      client.#helloDone = (reply) => {
        client.#helloDone = undefined;
        if (reply instanceof Error) reject(reply);
        else resolve(reply);
      };
      client.#send({
        case: "hello",
        value: {
          protocol: 1,
          controller: options.controller ?? false,
          wantRoutes: options.wantRoutes ?? false,
        },
      });
    });
    return { client, hello };
  }

  /** Sends the desired state (controllers only). */
  desire(state: MessageInitShape<typeof DesiredStateSchema>): void {
    this.#send({ case: "desired", value: state });
  }

  /** Allows the speaker to send the next batch. */
  acknowledge(sequence: bigint): void {
    this.#send({ case: "routesAck", value: { sequence } });
  }

  /** Asks, and hands out the pieces of the answer as they come. @throws Error with the speaker's reason */
  async *query(
    query: Omit<MessageInitShape<typeof QuerySchema>, "id" | "$typeName">,
  ): AsyncGenerator<QueryReply> {
    const id = this.#next++;
    const pieces: (QueryReply | Error)[] = [];
    let wake: (() => void) | undefined;
    this.#waiting.set(id, (piece) => {
      pieces.push(piece);
      wake?.();
    });
    this.#send({ case: "query", value: create(QuerySchema, { ...query, id }) as Query });
    try {
      for (;;) {
        const piece = pieces.shift();
        if (!piece) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          continue;
        }
        if (piece instanceof Error) throw piece;
        if (piece.error !== "") throw new SpeakerRefusal(piece.error);
        yield piece;
        if (piece.last) return;
      }
    } finally {
      this.#waiting.delete(id);
    }
  }

  close(): void {
    this.#socket.end();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #message(message: FromSpeaker["message"]): void {
    if (message.case === "hello" && this.#helloDone) this.#helloDone(message.value);
    else if (message.case === "reply") this.#waiting.get(message.value.id)?.(message.value);
    else {
      if (message.case === "refusal") this.#refused = message.value.reason;
      this.#options.onMessage?.(message, this);
    }
  }

  #closed(error: Error): void {
    this.#helloDone?.(error);
    for (const waiting of this.#waiting.values()) waiting(error);
    this.#options.onClose?.(error.message);
  }

  #send(message: NonNullable<MessageInitShape<typeof ToSpeakerSchema>["message"]>): void {
    this.#socket.write(frame(toBinary(ToSpeakerSchema, create(ToSpeakerSchema, { message }))));
  }
}
