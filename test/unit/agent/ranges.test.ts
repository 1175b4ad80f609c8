// agent tests: neighbours of a range are one session under their BGPPeer's name.
import { beforeEach, describe, expect, it } from "vitest";
import { RangeSessions } from "../../../src/agent/ranges.ts";
import type { SessionView } from "../../../src/agent/speaker/decode.ts";

const view = (peer: string, more: Partial<SessionView> = {}): SessionView => ({
  peer,
  address: "10.1.0.7",
  localAddress: "10.1.0.1",
  families: ["IPv4Unicast"],
  peerASN: 65001,
  state: "Established",
  since: 100,
  reason: "",
  lastErrorSent: "",
  lastErrorReceived: "",
  md5: true,
  gracefulRestart: false,
  received: 3,
  accepted: 2,
  advertised: 1,
  flaps: 0,
  ...more,
});

let ranges: RangeSessions;
const nobody = view("servers", { state: "Idle", reason: "waiting for neighbours", received: 0 });

beforeEach(() => {
  ranges = new RangeSessions();
  ranges.put("", nobody);
});

describe("sessions of a range", () => {
  it("a neighbour that is configured itself stays as it is", () => {
    const tor = view("tor", { state: "Active" });
    expect(ranges.put("", tor)).toBe(tor);
  });

  it("is Established while one of its neighbours is, with the sum of their counts", () => {
    expect(ranges.put("servers", view("servers-10.1.0.7"))).toMatchObject({
      peer: "servers",
      state: "Established",
      received: 3,
      address: "",
    });
    const second = view("servers-10.1.0.8", { since: 50, families: ["IPv6Unicast"], received: 4, flaps: 2 });
    expect(ranges.put("servers", second)).toMatchObject({
      peer: "servers",
      since: 50,
      families: ["IPv4Unicast", "IPv6Unicast"],
      received: 7,
      accepted: 4,
      flaps: 2,
    });
    // What the speaker says of the range itself does not hide them.
    expect(ranges.put("", nobody)).toMatchObject({ peer: "servers", state: "Established", received: 7 });
    const gone = view("servers-10.1.0.7", { state: "Active", lastErrorReceived: "6/2" });
    expect(ranges.put("servers", gone)).toMatchObject({
      state: "Established",
      received: 4,
      lastErrorReceived: "6/2",
    });
    expect(ranges.put("servers", { ...second, state: "Idle" })).toEqual(nobody);
  });

  it("forgets what is not configured any more", () => {
    ranges.put("servers", view("servers-10.1.0.7"));
    ranges.retain(new Set(["tor"]));
    expect(ranges.put("servers", view("servers-10.1.0.8", { state: "Idle" }))).toMatchObject({
      peer: "servers",
      state: "Idle",
    });
  });
});
