// bgp/daemon: the thread in which BFD lives, so that a RIB at work delays no packet of it. Speaks with bfd.ts by messages.
import { parentPort } from "node:worker_threads";
import { BfdSessions } from "../bfd/sessions.ts";
import type { BfdStatus, BfdTarget } from "../session/bfd.ts";
import { UdpLink, UdpReceivers } from "./bfd-io.ts";
import { systemClock } from "./clock.ts";

export type ToBfd =
  | { readonly kind: "set"; readonly targets: readonly BfdTarget[] }
  /** Tells all neighbours AdminDown, and answers with "stopped". */
  | { readonly kind: "stop" };

export type FromBfd =
  | { readonly kind: "status"; readonly key: string; readonly status: BfdStatus }
  | { readonly kind: "problem"; readonly text: string }
  /** Packets that were not taken, by reason, since the thread began. */
  | { readonly kind: "refused"; readonly counts: Readonly<Record<string, number>> }
  | { readonly kind: "stopped" };

const port = parentPort!;
const tell = (message: FromBfd): void => port.postMessage(message);

const sessions = new BfdSessions({
  clock: systemClock,
  random: Math.random,
  open: (target) => new UdpLink(target, () => sessions.report(target.key)),
  changed: (key, status) => tell({ kind: "status", key, status }),
});
const receivers = new UdpReceivers(
  (bytes, from) => sessions.receive(bytes, from),
  (text) => tell({ kind: "problem", text }),
);

/** Told when they change, at most this often: a flood of strangers is not to become one of messages. */
const COUNTS_MS = 5_000;
let told = "";
setInterval(() => {
  const { refused, strangers, tooMany } = sessions.counters;
  const counts = { ...refused, stranger: strangers, too_many_sessions: tooMany };
  const text = JSON.stringify(counts);
  if (text !== told) tell({ kind: "refused", counts });
  told = text;
}, COUNTS_MS);

port.on("message", (message: ToBfd) => {
  if (message.kind === "set") {
    receivers.set(message.targets);
    sessions.set(message.targets);
    return;
  }
  sessions.stop();
  tell({ kind: "stopped" });
});
