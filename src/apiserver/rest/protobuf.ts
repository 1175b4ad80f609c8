// apiserver/rest: reads the protobuf bodies that kubectl 1.32 and later send for built-in kinds (runtime.Unknown, magic k8s\0).
import { type Json, type JsonObject, setKey } from "../json.ts";
import { ApiError, badRequest } from "../messages.ts";
import { timeText } from "../object.ts";
import { builtinType } from "../types/index.ts";
import type { BuiltinType, WireField } from "../types/table.ts";

const magic = Buffer.from([0x6b, 0x38, 0x73, 0x00]);
/** Messages nested deeper than this are no message of a built-in kind. */
const maxDepth = 32;

export const isProtobuf = (bytes: Buffer): boolean => bytes.length >= 4 && bytes.subarray(0, 4).equals(magic);

class Reader {
  readonly #bytes: Buffer;
  #at = 0;
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw badRequest("proto: the message ends in the middle of a number");
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw badRequest("proto: a number has more than ten bytes");
  }

  bytes(): Buffer {
    const length = Number(this.varint());
    const end = this.#at + length;
    if (length < 0 || end > this.#bytes.length)
      throw badRequest("proto: the message ends in the middle of a field");
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }

  fixed(length: number): Buffer {
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    if (this.#at > this.#bytes.length) throw badRequest("proto: the message ends in the middle of a field");
    return bytes;
  }
}

type RawField = { readonly number: number; readonly value: bigint | Buffer };

function* fields(bytes: Buffer): Generator<RawField> {
  const reader = new Reader(bytes);
  while (!reader.done) {
    const tag = Number(reader.varint());
    const number = tag >>> 3;
    switch (tag & 7) {
      case 0:
        yield { number, value: reader.varint() };
        break;
      case 1:
        yield { number, value: reader.fixed(8) };
        break;
      case 2:
        yield { number, value: reader.bytes() };
        break;
      case 5:
        yield { number, value: reader.fixed(4) };
        break;
      default:
        throw badRequest(`proto: illegal wire type ${tag & 7}`);
    }
  }
}

const asBuffer = (value: bigint | Buffer): Buffer => (typeof value === "bigint" ? Buffer.alloc(0) : value);

/** Decodes a body to the JSON form of its kind. Throws 400 for a damaged one, 415 for a kind outside the tables. */
export function decodeProtobuf(body: Buffer): JsonObject {
  let apiVersion = "";
  let kind = "";
  let raw: Buffer = Buffer.alloc(0);
  for (const f of fields(body.subarray(magic.length))) {
    if (f.number === 1) {
      for (const meta of fields(asBuffer(f.value))) {
        if (meta.number === 1) apiVersion = asBuffer(meta.value).toString("utf8");
        if (meta.number === 2) kind = asBuffer(meta.value).toString("utf8");
      }
    } else if (f.number === 2) raw = asBuffer(f.value);
  }
  let type: BuiltinType;
  try {
    type = builtinType(apiVersion === "events.k8s.io/v1" && kind === "Event" ? "EventsV1Event" : kind);
  } catch {
    throw new ApiError(
      415,
      "UnsupportedMediaType",
      `protobuf is not accepted for ${apiVersion} ${kind}; send JSON`,
    );
  }
  return { apiVersion, kind, ...decodeMessage(raw, type, 0) };
}

function decodeMessage(bytes: Buffer, type: BuiltinType, depth: number): JsonObject {
  if (depth > maxDepth) throw badRequest("proto: messages are nested too deep");
  const result: JsonObject = {};
  for (const { number, value } of fields(bytes)) {
    const field = type.wire.get(number);
    if (!field) continue;
    if (field.map) {
      const [key, item] = decodeEntry(asBuffer(value), field, depth);
      const map = (result[field.name] ??= {}) as JsonObject;
      setKey(map, key, item);
    } else if (field.repeated) {
      const list = (result[field.name] ??= []) as Json[];
      list.push(decodeValue(value, field, depth) ?? null);
    } else {
      const decoded = decodeValue(value, field, depth);
      // Go clients write empty strings and zeros for what is not set; JSON leaves those out.
      const unset =
        decoded === undefined ||
        decoded === "" ||
        (decoded === 0 && field.kind === "int" && !keepsZero(field));
      if (!unset) result[field.name] = decoded;
    }
  }
  return result;
}

/** Optional numbers, for which zero is a value of its own. */
const keepsZero = (field: WireField): boolean =>
  field.name === "gracePeriodSeconds" ||
  field.name === "expirationSeconds" ||
  field.name === "timeoutSeconds" ||
  field.name === "replicas";

function decodeEntry(bytes: Buffer, field: WireField, depth: number): [string, Json] {
  let key = "";
  let item: Json = "";
  for (const part of fields(bytes)) {
    if (part.number === 1) key = asBuffer(part.value).toString("utf8");
    if (part.number === 2) item = decodeValue(part.value, field, depth) ?? "";
  }
  return [key, item];
}

function decodeValue(value: bigint | Buffer, field: WireField, depth: number): Json | undefined {
  switch (field.kind) {
    case "string":
      return asBuffer(value).toString("utf8");
    case "bool":
      return value !== 0n;
    case "int":
      return Number(value);
    case "bytes":
      return asBuffer(value).toString("base64");
    case "time":
    case "microtime":
      return decodeTime(asBuffer(value), field.kind === "microtime");
    case "json":
      return decodeRaw(asBuffer(value));
    case "intOrString":
      return decodeIntOrString(asBuffer(value));
    case "message":
      if (!field.message) {
        // A Quantity is a message of one string.
        for (const part of fields(asBuffer(value)))
          if (part.number === 1) return asBuffer(part.value).toString("utf8");
        return "0";
      }
      return decodeMessage(asBuffer(value), builtinType(field.message), depth + 1);
  }
}

function decodeTime(bytes: Buffer, micro: boolean): Json | undefined {
  let seconds = 0n;
  let nanoseconds = 0n;
  for (const part of fields(bytes)) {
    if (part.number === 1 && typeof part.value === "bigint") seconds = part.value;
    if (part.number === 2 && typeof part.value === "bigint") nanoseconds = part.value;
  }
  // The zero time of Go, the year 1, stands for not set.
  if (seconds <= -62_135_596_800n || (seconds === 0n && nanoseconds === 0n)) return undefined;
  const text = timeText(Number(seconds) * 1000);
  return micro ? text.replace("Z", `.${String(nanoseconds / 1000n).padStart(6, "0")}Z`) : text;
}

/** FieldsV1 and RawExtension: a message of one field, the JSON text of an object. */
function decodeRaw(bytes: Buffer): Json | undefined {
  for (const part of fields(bytes)) {
    if (part.number !== 1 || typeof part.value === "bigint" || part.value.length === 0) continue;
    try {
      return JSON.parse(part.value.toString("utf8")) as Json;
    } catch {
      throw badRequest("proto: a raw field holds no JSON");
    }
  }
  return undefined;
}

function decodeIntOrString(bytes: Buffer): Json | undefined {
  let isString = false;
  let number = 0;
  let text = "";
  for (const part of fields(bytes)) {
    if (part.number === 1) isString = part.value === 1n;
    if (part.number === 2) number = Number(part.value);
    if (part.number === 3) text = asBuffer(part.value).toString("utf8");
  }
  if (isString) return text;
  return number === 0 ? undefined : number;
}
