// e2e: must-show 7 and 8: errors before anything is attached, a refused cluster, a killed caller, and exact counts.
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { expect, it } from "vitest";
import { applyObjects, readManifests } from "../../../src/lab/cluster.ts";
import { makeUser } from "../../../src/lab/control-plane.ts";
import { waggle } from "../../../src/lab/launcher.ts";
import { runAt, runWaggle, urlOf } from "../../../src/lab/programs.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { heldBy, timeUntil } from "../support.ts";

/** Who may ask: what the API servers have a part in. */
export function rightsScenario(lab: () => Lab): void {
  it("a user who may not create Traces in dc2 gets dc1's answer and «dc2: refused»", async () => {
    const users: string[] = [];
    for (const cluster of lab().topology.clusters)
      users.push("--kubeconfig", await makeUser(lab(), cluster, "ann"));
    await applyObjects(
      lab().client("dc1"),
      readManifests(`apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: tracer}
rules: [{apiGroups: [waggle.dev], resources: [traces], verbs: [create, get, list, watch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: tracer-ann}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: tracer}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: ann}]
`),
    );
    const outcome = await runWaggle([
      "trace",
      ...users,
      "--for",
      "2s",
      "-e",
      "interval:ms:100 { @[node] = count(); }",
    ]);
    expect(outcome.stderr).toContain("dc2: refused");
    expect(outcome.stdout).toContain("@[dc1-node1]");
    expect(outcome.stdout).not.toContain("dc2-");
    expect(outcome.code).toBe(3);
  }, 30_000);
}

export function askScenario(lab: () => Lab): void {
  const kubeconfigs = (): string[] => lab().state.clusters.flatMap((c) => ["--kubeconfig", c.kubeconfig]);

  it.each([
    [
      "an unknown field",
      "tracepoint:sock:inet_sock_set_state { @ = count(); print(args.nope); }",
      /1:\d+(-\d+)?.*nope/s,
    ],
    ["a type mismatch", 'BEGIN { @x = 1; @x = "text"; }', /1:\d+(-\d+)?.*@x/s],
    [
      "an unknown probe",
      "tracepoint:sock:inet_sock_set_stat { @ = count(); }",
      /1:\d+(-\d+)?.*inet_sock_set_stat/s,
    ],
    ["a syntax error", "BEGIN { printf( }", /1:\d+/],
  ])("%s is shown with its place before anything is attached", async (_, program, place) => {
    const before = heldBy(lab());
    const outcome = await runWaggle(["trace", ...kubeconfigs(), "--for", "5s", "-e", program]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toMatch(place);
    expect(outcome.stdout).toBe("");
    expect(heldBy(lab())).toEqual(before);
  });

  it("a killed waggle trace leaves nothing attached after 5 s", async () => {
    const before = heldBy(lab());
    const [program, ...args] = waggle(
      "trace",
      ...kubeconfigs(),
      "--for",
      "60s",
      "-e",
      "tracepoint:sched:sched_switch { @[node] = count(); }",
    );
    const child = spawn(program!, args, { stdio: "ignore" });
    await timeUntil(
      15_000,
      "programs of the run",
      async () => (heldBy(lab())["bpf-prog"] ?? 0) >= (before["bpf-prog"] ?? 0) + 4,
    );
    await sleep(500);
    child.kill("SIGKILL");
    await timeUntil(6_000, "everything detached", async () => isDeepStrictEqual(heldBy(lab()), before));
  }, 40_000);

  it("connections between nodes are counted exactly once, on the right node", async () => {
    const client = lab().state.pods.find((p) => p.cluster === "dc1")!;
    const server = lab()
      .state.pods.filter((p) => p.cluster === "dc2")
      .at(-1)!;
    const connections = 37;
    const asked = runWaggle([
      "trace",
      ...kubeconfigs(),
      "--for",
      "12s",
      "-f",
      "json",
      "-e",
      "tracepoint:sock:inet_sock_set_state /args.newstate == 1 && args.dport == 8080/ { @client[node, pod, cluster(args.daddr_v6)] = count(); } " +
        "tracepoint:sock:inet_sock_set_state /args.newstate == 1 && args.sport == 8080/ { @server[node, pod, cluster(args.daddr_v6)] = count(); }",
    ]);
    await sleep(5_000);
    const urls = server.addresses.map((a) => urlOf(a, 8080));
    await runAt(
      lab().state,
      client.name,
      waggle("lab", "workload", "fetch", "--times", String(connections), ...urls),
    );
    const outcome = await asked;
    expect(outcome.code, outcome.stderr).toBe(0);
    const maps: Record<string, Record<string, number>> = {};
    for (const line of outcome.stdout.split("\n").filter(Boolean)) {
      const object = JSON.parse(line) as { type: string; data?: Record<string, Record<string, number>> };
      if (object.type === "map") Object.assign(maps, object.data);
    }
    expect(maps["@client"]).toEqual({ [`${client.node},${client.name},dc2`]: connections });
    expect(maps["@server"]).toEqual({ [`${server.node},${server.name},dc1`]: connections });
  }, 60_000);
}
