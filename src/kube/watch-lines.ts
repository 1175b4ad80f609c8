// kube: the body of a watch: JSON documents separated by newlines, in chunks that end anywhere.
import type { KubernetesObject } from "../api/index.ts";
import type { WatchEvent } from "./api.ts";
import { errorFromStatus, TransportError } from "./errors.ts";
import type { Resource } from "./resource.ts";

/** Longest event in bytes; etcd's own limit for an object is 1.5 MiB. */
export const longestLine = 16 << 20;

/**
 * Splits chunks into lines of UTF-8; a last line without its newline is a torn event and is dropped.
 * @throws TransportError for a line longer than {@link longestLine}
 */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      const tail = chunk.subarray(from, end);
      const line = pending.length === 0 ? tail : Buffer.concat([...pending, tail]);
      pending = [];
      pendingBytes = 0;
      from = end + 1;
      if (line.length > 0) yield decoder.decode(line);
    }
    if (from === chunk.length) continue;
    // Copied: the transport may use the chunk's memory again.
    pending.push(chunk.slice(from));
    pendingBytes += chunk.length - from;
    if (pendingBytes > longestLine)
      throw new TransportError("malformed", `a watch event is longer than ${longestLine} bytes`);
  }
}

/** @throws ApiError for an ERROR event, TransportError for what is not an event */
export function parseWatchLine<T extends KubernetesObject>(
  resource: Resource<T>,
  line: string,
): WatchEvent<T> {
  let event: { readonly type?: string; readonly object?: unknown };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (error) {
    throw new TransportError("malformed", `the watch of ${resource.plural} sent a line that is not JSON`, {
      cause: error,
    });
  }
  if (event.type === "ERROR") throw errorFromStatus(500, event.object);
  const object = event.object as T | undefined;
  const resourceVersion = object?.metadata?.resourceVersion;
  if (object && resourceVersion) {
    if (event.type === "BOOKMARK") return { type: "BOOKMARK", resourceVersion };
    const { type } = event;
    if ((type === "ADDED" || type === "MODIFIED" || type === "DELETED") && object.metadata.name)
      return { type, object };
  }
  throw new TransportError("malformed", `the watch of ${resource.plural} sent an event of an unknown form`);
}
