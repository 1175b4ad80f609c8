// fleet/hub: the hub's own certificate authority: made at its start, its key never leaves memory; agents and callers get the
// certificate through the API server.
import "reflect-metadata";
import { isIP } from "node:net";
import * as x509 from "@peculiar/x509";
import { hubServerName } from "../protocol.ts";

export interface Certificates {
  /** PEM of the authority's certificate. */
  readonly ca: string;
  /** A new leaf. PEM. */
  issue(): Promise<{ readonly key: string; readonly cert: string }>;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const day = 86_400_000;
/** Clocks of nodes differ. */
const skewMs = 300_000;

/** Days that a leaf is good for. It is replaced at half of that, which a timer of Node's can hold (24.8 days at most). */
export const leafDays = 40;

const pem = (label: string, der: ArrayBuffer): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(der)
    .toString("base64")
    .replace(/.{64}(?!$)/g, "$&\n")}\n-----END ${label}-----\n`;

const serial = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("hex");

/** @param hosts names and addresses by which the hub is reached, besides {@link hubServerName} */
export async function makeCertificates(
  cluster: string,
  hosts: readonly string[],
  now: () => number,
): Promise<Certificates> {
  x509.cryptoProvider.set(crypto);
  const keys = await crypto.subtle.generateKey(algorithm, false, ["sign", "verify"]);
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: [{ O: ["Waggle"] }, { CN: [`hub of ${cluster}`] }],
    notBefore: new Date(now() - skewMs),
    notAfter: new Date(now() + 3650 * day),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const names = [
    { type: "dns" as const, value: hubServerName },
    ...hosts.map((value) => ({ type: isIP(value) ? ("ip" as const) : ("dns" as const), value })),
  ];
  return {
    ca: `${ca.toString("pem")}\n`,
    async issue() {
      const leaf = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
      const cert = await x509.X509CertificateGenerator.create({
        serialNumber: serial(),
        subject: [{ CN: [hubServerName] }],
        issuer: ca.subject,
        notBefore: new Date(now() - skewMs),
        notAfter: new Date(now() + leafDays * day),
        publicKey: leaf.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
          new x509.SubjectAlternativeNameExtension(names),
          await x509.AuthorityKeyIdentifierExtension.create(keys.publicKey),
        ],
      });
      const key = await crypto.subtle.exportKey("pkcs8", leaf.privateKey);
      return { key: pem("PRIVATE KEY", key), cert: `${cert.toString("pem")}\n` };
    },
  };
}
