// agent: the tracer child and the hub. Whatever happens to them, sessions, datapath and announcements never notice.
import { readFile } from "node:fs/promises";
import { release } from "node:os";
import { discoverHub } from "../fleet/discovery.ts";
import { joinHub, type Member } from "../fleet/member.ts";
import type { HubEndpoint } from "../fleet/protocol.ts";
import { type Clock, describeError, type KubeApi, type Random } from "../kube/index.ts";
import { ProcessTracer } from "../trace/tracer.ts";
import type { TracerOptions } from "../trace/types.ts";
import type { AgentOptions, HubOptions } from "./options.ts";
import type { Log } from "./ports.ts";

export interface TracingParts {
  readonly api: KubeApi;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Directory with the pinned route maps of the layout in use; undefined where there is no datapath. */
  readonly mapDirectory: string | undefined;
  readonly namesFile: string;
}

/** Where the hub is: as the options say, and what they leave out as the cluster says. */
export async function hubEndpoint(hub: HubOptions, api: KubeApi): Promise<HubEndpoint | undefined> {
  const known = hub.caFile === undefined ? await discoverHub(api) : undefined;
  const ca = hub.caFile === undefined ? known?.ca : await readFile(hub.caFile, "utf8");
  if (ca === undefined) return undefined;
  const named = hub.socket !== undefined || hub.address !== undefined;
  return {
    ca,
    ...(hub.socket !== undefined && { socket: hub.socket }),
    ...(hub.address !== undefined && { address: hub.address }),
    ...(!named && known?.socket !== undefined && { socket: known.socket }),
    ...(!named && known?.address !== undefined && { address: known.address }),
  };
}

export interface Tracing extends AsyncDisposable {
  readonly member: Member | undefined;
}

/** Starts the warm tracer child and joins the hub, where a token is given. Never throws. */
export function startTracing(options: AgentOptions, parts: TracingParts): Tracing {
  const { hub } = options;
  const { tokenFile } = hub;
  if (tokenFile === undefined) return { member: undefined, [Symbol.asyncDispose]: async () => undefined };
  const { log } = parts;
  let tracer: ProcessTracer | undefined;
  let member: Member | undefined;
  try {
    const tracerOptions: TracerOptions = {
      ...(parts.mapDirectory !== undefined && { mapDirectory: parts.mapDirectory }),
      ...(options.ownerDir !== undefined && { ownerDirectory: options.ownerDir }),
      namesFile: parts.namesFile,
      nodeIndex: options.nodeIndex,
      // On a machine of its own everything that no pod owns is the node's.
      unownedIsNode: options.ownerDir === undefined,
      countsUnattributed: options.countsUnattributed || options.ownerDir === undefined,
      cacheDirectory: options.cacheDir,
    };
    tracer = new ProcessTracer({ ...tracerOptions, log: (message) => log.warn({}, message) });
    member = joinHub({
      discover: () => hubEndpoint(hub, parts.api),
      token: async () => (await readFile(tokenFile, "utf8")).trim(),
      node: options.node,
      version: options.version,
      kernel: release(),
      tracer,
      clock: parts.clock,
      random: parts.random,
      log,
    });
  } catch (error) {
    log.error({ error: describeError(error) }, "traces cannot be run on this node");
  }
  return {
    member,
    async [Symbol.asyncDispose]() {
      await member?.close();
      await tracer?.close();
    },
  };
}
