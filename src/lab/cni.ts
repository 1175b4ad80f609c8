// lab: attaches a pod's namespace as a kubelet's runtime would: the node's own conflist, the standard plugins, CNI 1.0.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./shell.ts";

/** Where Debian's containernetworking-plugins puts them; CNI_PATH overrides. */
const pluginPath = (): string => process.env.CNI_PATH ?? "/usr/lib/cni";

interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly { readonly type: string }[];
}

interface CniResult {
  readonly ips?: readonly { readonly address: string }[];
}

/** The first conflist of a node by name, as the container runtime takes it; undefined while the agent has not written one. */
export function readConflist(confDirectory: string): Conflist | undefined {
  let names: string[];
  try {
    names = readdirSync(confDirectory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const first = names.filter((n) => n.endsWith(".conflist")).sort()[0];
  return first ? (JSON.parse(readFileSync(join(confDirectory, first), "utf8")) as Conflist) : undefined;
}

export interface AttachRequest {
  readonly nodeNetns: string;
  readonly podNetns: string;
  readonly containerID: string;
  readonly conflist: Conflist;
}

async function invoke(
  command: "ADD" | "DEL",
  request: AttachRequest,
  type: string,
  config: object,
): Promise<string> {
  return await run("nsenter", [`--net=/run/netns/${request.nodeNetns}`, "--", join(pluginPath(), type)], {
    input: JSON.stringify(config),
    env: {
      CNI_COMMAND: command,
      CNI_CONTAINERID: request.containerID,
      CNI_NETNS: `/run/netns/${request.podNetns}`,
      CNI_IFNAME: "eth0",
      CNI_PATH: pluginPath(),
    },
  });
}

/** Runs ADD of each plugin in order. Returns the pod's addresses without their lengths. */
export async function attach(request: AttachRequest): Promise<readonly string[]> {
  const { name, cniVersion, plugins } = request.conflist;
  let result: CniResult | undefined;
  for (const plugin of plugins) {
    const config = { ...plugin, name, cniVersion, ...(result ? { prevResult: result } : {}) };
    result = JSON.parse(await invoke("ADD", request, plugin.type, config)) as CniResult;
  }
  return (result?.ips ?? []).map((ip) => ip.address.split("/")[0]!);
}

/** Runs DEL of each plugin in reverse order. */
export async function detach(request: AttachRequest): Promise<void> {
  const { name, cniVersion, plugins } = request.conflist;
  for (const plugin of plugins.toReversed())
    await invoke("DEL", request, plugin.type, { ...plugin, name, cniVersion });
}
