// cli: waggle test as a process: what passes, what fails and where, and files that cannot be meant.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Ajv } from "ajv";
import { afterAll, describe, expect, it } from "vitest";
import { parse } from "yaml";

const directory = mkdtempSync(join(tmpdir(), "waggle-policy-test-"));
afterAll(() => rmSync(directory, { recursive: true }));

const example = "examples/policy-tests";
const policies = readFileSync(join(example, "policies.yaml"), "utf8");
const cases = readFileSync(join(example, "policies.test.yaml"), "utf8");

const run = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ["src/cli/main.ts", "test", ...args], {
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  return { code: status, out: stdout, err: stderr };
};

/** Runs the example with changed texts; answers come with the directory's name taken out. */
function changed(
  edits: { readonly test?: (text: string) => string; readonly manifests?: (text: string) => string },
  ...more: string[]
) {
  const put = (text: string, edit: ((text: string) => string) | undefined): string => {
    const after = edit ? edit(text) : text;
    if (edit) expect(after).not.toBe(text);
    return after;
  };
  writeFileSync(join(directory, "policies.yaml"), put(policies, edits.manifests));
  writeFileSync(join(directory, "policies.test.yaml"), put(cases, edits.test));
  const { code, out, err } = run(join(directory, "policies.test.yaml"), ...more);
  return { code, out: out.replaceAll(`${directory}/`, ""), err: err.replaceAll(`${directory}/`, "") };
}

/** The line of the first place where a text stands. */
const lineOf = (text: string, part: string): number => text.slice(0, text.indexOf(part)).split("\n").length;

describe("waggle test", () => {
  it("the example passes", () => {
    const { code, out, err } = run(join(example, "policies.test.yaml"));
    expect([code, err]).toEqual([0, ""]);
    expect(out).toContain("  ok    the partner hears no pod blocks\n");
    expect(out).toMatch(/\n7 cases, all as expected\n$/);
    expect(run(join(example, "policies.test.yaml"), "-q").out).toBe(
      `${example}/policies.test.yaml\n7 cases, all as expected\n`,
    );
  });

  it.each<[string, string, string, string]>([
    [
      "a verdict",
      "verdict: Reject, rule: to-partner/nothing-else",
      "verdict: Accept",
      "expected Accept, and it is Reject: to-partner/nothing-else",
    ],
    [
      "a rule",
      "rule: to-partner/nothing-else",
      "rule: to-partner/other",
      "expected to-partner/other to decide, and it is to-partner/nothing-else",
    ],
    [
      "a number",
      "localPreference: 80, asPath",
      "localPreference: 90, asPath",
      "expected localPreference 90, and it is 80",
    ],
    ["a number that must not be there", "med: null", "med: 7", "expected med 7, and it is none"],
    [
      "an AS path",
      "asPath: [64601, 64601]",
      "asPath: [64601]",
      "expected asPath [64601], and it is [64601, 64601]",
    ],
    [
      "communities",
      'communities: [no-export, "64601:100"]',
      "communities: [no-export]",
      "expected communities [65535:65281], and it is [64601:100, 65535:65281]",
    ],
    [
      "large communities",
      'largeCommunities: ["64601:1:1"]\n',
      "largeCommunities: []\n",
      "expected largeCommunities [], and it is [64601:1:1]",
    ],
    [
      "a next hop",
      "nextHop: 172.30.1.11",
      "nextHop: 172.30.1.12",
      "expected nextHop 172.30.1.12, and it is 172.30.1.11",
    ],
    ["a peering", "peering: dc2", "peering: null", "expected no ClusterPeering to take it, and it is dc2"],
    [
      "a peer",
      "peer: tor\n    direction",
      "peer: tow\n    direction",
      "the node has no BGPPeer tow; see its nodeSelector",
    ],
    ["a prefix", "prefix: 198.51.100.0/26", "prefix: 198.51.100.1/26", "198.51.100.1/26 is not usable"],
  ])("%s that is not as expected fails with its place", (_, from, to, message) => {
    const { code, out, err } = changed({ test: (text) => text.replace(from, to) });
    expect([code, err]).toEqual([1, ""]);
    const failure = out.split("\n").find((line) => line.includes(message));
    expect(failure, out).toBeDefined();
    const line = Number(/policies\.test\.yaml:(\d+):/.exec(failure!)![1]);
    expect(cases.split("\n")[line - 1]).toContain(from.split("\n")[0]!.split(":")[0]!.split(/[ ,{]/).at(-1)!);
    expect(out).toMatch(/7 cases, 1 not as expected\n$/);
  });

  it("a changed policy is noticed", () => {
    const { code, out } = changed({ manifests: (text) => text.replace("prepend: 1", "prepend: 2") });
    expect(code).toBe(1);
    expect(out).toContain("expected asPath [64601, 64601], and it is [64601, 64601, 64601]");
  });

  it("why no ClusterPeering takes a route", () => {
    const { out } = changed({ test: (text) => text.replace('"64602:2:1"', '"64601:1:2"') });
    expect(out).toContain("expected Accept, and it is Reject");
    const other = changed({ manifests: (text) => text.replace("kinds: [Pods, VIPs]", "kinds: [VIPs]") });
    expect(other.out).toContain("it is none: the ClusterPeering does not take routes of its kind");
  });

  it("without a ClusterNetwork the test may say what it needs of one", () => {
    const without = (text: string): string => text.slice(text.indexOf("---"));
    const { code, out } = changed({ manifests: without });
    expect(code).toBe(1);
    expect(out).toContain(
      "no ClusterNetwork selects the node: give manifests with one, or cluster: {name, id, asn}",
    );
    const given = changed({
      manifests: without,
      test: (text) => `cluster: { name: dc1, id: 1, asn: 64601 }\n${text}`,
    });
    expect([given.code, given.err]).toEqual([0, ""]);
  });

  it("manifests that the API server would refuse are refused with their places", () => {
    const { code, out, err } = changed({
      manifests: (text) => text.replace("peerASN: 65001", "peerASN: 0").replace("le: 28", "lee: 28"),
    });
    expect([code, out]).toEqual([2, ""]);
    expect(err).toContain(
      `policies.yaml:${lineOf(policies, "peerASN: 65001")}: BGPPeer/tor: spec.peerASN: Invalid value: 0`,
    );
    expect(err).toContain(
      `policies.yaml:${lineOf(policies, "le: 28")}: BGPPolicy/from-partner: spec.rules[0].match.prefixes[0].lee: there is no such field`,
    );
    const rule = changed({
      manifests: (text) => text.replace("address: 203.0.113.1", "address: 203.0.113.300"),
    });
    expect(rule.code).toBe(2);
    expect(rule.err).toContain("must be an IPv4 or IPv6 address");
  });

  it("a peer that is not usable is named with what is wrong", () => {
    const { code, out } = changed({
      manifests: (text) => text.replace("exportPolicies: [to-partner]", "exportPolicies: [to-nobody]"),
    });
    expect(code).toBe(1);
    expect(out).toContain(
      "BGPPeer partner is not usable: spec.exportPolicies[0] there is no BGPPolicy to-nobody",
    );
    expect(out).toContain("  note  BGPPeer/partner: spec.exportPolicies[0] there is no BGPPolicy to-nobody");
  });

  it("a test that cannot be meant is refused with its places", () => {
    const { code, out, err } = changed({
      test: (text) => text.replace("verdict: Reject, rule", "verdct: Reject, rule"),
    });
    expect([code, out]).toEqual([2, ""]);
    expect(err).toContain(
      `policies.test.yaml:${lineOf(cases, "verdict: Reject, rule")}: cases.2.expect: there is no field verdct`,
    );
    expect(changed({ test: (text) => text.replace("[policies.yaml]", "[nothing.yaml]") }).err).toContain(
      "policies.test.yaml:2: there is no nothing.yaml",
    );
    expect(changed({ test: (text) => text.replace("cases:", "cases: [") }).code).toBe(1);
    expect(run().code).toBe(2);
  });

  it("-o json has everything, and --schema prints the schema that the example satisfies", () => {
    const { code, out } = run(join(example, "policies.test.yaml"), "-o", "json");
    expect(code).toBe(0);
    const [file] = JSON.parse(out) as { cases: { passed: boolean; rule: string }[] }[];
    expect(file!.cases.map((c) => c.passed)).toEqual(Array(7).fill(true));
    expect(file!.cases[2]!.rule).toBe("to-partner/nothing-else");
    const schema = JSON.parse(run("--schema").out) as object;
    expect(new Ajv({ allowUnionTypes: true }).validate(schema, parse(cases))).toBe(true);
  });
});
