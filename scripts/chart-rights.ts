// Writes deploy/chart/templates/rbac.yaml from deploy/base.yaml, where the rights of operator and agents are kept. A test compares.
import { readFileSync, writeFileSync } from "node:fs";

const root = new URL("../", import.meta.url);

export function chartRights(): string {
  const documents = readFileSync(new URL("deploy/base.yaml", root), "utf8")
    .split(/^---$/m)
    .map((d) => d.trim())
    // The namespace is made before the chart is installed; comments before the first object are about the file.
    .filter((d) => !/^kind: Namespace$/m.test(d))
    .map((d) => {
      const component = d.includes("name: waggle-agent") ? "agent" : "operator";
      const labels = `  labels:\n    {{- include "waggle.labels" (dict "root" . "component" "${component}") | nindent 4 }}`;
      return d.replace(/^metadata: \{ name: ([\w-]+)(?:, namespace: ([\w-]+))? \}$/m, (_, name, namespace) =>
        ["metadata:", `  name: ${name}`, ...(namespace ? [`  namespace: ${namespace}`] : []), labels].join(
          "\n",
        ),
      );
    });
  return `# Identities and the least rights of each. Made from deploy/base.yaml by node scripts/chart-rights.ts.\n${documents.join("\n---\n")}\n`;
}

if (import.meta.main) writeFileSync(new URL("deploy/chart/templates/rbac.yaml", root), chartRights());
