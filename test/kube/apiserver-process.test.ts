// waggle apiserver as a process: its one line, its files, SIGTERM, and kill -9 in the middle of writes.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parse } from "yaml";
import type { RunningApiServer } from "../../src/apiserver/index.ts";
import { TestClient } from "./apiserver-client.ts";

const main = new URL("../../src/cli/main.ts", import.meta.url).pathname;
const manifest = new URL("./apiserver-widget.yaml", import.meta.url).pathname;
const configMaps = "/api/v1/namespaces/default/configmaps";

let dir: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "waggle-process-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await new Promise((r) => child.once("exit", r));
  }
  rmSync(dir, { recursive: true, force: true });
});

interface Started extends Disposable {
  readonly child: ChildProcess;
  readonly ready: { uid: string; url: string; socket: string; kubeconfig: string };
  readonly client: TestClient;
  exit(signal: NodeJS.Signals): Promise<number | null>;
}

async function start(...more: string[]): Promise<Started> {
  const kubeconfig = join(dir, "kubeconfig");
  const child = spawn(
    process.execPath,
    [
      main,
      "apiserver",
      "--data-dir",
      join(dir, "data"),
      "--kubeconfig",
      kubeconfig,
      "--socket",
      join(dir, "api.sock"),
      "-o",
      "json",
      ...more,
    ],
    {
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  children.push(child);
  let errors = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.once("data", (chunk: Buffer) => resolve(chunk.toString()));
    child.once("exit", (code) => reject(new Error(`exit ${code}: ${errors}`)));
  });
  const ready = JSON.parse(line) as Started["ready"];
  const config = parse(readFileSync(kubeconfig, "utf8")) as {
    clusters: [{ cluster: Record<string, string> }];
    users: [{ user: { token: string } }];
  };
  const server = {
    port: Number(new URL(ready.url).port),
    caCertificate: Buffer.from(
      config.clusters[0].cluster["certificate-authority-data"] ?? "",
      "base64",
    ).toString(),
    adminToken: config.users[0].user.token,
  } as RunningApiServer;
  const client = new TestClient(server);
  return {
    child,
    ready,
    client,
    exit: (signal) =>
      new Promise((resolve) => {
        child.once("exit", (code) => resolve(code));
        child.kill(signal);
      }),
    [Symbol.dispose]: () => client[Symbol.dispose](),
  };
}

const configMap = (name: string, value: string) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name },
  data: { value },
});

describe("waggle apiserver", () => {
  test("one line, a private kubeconfig with the socket in it, CRDs loaded, SIGTERM is exit 0, the same cluster afterwards", async () => {
    using first = await start("--crds", manifest, "--cluster-name", "dc1");
    const config = parse(readFileSync(first.ready.kubeconfig, "utf8"));
    expect(config["current-context"]).toBe("dc1");
    expect(config.clusters[0].cluster.extensions).toEqual([
      { name: "waggle.dev/socket", extension: { path: join(dir, "api.sock") } },
    ]);
    for (const file of [first.ready.kubeconfig, join(dir, "data/ca.key"), join(dir, "data/log-1.jsonl")])
      expect(statSync(file).mode & 0o777).toBe(0o600);
    expect((await first.client.get("/apis/example.test/v1/widgets")).code).toBe(200);
    await first.client.post(configMaps, configMap("kept", "1"));
    // A watch does not hold up the stop.
    await using w = await first.client.watch(`${configMaps}?watch=1`);
    await w.next();
    const before = performance.now();
    expect(await first.exit("SIGTERM")).toBe(0);
    expect(performance.now() - before).toBeLessThan(2500);
    expect([existsSync(join(dir, "api.sock")), existsSync(join(dir, "data/lock"))]).toEqual([false, false]);
    using second = await start();
    expect(second.ready.uid).toBe(first.ready.uid);
    expect((await second.client.get(`${configMaps}/kept`)).body.data).toEqual({ value: "1" });
    expect((await second.client.get("/apis/example.test/v1/widgets")).code).toBe(200);
  });

  test("kill -9 while four writers write: everything that was answered is there, revisions go on", async () => {
    using first = await start();
    const answered = new Map<string, string>();
    let revision = 0;
    let stop = false;
    const writer = async (n: number): Promise<void> => {
      for (let i = 0; !stop; i++) {
        const name = `w${n}-${i % 20}`;
        const value = `${n}.${i}`;
        const known = answered.has(name);
        const answer = await (known
          ? first.client.patch(`${configMaps}/${name}`, { data: { value } })
          : first.client.post(configMaps, configMap(name, value))
        ).catch(() => undefined);
        if (!answer || answer.code >= 300) return;
        answered.set(name, value);
        revision = Math.max(revision, Number(answer.body.metadata.resourceVersion));
      }
    };
    const writers = [0, 1, 2, 3].map(writer);
    await new Promise((r) => setTimeout(r, 700));
    await first.exit("SIGKILL");
    stop = true;
    await Promise.all(writers);
    expect(answered.size).toBeGreaterThan(20);
    using second = await start();
    const list = (await second.client.get(configMaps)).body;
    const found = new Map<string, string>(
      list.items.map((i: { metadata: { name: string }; data: { value: string } }) => [
        i.metadata.name,
        i.data.value,
      ]),
    );
    for (const [name, value] of answered) {
      // The write under way at the kill may have become durable without its answer having been read.
      const [n, i] = value.split(".").map(Number);
      expect([value, `${n}.${(i ?? 0) + 20}`]).toContain(found.get(name));
    }
    expect(Number(list.metadata.resourceVersion)).toBeGreaterThanOrEqual(revision);
    // A watch from before the crash goes on where it was: the history survives as well.
    await using w = await second.client.watch(`${configMaps}?watch=1&resourceVersion=${revision - 5}`);
    expect((await w.rest(300)).length).toBeGreaterThanOrEqual(5);
    expect((await second.client.post(configMaps, configMap("after", "x"))).code).toBe(201);
  });

  test("a user's kubeconfig is made without the server; a second server on the directory is refused; usage errors are 2", async () => {
    using first = await start();
    const run = (...args: string[]): { code: number; text: string } => {
      try {
        return {
          code: 0,
          text: execFileSync(process.execPath, [main, "apiserver", ...args], {
            encoding: "utf8",
            stdio: "pipe",
          }),
        };
      } catch (error) {
        const { status, stderr } = error as { status: number; stderr: string };
        return { code: status, text: stderr };
      }
    };
    expect(run("--data-dir", join(dir, "data"), "--kubeconfig", join(dir, "other"))).toMatchObject({
      code: 1,
      text: expect.stringMatching(/is in use by process \d+/),
    });
    const file = join(dir, "alice");
    expect(
      run(
        "user",
        "--data-dir",
        join(dir, "data"),
        "--name",
        "alice",
        "--group",
        "a",
        "--group",
        "b",
        "--kubeconfig",
        file,
      ).code,
    ).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { token } = parse(readFileSync(file, "utf8")).users[0].user;
    const who = await first.client.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {
      token,
      body: { metadata: {} },
    });
    expect(who.body.status.userInfo).toEqual({
      username: "alice",
      groups: ["a", "b", "system:authenticated"],
    });
    expect(run("user", "--data-dir", join(dir, "none"), "--name", "x", "--kubeconfig", file).code).toBe(1);
    expect(run("--memory", "--kubeconfig", file, "--listen", "0.0.0.0:0")).toMatchObject({
      code: 2,
      text: expect.stringMatching(/loopback/),
    });
    expect(run("--kubeconfig", file).code).toBe(2);
    expect(run("--help").text).toMatch(/not for production/);
  });
});
