// bgp/daemon: unnumbered neighbours: on their interfaces we send router advertisements and listen for theirs (RFC 4861), which tells the address.
import { close, whenReadable } from "../../kernel/ffi.ts";
import {
  Icmp6Type,
  openRouterSocket,
  receiveRouterMessage,
  sendRouterAdvertisement,
  sendRouterSolicitation,
} from "../../kernel/icmp6.ts";
import { type Address, toInteger } from "../../net/address.ts";
import type { SpeakerConfig } from "../session/types.ts";
import { linkProblem } from "./messages.ts";

/** Advertisements when all is quiet; what other speakers of unnumbered BGP use. */
const ADVERTISE_MS = 10_000;
/** After the start: this many, a second apart, so that nobody waits for the long interval. */
const INITIAL_COUNT = 5;
const INITIAL_MS = 1_000;
/** Answers to solicitations: RFC 4861 6.2.6 allows one every three seconds. */
const ANSWER_MS = 3_000;
/** An interface that is not there is looked for again. */
const OPEN_RETRY_MS = 2_000;
/** Messages read in one go; a flood must not hold up the sessions. */
const MESSAGES_MAX = 64;

export interface RouterLinksHost {
  /** Somebody on the link has shown itself. */
  found(link: string, address: Address): void;
  log(level: "info" | "warn", text: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** The configuration with the addresses of the unnumbered neighbours that have been found, by interface. */
export function withAddresses(config: SpeakerConfig, addresses: ReadonlyMap<string, Address>): SpeakerConfig {
  if (!config.peers.some((p) => p.unnumbered)) return config;
  const peers = config.peers.map((p) => {
    const address = p.unnumbered && p.interface !== undefined ? addresses.get(p.interface) : undefined;
    return address ? { ...p, address } : p;
  });
  return { ...config, peers };
}

export class RouterLinks {
  readonly #host: RouterLinksHost;
  readonly #links = new Map<string, RouterLink>();
  readonly #addresses = new Map<string, Address>();

  constructor(host: RouterLinksHost) {
    this.#host = host;
  }

  /** Of the neighbours that have been found, by interface. */
  get addresses(): ReadonlyMap<string, Address> {
    return this.#addresses;
  }

  /** The interfaces with an unnumbered neighbour. */
  set(names: ReadonlySet<string>): void {
    for (const [name, link] of this.#links)
      if (!names.has(name)) {
        link[Symbol.dispose]();
        this.#links.delete(name);
        this.#addresses.delete(name);
      }
    for (const name of names)
      if (!this.#links.has(name)) this.#links.set(name, new RouterLink(name, this.#host));
  }

  /** Takes an address for that of the neighbour of an interface. False where that is nothing new, or the interface is none of ours. */
  settle(name: string, address: Address): boolean {
    const before = this.#addresses.get(name);
    if (!this.#links.has(name) || (before && toInteger(before) === toInteger(address))) return false;
    this.#addresses.set(name, address);
    return true;
  }

  [Symbol.dispose](): void {
    this.set(new Set());
  }
}

/** One interface: owns its socket. */
class RouterLink {
  readonly #name: string;
  readonly #host: RouterLinksHost;
  #fd: number | undefined;
  #stopReading: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #sent = 0;
  #answered = Number.NEGATIVE_INFINITY;
  /** Last complaint, so that each is logged once. */
  #complaint = "";

  constructor(name: string, host: RouterLinksHost) {
    this.#name = name;
    this.#host = host;
    this.#open();
  }

  #open(): void {
    try {
      this.#fd = openRouterSocket(this.#name);
      this.#stopReading = whenReadable(this.#fd, () => this.#read());
    } catch (error) {
      this.#complain(linkProblem.cannotOpen(this.#name, (error as Error).message));
      this.#again();
      return;
    }
    this.#sent = 0;
    this.#tick();
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#stopReading?.();
    this.#stopReading = undefined;
    if (this.#fd !== undefined) close(this.#fd);
    this.#fd = undefined;
  }

  #again(): void {
    this.#close();
    this.#timer = setTimeout(() => this.#open(), OPEN_RETRY_MS);
  }

  #complain(text: string): void {
    if (text !== this.#complaint) this.#host.log("warn", text);
    this.#complaint = text;
  }

  #tick(): void {
    const initial = this.#sent < INITIAL_COUNT;
    this.#advertise(initial);
    this.#sent++;
    this.#timer = setTimeout(() => this.#tick(), initial ? INITIAL_MS : ADVERTISE_MS);
  }

  #advertise(solicit: boolean): void {
    if (this.#fd === undefined) return;
    try {
      sendRouterAdvertisement(this.#fd);
      if (solicit) sendRouterSolicitation(this.#fd);
      this.#complaint = "";
    } catch (error) {
      // A link that is down, or has no address yet: the next round tries again.
      this.#complain(linkProblem.cannotSend(this.#name, (error as Error).message));
    }
  }

  #read(): void {
    for (let n = 0; n < MESSAGES_MAX && this.#fd !== undefined; n++) {
      let message: ReturnType<typeof receiveRouterMessage>;
      try {
        message = receiveRouterMessage(this.#fd);
      } catch (error) {
        this.#complain(linkProblem.cannotOpen(this.#name, (error as Error).message));
        this.#again();
        return;
      }
      if (!message) return;
      if (message.type === Icmp6Type.routerAdvertisement) this.#host.found(this.#name, message.from);
      else if (performance.now() - this.#answered > ANSWER_MS) {
        this.#answered = performance.now();
        this.#advertise(false);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}
