// bgp/daemon: the real clock.
import type { Clock } from "../session/types.ts";

export const systemClock: Clock = {
  now: () => performance.now(),
  unixMs: () => Date.now(),
  after: (ms, run) => {
    const timer = setTimeout(run, Math.max(ms, 0));
    return { cancel: () => clearTimeout(timer) };
  },
  // After the poll phase: whatever waits in the sockets has been read by then.
  soon: (run) => void setImmediate(run),
};
