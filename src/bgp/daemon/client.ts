// bgp/daemon: one connection on the unix socket: hello, desired state in, acknowledgements, events, routes and answers out.
import type { Socket } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  AckState as AckMessage,
  AckSchema,
  type DesiredState,
  type FromSpeaker,
  FromSpeakerSchema,
  type Hello,
  HelloReplySchema,
  PeerFamilySchema,
  type Query,
  type QueryReply,
  RefusalSchema,
  RouteBatchSchema,
  SessionEventSchema,
  type ToSpeaker,
  ToSpeakerSchema,
} from "../../api/generated/proto/speaker_pb.js";
import { LocRibFeed } from "../rib/feed.ts";
import type { PeerSession } from "../session/peer.ts";
import type { AckState, Speaker } from "../session/speaker.ts";
import type { Afi } from "../wire/constants.ts";
import { familyMessage, locRoute, type MonitoringReply, sessionMessage } from "./convert.ts";
import { FrameSplitter, frame } from "./framing.ts";
import { refusal } from "./messages.ts";
import { answer } from "./query.ts";

/** Longest message of a client that has not said that it is the controller. */
const QUERY_BYTES_MAX = 64 * 1024;
/** A desired state of 100,000 origins is about 5 MiB. */
const DESIRED_BYTES_MAX = 64 * 1024 * 1024;
const ROUTES_PER_BATCH = 1_000;
const BATCHES_IN_FLIGHT = 2;
const QUERIES_MAX = 16;
/** Unsent octets beyond which a client gets nothing new but what coalesces. */
const PENDING_BYTES_MAX = 1024 * 1024;

const ackMessage: Readonly<Record<AckState, AckMessage>> = {
  sent: AckMessage.ACK_SENT,
  "peer-down": AckMessage.ACK_PEER_DOWN,
  timeout: AckMessage.ACK_TIMEOUT,
};

/** What a client asks of the server it belongs to. */
export interface ClientHost {
  readonly speaker: Speaker;
  readonly version: string;
  monitoring(): MonitoringReply;
  /** Undefined when it may control; else why not. */
  takeControl(client: Client): string | undefined;
  desired(client: Client, state: DesiredState): void;
  gone(client: Client): void;
}

export class Client {
  readonly #socket: Socket;
  readonly #host: ClientHost;
  readonly #frames = new FrameSplitter(QUERY_BYTES_MAX);
  #hello: Hello | undefined;
  #feed: LocRibFeed | undefined;
  #sequence = 0n;
  #inFlight: bigint[] = [];
  #snapshotSent = false;
  readonly #sessions = new Map<string, PeerSession>();
  readonly #endOfRib = new Map<string, { peer: string; afi: Afi }>();
  readonly #queries: Generator<QueryReply>[] = [];
  #closed = false;
  #due = false;

  constructor(socket: Socket, host: ClientHost) {
    this.#socket = socket;
    this.#host = host;
    socket.on("data", (chunk) => this.#data(chunk as Uint8Array));
    socket.on("drain", () => this.#work());
    // A client that dies is no event: what it had asked for ends with it.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#onClose());
  }

  get controller(): boolean {
    return this.#hello?.controller === true;
  }

  /** Ends the connection with a reason. */
  refuse(reason: string): void {
    if (this.#closed) return;
    this.#send({ case: "refusal", value: create(RefusalSchema, { reason }) });
    this.#socket.end();
  }

  /** Says why something was not done; the connection lives. */
  complain(reason: string): void {
    this.#send({ case: "refusal", value: create(RefusalSchema, { reason }) });
  }

  acknowledged(generation: bigint, peer: string, state: AckState): void {
    if (!this.controller) return;
    this.#send({ case: "ack", value: create(AckSchema, { generation, peer, state: ackMessage[state] }) });
  }

  /** Only the newest picture of a session is ever sent. */
  sessionChanged(session: PeerSession): void {
    if (!this.#follows) return;
    this.#sessions.set(session.name, session);
    this.#workSoon();
  }

  routesChanged(): void {
    if (this.#feed) this.#workSoon();
  }

  endOfRib(peer: string, afi: Afi): void {
    if (!this.#feed) return;
    this.#endOfRib.set(`${peer} ${afi}`, { peer, afi });
    this.#workSoon();
  }

  get #follows(): boolean {
    return this.#hello !== undefined && (this.#hello.controller || this.#hello.wantRoutes);
  }

  #data(chunk: Uint8Array): void {
    const ok = this.#frames.push(chunk, (bytes) => {
      if (this.#closed) return;
      let message: ToSpeaker;
      try {
        message = fromBinary(ToSpeakerSchema, bytes);
      } catch {
        this.refuse(refusal.malformed);
        return;
      }
      this.#message(message);
    });
    if (!ok) this.refuse(refusal.tooLong);
  }

  #message({ message }: ToSpeaker): void {
    if (!this.#hello && message.case !== "hello") {
      this.refuse(refusal.helloFirst);
      return;
    }
    switch (message.case) {
      case "hello":
        this.#onHello(message.value);
        break;
      case "desired":
        if (this.controller) this.#host.desired(this, message.value);
        else this.refuse(refusal.controllerOnly);
        break;
      case "query":
        this.#onQuery(message.value);
        break;
      case "routesAck":
        this.#inFlight = this.#inFlight.filter((s) => s > message.value.sequence);
        this.#work();
        break;
      default:
        this.refuse(refusal.malformed);
    }
  }

  #onHello(hello: Hello): void {
    if (hello.protocol !== 1) {
      this.refuse(refusal.protocol(hello.protocol));
      return;
    }
    const no = hello.controller ? this.#host.takeControl(this) : undefined;
    if (no !== undefined) {
      this.refuse(no);
      return;
    }
    this.#hello = hello;
    if (hello.controller) this.#frames.lengthMax = DESIRED_BYTES_MAX;
    const { speaker, version } = this.#host;
    this.#send({
      case: "hello",
      value: create(HelloReplySchema, {
        protocol: 1,
        version,
        pid: BigInt(process.pid),
        generation: speaker.config?.generation ?? 0n,
      }),
    });
    if (this.#follows) for (const session of speaker.sessions) this.sessionChanged(session);
    if (hello.wantRoutes && !this.#feed) this.#feed = new LocRibFeed(speaker.rib);
    this.#workSoon();
  }

  #onQuery(query: Query): void {
    if (this.#queries.length >= QUERIES_MAX) {
      this.refuse(refusal.busy);
      return;
    }
    this.#queries.push(answer(this.#host.speaker, query, () => this.#host.monitoring()));
    this.#workSoon();
  }

  #workSoon(): void {
    if (this.#due || this.#closed) return;
    this.#due = true;
    setImmediate(() => {
      this.#due = false;
      this.#work();
    });
  }

  get #full(): boolean {
    return this.#closed || this.#socket.writableLength > PENDING_BYTES_MAX;
  }

  /** Sends what there is, as long as the client takes it. */
  #work(): void {
    if (this.#full || !this.#hello) return;
    for (const [name, session] of this.#sessions) {
      this.#sessions.delete(name);
      const value = create(SessionEventSchema, {
        peer: name,
        state: session.state,
        session: sessionMessage(session),
      });
      this.#send({ case: "session", value });
      if (this.#full) return;
    }
    while (this.#feed && this.#inFlight.length < BATCHES_IN_FLIGHT && this.#sendRoutes(this.#feed))
      if (this.#full) return;
    const query = this.#queries[0];
    if (!query) return;
    const { value, done } = query.next();
    if (done) this.#queries.shift();
    else this.#send({ case: "reply", value });
    this.#workSoon();
  }

  /** One batch of changes; false when there was nothing to say. */
  #sendRoutes(feed: LocRibFeed): boolean {
    const { speaker } = this.#host;
    if (speaker.rib.dirty) speaker.flush();
    const changes = feed.take(ROUTES_PER_BATCH);
    const snapshotDone = feed.complete && !this.#snapshotSent;
    const ends = feed.idle ? [...this.#endOfRib.values()] : [];
    if (changes.length === 0 && !snapshotDone && ends.length === 0) {
      feed.release();
      return false;
    }
    if (snapshotDone) this.#snapshotSent = true;
    if (ends.length > 0) this.#endOfRib.clear();
    const sequence = ++this.#sequence;
    const value = create(RouteBatchSchema, {
      sequence,
      routes: changes.map(({ afi, pid }) => locRoute(speaker.rib, afi, pid, false)),
      snapshotDone,
      endOfRib: ends.map(({ peer, afi }) => create(PeerFamilySchema, { peer, family: familyMessage(afi) })),
    });
    feed.release();
    this.#inFlight.push(sequence);
    this.#send({ case: "routes", value });
    return true;
  }

  #send(message: FromSpeaker["message"]): void {
    if (this.#closed || this.#socket.writableEnded) return;
    this.#socket.write(frame(toBinary(FromSpeakerSchema, create(FromSpeakerSchema, { message }))));
  }

  #onClose(): void {
    this.#closed = true;
    this.#feed?.[Symbol.dispose]();
    this.#feed = undefined;
    this.#queries.length = 0;
    this.#host.gone(this);
  }
}
