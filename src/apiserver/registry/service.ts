// apiserver/registry: what the server does for Services: cluster addresses, node ports, defaults of each type.
import { isIP } from "node:net";
import { endOf, formatAddress, fromInteger, parsePrefix, toInteger } from "../../net/address.ts";
import type { ServerContext } from "../context.ts";
import {
  at,
  equal,
  isObject,
  type JsonObject,
  listAt,
  numberAt,
  objectAt,
  stringAt,
  stringsAt,
} from "../json.ts";
import { type FieldError, fieldErrors, internal } from "../messages.ts";
import type { ApiObject } from "../object.ts";
import { isDnsLabel, label1035Problems } from "../schema/names.ts";
import type { Strategy } from "./resource.ts";
import { bookOf, nodePortsOf, type ServiceBook } from "./service-book.ts";

const nodePorts = { first: 30_000, last: 32_767 } as const;
/** A free address or port is looked for at random this often before the range is walked. */
const randomTries = 64;

type Family = "IPv4" | "IPv6";

interface Range {
  readonly family: Family;
  readonly first: bigint;
  /** Addresses that may be given out: neither the network's nor, for IPv4, the broadcast address. */
  readonly size: bigint;
}

function parseRange(cidr: string): Range {
  const prefix = parsePrefix(cidr);
  const first = toInteger(prefix) + 1n;
  const v6 = prefix.family === 6;
  return { family: v6 ? "IPv6" : "IPv4", first, size: endOf(prefix) - first - (v6 ? 0n : 1n) };
}

const addressText = (family: Family, value: bigint): string =>
  formatAddress(fromInteger(family === "IPv6" ? 6 : 4, value));

const familyOf = (address: string): Family => (isIP(address) === 6 ? "IPv6" : "IPv4");

const book = (context: ServerContext): ServiceBook => bookOf(context.store.collection("services"));

function allocateAddress(context: ServerContext, range: Range, used: (address: string) => boolean): string {
  // The range of an IPv6 cluster is far larger than any cluster: 16 bits of it are plenty.
  const size = Number(range.size > 65_534n ? 65_534n : range.size);
  const offset = context.randomBelow(size);
  for (let i = 0; i < size; i++) {
    const text = addressText(range.family, range.first + BigInt((offset + i) % size));
    if (!used(text)) return text;
  }
  throw internal("failed to allocate a serviceIP: range is full");
}

function allocateNodePort(context: ServerContext, used: (port: number) => boolean): number {
  const size = nodePorts.last - nodePorts.first + 1;
  let port = 0;
  for (let i = 0; i < randomTries; i++) {
    port = nodePorts.first + context.randomBelow(size);
    if (!used(port)) break;
  }
  for (let i = 0; i < size && used(port); i++) port = nodePorts.first + ((port - nodePorts.first + 1) % size);
  if (used(port)) throw internal("failed to allocate a nodePort: range is full");
  return port;
}

/** Defaults that follow from the type and from other fields. */
function fillDefaults(service: ApiObject): void {
  const spec = objectAt(service, "spec");
  if (!spec) return;
  const type = stringAt(spec, "type");
  const external =
    type === "NodePort" || type === "LoadBalancer" || stringsAt(spec, "externalIPs").length > 0;
  for (const port of listAt(spec, "ports"))
    if (isObject(port) && port.targetPort === undefined && port.port !== undefined)
      port.targetPort = port.port;
  if (type !== "ExternalName") spec.internalTrafficPolicy ??= "Cluster";
  if (external) spec.externalTrafficPolicy ??= "Cluster";
  if (type === "LoadBalancer") spec.allocateLoadBalancerNodePorts ??= true;
  if (spec.sessionAffinity === "ClientIP" && !isObject(spec.sessionAffinityConfig))
    spec.sessionAffinityConfig = { clientIP: { timeoutSeconds: 10_800 } };
  for (const ingress of listAt(service, "status", "loadBalancer", "ingress"))
    if (isObject(ingress) && stringAt(ingress, "ip")) ingress.ipMode ??= "VIP";
}

/** What only one type has goes when the type changes. */
function dropForeign(spec: JsonObject): void {
  const type = stringAt(spec, "type");
  const external =
    type === "NodePort" || type === "LoadBalancer" || stringsAt(spec, "externalIPs").length > 0;
  if (!external) delete spec.externalTrafficPolicy;
  if (type === "LoadBalancer") return;
  delete spec.allocateLoadBalancerNodePorts;
  delete spec.loadBalancerClass;
}

function chooseFamilies(spec: JsonObject, before: JsonObject | undefined, ranges: readonly Range[]): void {
  const available = ranges.map((r) => r.family);
  releaseSecondary(spec, before);
  const asked = stringsAt(spec, "ipFamilies");
  const given = [stringAt(spec, "clusterIP"), ...stringsAt(spec, "clusterIPs")].filter(
    (ip) => isIP(ip) !== 0,
  );
  const wanted = [...new Set([...asked, ...given.map(familyOf)])];
  spec.ipFamilyPolicy ??= wanted.length > 1 ? "RequireDualStack" : "SingleStack";
  const count = spec.ipFamilyPolicy === "SingleStack" ? 1 : available.length;
  for (const family of available) if (wanted.length < count && !wanted.includes(family)) wanted.push(family);
  spec.ipFamilies = wanted.slice(0, Math.max(count, asked.length));
}

/** Going back to one family gives up the second address, where the writer left the lists as they were. */
function releaseSecondary(spec: JsonObject, before: JsonObject | undefined): void {
  if (spec.ipFamilyPolicy !== "SingleStack" || !before || before.ipFamilyPolicy === "SingleStack") return;
  for (const field of ["clusterIPs", "ipFamilies"])
    if (equal(spec[field], before[field])) spec[field] = listAt(spec, field).slice(0, 1);
}

function allocate(next: ApiObject, old: ApiObject | undefined, context: ServerContext): void {
  const spec = objectAt(next, "spec");
  if (!spec) return;
  const before = objectAt(old, "spec");
  if (before && stringAt(before, "type") !== "ExternalName" && stringAt(spec, "type") !== "ExternalName") {
    // What the server once chose stays when an update leaves it out.
    if (!stringAt(spec, "clusterIP")) spec.clusterIP = before.clusterIP ?? "";
    if (stringsAt(spec, "clusterIPs").length === 0) spec.clusterIPs = [...listAt(before, "clusterIPs")];
    spec.ipFamilyPolicy ??= before.ipFamilyPolicy ?? "SingleStack";
    if (stringsAt(spec, "ipFamilies").length === 0) spec.ipFamilies = [...listAt(before, "ipFamilies")];
  }
  dropForeign(spec);
  const type = stringAt(spec, "type");
  if (type === "ExternalName") {
    for (const field of ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]) delete spec[field];
    return;
  }
  const ranges = context.serviceCidrs.map(parseRange);
  chooseFamilies(spec, before, ranges);
  allocateAddresses(spec, old, ranges, context);
  allocatePorts(spec, old, type, context);
}

function allocateAddresses(
  spec: JsonObject,
  old: ApiObject | undefined,
  ranges: readonly Range[],
  context: ServerContext,
): void {
  if (spec.clusterIP === "None" || stringsAt(spec, "clusterIPs")[0] === "None") {
    spec.clusterIP = "None";
    spec.clusterIPs = ["None"];
    return;
  }
  const taken = book(context);
  const given = new Set([stringAt(spec, "clusterIP"), ...stringsAt(spec, "clusterIPs")].filter(Boolean));
  const chosen = stringsAt(spec, "ipFamilies").flatMap((family) => {
    const asked = [...given].find((ip) => familyOf(ip) === family);
    if (asked) return [asked];
    const range = ranges.find((r) => r.family === family);
    return range ? [allocateAddress(context, range, (ip) => taken.hasAddress(ip, old))] : [];
  });
  if (chosen.length === 0) return;
  spec.clusterIPs = chosen;
  spec.clusterIP = chosen[0]!;
}

function allocatePorts(
  spec: JsonObject,
  stored: ApiObject | undefined,
  type: string,
  context: ServerContext,
): void {
  const wanted =
    type === "NodePort" || (type === "LoadBalancer" && spec.allocateLoadBalancerNodePorts !== false);
  const taken = book(context);
  const mine = new Set(nodePortsOf(spec));
  const used = (port: number): boolean => mine.has(port) || taken.hasNodePort(port, stored);
  const choose = (): number => allocateNodePort(context, used);
  const before = objectAt(stored, "spec");
  const old = listAt(before, "ports");
  for (const port of listAt(spec, "ports")) {
    if (!isObject(port)) continue;
    if (type === "ClusterIP") delete port.nodePort;
    if (!wanted || numberAt(port, "nodePort")) continue;
    const same = old.find((p) => at(p, "port") === port.port && at(p, "protocol") === port.protocol);
    const kept = numberAt(same, "nodePort");
    port.nodePort = kept && !used(kept) ? kept : choose();
    mine.add(port.nodePort);
  }
  if (type !== "LoadBalancer" || spec.externalTrafficPolicy !== "Local") delete spec.healthCheckNodePort;
  else if (!numberAt(spec, "healthCheckNodePort"))
    spec.healthCheckNodePort = numberAt(before, "healthCheckNodePort") ?? choose();
}

function validate(next: ApiObject, old: ApiObject | undefined, context: ServerContext): FieldError[] {
  const errors: FieldError[] = [];
  const spec = objectAt(next, "spec");
  if (!spec) return [fieldErrors.required("spec.ports")];
  const type = stringAt(spec, "type");
  const headless = spec.clusterIP === "None";
  if (
    type === "ExternalName"
      ? !stringAt(spec, "externalName")
      : listAt(spec, "ports").length === 0 && !headless
  )
    errors.push(fieldErrors.required(type === "ExternalName" ? "spec.externalName" : "spec.ports"));
  errors.push(...validatePorts(spec));
  const before = objectAt(old, "spec");
  if (
    before &&
    stringAt(before, "clusterIP") &&
    type !== "ExternalName" &&
    stringAt(before, "type") !== "ExternalName"
  )
    if (before.clusterIP !== spec.clusterIP)
      errors.push(
        fieldErrors.invalid(
          "spec.clusterIPs[0]",
          stringsAt(spec, "clusterIPs")[0],
          "may not change once set",
        ),
      );
  if (before?.loadBalancerClass !== undefined && type === "LoadBalancer" && stringAt(before, "type") === type)
    if (before.loadBalancerClass !== spec.loadBalancerClass)
      errors.push(
        fieldErrors.invalid("spec.loadBalancerClass", spec.loadBalancerClass, "may not change once set"),
      );
  if (type !== "ExternalName") errors.push(...validateAddresses(spec, old, context));
  return errors;
}

function validatePorts(spec: JsonObject): FieldError[] {
  const errors: FieldError[] = [];
  const ports = listAt(spec, "ports");
  const names = new Set<string>();
  ports.forEach((port, i) => {
    const path = `spec.ports[${i}]`;
    const name = stringAt(port, "name");
    if (!name && ports.length > 1) errors.push(fieldErrors.required(`${path}.name`));
    else if (name && !isDnsLabel(name))
      errors.push(
        fieldErrors.invalid(`${path}.name`, name, "must be a DNS label: lower case letters, digits and '-'"),
      );
    if (name && names.has(name)) errors.push(fieldErrors.duplicate(`${path}.name`, name));
    names.add(name);
    const number = numberAt(port, "port") ?? 0;
    if (number < 1 || number > 65_535)
      errors.push(fieldErrors.invalid(`${path}.port`, number, "must be between 1 and 65535, inclusive"));
    const target = at(port, "targetPort");
    if (typeof target === "number" && (target < 1 || target > 65_535))
      errors.push(
        fieldErrors.invalid(`${path}.targetPort`, target, "must be between 1 and 65535, inclusive"),
      );
  });
  return errors;
}

function validateAddresses(
  spec: JsonObject,
  old: ApiObject | undefined,
  context: ServerContext,
): FieldError[] {
  const errors: FieldError[] = [];
  const taken = book(context);
  stringsAt(spec, "clusterIPs").forEach((ip, i) => {
    if (ip === "None") return;
    if (isIP(ip) === 0)
      errors.push(
        fieldErrors.invalid(
          `spec.clusterIPs[${i}]`,
          ip,
          "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
      );
    else if (taken.hasAddress(ip, old))
      errors.push(
        fieldErrors.invalid(
          "spec.clusterIPs",
          [...listAt(spec, "clusterIPs")],
          `failed to allocate IP ${ip}: provided IP is already allocated`,
        ),
      );
  });
  const families = context.serviceCidrs.map((cidr) => (cidr.includes(":") ? "IPv6" : "IPv4"));
  if (spec.ipFamilyPolicy === "SingleStack" && listAt(spec, "ipFamilies").length > 1)
    errors.push(
      fieldErrors.invalid(
        "spec.ipFamilyPolicy",
        "SingleStack",
        "must be RequireDualStack or PreferDualStack when multiple IP families are specified",
      ),
    );
  if (spec.ipFamilyPolicy === "RequireDualStack" && families.length < 2)
    errors.push(
      fieldErrors.invalid(
        "spec.ipFamilyPolicy",
        "RequireDualStack",
        "this cluster is not configured for dual-stack services",
      ),
    );
  stringsAt(spec, "ipFamilies").forEach((family, i) => {
    if (!families.includes(family as Family))
      errors.push(fieldErrors.invalid(`spec.ipFamilies[${i}]`, family, "not configured on this cluster"));
  });
  return errors;
}

export const serviceStrategy: Strategy = {
  generation: "none",
  unconditionalUpdate: true,
  defaults: fillDefaults,
  prepareCreate: (next, context) => allocate(next, undefined, context),
  prepareUpdate: (next, old, context) => allocate(next, old, context),
  validate,
  validateName: label1035Problems,
};
