// bgp/daemon: the transport over node:net; sockets that need options before they connect are made by src/kernel.
import { createServer, type OnReadOpts, type Server, Socket, type SocketConstructorOpts } from "node:net";
import { networkInterfaces } from "node:os";
import { close, duplicate } from "../../kernel/ffi.ts";
import {
  bindToInterface,
  descriptorOf,
  nativeSockets,
  openTcpSocket,
  setMd5,
  setNetworkControl,
  setTtl,
  setTtlSecurity,
  setUserTimeout,
  tcpOutQueue,
} from "../../kernel/sockets.ts";
import {
  type Address,
  formatAddress,
  fromBytes,
  maskTo,
  type Prefix,
  parseAddress,
  toInteger,
} from "../../net/address.ts";
import type {
  Connection,
  ConnectionHandler,
  ConnectTarget,
  ListenAddress,
  PeerConfig,
  Transport,
} from "../session/types.ts";

/** After the last word: how long the other end has to take it. */
const LINGER_MS = 3_000;
/** Unacknowledged data ends a connection after this long: dead peers are found although TCP would retry for 15 minutes. */
const USER_TIMEOUT_MS = 120_000;

const phrases: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  ETIMEDOUT: "timed out",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "network is unreachable",
  EADDRNOTAVAIL:
    "our source address is not configured on this machine, or our source port is still in use there",
  EADDRINUSE: "our source port is taken",
  EPIPE: "connection is closed",
};

const phrase = (error: Error): string => {
  const { code } = error as NodeJS.ErrnoException;
  return (code && phrases[code]) ?? error.message;
};

/** Text of node:net as an address; zones are dropped, IPv4 in IPv6 becomes IPv4. */
function addressOf(text: string | undefined): Address | undefined {
  if (text === undefined) return undefined;
  const plain = text.replace(/%.*$/, "");
  if (!plain.startsWith("::ffff:") || !plain.includes(".")) return parseAddress(plain);
  return fromBytes(Uint8Array.from(plain.slice(7).split("."), Number));
}

/** Prefixes of the interface that has an address; undefined for a loopback interface, which is no link. */
export function linksOf(
  local: Address,
  interfaces: ReturnType<typeof networkInterfaces>,
): readonly Prefix[] | undefined {
  const same = (text: string): boolean => {
    const a = parseAddress(text);
    return a.family === local.family && toInteger(a) === toInteger(local);
  };
  for (const addresses of Object.values(interfaces)) {
    const own = addresses?.find((a) => same(a.address));
    if (!own || !addresses) continue;
    if (own.internal || isLinkLocal(local)) return undefined;
    return addresses.flatMap(({ address, cidr }) =>
      cidr === null || isLinkLocal(parseAddress(address))
        ? []
        : [maskTo(parseAddress(address), Number(cidr.split("/")[1]))],
    );
  }
  return undefined;
}

/** The interface that node:net names with a link-local address. */
export const zoneOf = (text: string | undefined): string | undefined => text?.split("%")[1];

/** Neighbours that flap are not to make the kernel list its addresses each time. */
const INTERFACES_MS = 1_000;
let interfaces: ReturnType<typeof networkInterfaces> = {};
let interfacesAt = -INTERFACES_MS;

function interfacesNow(): ReturnType<typeof networkInterfaces> {
  if (performance.now() - interfacesAt >= INTERFACES_MS) {
    interfaces = networkInterfaces();
    interfacesAt = performance.now();
  }
  return interfaces;
}

/**
 * What comes in is read into one place for all connections, and used before the next is read. Where Node allocates for each read, a large
 * table makes it collect garbage all the time; and these octets stay in the cache.
 */
const READ_BYTES = 64 * 1024;
let readInto: Uint8Array<ArrayBuffer> | undefined;

/** Options of a socket that reads so; `data` gets each piece. */
function reading(data: (chunk: Uint8Array) => void): { onread: OnReadOpts } {
  readInto ??= new Uint8Array(READ_BYTES);
  const buffer = readInto;
  return {
    onread: {
      buffer,
      callback: (count) => {
        data(buffer.subarray(0, count));
        return true;
      },
    },
  };
}

export class TcpConnection implements Connection {
  readonly #socket: Socket;
  #handler: ConnectionHandler | undefined;
  #reason = "closed";
  #native: boolean;

  private constructor(socket: Socket | number) {
    this.#native = typeof socket === "number";
    this.#socket =
      typeof socket === "number"
        ? new Socket({
            fd: socket,
            manualStart: true,
            ...reading((chunk) => this.#handler?.data(chunk)),
          } as SocketConstructorOpts)
        : socket;
  }

  /** Of a descriptor, which it owns from now on; it may be connected or not. */
  static of(fd: number): TcpConnection {
    return new TcpConnection(fd);
  }

  /** Of a socket of Node's, where there is no native module. */
  static plain(socket: Socket): TcpConnection {
    return new TcpConnection(socket);
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** Tells a handler of everything from now on; reading begins after this turn, or once it is connected. */
  open(handler: ConnectionHandler): void {
    this.#handler = handler;
    const socket = this.#socket;
    socket.setNoDelay(true);
    if (!this.#native) socket.on("data", (chunk) => handler.data(chunk as Uint8Array));
    socket.on("error", (error) => {
      this.#reason = phrase(error);
    });
    socket.on("close", () => handler.closed(this.#reason));
    socket.resume();
  }

  get local(): Address | undefined {
    return addressOf(this.#socket.localAddress);
  }

  get remote(): Address | undefined {
    return addressOf(this.#socket.remoteAddress);
  }

  get localPort(): number | undefined {
    return this.#socket.localPort;
  }

  get remotePort(): number | undefined {
    return this.#socket.remotePort;
  }

  get links(): readonly Prefix[] | undefined {
    const { local } = this;
    return local && linksOf(local, interfacesNow());
  }

  write(bytes: Uint8Array): boolean {
    if (this.#socket.destroyed || this.#socket.writableEnded) return false;
    this.#socket.write(bytes, () => {
      if (this.#socket.writableLength === 0) this.#handler?.drained();
    });
    return this.#socket.writableLength === 0;
  }

  get pendingBytes(): number {
    return this.#socket.writableLength;
  }

  unacknowledged(): number | undefined {
    const fd = this.#native ? descriptorOf(this.#socket) : undefined;
    if (fd === undefined) return undefined;
    try {
      return tcpOutQueue(fd);
    } catch {
      // Not a socket any more, or an ioctl that this kernel refuses: the caller has a bound of its own.
      this.#native = false;
      return undefined;
    }
  }

  end(): void {
    if (this.#socket.connecting) {
      this.#socket.destroy();
      return;
    }
    // Not closed at once: with unread data the kernel would send a reset, and the other end might lose our last word.
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Options of a socket by its neighbour. Before connecting also the MD5 key, which a listener has already. */
function setOptions(fd: number, target: Pick<ConnectTarget, "address" | "ttlSecurityHops" | "ttl">): void {
  const { family } = target.address;
  setNetworkControl(fd, family);
  setUserTimeout(fd, USER_TIMEOUT_MS);
  if (target.ttlSecurityHops > 0) setTtlSecurity(fd, family, target.ttlSecurityHops);
  else if (target.ttl > 0) setTtl(fd, family, target.ttl);
}

export const tcpTransport: Transport = {
  connect(target, handler) {
    const native = nativeSockets();
    let connection: TcpConnection;
    try {
      if (!native && (target.password !== undefined || target.ttlSecurityHops > 0))
        throw new Error("TCP-MD5 and TTL security need the native socket module, which does not load here");
      connection = native ? TcpConnection.of(nativeSocket(target)) : TcpConnection.plain(new Socket());
    } catch (error) {
      const failed = TcpConnection.plain(new Socket());
      failed.open(handler);
      failed.socket.destroy(error as Error);
      return failed;
    }
    const { socket } = connection;
    connection.open(handler);
    socket.once("connect", () => handler.connected());
    const zone = target.interface !== undefined && isLinkLocal(target.address) ? `%${target.interface}` : "";
    socket.connect({
      host: formatAddress(target.address) + zone,
      port: target.port,
      ...(target.localAddress ? { localAddress: formatAddress(target.localAddress) } : {}),
      ...(target.localPort > 0 ? { localPort: target.localPort } : {}),
    });
    return connection;
  },
};

const isLinkLocal = (a: Address): boolean => a.family === 6 && a.hi >> 54n === 0x3fan;

function nativeSocket(target: ConnectTarget): number {
  const fd = openTcpSocket(target.address.family);
  try {
    setOptions(fd, target);
    if (target.interface !== undefined) bindToInterface(fd, target.interface);
    if (target.password !== undefined) setMd5(fd, target.address, target.password);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** A TCP-MD5 key of a neighbour, or of all of a prefix of this length. */
interface Key {
  readonly address: Address;
  readonly password: string;
  readonly length: number | undefined;
}

/** One listening address, with the MD5 keys of the neighbours that may come in by it. */
export class Listener {
  readonly #server: Server;
  readonly #keys = new Map<string, Key>();
  readonly #family: 4 | 6;

  private constructor(server: Server, family: 4 | 6) {
    this.#server = server;
    this.#family = family;
  }

  /**
   * Listens. `accept` gets each connection; it destroys what it does not want.
   * @throws NodeJS.ErrnoException EADDRINUSE, EACCES, EADDRNOTAVAIL, EAFNOSUPPORT
   */
  static open(
    address: Address | undefined,
    family: 4 | 6,
    port: number,
    accept: (socket: Socket) => void,
  ): Promise<Listener> {
    const server = createServer({ pauseOnConnect: true, noDelay: true }, accept);
    const host = address ? formatAddress(address) : family === 4 ? "0.0.0.0" : "::";
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host, port, ipv6Only: family === 6, backlog: 128 }, () => {
        server.removeListener("error", reject);
        resolve(new Listener(server, family));
      });
    });
  }

  /** Makes the keys of the listening socket those of `peers`. Throws nothing: the neighbours whose key cannot be set are returned. */
  setKeys(peers: readonly PeerConfig[]): { peer: string; reason: string }[] {
    const failed: { peer: string; reason: string }[] = [];
    const wanted = new Map<string, { key: Key; peer: string }>();
    for (const { name: peer, password, address, range } of peers) {
      if (password === undefined) continue;
      const keys: Key[] = range
        ? range.prefixes.map((p) => ({ address: p, password, length: p.length }))
        : toInteger(address) === 0n
          ? []
          : [{ address, password, length: undefined }];
      for (const key of keys)
        if (key.address.family === this.#family)
          wanted.set(`${formatAddress(key.address)}/${key.length ?? ""}`, { key, peer });
    }
    const fd = descriptorOf(this.#server);
    if (fd === undefined) return failed;
    for (const [text, { address, length }] of this.#keys)
      if (!wanted.has(text)) {
        setMd5(fd, address, undefined, length);
        this.#keys.delete(text);
      }
    for (const [text, { key, peer }] of wanted) {
      if (this.#keys.get(text)?.password === key.password) continue;
      try {
        setMd5(fd, key.address, key.password, key.length);
        this.#keys.set(text, key);
      } catch (error) {
        failed.push({ peer, reason: (error as Error).message });
      }
    }
    return failed;
  }

  close(): void {
    this.#server.close();
  }
}

/** Where a configured listen address is opened: one socket a family. */
export const listenSockets = (listen: readonly ListenAddress[]): ListenSocket[] =>
  listen.flatMap(({ address, port }): ListenSocket[] =>
    address
      ? [{ address, family: address.family, port }]
      : ([4, 6] as const).map((family) => ({ address: undefined, family, port })),
  );

export interface ListenSocket {
  readonly address: Address | undefined;
  readonly family: 4 | 6;
  readonly port: number;
}

/**
 * Prepares a socket that was accepted, and from which nothing has been read, for its neighbour. The socket is the connection's from now on.
 * @throws KernelError when a protection that is configured cannot be had
 */
export function prepareAccepted(socket: Socket, peer: PeerConfig): TcpConnection {
  const accepted = nativeSockets() ? descriptorOf(socket) : undefined;
  if (accepted === undefined) return TcpConnection.plain(socket);
  setOptions(accepted, {
    address: peer.address,
    ttlSecurityHops: peer.ttlSecurityHops,
    ttl: peer.peerAsn === peer.localAsn ? 0 : peer.multihopTtl || 1,
  });
  // How a socket reads is said when it is made, and Node has made this one.
  const fd = duplicate(accepted);
  socket.destroy();
  return TcpConnection.of(fd);
}

export { addressOf };
