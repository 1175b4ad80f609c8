// apiserver/schema: the CEL environment of x-kubernetes-validations: Kubernetes' libraries on top of the language's own.
import { Environment } from "@marcbachmann/cel-js";
import {
  type Address,
  AddressError,
  bitsOf,
  contains,
  formatAddress,
  maskTo,
  parseAddress,
  toInteger,
} from "../../net/address.ts";
import { canonical, type Json } from "../json.ts";
import { compilePattern } from "./validate.ts";

/** An address as CEL sees it (library k8s.ip). */
class Ip {
  readonly address: Address;
  constructor(address: Address) {
    this.address = address;
  }
}

/** An address with a prefix length, host bits kept (library k8s.cidr). */
class Cidr {
  readonly address: Address;
  readonly length: number;
  constructor(address: Address, length: number) {
    this.address = address;
    this.length = length;
  }
}

/** A resource quantity (library k8s.quantity), compared by value. */
class Quantity {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

class Url {
  readonly url: URL;
  constructor(url: URL) {
    this.url = url;
  }
}

const attempt = <T>(parse: () => T): T | undefined => {
  try {
    return parse();
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
};

function parseCidr(text: string): Cidr | undefined {
  const match = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text);
  const address = match ? attempt(() => parseAddress(match[1]!)) : undefined;
  const length = Number(match?.[2]);
  return address && length <= bitsOf(address.family) ? new Cidr(address, length) : undefined;
}

const ipOrFail = (text: string): Ip => {
  const address = attempt(() => parseAddress(text));
  if (!address) throw new Error(`IP Address ${JSON.stringify(text)} parse error`);
  return new Ip(address);
};

const cidrOrFail = (text: string): Cidr => {
  const cidr = parseCidr(text);
  if (!cidr) throw new Error(`network address parse error: ${JSON.stringify(text)}`);
  return cidr;
};

const cidrText = (c: Cidr): string => `${formatAddress(c.address)}/${c.length}`;
const isWithin = (c: Cidr, a: Address): boolean => contains(maskTo(c.address, c.length), a);
const within = (a: Address, cidr: string): boolean => isWithin(cidrOrFail(cidr), a);

function registerAddresses(env: Environment): void {
  env
    .registerType("net.IP", { ctor: Ip, fields: {} })
    .registerType("net.CIDR", { ctor: Cidr, fields: {} })
    .registerFunction("isIP(string): bool", (t: string) => attempt(() => parseAddress(t)) !== undefined)
    .registerFunction("ip(string): net.IP", ipOrFail)
    .registerFunction("isCIDR(string): bool", (t: string) => parseCidr(t) !== undefined)
    .registerFunction("cidr(string): net.CIDR", cidrOrFail)
    .registerFunction("string(net.IP): string", (ip: Ip) => formatAddress(ip.address))
    .registerFunction("string(net.CIDR): string", cidrText)
    .registerFunction("net.IP.family(): int", (ip: Ip) => BigInt(ip.address.family))
    .registerFunction("net.IP.isUnspecified(): bool", (ip: Ip) => toInteger(ip.address) === 0n)
    .registerFunction("net.IP.isLoopback(): bool", (ip: Ip) =>
      ip.address.family === 4 ? within(ip.address, "127.0.0.0/8") : toInteger(ip.address) === 1n,
    )
    .registerFunction("net.IP.isLinkLocalMulticast(): bool", (ip: Ip) =>
      ip.address.family === 4
        ? within(ip.address, "224.0.0.0/24")
        : (ip.address.hi >> 48n) % 0x1_0000n === 0xff02n,
    )
    .registerFunction("net.IP.isLinkLocalUnicast(): bool", (ip: Ip) =>
      within(ip.address, ip.address.family === 4 ? "169.254.0.0/16" : "fe80::/10"),
    )
    .registerFunction("net.IP.isGlobalUnicast(): bool", (ip: Ip) => isGlobalUnicast(ip.address))
    .registerFunction("net.CIDR.ip(): net.IP", (c: Cidr) => new Ip(c.address))
    .registerFunction("net.CIDR.prefixLength(): int", (c: Cidr) => BigInt(c.length))
    .registerFunction(
      "net.CIDR.masked(): net.CIDR",
      (c: Cidr) => new Cidr(maskTo(c.address, c.length), c.length),
    )
    .registerFunction("net.CIDR.containsIP(net.IP): bool", (c: Cidr, ip: Ip) => isWithin(c, ip.address))
    .registerFunction("net.CIDR.containsIP(string): bool", (c: Cidr, t: string) =>
      isWithin(c, ipOrFail(t).address),
    )
    .registerFunction("net.CIDR.containsCIDR(net.CIDR): bool", containsCidr)
    .registerFunction("net.CIDR.containsCIDR(string): bool", (c: Cidr, t: string) =>
      containsCidr(c, cidrOrFail(t)),
    )
    .registerOperator(
      "net.IP == net.IP",
      (a: Ip, b: Ip) => formatAddress(a.address) === formatAddress(b.address),
    )
    .registerOperator("net.CIDR == net.CIDR", (a: Cidr, b: Cidr) => cidrText(a) === cidrText(b));
}

const containsCidr = (outer: Cidr, inner: Cidr): boolean =>
  inner.length >= outer.length && isWithin(outer, inner.address);

function isGlobalUnicast(a: Address): boolean {
  const value = toInteger(a);
  if (a.family === 4)
    return (
      value !== 0n &&
      value !== 0xffff_ffffn &&
      !["127.0.0.0/8", "224.0.0.0/4", "169.254.0.0/16"].some((c) => within(a, c))
    );
  return value > 1n && !["ff00::/8", "fe80::/10"].some((c) => within(a, c));
}

const suffixes: Readonly<Record<string, number>> = {
  "": 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** The value of a resource quantity such as `1.5Gi` or `100m`; undefined for other text. */
export function parseQuantity(text: string): number | undefined {
  const match = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text);
  if (!match) return undefined;
  return Number(`${match[1]}${match[2] ?? ""}`) * suffixes[match[3] ?? ""]!;
}

const quantityOrFail = (text: string): Quantity => {
  const value = parseQuantity(text);
  if (value === undefined)
    throw new Error(
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
  return new Quantity(value);
};

function registerQuantities(env: Environment): void {
  env
    .registerType("kubernetes.Quantity", { ctor: Quantity, fields: {} })
    .registerFunction("isQuantity(string): bool", (t: string) => parseQuantity(t) !== undefined)
    .registerFunction("quantity(string): kubernetes.Quantity", quantityOrFail)
    .registerFunction(
      "kubernetes.Quantity.isGreaterThan(kubernetes.Quantity): bool",
      (a: Quantity, b: Quantity) => a.value > b.value,
    )
    .registerFunction(
      "kubernetes.Quantity.isLessThan(kubernetes.Quantity): bool",
      (a: Quantity, b: Quantity) => a.value < b.value,
    )
    .registerFunction("kubernetes.Quantity.compareTo(kubernetes.Quantity): int", (a: Quantity, b: Quantity) =>
      BigInt(Math.sign(a.value - b.value)),
    )
    .registerFunction("kubernetes.Quantity.asInteger(): int", (q: Quantity) => BigInt(q.value))
    .registerFunction("kubernetes.Quantity.isInteger(): bool", (q: Quantity) => Number.isInteger(q.value))
    .registerFunction("kubernetes.Quantity.asApproximateFloat(): double", (q: Quantity) => q.value)
    .registerFunction("kubernetes.Quantity.sign(): int", (q: Quantity) => BigInt(Math.sign(q.value)))
    .registerOperator(
      "kubernetes.Quantity == kubernetes.Quantity",
      (a: Quantity, b: Quantity) => a.value === b.value,
    );
}

function registerUrls(env: Environment): void {
  const parse = (text: string): URL | undefined => (URL.canParse(text) ? new URL(text) : undefined);
  env
    .registerType("kubernetes.URL", { ctor: Url, fields: {} })
    .registerFunction("isURL(string): bool", (t: string) => parse(t) !== undefined || /^\/[^\s]*$/.test(t))
    .registerFunction("url(string): kubernetes.URL", (t: string) => {
      const url = parse(t);
      if (!url) throw new Error(`URL parse error during conversion from string: ${JSON.stringify(t)}`);
      return new Url(url);
    })
    .registerFunction("kubernetes.URL.getScheme(): string", (u: Url) => u.url.protocol.slice(0, -1))
    .registerFunction("kubernetes.URL.getHost(): string", (u: Url) => u.url.host)
    .registerFunction("kubernetes.URL.getHostname(): string", (u: Url) => u.url.hostname)
    .registerFunction("kubernetes.URL.getPort(): string", (u: Url) => u.url.port)
    .registerFunction("kubernetes.URL.getEscapedPath(): string", (u: Url) => u.url.pathname);
}

/** CEL values that come out of conversion: JSON with integers as bigint, times as Date. */
type Value = unknown;

const text = (value: Value): string =>
  canonical(
    JSON.parse(
      JSON.stringify(value, (_, v: Value) => (typeof v === "bigint" ? Number(v) : v)) ?? "null",
    ) as Json,
  );
const same = (a: Value, b: Value): boolean => a === b || text(a) === text(b);
const less = (a: Value, b: Value): boolean => (a as number) < (b as number);

function registerLists(env: Environment): void {
  const sum = (list: Value[]): Value =>
    list.length > 0 && typeof list[0] === "bigint"
      ? (list as bigint[]).reduce((a, b) => a + b, 0n)
      : (list as number[]).reduce((a, b) => a + b, 0);
  const pick = (list: Value[], better: (a: Value, b: Value) => boolean, name: string): Value => {
    if (list.length === 0) throw new Error(`${name} called on empty list`);
    return list.reduce((best, v) => (better(v, best) ? v : best));
  };
  env
    .registerFunction("list.isSorted(): bool", (l: Value[]) =>
      l.every((v, i) => i === 0 || !less(v, l[i - 1])),
    )
    .registerFunction("list.sum(): dyn", sum)
    .registerFunction("list.min(): dyn", (l: Value[]) => pick(l, less, "min"))
    .registerFunction("list.max(): dyn", (l: Value[]) => pick(l, (a, b) => less(b, a), "max"))
    .registerFunction("list.indexOf(dyn): int", (l: Value[], v: Value) =>
      BigInt(l.findIndex((x) => same(x, v))),
    )
    .registerFunction("list.lastIndexOf(dyn): int", (l: Value[], v: Value) =>
      BigInt(l.findLastIndex((x) => same(x, v))),
    );
}

function registerStrings(env: Environment): void {
  const pattern = (source: string): RegExp => {
    const compiled = compilePattern(source);
    if (!compiled) throw new Error(`invalid regular expression: ${source}`);
    return compiled;
  };
  env
    .registerFunction("string.replace(string, string): string", (s: string, a: string, b: string) =>
      s.replaceAll(a, () => b),
    )
    .registerFunction(
      "string.replace(string, string, int): string",
      (s: string, a: string, b: string, n: bigint) => replaceSome(s, a, b, Number(n)),
    )
    .registerFunction("string.charAt(int): string", (s: string, i: bigint) => [...s][Number(i)] ?? "")
    .registerFunction("string.reverse(): string", (s: string) => [...s].reverse().join(""))
    .registerFunction("string.find(string): string", (s: string, p: string) => pattern(p).exec(s)?.[0] ?? "")
    .registerFunction("string.findAll(string): list<string>", (s: string, p: string) =>
      [...s.matchAll(new RegExp(pattern(p).source, `${pattern(p).flags}g`))].map((m) => m[0]),
    )
    .registerFunction("string.format(list): string", formatText);
}

function replaceSome(s: string, from: string, to: string, count: number): string {
  let result = s;
  let start = 0;
  for (let i = 0; i !== count; i++) {
    const found = result.indexOf(from, start);
    if (found < 0) break;
    result = result.slice(0, found) + to + result.slice(found + from.length);
    start = found + to.length + (from ? 0 : 1);
    if (start > result.length) break;
  }
  return result;
}

function formatText(format: string, args: readonly Value[]): string {
  let i = 0;
  return format.replace(/%(?:\.(\d+))?([%sdfexXob])/g, (_, precision: string | undefined, verb: string) => {
    if (verb === "%") return "%";
    if (i >= args.length) throw new Error(`index ${i} out of range`);
    const value = args[i++];
    if (verb === "f" || verb === "e")
      return verb === "f"
        ? Number(value).toFixed(Number(precision ?? 6))
        : Number(value).toExponential(Number(precision ?? 6));
    const radix = { x: 16, X: 16, o: 8, b: 2 }[verb as "x"];
    if (radix) {
      const digits = BigInt(value as bigint).toString(radix);
      return verb === "X" ? digits.toUpperCase() : digits;
    }
    if (value instanceof Ip) return formatAddress(value.address);
    if (value instanceof Cidr) return cidrText(value);
    return typeof value === "object" && value !== null ? text(value) : String(value);
  });
}

/** A fresh environment with every library; `self` and `oldSelf` are for the caller to declare. */
export function celEnvironment(): Environment {
  const env = new Environment({
    unlistedVariablesAreDyn: false,
    // Arguments of format() are of mixed types.
    homogeneousAggregateLiterals: false,
    enableOptionalTypes: true,
    limits: {
      maxAstNodes: 10_000,
      maxDepth: 100,
      maxListElements: 1000,
      maxMapEntries: 1000,
      maxCallArguments: 32,
    },
  });
  registerAddresses(env);
  registerQuantities(env);
  registerUrls(env);
  registerLists(env);
  registerStrings(env);
  return env;
}
