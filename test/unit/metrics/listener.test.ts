// The listener: plain on loopback alone, elsewhere only for clients with a certificate, with bounds that count.
import "reflect-metadata";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listenMetrics, processSource } from "../../../src/metrics/index.ts";
import { isLoopback, parseListen } from "../../../src/metrics/listener.ts";

const log = { warn: () => undefined };
let why: string | undefined;
const base = { sources: [processSource("speaker", "1")], notReady: () => why, log };

describe("on loopback", () => {
  it("shows metrics, life and readiness, and nothing else", async () => {
    await using listener = await listenMetrics({ ...base, listen: ["127.0.0.1:0"] });
    const at = `http://${listener.addresses[0]}`;
    const metrics = await fetch(`${at}/metrics`, { headers: { accept: "application/openmetrics-text" } });
    expect(metrics.headers.get("content-type")).toBe(
      "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
    expect(await metrics.text()).toMatch(/^process_resident_memory_bytes [1-9]/m);
    expect((await fetch(`${at}/livez`)).status).toBe(200);
    why = "not yet";
    const ready = await fetch(`${at}/readyz`);
    expect([ready.status, await ready.text()]).toEqual([503, "not yet\n"]);
    why = undefined;
    expect((await fetch(`${at}/readyz`)).status).toBe(200);
    expect((await fetch(`${at}/other`)).status).toBe(404);
    expect((await fetch(`${at}/metrics`, { method: "POST" })).status).toBe(405);
    expect(await (await fetch(`${at}/metrics`)).text()).toMatch(/^waggle_metrics_requests_refused_total 2$/m);
  });

  it("is told from other addresses", () => {
    for (const host of ["127.0.0.1", "127.9.8.7", "::1"]) expect(isLoopback(host)).toBe(true);
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "localhost"])
      expect(isLoopback(host)).toBe(false);
    expect(parseListen("[::1]:80")).toEqual({ host: "::1", port: 80 });
    for (const text of ["localhost:80", "127.0.0.1", ":80", "127.0.0.1:99999"])
      expect(() => parseListen(text)).toThrow("not host:port");
  });
});

describe("elsewhere", () => {
  const directory = mkdtempSync(join(tmpdir(), "waggle-metrics-"));
  const file = (name: string): string => join(directory, name);
  const tls = { cert: file("tls.crt"), key: file("tls.key"), clientCa: file("ca.crt") };
  let stranger: { readonly cert: string; readonly key: string };

  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
  async function make(): Promise<{ readonly cert: string; readonly key: string }> {
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const cert = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: "01",
      name: "CN=waggle-metrics",
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + 3_600_000),
      keys,
      signingAlgorithm: algorithm,
      extensions: [new x509.BasicConstraintsExtension(true)],
    });
    const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
    return { cert: cert.toString("pem"), key: x509.PemConverter.encode(pkcs8, "PRIVATE KEY") };
  }
  let own: { readonly cert: string; readonly key: string };

  beforeAll(async () => {
    x509.cryptoProvider.set(crypto);
    own = await make();
    stranger = await make();
    writeFileSync(tls.cert, own.cert);
    writeFileSync(tls.key, own.key);
    writeFileSync(tls.clientCa, own.cert);
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  /** Status, or the code of the error. */
  const ask = (
    at: string,
    client: { readonly cert?: string; readonly key?: string },
  ): Promise<number | string> =>
    new Promise((resolve) => {
      const { host, port } = parseListen(at);
      const options = { host, port, path: "/metrics", rejectUnauthorized: false, ...client };
      request(options, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      })
        .on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
        .end();
    });

  it("is refused without certificates", async () => {
    await expect(listenMetrics({ ...base, listen: ["127.0.0.1:0", "0.0.0.0:0"] })).rejects.toThrow(
      "0.0.0.0:0 is not a loopback address",
    );
    await expect(
      listenMetrics({ ...base, listen: ["0.0.0.0:0"], tls: { ...tls, key: file("none") } }),
    ).rejects.toThrow("none cannot be read: ENOENT");
  });

  const address = Object.values(networkInterfaces())
    .flat()
    .find((a) => a?.family === "IPv4" && !a.internal)?.address;

  it("answers those who show a certificate of the right authority", async () => {
    await using listener = await listenMetrics({ ...base, listen: [`${address ?? "0.0.0.0"}:0`], tls });
    const [at] = listener.addresses as [string];
    const dial = address ? at : at.replace("0.0.0.0", "127.0.0.1");
    expect(await ask(dial, own)).toBe(200);
    expect(await ask(dial, {})).toMatch(/CERTIFICATE_REQUIRED|ECONNRESET/);
    expect(await ask(dial, stranger)).toMatch(/UNKNOWN_CA|ECONNRESET/);
  });
});
