// trace: the scripts of tools/: each has a page, compiles and loads on this kernel; some are held against traffic that is known.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { prepareScript } from "../../../src/trace/prepare.ts";
import { cacheDirectory, canTrace, environment, rowsOf, runScript, skipped, until } from "./helper.ts";

const directory = join(import.meta.dirname, "../../../tools");
const tools = readdirSync(directory).filter((name) => name.endsWith(".bt"));
const source = (name: string): string => readFileSync(join(directory, `${name}.bt`), "utf8");

afterAll(() => rmSync(cacheDirectory, { recursive: true, force: true }));

describe("tools", () => {
  it("each has a page that shows what it prints, and the list names it", () => {
    const list = readFileSync(join(directory, "README.md"), "utf8");
    for (const tool of tools) {
      const page = tool.replace(/\.bt$/, ".md");
      expect(existsSync(join(directory, page)), page).toBe(true);
      const text = readFileSync(join(directory, page), "utf8");
      expect(text, page).toContain(`tools/${tool}`);
      expect(text, page).toMatch(/^ {4}\$ waggle trace .*\n( {4}.*\n|\n)+/m);
      expect(list, tool).toContain(`(${page})`);
    }
  });
});

describe.skipIf(!canTrace)(`tools on this kernel (${skipped})`, () => {
  for (const tool of tools)
    it(`${tool} compiles and loads without a message`, () => {
      const text = readFileSync(join(directory, tool), "utf8");
      const prepared = prepareScript(environment(), text, { name: tool, positional: [] });
      expect(prepared, JSON.stringify(prepared.ok ? "" : prepared)).toMatchObject({ ok: true });
      if (!prepared.ok) return;
      expect(prepared.warnings).toEqual([]);
      prepared.loaded?.[Symbol.dispose]();
    });

  it("dns-latency.bt tells queries with an answer from those without", async () => {
    const address = "127.77.0.53";
    const server = createSocket("udp4");
    server.on("message", (query, { port }) => {
      if (query.readUInt16BE(0) < 5) server.send(query, port, address.replace(/53$/, "1"));
    });
    server.bind(53, address);
    await once(server, "listening");
    const client = createSocket("udp4").bind(0, address.replace(/53$/, "1"));
    await once(client, "listening");
    let answers = 0;
    client.on("message", () => {
      answers++;
    });
    const { maps } = await runScript(source("dns-latency"), {
      work: async () => {
        for (let id = 0; id < 7; id++) {
          const query = Buffer.alloc(20);
          query.writeUInt16BE(id);
          client.send(query, 53, address);
        }
        await until("five answers", () => answers === 5);
      },
    });
    server.close();
    client.close();
    expect(rowsOf(maps, "@queries")).toMatchObject({ [address]: 7 });
    expect(rowsOf(maps, "@answers")).toMatchObject({ [address]: 5 });
  });

  it("opens.bt names every file that is opened, and who opened it", async () => {
    const place = mkdtempSync(join(tmpdir(), "waggle-tools-"));
    const files = Array.from({ length: 20 }, (_, i) => join(place, `file-${i}`));
    const { text } = await runScript(source("opens"), {
      work: () => {
        for (const file of files) existsSync(file) || readIfAny(file);
      },
    });
    rmSync(place, { recursive: true });
    const lines = text.split("\n").filter((line) => line.includes(place));
    expect(lines.map((line) => line.trim().split(/\s+/).at(-1))).toEqual(files);
    for (const line of lines) expect(line).toMatch(new RegExp(`^${process.pid} `));
  });

  it("zero-windows.bt sees a reader that does not read", async () => {
    const server = createServer({ pauseOnConnect: true }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as { port: number };
    const accepted = once(server, "connection");
    const socket = connect(port, "127.0.0.1");
    const [other] = await accepted;
    const { maps } = await runScript(source("zero-windows"), {
      work: async () => {
        // More than both buffers take; the kernel asks again until there is room.
        socket.write(Buffer.alloc(32 << 20));
        await new Promise((later) => setTimeout(later, 2000));
      },
    });
    socket.destroy();
    (other as { destroy(): void }).destroy();
    server.close();
    const keys = [...Object.keys(rowsOf(maps, "@theirs")), ...Object.keys(rowsOf(maps, "@ours"))];
    expect(
      keys,
      JSON.stringify(maps, (_, v) => (typeof v === "bigint" ? Number(v) : v)),
    ).toContain(`${port},127.0.0.1`);
  });
});

function readIfAny(path: string): void {
  try {
    readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
