// lab: many bytes one way over one connection, with a digest at the other end: does a path carry full packets in both directions?
import { createCipheriv, createHash, type Hash } from "node:crypto";
import { type ClientRequest, type IncomingMessage, request, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

export const transferPath = "/transfer/";

/** Nobody is asked for more than this, in bytes. */
const bytesMost = 1_000_000_000;
const chunkBytes = 65_536;

/** The first `bytes` of a fixed sequence that no compression shortens and no repetition hides a gap in. */
function* sequence(bytes: number): Generator<Buffer> {
  const key = Buffer.alloc(16, 0x77);
  const stream = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  const zeros = Buffer.alloc(chunkBytes);
  for (let left = bytes; left > 0; left -= chunkBytes)
    yield stream.update(zeros.subarray(0, Math.min(left, chunkBytes)));
}

function digestOf(bytes: number): string {
  const hash = createHash("sha256");
  for (const chunk of sequence(bytes)) hash.update(chunk);
  return hash.digest("hex");
}

async function consume(stream: AsyncIterable<Buffer>, hash: Hash): Promise<number> {
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  return bytes;
}

interface Received {
  readonly server: string;
  readonly bytes: number;
  readonly digest: string;
}

/** GET /transfer/<bytes> gives the sequence, PUT takes what comes and tells its digest. */
export function serveTransfer(incoming: IncomingMessage, response: ServerResponse, name: string): void {
  const bytes = Number(incoming.url?.slice(transferPath.length));
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > bytesMost) {
    response.writeHead(400).end(`at most ${bytesMost} bytes\n`);
    return;
  }
  const failed = (error: unknown): void => {
    // The client sees its end of the connection close; the log says why.
    console.error(error);
    response.destroy();
  };
  if (incoming.method === "GET") {
    response.writeHead(200, { "content-length": bytes, "x-server": name });
    pipeline(Readable.from(sequence(bytes)), response).catch(failed);
    return;
  }
  const hash = createHash("sha256");
  consume(incoming, hash).then((count) => {
    const received: Received = { server: name, bytes: count, digest: hash.digest("hex") };
    response.end(JSON.stringify(received));
  }, failed);
}

export interface TransferResult {
  readonly url: string;
  readonly direction: "down" | "up";
  readonly server: string;
  readonly bytes: number;
  /** Everything came, and as it was sent. */
  readonly intact: boolean;
  readonly seconds: number;
}

/**
 * Moves `bytes` from the server (`down`) or to it (`up`), over a connection of its own.
 * @throws Error on a refusal, or after `silenceMs` in which nothing moved
 */
export async function transfer(
  url: string,
  direction: "down" | "up",
  bytes: number,
  silenceMs = 15_000,
): Promise<TransferResult> {
  const begin = performance.now();
  const target = new URL(`${transferPath}${bytes}`, url);
  const method = direction === "down" ? "GET" : "PUT";
  const headers = direction === "down" ? {} : { "content-length": bytes };
  const outgoing = request(target, { method, headers, agent: false, timeout: silenceMs });
  let silence: Error | undefined;
  outgoing.on("timeout", () => {
    silence = new Error(`${target} ${direction}: nothing moved for ${silenceMs} ms`);
    outgoing.destroy(silence);
  });
  try {
    const received = await exchange(outgoing, direction, bytes);
    return {
      url,
      direction,
      server: received.server,
      bytes: received.bytes,
      intact: received.bytes === bytes && received.digest === digestOf(bytes),
      seconds: Math.round(performance.now() - begin) / 1000,
    };
  } catch (error) {
    // A response that is under way ends with less telling words.
    throw silence ?? error;
  }
}

/** What went over the wire, as its receiver saw it. */
async function exchange(outgoing: ClientRequest, direction: "down" | "up", bytes: number): Promise<Received> {
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.once("error", reject);
  });
  const sent = pipeline(Readable.from(direction === "up" ? sequence(bytes) : []), outgoing);
  const [response] = await Promise.all([answer, sent]);
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}`);
  if (direction === "up") return JSON.parse(Buffer.concat(await response.toArray()).toString()) as Received;
  const hash = createHash("sha256");
  const count = await consume(response, hash);
  return { server: String(response.headers["x-server"]), bytes: count, digest: hash.digest("hex") };
}
