// The chart as helm renders it: lint, what cannot work is refused, rights equal to deploy/base.yaml, and each pod as tight as promised.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { chartRights } from "../../../scripts/chart-rights.ts";
import { command as agentCommand } from "../../../src/cli/agent.ts";
import { command as speakerCommand } from "../../../src/cli/bgpd.ts";
import { command as healthCommand } from "../../../src/cli/health.ts";
import { command as operatorCommand } from "../../../src/cli/operator.ts";
import { findAssets } from "../../../src/lab/real.ts";

const root = join(import.meta.dirname, "../../..");
const chart = join(root, "deploy/chart");
const helm = join(findAssets() ?? "", "helm");
const digest = `sha256:${"0".repeat(64)}`;

interface Probe {
  readonly exec: { readonly command: readonly string[] };
}

interface Container {
  readonly image: string;
  readonly args: readonly string[];
  readonly securityContext: {
    readonly privileged?: boolean;
    readonly capabilities: { readonly add?: readonly string[] };
  };
  readonly resources: Readonly<Record<"requests" | "limits", { readonly memory?: string }>>;
  readonly livenessProbe: Probe;
  readonly startupProbe: Probe;
  readonly readinessProbe: Probe;
  readonly volumeMounts: readonly { readonly name: string }[];
}

interface Pod {
  readonly priorityClassName: string;
  readonly automountServiceAccountToken?: boolean;
  readonly hostNetwork?: boolean;
  readonly securityContext?: { readonly runAsNonRoot?: boolean };
  readonly containers: readonly [Container];
  readonly volumes: readonly { readonly name: string }[];
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: unknown;
  readonly roleRef?: unknown;
  readonly subjects?: unknown;
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly replicas?: number;
    readonly template?: { readonly spec: Pod };
    readonly groups?: readonly {
      readonly rules: readonly { readonly annotations: { readonly runbook_url: string } }[];
    }[];
  };
}

const documents = (text: string): Manifest[] =>
  parseAllDocuments(text)
    .map((d) => d.toJS() as Manifest | null)
    .filter((d) => d !== null);

const args = (values: Readonly<Record<string, string>>, namespace: string): string[] => [
  ...["--namespace", namespace, "--kube-version", "1.34.0"],
  ...["--api-versions", "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy"],
  ...Object.entries({ "image.digest": digest, ...values }).flatMap(([k, v]) => ["--set", `${k}=${v}`]),
];
const render = (values: Readonly<Record<string, string>> = {}): Manifest[] =>
  documents(
    execFileSync(helm, ["template", "waggle", chart, ...args(values, "waggle-system")], {
      encoding: "utf8",
      maxBuffer: 1 << 24,
    }),
  );
const refusal = (values: Readonly<Record<string, string>>, namespace = "waggle-system"): string =>
  spawnSync(helm, ["template", "waggle", chart, ...args(values, namespace)], { encoding: "utf8" }).stderr;

const everything = {
  "metrics.tlsSecretName": "certificates",
  "metrics.podMonitor.enabled": "true",
  "metrics.podMonitor.clientSecretName": "prometheus",
  "alerts.enabled": "true",
  "alerts.runbooks": "https://example.org/waggle",
  "dashboard.enabled": "true",
  "image.registry": "registry.example:5000/mirror",
};

const skipped = !existsSync(helm);
describe.skipIf(skipped)(`the chart${skipped ? " (skipped: needs make assets)" : ""}`, () => {
  it("passes helm lint, with and without everything", () => {
    for (const values of [{}, everything])
      execFileSync(
        helm,
        [
          "lint",
          chart,
          "--strict",
          ...args(values, "waggle-system").filter(
            (a, i, all) => a !== "--api-versions" && all[i - 1] !== "--api-versions",
          ),
        ],
        { stdio: "pipe" },
      );
  });

  it("refuses what cannot work, with the reason", () => {
    expect(refusal({ "image.digest": "" })).toContain("image.digest is needed");
    expect(refusal({ "image.digest": "latest" })).toContain("pattern");
    expect(refusal({}, "default")).toContain("namespace waggle-system");
    expect(refusal({ "metrics.podMonitor.enabled": "true" })).toContain("needs metrics.tlsSecretName");
    expect(refusal({ "agent.hostpid": "true" })).toMatch(/not allowed|additional properties/i);
  });

  it("gives the rights of deploy/base.yaml and no others (run node scripts/chart-rights.ts)", () => {
    const rights = (all: readonly Manifest[]): object =>
      Object.fromEntries(
        all
          .filter((m) => /^(ServiceAccount|(Cluster)?Role(Binding)?)$/.test(m.kind))
          .map(({ kind, metadata, rules, roleRef, subjects }) => [
            `${kind} ${metadata.namespace ?? ""}/${metadata.name}`,
            { rules, roleRef, subjects },
          ]),
      );
    expect(readFileSync(join(chart, "templates/rbac.yaml"), "utf8")).toBe(chartRights());
    const golden = documents(readFileSync(join(root, "deploy/base.yaml"), "utf8"));
    for (const values of [{}, everything]) expect(rights(render(values))).toEqual(rights(golden));
  });

  const podsOf = (all: readonly Manifest[]) =>
    all.flatMap(({ kind, metadata, spec }) =>
      spec?.template ? [{ kind, name: metadata.name, replicas: spec.replicas, pod: spec.template.spec }] : [],
    );
  const workloads = skipped ? [] : podsOf(render(everything));
  const podOf = (name: string): Pod => workloads.find((w) => w.name === name)!.pod;

  it("runs each pod with the least that it needs", () => {
    expect(workloads.map((w) => `${w.kind} ${w.name}`).sort()).toEqual([
      "DaemonSet waggle-agent",
      "DaemonSet waggle-speaker",
      "Deployment waggle-operator",
    ]);
    for (const { name, pod } of workloads) {
      expect([name, pod.priorityClassName.startsWith("system-")]).toEqual([name, true]);
      expect(pod.containers).toHaveLength(1);
      const { image, securityContext, resources, livenessProbe } = pod.containers[0];
      expect(image).toBe(`registry.example:5000/mirror/waggle@${digest}`);
      expect(securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ["ALL"] },
      });
      expect(securityContext.privileged).toBeUndefined();
      expect(resources.requests.memory && resources.limits.memory).toBeTruthy();
      expect(livenessProbe.exec.command[1]).toBe("health");
    }
    expect(podOf("waggle-operator").containers[0].securityContext.capabilities.add).toBeUndefined();
    expect(podOf("waggle-speaker").containers[0].securityContext.capabilities.add).toEqual([
      "NET_BIND_SERVICE",
      "NET_ADMIN",
      "NET_RAW",
    ]);
    expect(podOf("waggle-speaker").automountServiceAccountToken).toBe(false);
    const operator = workloads.find((w) => w.name === "waggle-operator")!;
    expect([operator.replicas, operator.pod.securityContext?.runAsNonRoot]).toEqual([2, true]);
    expect(operator.pod.hostNetwork).toBeUndefined();
  });

  it("gives commands only options that they have", () => {
    const commands = {
      operator: operatorCommand(),
      agent: agentCommand(),
      bgpd: speakerCommand(),
      health: healthCommand(),
    };
    for (const { pod } of workloads) {
      const { args: words, livenessProbe, startupProbe, readinessProbe } = pod.containers[0];
      const probes = [livenessProbe, startupProbe, readinessProbe].map((p) => p.exec.command.slice(1));
      for (const [name, ...options] of [words, ...probes]) {
        const known = commands[name as keyof typeof commands].options.map((o) => o.long);
        for (const option of options) expect(known).toContain(option.split("=", 1)[0]);
      }
      // The probe asks where the daemon listens.
      const loopback = words.find((w) => w.startsWith("--metrics-listen=[127"))!.split("=")[1]!;
      for (const [, ...options] of probes)
        expect(options).toContain(`--address=${loopback.replace(/[[\]]/g, "")}`);
    }
  });

  it("listens on loopback alone unless there are certificates", () => {
    const listens = (values: Readonly<Record<string, string>>): string[] =>
      podsOf(render(values))
        .flatMap((w) => w.pod.containers[0].args)
        .filter((a) => a.startsWith("--metrics-listen="))
        .map((a) => a.split("=")[1]!);
    expect(listens({}).every((a) => a.startsWith("[127.0.0.1]:"))).toBe(true);
    expect(listens(everything)).toHaveLength(6);
  });

  it("mounts what it names, and nothing that it does not", () => {
    for (const { pod } of workloads) {
      const { volumes, containers } = pod;
      const names = (list: readonly { readonly name: string }[]): string[] => list.map((v) => v.name).sort();
      expect(names(containers[0].volumeMounts)).toEqual(names(volumes));
    }
  });

  it("brings alerts with your runbooks, and the dashboard as it is", () => {
    const all = render(everything);
    const rule = all.find((m) => m.kind === "PrometheusRule")!;
    const urls = (rule.spec?.groups ?? []).flatMap((g) => g.rules.map((r) => r.annotations.runbook_url));
    expect(urls.length).toBeGreaterThan(20);
    expect(urls.every((u) => u.startsWith("https://example.org/waggle/alerts.md#waggle"))).toBe(true);
    const board = all.find((m) => m.metadata.name === "waggle-dashboard")!;
    expect(JSON.parse(board.data?.["waggle.json"] ?? "")).toEqual(
      JSON.parse(readFileSync(join(chart, "files/dashboard.json"), "utf8")),
    );
    expect(all.filter((m) => m.kind === "PodMonitor")).toHaveLength(3);
  });
});
