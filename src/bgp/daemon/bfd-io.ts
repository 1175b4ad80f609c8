// bgp/daemon: the sockets of BFD: one to receive for each address and kind, one to send for each session. Runs in BFD's own thread.
import { createSocket, type Socket } from "node:dgram";
import { close, interfaceIndex } from "../../kernel/ffi.ts";
import { openUdpReceiver, openUdpSender, sendUdp } from "../../kernel/udp.ts";
import { type Address, type Family, formatAddress, parseAddress } from "../../net/address.ts";
import { addressText, type BfdLink, type BfdSource } from "../bfd/sessions.ts";
import type { BfdTarget } from "../session/bfd.ts";
import { bfdProblem } from "./messages.ts";

export const bfdPort = (multihop: boolean): number => (multihop ? 4784 : 3784);

const isLinkLocal = (a: Address): boolean => a.family === 6 && a.hi >> 54n === 0x3fan;

/** Index of the interface for a link-local address; 0 for all others. */
const scopeOf = (a: Address | undefined, name: string | undefined): number =>
  a && isLinkLocal(a) && name !== undefined ? (interfaceIndex(name) ?? 0) : 0;

/** The way out of one session; its socket is made when it is first needed and again after a failure. */
export class UdpLink implements BfdLink {
  problem = "";
  readonly #target: BfdTarget;
  readonly #changed: () => void;
  #fd: number | undefined;

  constructor(target: BfdTarget, changed: () => void) {
    this.#target = target;
    this.#changed = changed;
  }

  send(bytes: Uint8Array): void {
    const { address, localAddress, interface: name, multihop } = this.#target;
    let problem = "";
    try {
      this.#fd ??= openUdpSender({
        family: address.family,
        localAddress,
        interface: name,
        scope: scopeOf(localAddress, name),
        random: Math.random(),
      });
      sendUdp(this.#fd, address, bfdPort(multihop), scopeOf(address, name), bytes);
    } catch (error) {
      // The neighbour finds out by its detection time; here the reason is shown, and the next packet tries anew.
      problem = bfdProblem.send((error as Error).message);
      this.#close();
    }
    if (problem === this.problem) return;
    this.problem = problem;
    this.#changed();
  }

  #close(): void {
    if (this.#fd !== undefined) close(this.#fd);
    this.#fd = undefined;
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}

/** A port is tried again this often while it cannot be had. */
const RETRY_MS = 2_000;

interface Wanted {
  readonly family: Family;
  readonly address: Address | undefined;
  readonly scope: number;
  readonly multihop: boolean;
}

/** The receiving sockets that the sessions need. */
export class UdpReceivers {
  readonly #open = new Map<string, Socket>();
  readonly #take: (bytes: Uint8Array, from: BfdSource) => void;
  readonly #problem: (text: string) => void;
  #wanted = new Map<string, Wanted>();
  #timer: NodeJS.Timeout | undefined;
  #complained = new Set<string>();

  constructor(take: (bytes: Uint8Array, from: BfdSource) => void, problem: (text: string) => void) {
    this.#take = take;
    this.#problem = problem;
  }

  set(targets: readonly BfdTarget[]): void {
    this.#wanted = receiversFor(targets);
    this.#sync();
  }

  #sync(): void {
    clearTimeout(this.#timer);
    for (const [key, socket] of this.#open)
      if (!this.#wanted.has(key)) {
        socket.close();
        this.#open.delete(key);
      }
    let missing = false;
    for (const [key, wanted] of this.#wanted) {
      if (this.#open.has(key)) continue;
      try {
        this.#open.set(key, this.#listen(wanted));
        this.#complained.delete(key);
      } catch (error) {
        missing = true;
        if (!this.#complained.has(key)) this.#problem(bfdProblem.listen(key, (error as Error).message));
        this.#complained.add(key);
      }
    }
    if (missing) this.#timer = setTimeout(() => this.#sync(), RETRY_MS);
  }

  #listen({ family, address, scope, multihop }: Wanted): Socket {
    const fd = openUdpReceiver(family, address, scope, bfdPort(multihop), !multihop);
    const socket = createSocket(family === 4 ? "udp4" : "udp6");
    const local = address ? addressText(address) : "";
    socket.on("message", (bytes, { address: from }) => {
      const [text, zone] = from.split("%");
      this.#take(bytes, {
        multihop,
        address: addressText(parseAddress(text!)),
        interface: zone ?? "",
        localAddress: local,
      });
    });
    // An ICMP error for something that was sent: detection is by time alone.
    socket.on("error", (error) => this.#problem(bfdProblem.listen(local || "any address", error.message)));
    socket.bind({ fd });
    return socket;
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const socket of this.#open.values()) socket.close();
    this.#open.clear();
  }
}

/** One socket for each local address; where a session names none, one for all of its family and kind. */
function receiversFor(targets: readonly BfdTarget[]): Map<string, Wanted> {
  const out = new Map<string, Wanted>();
  const anywhere = new Set(
    targets.filter((t) => !t.localAddress).map((t) => `${t.address.family} ${t.multihop}`),
  );
  for (const t of targets) {
    const { family } = t.address;
    const address = anywhere.has(`${family} ${t.multihop}`) ? undefined : t.localAddress;
    const scope = scopeOf(address, t.interface);
    const where = address ? formatAddress(address) : family === 4 ? "0.0.0.0" : "::";
    const key = `${where}${scope > 0 ? `%${t.interface}` : ""} port ${bfdPort(t.multihop)}`;
    out.set(key, { family, address, scope, multihop: t.multihop });
  }
  return out;
}
