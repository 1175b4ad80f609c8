// bgp/session: the sentences that say why a session is not up, in one place.
import { type Afi, afiName } from "../wire/constants.ts";
import { describeNotification, type Notification } from "../wire/notification.ts";

export const why = {
  starting: "not tried yet",
  adminDown: "shut down by configuration",
  passwordMissing:
    "the Secret with the TCP-MD5 password does not exist; the session is kept down until it does",
  noFamily: "no address family is configured",
  tooManyPeers: "the speaker has as many neighbours as it can hold",
  range: (prefixes: string) => `waiting for neighbours from ${prefixes}`,
  rangeFull: (limit: number) => `a neighbour more than ${limit} was refused`,
  noRouter: (link: string) => `nobody has sent a router advertisement on ${link} yet`,
  connecting: (target: string) => `connecting to ${target}`,
  connectTimeout: (target: string) =>
    `no answer from ${target} (down, filtered, or a TCP-MD5 password that does not match)`,
  connectFailed: (target: string, reason: string) => `cannot connect to ${target}: ${reason}`,
  waiting: (seconds: number, reason: string) => `${reason}; next attempt in ${seconds} s`,
  passive: "waiting for the neighbour to connect",
  handshake: "connected, waiting for the neighbour's OPEN",
  confirm: "OPEN exchanged, waiting for the first KEEPALIVE",
  closedByPeer: (reason: string) => `the neighbour closed the connection: ${reason}`,
  sent: (n: Notification) =>
    `we closed the session with ${describeNotification(n)}${n.reason ? ` (${n.reason})` : ""}`,
  received: (n: Notification) => `the neighbour closed the session with ${describeNotification(n)}`,
  holdTimer: "nothing was heard from the neighbour for the whole hold time",
  sendHoldTimer: "the neighbour has not read anything for too long",
  replaced: "the neighbour opened a new connection (it has restarted)",
  stopped: "the speaker is stopping",
  bfdDown: (diagnostic: string) => `BFD says that the path to the neighbour is down (${diagnostic})`,
} as const;

/** How near a neighbour is to the most prefixes that it may send. */
export function limitText(
  afi: Afi,
  state: "ok" | "near" | "over",
  received: number,
  max: number,
  action: "teardown" | "discard" | "warn",
): string {
  const count = `${received} of at most ${max} ${afiName[afi]} prefixes`;
  if (state !== "over") return count;
  return action === "discard" ? `${count}; further ones are not taken` : `${count}: too many`;
}

/** Text for the shutdown communication (RFC 9003) of our own Cease messages. */
export const farewell = {
  adminDown: "administratively down",
  deconfigured: "neighbour removed from configuration",
  stopped: "speaker stopped",
} as const;
