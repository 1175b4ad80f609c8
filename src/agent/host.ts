// agent: facts about the machine that plans need: subnets of its interfaces, addresses of the API server.
import { networkInterfaces } from "node:os";
import { type Address, AddressError, maskTo, type Prefix, parseAddress } from "../net/address.ts";
import type { HostFacts } from "../plan/index.ts";

const addressOrNone = (text: string): Address | undefined => {
  try {
    return parseAddress(text);
  } catch (error) {
    if (error instanceof AddressError) return undefined;
    throw error;
  }
};

/** Subnets of the interfaces that are up in this network namespace, loopback among them. */
export function connectedSubnets(): readonly Prefix[] {
  return Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).flatMap(({ cidr }) => {
      const [text, length] = cidr?.split("/") ?? [];
      const address = text === undefined ? undefined : addressOrNone(text.replace(/%.*$/, ""));
      return address ? [maskTo(address, Number(length))] : [];
    }),
  );
}

/** The address in an API server's URL; none where it is a name. */
export function serverAddresses(server: string): readonly Address[] {
  const host = URL.parse(server)?.hostname.replace(/^\[|\]$/g, "") ?? "";
  const address = addressOrNone(host);
  return address ? [address] : [];
}

/** Facts that may change while the agent runs are read each time. */
export const hostFacts =
  (fixed: { readonly server: string; readonly cniDataDir: string; readonly podMTU?: number }) =>
  (): HostFacts => ({
    connected: connectedSubnets(),
    apiServer: serverAddresses(fixed.server),
    cniDataDir: fixed.cniDataDir,
    ...(fixed.podMTU !== undefined && { podMTU: fixed.podMTU }),
  });
