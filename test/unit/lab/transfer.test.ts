// Transfers of the lab's workload: whole ones are intact, cut and changed ones are not.
import { createServer, type RequestListener } from "node:http";
import { describe, expect, it } from "vitest";
import { serveTransfer, transfer } from "../../../src/lab/transfer.ts";

async function withServer(listener: RequestListener, use: (url: string) => Promise<void>): Promise<void> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    await use(`http://127.0.0.1:${(server.address() as { port: number }).port}/`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

describe("a transfer", () => {
  it.each([0, 1, 65_536, 1_000_001])("moves %i bytes both ways and finds them intact", async (bytes) => {
    await withServer(
      (request, response) => serveTransfer(request, response, "pod"),
      async (url) => {
        for (const direction of ["down", "up"] as const)
          expect(await transfer(url, direction, bytes)).toMatchObject({
            ...{ url, direction, bytes },
            ...{ server: "pod", intact: true },
          });
      },
    );
  });

  it("is not intact where a byte was changed, or where the server counts others", async () => {
    await withServer(
      (request, response) => {
        request.resume();
        if (request.method === "GET") response.setHeader("x-server", "pod").end(Buffer.alloc(100));
        else response.end(JSON.stringify({ server: "pod", bytes: 100, digest: "0" }));
      },
      async (url) => {
        for (const direction of ["down", "up"] as const)
          expect(await transfer(url, direction, 100)).toMatchObject({ bytes: 100, intact: false });
      },
    );
  });

  it("is an error where nothing moves", async () => {
    await withServer(
      (_, response) => void response.write("x"),
      (url) => expect(transfer(url, "down", 100, 200)).rejects.toThrow("nothing moved for 200 ms"),
    );
  });

  it("is refused beyond a bound", async () => {
    await withServer(
      (request, response) => serveTransfer(request, response, "pod"),
      async (url) => expect((await fetch(`${url}transfer/1000000001`)).status).toBe(400),
    );
  });
});
