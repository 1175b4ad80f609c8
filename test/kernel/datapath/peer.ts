// test: a process in a network namespace that serves and calls on command (IPC from topology.ts).
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { createConnection, createServer, type Socket } from "node:net";
import type { PeerRequest } from "./topology.ts";

const open = new Map<string, Socket>();
const udp = new Map<string, UdpSocket>();

/** TCP: a line is answered by "NAME FROM: line"; "send N" by N bytes. UDP: each datagram likewise. */
function serve(request: Extract<PeerRequest, { op: "serve" }>): Promise<string> {
  const { name, port } = request;
  if (request.protocol === "UDP") {
    const socket = createSocket({ type: "udp6", ipv6Only: false });
    socket.on("message", (data, from) =>
      socket.send(`${name} ${plain(from.address)}: ${data}`, from.port, from.address),
    );
    return new Promise((done, failed) => {
      socket.once("error", failed);
      socket.bind(port, "::", () => done("serving"));
    });
  }
  const server = createServer((socket) => {
    let text = "";
    socket.on("error", () => socket.destroy());
    socket.on("data", (data) => {
      text += data.toString("latin1");
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        const line = text.slice(0, end);
        text = text.slice(end + 1);
        const size = /^send (\d+)$/.exec(line);
        if (size) socket.write(Buffer.alloc(Number(size[1]), "x"));
        else if (line.startsWith("count ")) socket.write(`${name} got ${line.length}\n`);
        else socket.write(`${name} ${plain(socket.remoteAddress ?? "")}: ${line}\n`);
      }
    });
  });
  return new Promise((done, failed) => {
    server.once("error", failed);
    server.listen(port, "::", () => done("serving"));
  });
}

const plain = (address: string): string => address.replace(/^::ffff:/, "");

function connect(request: Extract<PeerRequest, { op: "connect" }>): Promise<string> {
  const { id, host, port, localPort } = request;
  const socket = createConnection({ host, port, ...(localPort !== undefined && { localPort }) });
  socket.setNoDelay(true);
  return new Promise((done, failed) => {
    const timer = setTimeout(() => failed(new Error(`connect to ${host}:${port}: timeout`)), 3000);
    socket.once("error", failed);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", failed);
      socket.on("error", () => open.delete(id));
      open.set(id, socket);
      done(`${plain(socket.remoteAddress ?? "")}`);
    });
  });
}

function answer(socket: Socket, wanted: (text: string) => string | undefined): Promise<string> {
  return new Promise((done, failed) => {
    let text = "";
    const finish = (end: () => void): void => {
      clearTimeout(timer);
      socket.off("data", take);
      socket.off("close", closed);
      end();
    };
    const take = (data: Buffer): void => {
      text += data.toString("latin1");
      const result = wanted(text);
      if (result !== undefined) finish(() => done(result));
    };
    const closed = (): void => finish(() => failed(new Error("closed")));
    const timer = setTimeout(() => finish(() => failed(new Error(`no answer (${text.length} bytes)`))), 5000);
    socket.on("data", take);
    socket.on("close", closed);
  });
}

function ask(request: Extract<PeerRequest, { op: "ask" }>): Promise<string> {
  const socket = open.get(request.id);
  if (!socket) return Promise.reject(new Error(`${request.id} is not open`));
  const size = /^send (\d+)$/.exec(request.text);
  const result = answer(socket, (text) => {
    if (size) return text.length >= Number(size[1]) ? `${text.length}` : undefined;
    return text.endsWith("\n") ? text.trimEnd() : undefined;
  });
  socket.write(`${request.text}\n`);
  return result;
}

function datagram(request: Extract<PeerRequest, { op: "udp" }>): Promise<string> {
  const { host, port, text, id } = request;
  let socket = udp.get(id);
  if (!socket) {
    socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.connect(port, host);
    udp.set(id, socket);
  }
  const used = socket;
  return new Promise((done, failed) => {
    const timer = setTimeout(() => failed(new Error(`udp ${host}:${port}: no answer`)), 2000);
    used.once("message", (data) => {
      clearTimeout(timer);
      done(data.toString());
    });
    used.once("error", failed);
    const send = () => used.send(text);
    try {
      used.remoteAddress();
      send();
    } catch {
      // Not connected yet: connecting is asynchronous even for UDP.
      used.once("connect", send);
    }
  });
}

/** Connects, asks once and closes, over and over; says how often and what went wrong. */
async function hammer(request: Extract<PeerRequest, { op: "hammer" }>): Promise<string> {
  const end = Date.now() + request.milliseconds;
  let good = 0;
  const bad: string[] = [];
  for (let i = 0; Date.now() < end; i++) {
    try {
      await connect({ op: "connect", id: "hammer", host: request.host, port: request.port });
      await ask({ op: "ask", id: "hammer", text: `n${i}` });
      good++;
    } catch (error) {
      bad.push(String(error));
    }
    open.get("hammer")?.destroy();
    await new Promise((next) => setTimeout(next, request.pauseMs));
  }
  return JSON.stringify({ good, bad });
}

function run(request: PeerRequest): Promise<string> {
  switch (request.op) {
    case "serve":
      return serve(request);
    case "connect":
      return connect(request);
    case "ask":
      return ask(request);
    case "udp":
      return datagram(request);
    case "hammer":
      return hammer(request);
    case "close":
      open.get(request.id)?.destroy();
      return Promise.resolve("closed");
  }
}

process.on("message", ({ serial, request }: { serial: number; request: PeerRequest }) => {
  run(request).then(
    (result) => process.send?.({ serial, result }),
    (error: unknown) => process.send?.({ serial, error: String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
