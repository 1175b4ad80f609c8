// agent: who has acknowledged which generation of the desired state.
import { AckState } from "../api/generated/proto/speaker_pb.js";

/** Latest acknowledgement of each peer. */
export class Acks {
  readonly #latest = new Map<string, { readonly generation: number; readonly state: AckState }>();
  readonly #isDown: (peer: string) => boolean;

  /** `isDown`: whether the session with a peer is known not to be Established. */
  constructor(isDown: (peer: string) => boolean) {
    this.#isDown = isDown;
  }

  put(peer: string, generation: number, state: AckState): void {
    const known = this.#latest.get(peer);
    if (!known || known.generation <= generation) this.#latest.set(peer, { generation, state });
  }

  /** Forgets everything: a new connection acknowledges what is sent on it. */
  clear(): void {
    this.#latest.clear();
  }

  /** Keeps to the peers that there are. */
  retain(peers: ReadonlySet<string>): void {
    for (const peer of this.#latest.keys()) if (!peers.has(peer)) this.#latest.delete(peer);
  }

  /** Peers among these that may still hold what an earlier generation said. */
  waiting(generation: number, peers: Iterable<string>): readonly string[] {
    return [...peers].filter((peer) => {
      const ack = this.#latest.get(peer);
      if (!ack || ack.generation < generation) return true;
      // Not in time, and the session has ended since: nobody is there who could hold it.
      if (ack.state === AckState.ACK_TIMEOUT) return !this.#isDown(peer);
      return ack.state !== AckState.ACK_SENT && ack.state !== AckState.ACK_PEER_DOWN;
    });
  }
}
