// lab: the way from nodes to a real API server, which listens on TCP alone: a unix socket crosses network namespaces, loopback
// does not. Bytes only: TLS and credentials are between the ends.
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";

/** Connections at once; an agent holds a dozen. */
const connectionsMost = 2_048;

export interface Relay extends Disposable {
  /** Connections that were turned away because there were too many. */
  readonly refused: number;
}

/** Listens on `path` and connects each caller to `host`:`port`. @throws Error where the socket cannot be made */
export function startRelay(path: string, host: string, port: number, most = connectionsMost): Promise<Relay> {
  // The socket file of one that was killed is still there.
  rmSync(path, { force: true });
  const open = new Set<Socket>();
  let refused = 0;
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (caller) => {
    if (open.size >= 2 * most) {
      refused++;
      caller.destroy();
      return;
    }
    const target = connect({ host, port, allowHalfOpen: true, noDelay: true });
    for (const [one, other] of [
      [caller, target],
      [target, caller],
    ] as const) {
      open.add(one);
      one.pipe(other);
      // Either end's error ends both; who is connected sees the end of its connection.
      one.on("error", () => other.destroy());
      one.on("close", () => {
        open.delete(one);
        other.destroy();
      });
    }
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, () =>
      resolve({
        get refused() {
          return refused;
        },
        [Symbol.dispose]() {
          server.close();
          for (const socket of open) socket.destroy();
        },
      }),
    );
  });
}
