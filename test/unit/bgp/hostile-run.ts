// test/unit/bgp: a neighbour that sends exactly what a case says over TCP, and an observer behind the speaker under test that judges what came of it.
import { connect, type Socket } from "node:net";
import { keepaliveMessage, notificationMessage } from "../../../src/bgp/wire/frame.ts";
import { notification } from "../../../src/bgp/wire/notification.ts";
import { type Attribute, type Case, type Context, openMessage } from "./hostile-cases.ts";

/** Where the speaker under test is, and who we may be. */
export interface Target {
  readonly host: string;
  readonly port: number;
  /** Address of the neighbour of case `index`. */
  readonly source: (index: number) => string;
  readonly observer: string;
}

export const asns = { speaker: 65000, external: 65001, observer: 65100 } as const;

/** How long a speaker may take for one step of a case. */
const STEP_MS = 60_000;

/** What an attribute looked like on the wire. */
interface Heard {
  readonly flags: number;
  readonly code: number;
  readonly value: Uint8Array;
}

export interface Outcome {
  /** "reset c/s", "closed", "withdraw", "used", "kept", "established", or "silent". */
  readonly verb: string;
  /** What the observer has of the prefix of the case. */
  readonly attributes: readonly Heard[];
}

/** A connection cut into messages. Nothing here is shared with the code under test but the header's layout. */
class Line {
  readonly socket: Socket;
  readonly messages: { type: number; body: Uint8Array }[] = [];
  closed = false;
  onMessage = (_type: number, _body: Uint8Array): void => {};
  #rest = Buffer.alloc(0);
  #waiting: (() => void)[] = [];

  constructor(target: Target, localAddress: string) {
    this.socket = connect({ host: target.host, port: target.port, localAddress, noDelay: true });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.closed = true;
      this.#wake();
    });
    this.socket.on("data", (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      while (this.#rest.length >= 19) {
        const length = this.#rest.readUInt16BE(16);
        if (this.#rest.length < length) break;
        const body = Uint8Array.from(this.#rest.subarray(19, length));
        this.messages.push({ type: this.#rest[18]!, body });
        this.onMessage(this.#rest[18]!, body);
        this.#rest = this.#rest.subarray(length);
      }
      this.#wake();
    });
  }

  #wake(): void {
    const run = this.#waiting;
    this.#waiting = [];
    for (const f of run) f();
  }

  /** Waits for a condition that this or another line may bring about. False when time is up. */
  async until(check: () => boolean, others: readonly Line[] = []): Promise<boolean> {
    const deadline = performance.now() + STEP_MS;
    while (!check()) {
      const left = deadline - performance.now();
      if (left <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        const wake = (): void => {
          clearTimeout(timer);
          resolve();
        };
        for (const line of [this, ...others]) line.#waiting.push(wake);
      });
    }
    return true;
  }

  get notification(): string | undefined {
    const n = this.messages.find((m) => m.type === 3);
    return n && `${n.body[0]}/${n.body[1]}`;
  }

  get over(): boolean {
    return this.closed || this.notification !== undefined;
  }
}

/** The neighbour behind the speaker: what it has been told, by prefix. */
export class Observer {
  readonly line: Line;
  readonly routes = new Map<string, readonly Heard[]>();
  /** Every prefix that was ever announced. */
  readonly ever = new Set<string>();
  /** An UPDATE that an observer must not be sent. */
  readonly faults: string[] = [];

  constructor(target: Target) {
    this.line = new Line(target, target.observer);
    this.line.socket.on("connect", () => {
      this.line.socket.write(openMessage({ asn: asns.observer, routerId: 0x0a00ffff }));
    });
    this.line.onMessage = (type, body) => {
      if (type === 1) this.line.socket.write(keepaliveMessage);
      if (type === 4) this.line.socket.write(keepaliveMessage);
      if (type === 2) this.#update(body);
    };
  }

  ready(): Promise<boolean> {
    return this.line.until(() => this.line.messages.some((m) => m.type === 4));
  }

  #update(b: Uint8Array): void {
    const u16 = (at: number): number => (b[at]! << 8) | b[at + 1]!;
    const withdrawnEnd = 2 + u16(0);
    const attributesEnd = withdrawnEnd + 2 + u16(withdrawnEnd);
    const heard: Heard[] = [];
    for (let at = withdrawnEnd + 2; at < attributesEnd; ) {
      const long = (b[at]! & 0x10) !== 0;
      const from = at + (long ? 4 : 3);
      const to = from + (long ? u16(at + 2) : b[at + 2]!);
      heard.push({ flags: b[at]!, code: b[at + 1]!, value: b.slice(from, to) });
      at = to;
    }
    const codes = heard.map((a) => a.code);
    if (new Set(codes).size < codes.length) this.faults.push(`an attribute twice: ${codes.join()}`);
    for (const p of prefixes(b.subarray(2, withdrawnEnd), 4)) this.routes.delete(p);
    for (const a of heard)
      if (a.code === 15)
        for (const p of prefixes(a.value.subarray(3), a.value[1] === 1 ? 4 : 6)) this.routes.delete(p);
    for (const a of heard)
      if (a.code === 14)
        for (const p of prefixes(a.value.subarray(5 + a.value[3]!), a.value[1] === 1 ? 4 : 6))
          this.routes.set(p, heard);
    for (const p of prefixes(b.subarray(attributesEnd), 4)) this.routes.set(p, heard);
    for (const p of prefixes(b.subarray(attributesEnd), 4)) this.ever.add(p);
  }
}

function prefixes(b: Uint8Array, family: 4 | 6): string[] {
  const out = [];
  for (let at = 0; at < b.length; ) {
    const bytes = (b[at]! + 7) >> 3;
    out.push(`${family}:${b.subarray(at + 1, at + 1 + bytes).join(".")}/${b[at]}`);
    at += 1 + bytes;
  }
  return out;
}

const keyOf = (nlri: readonly number[], family: 4 | 6): string => prefixes(Uint8Array.from(nlri), family)[0]!;

/** A well-formed UPDATE of the neighbour of a case. `last` is the last AS of the path: what tells one from the other. */
function goodUpdate(
  c: Context,
  last: number,
  nlri4: readonly number[],
  nlri6: readonly number[],
): Uint8Array {
  const attributes: Attribute[] = [...c.base.filter((a) => a[1] !== 2 && a[1] !== 3), c.path(last)];
  if (nlri4.length > 0) attributes.push(...c.base.filter((a) => a[1] === 3));
  if (nlri6.length > 0) attributes.push(c.reach6(nlri6));
  return c.update(attributes, nlri4);
}

/** Plays one case. */
export async function play(target: Target, observer: Observer, index: number, it: Case): Promise<Outcome> {
  const c = it.context(index);
  const line = new Line(target, target.source(index));
  const all = [observer.line];
  const end = async (verb: string): Promise<Outcome> => {
    const focus = observer.routes.get(keyOf(it.focus === 6 ? c.prefix6 : c.prefix4, it.focus));
    if (!line.closed) line.socket.end(notificationMessage(notification(6, 2)));
    setTimeout(() => line.socket.destroy(), 500);
    return { verb, attributes: focus ?? [] };
  };
  const resetOr = (verb: string): string =>
    line.notification !== undefined ? `reset ${line.notification}` : line.closed ? "closed" : verb;
  line.onMessage = (type) => {
    if (type === 1) for (const m of it.confirm?.(c) ?? [keepaliveMessage]) line.socket.write(m);
  };
  line.socket.on("connect", () => {
    for (const m of it.hello?.(c) ?? [openMessage({ asn: c.asn, routerId: c.routerId, ...it.open })])
      line.socket.write(m);
  });
  await line.until(() => line.over || line.messages.some((m) => m.type === 4));
  if (line.over || !line.messages.some((m) => m.type === 4)) {
    await line.until(() => line.over);
    return end(resetOr("silent"));
  }
  const has = (nlri: readonly number[], family: 4 | 6): boolean => observer.routes.has(keyOf(nlri, family));
  const v6 = it.open?.families === undefined || it.open.families.includes(2);
  line.socket.write(goodUpdate(c, 64700, [...c.prefix4, ...c.second4], v6 ? c.prefix6 : []));
  if (!(await line.until(() => line.over || (has(c.prefix4, 4) && (!v6 || has(c.prefix6, 6))), all)))
    return end("the good routes were not passed on");
  if (line.over) return end(resetOr("closed"));
  const messages = it.messages?.(c) ?? [];
  if (it.bytewise) {
    for (const m of messages)
      for (const octet of m) {
        line.socket.write(Uint8Array.of(octet));
        await new Promise((resolve) => setImmediate(resolve));
      }
  } else line.socket.write(Buffer.concat(messages));
  line.socket.write(goodUpdate(c, 64702, c.sentinel4, []));
  await line.until(() => line.over || has(c.sentinel4, 4), all);
  if (line.over) {
    const gone = await line.until(() => !has(c.second4, 4) && !has(c.prefix4, 4), all);
    return end(gone ? resetOr("closed") : `${resetOr("closed")}, but the routes stay`);
  }
  if (!has(c.sentinel4, 4)) return end("silent");
  const focus = observer.routes.get(keyOf(it.focus === 6 ? c.prefix6 : c.prefix4, it.focus));
  if (!focus) return end("withdraw");
  const path = focus.find((a) => a.code === 2)!.value;
  const lastAs = path.length < 4 ? 0 : ((path.at(-2)! << 8) | path.at(-1)!) >>> 0;
  return end(lastAs === 64700 ? "kept" : "used");
}

/** What of an outcome the RFCs do not allow. */
export function problemsOf(it: Case, { verb, attributes }: Outcome): string[] {
  if (!it.expected.includes(verb)) return [`${it.name}: ${verb}, not ${it.expected.join(" or ")}`];
  if (verb !== "used") return [];
  return (it.seen ?? []).flatMap(({ code, is }) => {
    const a = attributes.find((x) => x.code === code);
    const text = a && [a.flags & 0xe0, a.code, a.value.length, ...a.value].join();
    return text === is?.join() ? [] : [`${it.name}: attribute ${code} is ${text}, not ${is?.join()}`];
  });
}
