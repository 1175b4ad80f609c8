// e2e: docs/guide.md is run as it stands, block by block, and each command must succeed.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { installation } from "../../../src/lab/launcher.ts";
import type { Lab } from "../../../src/lab/up.ts";
import { nodesReady } from "../../../src/lab/wait.ts";
import { hasKubectl } from "../support.ts";

export const blocksOf = (page: string): { title: string; script: string }[] => {
  const out: { title: string; script: string }[] = [];
  for (const section of page.split(/^## /m).slice(1))
    for (const m of section.matchAll(/^```sh\n(.*?)^```/gms))
      out.push({ title: section.split("\n")[0]!, script: m[1]! });
  return out;
};

export function guideScenario(lab: () => Lab): void {
  for (const { title, script } of blocksOf(readFileSync("docs/guide.md", "utf8")))
    it.skipIf(!hasKubectl)(
      `«${title}» works as written${hasKubectl ? "" : " (skipped: needs kubectl)"}`,
      async () => {
        const outcome = await new Promise<{ code: number; text: string }>((resolve) => {
          const child = execFile(
            "bash",
            [
              "-euo",
              "pipefail",
              "-c",
              script.replaceAll("/run/waggle/lab/default/", `${lab().state.directory}/`),
            ],
            {
              timeout: 90_000,
              env: {
                ...process.env,
                PATH: `${installation()}/bin:${process.env.PATH}`,
                KUBECONFIG: lab().state.clusters[0]!.kubeconfig,
              },
            },
            (error, out, err) => resolve({ code: error ? 1 : 0, text: `${out}\n${err}` }),
          );
          child.stdin?.end();
        });
        expect(outcome.code, outcome.text).toBe(0);
        await nodesReady(lab());
      },
      120_000,
    );
}
