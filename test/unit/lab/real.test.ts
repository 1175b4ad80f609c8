// The real control plane's files and flags, without starting it; and the relay in front of it.
import { X509Certificate } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { findAssets, planReal, type RealOptions, realUser, untilReal } from "../../../src/lab/real.ts";
import { startRelay } from "../../../src/lab/relay.ts";

const directory = mkdtempSync(join(tmpdir(), "waggle-real-unit-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe("a real control plane's plan", () => {
  const options: RealOptions = {
    assets: "/assets",
    directory: join(directory, "plane"),
    name: "dc1",
    controllerManager: true,
    serviceRanges: ["10.96.0.0/16", "fd00:10:96::/112"],
  };

  it("is the same for the same directory, and starts etcd first", async () => {
    const plane = await planReal(options);
    expect(await planReal(options)).toEqual(plane);
    expect(plane.programs.map((p) => p.name)).toEqual(["etcd", "apiserver", "controller-manager"]);
    const flags = plane.programs.flatMap((p) => p.command).join("\n");
    for (const text of flags.match(/https?:\/\/\S+|--bind-address=\S+/g)!)
      expect(text).toMatch(
        /^(https:\/\/127\.0\.0\.1:\d+|--bind-address=127\.0\.0\.1|https:\/\/kubernetes\.default\.svc)$/,
      );
    expect(flags).not.toContain("disable-admission-plugins");
    const bare = await planReal({ ...options, controllerManager: false });
    expect(bare.programs.map((p) => p.name)).toEqual(["etcd", "apiserver"]);
    expect(bare.programs[1]!.command).toContain("--disable-admission-plugins=ServiceAccount");
  });

  it("advertises an address of the Services' main family", async () => {
    const six = await planReal({ ...options, serviceRanges: ["fd00:10:96::/112"] });
    expect(six.programs[1]!.command).toContain("--advertise-address=fd00::1");
  });

  it("keeps every file to its owner", async () => {
    await planReal(options);
    for (const name of readdirSync(options.directory))
      expect(statSync(join(options.directory, name)).mode & 0o077, name).toBe(0);
  });

  it("signs who is who with an authority of its own", async () => {
    const plane = await planReal(options);
    const read = (name: string): X509Certificate =>
      new X509Certificate(readFileSync(join(options.directory, `${name}.crt`)));
    const ca = read("ca");
    for (const name of ["etcd", "apiserver", "admin", "controller-manager"]) {
      expect(read(name).verify(ca.publicKey), name).toBe(true);
      expect(read(name).checkIssued(ca), name).toBe(true);
    }
    expect(read("admin").subject).toMatch(/O=system:masters[\s\S]*CN=admin/);
    expect(read("controller-manager").subject).toBe("CN=system:kube-controller-manager");
    expect(read("apiserver").subjectAltName).toContain("DNS:localhost");
    expect(read("admin").subjectAltName).toBeUndefined();
    const config = parse(plane.kubeconfig) as { users: { user: Record<string, string> }[] };
    const own = Buffer.from(config.users[0]!.user["client-certificate-data"]!, "base64");
    expect(new X509Certificate(own).fingerprint256).toBe(read("admin").fingerprint256);
    const ann = parse(await realUser(options, "ann", ["dev"])) as typeof config;
    const hers = new X509Certificate(Buffer.from(ann.users[0]!.user["client-certificate-data"]!, "base64"));
    expect(hers.subject).toMatch(/O=dev[\s\S]*CN=ann/);
    expect(hers.verify(ca.publicKey)).toBe(true);
  });

  it("waits for a server that is not ready, and not for one whose program has ended", async () => {
    let asked = 0;
    const raw = async (): Promise<unknown> => {
      asked++;
      if (asked < 3) throw new Error("not yet");
      return "ok";
    };
    const client = { raw } as unknown as Parameters<typeof untilReal>[0];
    await untilReal(client, "ready", () => undefined);
    expect(asked).toBe(3);
    await expect(untilReal(client, "ready", () => "etcd")).rejects.toThrow("etcd has ended");
    const never = { raw: () => Promise.reject(new Error("no")) } as unknown as typeof client;
    await expect(untilReal(never, "takesPods", () => undefined, 1)).rejects.toThrow(
      "made no ServiceAccount default within 0.001 s",
    );
  });
});

describe("the assets", () => {
  afterEach(() => vi.unstubAllEnvs());
  const make = (path: string, ...names: string[]): string => {
    mkdirSync(path, { recursive: true });
    for (const name of names) {
      writeFileSync(join(path, name), "");
      chmodSync(join(path, name), 0o755);
    }
    return path;
  };

  it("are where KUBEBUILDER_ASSETS says, else the newest complete directory of the cache", () => {
    const named = make(join(directory, "named"), "etcd", "kube-apiserver");
    const cache = join(directory, "cache");
    vi.stubEnv("WAGGLE_ASSETS", cache);
    vi.stubEnv("KUBEBUILDER_ASSETS", "");
    expect(findAssets()).toBeUndefined();
    const older = make(join(cache, "kubernetes-v1.33.1"), "etcd", "kube-apiserver");
    expect(findAssets()).toBe(older);
    const newer = make(join(cache, "kubernetes-v1.34.4"), "etcd", "kube-apiserver");
    make(join(cache, "kubernetes-v1.35.0"), "kubectl");
    expect(findAssets()).toBe(newer);
    vi.stubEnv("KUBEBUILDER_ASSETS", named);
    expect(findAssets()).toBe(named);
    expect(findAssets("plane")).toBeUndefined();
    make(older, "kube-controller-manager");
    expect(findAssets("plane")).toBe(older);
  });
});

describe("the relay", () => {
  let server: Server;
  let port = 0;
  const sockets = new Set<Socket>();
  beforeAll(async () => {
    // Says how much it was given once the other side has said all: that needs half-closed connections.
    server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.add(socket);
      let bytes = 0;
      socket.on("data", (chunk) => {
        bytes += chunk.length;
      });
      socket.on("end", () => socket.end(`${bytes}`));
      socket.on("error", () => undefined);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as { port: number }).port;
  });
  afterAll(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  /** What comes back for so many bytes; `ended` where the connection ends without an answer. */
  const send = (path: string, bytes: number): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect({ path, allowHalfOpen: true });
      let answer = "";
      socket.setEncoding("utf8").on("data", (chunk: string) => {
        answer += chunk;
      });
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(answer || "ended"));
      socket.on("end", () => socket.destroy());
      socket.end(Buffer.alloc(bytes));
    });

  it("carries bytes both ways, half-closed connections too, also over a socket file that was left", async () => {
    const path = join(directory, "api.sock");
    writeFileSync(path, "");
    using _relay = await startRelay(path, "127.0.0.1", port);
    expect(await Promise.all([send(path, 0), send(path, 5), send(path, 3_000_000)])).toEqual([
      "0",
      "5",
      "3000000",
    ]);
  });

  it("ends the caller's connection where nobody listens", async () => {
    const path = join(directory, "nobody.sock");
    using _relay = await startRelay(path, "127.0.0.1", 1);
    expect(await send(path, 5)).toBe("ended");
  });

  it("turns away what is more than it carries, and says how many", async () => {
    const path = join(directory, "full.sock");
    using relay = await startRelay(path, "127.0.0.1", port, 2);
    const open = [1, 2].map(() => connect({ path }));
    await Promise.all(open.map((s) => new Promise<void>((resolve) => s.once("connect", () => resolve()))));
    await vi.waitFor(async () => {
      expect(await send(path, 5)).toBe("ended");
      expect(relay.refused).toBeGreaterThan(0);
    });
    for (const socket of open) socket.destroy();
    await vi.waitFor(async () => expect(await send(path, 5)).toBe("5"));
  });
});
