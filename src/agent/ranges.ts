// agent: neighbours of a range as one session, under the name of the BGPPeer that they came by.
import type { SessionView } from "./speaker/decode.ts";

/** Keeps what is known of the sessions of each range. Only those that are Established are remembered: as many as the range's limit. */
export class RangeSessions {
  readonly #members = new Map<string, Map<string, SessionView>>();
  /** What the speaker says of the range itself: why nobody is there. */
  readonly #ranges = new Map<string, SessionView>();

  clear(): void {
    this.#members.clear();
    this.#ranges.clear();
  }

  /** Keeps to the peers that there are. */
  retain(peers: ReadonlySet<string>): void {
    for (const map of [this.#members, this.#ranges])
      for (const name of map.keys()) if (!peers.has(name)) map.delete(name);
  }

  /**
   * Takes a session in.
   * @param range by which it came; empty for one that is configured itself
   * @returns what is to be known under the name of the BGPPeer
   */
  put(range: string, view: SessionView): SessionView {
    if (range === "" && !this.#members.has(view.peer)) {
      this.#ranges.set(view.peer, view);
      return view;
    }
    const name = range === "" ? view.peer : range;
    if (range === "") this.#ranges.set(name, view);
    else {
      const members = this.#members.get(name) ?? new Map<string, SessionView>();
      this.#members.set(name, members);
      if (view.state === "Established") members.set(view.peer, view);
      else members.delete(view.peer);
    }
    return this.#joined(name, view);
  }

  #joined(name: string, latest: SessionView): SessionView {
    const members = [...(this.#members.get(name)?.values() ?? [])];
    const first = members[0];
    const own = this.#ranges.get(name);
    if (!first) return { ...(own ?? { ...latest, state: "Idle" }), peer: name };
    const sum = (of: (v: SessionView) => number): number => members.reduce((n, m) => n + of(m), 0);
    return {
      ...first,
      peer: name,
      address: "",
      since: Math.min(...members.map((m) => m.since)),
      families: (["IPv4Unicast", "IPv6Unicast"] as const).filter((f) =>
        members.some((m) => m.families.includes(f)),
      ),
      lastErrorSent: latest.lastErrorSent,
      lastErrorReceived: latest.lastErrorReceived,
      received: sum((m) => m.received),
      accepted: sum((m) => m.accepted),
      advertised: sum((m) => m.advertised),
      flaps: sum((m) => m.flaps),
    };
  }
}
