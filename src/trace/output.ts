// trace: where a local run prints: stdout or a file, in text or JSON lines, buffered as the user wants.
import { closeSync, openSync, writeSync } from "node:fs";
import { lineJson, mapJson, mapText, type PrintOptions, printJson, printText } from "../results/index.ts";
import type { MapData, NodeChunk, ResultSchema } from "../results/types.ts";

export type Buffering = "none" | "line" | "full";

/** Bytes that are gathered before they are written, whatever the mode. */
const fullAt = 64 * 1024;

/** A file descriptor that is written synchronously: what was printed is out when the process ends. */
export class Sink implements Disposable {
  readonly #fd: number;
  readonly #owned: boolean;
  readonly #buffering: Buffering;
  #pending: string[] = [];
  #length = 0;
  #scheduled = false;
  /** The reader went away; everything after that is dropped. */
  broken = false;

  constructor(target: { readonly fd: number } | { readonly path: string }, buffering: Buffering) {
    this.#owned = "path" in target;
    this.#fd = "path" in target ? openSync(target.path, "w", 0o644) : target.fd;
    this.#buffering = buffering;
  }

  /** Lines of one turn of the event loop are written together, unless buffering is off. */
  write(text: string): void {
    if (text === "" || this.broken) return;
    this.#pending.push(text);
    this.#length += text.length;
    if (this.#buffering === "none" || this.#length >= fullAt) {
      this.flush();
      return;
    }
    if (this.#buffering === "full" || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  flush(): void {
    if (this.#length === 0) return;
    const bytes = Buffer.from(this.#pending.join(""), "utf8");
    this.#pending = [];
    this.#length = 0;
    for (let done = 0; done < bytes.length && !this.broken; ) {
      try {
        done += writeSync(this.#fd, bytes, done);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        // A non-blocking pipe whose reader is slow: wait for it, there is nothing better to do with the data.
        if (code === "EAGAIN") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
        else if (code === "EPIPE") this.broken = true;
        else throw error;
      }
    }
  }

  [Symbol.dispose](): void {
    this.flush();
    if (this.#owned) closeSync(this.#fd);
  }
}

export interface PrinterOptions {
  readonly json: boolean;
  /** As bpftrace 0.17 prints. */
  readonly old: boolean;
  readonly schema: ResultSchema;
  /** Takes messages, which are no results. */
  readonly complain: (text: string) => void;
}

/** Writes what a run tells. */
export class Printer {
  readonly #sink: Sink;
  readonly #options: PrinterOptions;
  readonly #print: PrintOptions;

  constructor(sink: Sink, options: PrinterOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#print = options.old ? { old: true } : {};
  }

  /** bpftrace has put the number into a field of its own since 0.24, and kept it where it was. */
  #counted(type: string, what: string, count: number): void {
    const { json, old } = this.#options;
    const own = old ? "" : `"count": ${count}, `;
    if (json) this.#sink.write(`{"type": "${type}", ${own}"data": {"${what}": ${count}}}\n`);
  }

  attached(probes: number): void {
    this.#counted("attached_probes", "probes", probes);
  }

  /** As JSON; as text it goes elsewhere, past the script's own output. */
  lost(events: number): void {
    this.#counted("lost_events", "events", events);
  }

  /** Maps in the middle of a run. */
  maps(maps: readonly MapData[]): void {
    this.#sink.write(
      (this.#options.json ? printJson : printText)(this.#options.schema.maps, maps, this.#print),
    );
  }

  /** Messages are no results: they go where messages go, but what the script says itself is told in JSON as well. */
  #line(chunk: Extract<NodeChunk, { kind: "line" }>): void {
    const { json, old, complain } = this.#options;
    if (chunk.type === "error" && !(json && chunk.said)) complain(chunk.text);
    else if (json) this.#sink.write(lineJson(chunk, old));
    // Since 0.24 a line end follows the command's own.
    else this.#sink.write(chunk.type === "system" && !old ? `${chunk.text}\n` : chunk.text);
  }

  chunk(chunk: NodeChunk): void {
    const { json, old, schema } = this.#options;
    switch (chunk.kind) {
      case "line":
        this.#line(chunk);
        return;
      case "round": {
        const map = schema.maps.find((m) => m.name === chunk.map.name);
        const site = schema.rounds.find((r) => r.site === chunk.site);
        if (!map) return;
        const options = { ...this.#print, top: site?.top ?? 0, divide: site?.divide ?? 1 };
        this.#sink.write(json ? mapJson(map, chunk.map, options) : mapText(map, chunk.map, options));
        return;
      }
      case "maps": {
        const text = (json ? printJson : printText)(schema.maps, chunk.maps, this.#print);
        // bpftrace ends its main loop with two line ends, whether maps follow or not; 0.17 even between JSON lines.
        this.#sink.write(json && !old ? text : `\n\n${text}`);
      }
    }
  }
}
