// apiserver/auth: the server's own CA and certificate: ECDSA P-256, made once and kept in the data directory.
import "reflect-metadata";
import { webcrypto, X509Certificate } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** A certificate and its private key, both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const day = 24 * 60 * 60 * 1000;
const caDays = 3650;
const serverDays = 365;
/** A certificate made a moment ago must be good on a machine whose clock is a little behind. */
const backdated = 5 * 60 * 1000;

const pem = (label: string, der: ArrayBuffer): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(der).toString("base64").replace(/.{64}/g, "$&\n").trimEnd()}\n-----END ${label}-----\n`;

const serial = (): string =>
  `00${Buffer.from(webcrypto.getRandomValues(new Uint8Array(15))).toString("hex")}`;

const exportKey = async (key: CryptoKey): Promise<string> =>
  pem("PRIVATE KEY", await webcrypto.subtle.exportKey("pkcs8", key));

type CryptoKey = webcrypto.CryptoKey;

/** A new certificate authority that signs this server's certificate and nothing else. */
export async function makeAuthority(name: string, nowMs: number): Promise<KeyPair> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serial(),
      name: `CN=${name}`,
      notBefore: new Date(nowMs - backdated),
      notAfter: new Date(nowMs + caDays * day),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    },
    webcrypto as unknown as Crypto,
  );
  return { certificate: `${certificate.toString("pem")}\n`, privateKey: await exportKey(keys.privateKey) };
}

/** A certificate of the server for loopback and for the names that clients inside a cluster use. */
export async function makeServerCertificate(authority: KeyPair, nowMs: number): Promise<KeyPair> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const issuer = new x509.X509Certificate(authority.certificate);
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    x509.PemConverter.decodeFirst(authority.privateKey),
    algorithm,
    false,
    ["sign"],
  );
  const names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serial(),
      subject: "CN=waggle-apiserver",
      issuer: issuer.subject,
      notBefore: new Date(nowMs - backdated),
      notAfter: new Date(nowMs + serverDays * day),
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension([
          ...names.map((value) => ({ type: "dns" as const, value })),
          { type: "ip" as const, value: "127.0.0.1" },
          { type: "ip" as const, value: "::1" },
        ]),
        await x509.AuthorityKeyIdentifierExtension.create(issuer, false, webcrypto as unknown as Crypto),
      ],
    },
    webcrypto as unknown as Crypto,
  );
  return { certificate: `${certificate.toString("pem")}\n`, privateKey: await exportKey(keys.privateKey) };
}

/** Whether a certificate is still good for at least a tenth of its life and signed by the authority. */
export function isCurrent(certificate: string, authority: string, nowMs: number): boolean {
  const cert = new X509Certificate(certificate);
  return (
    cert.verify(new X509Certificate(authority).publicKey) &&
    Date.parse(cert.validTo) - nowMs > (serverDays * day) / 10
  );
}
