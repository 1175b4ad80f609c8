// cli: waggle drain: the taint, and nobody else's taints.
import { describe, expect, it } from "vitest";
import { withDrainTaint } from "../../../src/cli/drain.ts";

const other = { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };
const ours = (value: string) => ({ key: "waggle.dev/drain", value, effect: "NoSchedule" });

describe("drain taint", () => {
  it("is added, changed and taken away; the others stay", () => {
    expect(withDrainTaint([other], "")).toEqual([other, ours("")]);
    expect(withDrainTaint([ours(""), other], "force")).toEqual([other, ours("force")]);
    expect(withDrainTaint([ours("force"), other], undefined)).toEqual([other]);
  });

  it("is the same list where nothing changes", () => {
    const taints = [ours(""), other];
    expect(withDrainTaint(taints, "")).toBe(taints);
    const without = [other];
    expect(withDrainTaint(without, undefined)).toBe(without);
  });
});
