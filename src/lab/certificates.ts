// lab: certificates of a real control plane: an authority of its own, and who it vouches for. ECDSA P-256, all PEM.
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

export interface KeyPair {
  readonly certificate: string;
  readonly privateKey: string;
}

type CryptoKey = webcrypto.CryptoKey;

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const provider = webcrypto as unknown as Crypto;
const validityMs = 365 * 24 * 60 * 60 * 1000;
/** A certificate made a moment ago must be good for a reader whose clock is a little behind. */
const backdatedMs = 5 * 60 * 1000;

const newKeys = (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);

const serialNumber = (): string =>
  `00${Buffer.from(webcrypto.getRandomValues(new Uint8Array(15))).toString("hex")}`;

async function privatePem(key: CryptoKey): Promise<string> {
  const text = x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
  return `${text}\n`;
}

const validity = (nowMs: number) => ({
  notBefore: new Date(nowMs - backdatedMs),
  notAfter: new Date(nowMs + validityMs),
});

/** A new key pair that is its own authority. */
export async function makeAuthority(name: string, nowMs: number): Promise<KeyPair> {
  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: serialNumber(),
      name: `CN=${name}`,
      ...validity(nowMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, provider),
      ],
    },
    provider,
  );
  return { certificate: `${certificate.toString("pem")}\n`, privateKey: await privatePem(keys.privateKey) };
}

export interface CertificateRequest {
  /** Kubernetes reads it as the user's name. */
  readonly commonName: string;
  /** Kubernetes reads them as the user's groups. */
  readonly organizations?: readonly string[];
  /** Names and addresses of a server; without them it is good for clients only. */
  readonly names?: readonly string[];
  readonly addresses?: readonly string[];
}

/** A certificate that the authority has signed, with a key of its own. */
export async function makeCertificate(
  authority: KeyPair,
  request: CertificateRequest,
  nowMs: number,
): Promise<KeyPair> {
  const keys = await newKeys();
  const issuer = new x509.X509Certificate(authority.certificate);
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    x509.PemConverter.decodeFirst(authority.privateKey),
    algorithm,
    false,
    ["sign"],
  );
  const alternatives = [
    ...(request.names ?? []).map((value) => ({ type: "dns" as const, value })),
    ...(request.addresses ?? []).map((value) => ({ type: "ip" as const, value })),
  ];
  const purposes = [
    x509.ExtendedKeyUsage.clientAuth,
    ...(alternatives.length > 0 ? [x509.ExtendedKeyUsage.serverAuth] : []),
  ];
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: serialNumber(),
      subject: new x509.Name([
        ...(request.organizations ?? []).map((o) => ({ O: [o] })),
        { CN: [request.commonName] },
      ]),
      issuer: issuer.subjectName,
      ...validity(nowMs),
      signingAlgorithm: algorithm,
      publicKey: keys.publicKey,
      signingKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension(purposes),
        ...(alternatives.length > 0 ? [new x509.SubjectAlternativeNameExtension(alternatives)] : []),
        await x509.AuthorityKeyIdentifierExtension.create(issuer, false, provider),
      ],
    },
    provider,
  );
  return { certificate: `${certificate.toString("pem")}\n`, privateKey: await privatePem(keys.privateKey) };
}
