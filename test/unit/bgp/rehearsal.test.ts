// test/unit/bgp: the rehearsal of a table goes all the way to a neighbour, and makes room when it is no longer needed.
import { expect, test } from "vitest";
import { rehearse } from "../../../src/bgp/session/rehearsal.ts";

const clock = { soon: (run: () => void) => void setImmediate(run) };

test("tables come in, are decided and go out", async () => {
  // Several tables, each of some 14,000 prefixes that take 4 octets, once announced and once withdrawn.
  expect(await rehearse(clock, () => false)).toBeGreaterThan(400_000);
});

test("it ends when it is told to", async () => {
  let asked = 0;
  const sent = await rehearse(clock, () => ++asked > 3);
  expect(asked).toBe(4);
  expect(sent).toBeLessThan(100_000);
});
