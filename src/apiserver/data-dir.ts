// apiserver: the data directory: the lock, the keys, the tokens. Everything secret is in files of mode 0600.
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { KeyPair } from "./auth/certificates.ts";
import { makeSigningKey } from "./auth/tokens.ts";

/** The directory cannot be used; the message says why and names the file. */
export class DataDirError extends Error {}

/** Secrets of one server. All PEM or text. */
export interface Identity {
  readonly authority: KeyPair;
  readonly server: KeyPair;
  /** Signs service account and user tokens. */
  readonly signingKey: string;
  readonly adminToken: string;
}

const file = {
  lock: "lock",
  caCertificate: "ca.crt",
  caKey: "ca.key",
  serverCertificate: "server.crt",
  serverKey: "server.key",
  signingKey: "tokens.key",
  adminToken: "admin.token",
} as const;

/** Writes so that a crash leaves the old file or the new one. */
export function writePrivate(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text, { mode: 0o600, flush: true });
  renameSync(`${path}.tmp`, path);
}

function readOrMake(dir: string, name: string, make: () => string): string {
  const path = join(dir, name);
  if (existsSync(path)) return readFileSync(path, "utf8");
  const text = make();
  writePrivate(path, text);
  return text;
}

const makeToken = (): string => randomBytes(32).toString("base64url");

/** Reads the identity kept in `dir`, or makes one and, where a directory is given, keeps it. */
export async function loadIdentity(dir: string | undefined, name: string, nowMs: number): Promise<Identity> {
  // The certificate library takes a quarter of a second to load: a restart with good certificates does without it.
  const library = (): Promise<typeof import("./auth/certificates.ts")> => import("./auth/certificates.ts");
  if (!dir) {
    const { makeAuthority, makeServerCertificate } = await library();
    const authority = await makeAuthority(name, nowMs);
    return {
      authority,
      server: await makeServerCertificate(authority, nowMs),
      signingKey: makeSigningKey(),
      adminToken: makeToken(),
    };
  }
  const read = (n: string): string | undefined =>
    existsSync(join(dir, n)) ? readFileSync(join(dir, n), "utf8") : undefined;
  let authority = pair(read(file.caCertificate), read(file.caKey));
  let server = pair(read(file.serverCertificate), read(file.serverKey));
  if (!authority) {
    authority = await (await library()).makeAuthority(name, nowMs);
    writePrivate(join(dir, file.caKey), authority.privateKey);
    writePrivate(join(dir, file.caCertificate), authority.certificate);
    server = undefined;
  }
  if (!server || !(await stillGood(server, authority, nowMs))) {
    server = await (await library()).makeServerCertificate(authority, nowMs);
    writePrivate(join(dir, file.serverKey), server.privateKey);
    writePrivate(join(dir, file.serverCertificate), server.certificate);
  }
  return {
    authority,
    server,
    signingKey: readOrMake(dir, file.signingKey, makeSigningKey),
    adminToken: readOrMake(dir, file.adminToken, makeToken).trim(),
  };
}

const pair = (certificate: string | undefined, privateKey: string | undefined): KeyPair | undefined =>
  certificate && privateKey ? { certificate, privateKey } : undefined;

const renewBefore = 30 * 24 * 60 * 60 * 1000;

async function stillGood(server: KeyPair, authority: KeyPair, nowMs: number): Promise<boolean> {
  const { X509Certificate } = await import("node:crypto");
  const certificate = new X509Certificate(server.certificate);
  return (
    certificate.verify(new X509Certificate(authority.certificate).publicKey) &&
    Date.parse(certificate.validTo) - nowMs > renewBefore
  );
}

/** What user kubeconfigs are made from, without a running server. Throws DataDirError where no server has run. */
export function readKeys(dir: string): { caCertificate: string; signingKey: string; address: string } {
  try {
    return {
      caCertificate: readFileSync(join(dir, file.caCertificate), "utf8"),
      signingKey: readFileSync(join(dir, file.signingKey), "utf8"),
      address: readFileSync(join(dir, "address.json"), "utf8"),
    };
  } catch (error) {
    throw new DataDirError(
      `${dir} holds no API server's keys: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** The start time of a process in clock ticks since boot: with the pid it names one process for ever. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    // No such process (any more).
    return undefined;
  }
}

/** Takes the directory for this process; the lock of a process that has died does not hold. Returns what releases it. */
export function lockDirectory(dir: string): () => void {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const path = join(dir, file.lock);
  const own = `${process.pid} ${startTimeOf(process.pid) ?? ""}\n`;
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      const fd = openSync(path, "wx", 0o600);
      writeSync(fd, own);
      closeSync(fd);
      return () => rmSync(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const [pid, start] = readFileSync(path, "utf8").trim().split(" ");
      const holder = Number(pid);
      if (holder === process.pid || startTimeOf(holder) !== start || start === undefined) {
        if (holder === process.pid && startTimeOf(holder) === start)
          throw new DataDirError(`${dir} is already in use by this process`);
        rmSync(path, { force: true });
        continue;
      }
      throw new DataDirError(`${dir} is in use by process ${pid}`);
    }
  }
  throw new DataDirError(`${dir} could not be locked`);
}
