// import: what MetalLB and FRR-K8s have in common, because FRR is behind both: durations and BFD profiles.
import type { BGPPeer } from "../api/index.ts";
import { says } from "./messages.ts";
import type { Reader } from "./reader.ts";

const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };

/** A duration as Go writes it, in whole seconds; where it is not written, what FRR takes. */
export function secondsOf(r: Reader, field: string, otherwise: number): number {
  const text = r.text(field);
  if (text === undefined) {
    r.say(field, says.defaulted(`${otherwise} s`));
    return otherwise;
  }
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|h|m|s)/g)];
  if (parts.length === 0 || parts.map((p) => p[0]).join("") !== text) {
    r.say(field, says.notA("a duration such as 90s"));
    return otherwise;
  }
  return Math.floor(parts.reduce((sum, [, n, unit]) => sum + Number(n) * units[unit!]!, 0));
}

/** A BFD profile; what only FRR has is said. */
export function bfdOf(r: Reader, multihop: boolean): NonNullable<BGPPeer["spec"]["bfd"]> {
  const value = (field: string, otherwise: number): number => {
    if (!r.has(field)) r.say(field, says.defaulted(String(otherwise)));
    return r.number(field) ?? otherwise;
  };
  const bfd = {
    transmitMilliseconds: value("transmitInterval", 300),
    receiveMilliseconds: value("receiveInterval", 300),
    detectMultiplier: value("detectMultiplier", 3),
    multihop,
  };
  if (r.flag("echoMode"))
    r.say("echoMode", says.left("Waggle uses asynchronous mode without the echo function"));
  r.raw("echoInterval"); // without effect where echoMode is off
  if (r.flag("passiveMode")) r.say("passiveMode", says.left("Waggle sends from the start"));
  const ttl = r.number("minimumTtl");
  if (ttl !== undefined && ttl !== 254)
    r.say("minimumTtl", says.left("Waggle checks the TTL as RFC 5881 and RFC 5883 say"));
  r.done();
  return bfd;
}
