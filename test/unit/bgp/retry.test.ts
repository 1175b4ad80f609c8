// bgp/session: pauses after sessions that fail, and whose attempts are refused meanwhile.
import { expect, test } from "vitest";
import { Retry } from "../../../src/bgp/session/retry.ts";

/** A clock that stands where it is put, and chance that always takes the longest pause. */
function world() {
  const clock = {
    at: 1_000,
    now: () => clock.at,
    unixMs: () => clock.at,
    after: () => ({ cancel: () => undefined }),
    soon: () => undefined,
  };
  return { clock, retry: new Retry(clock, () => 1) };
}

test("pauses double from the third failure on, up to the longest that is configured", () => {
  const { retry } = world();
  const pauses = (most?: number): number[] =>
    Array.from({ length: 9 }, () => retry.sessionEnded(5, 0, false, most) / 1000);
  expect(pauses()).toEqual([5, 5, 10, 20, 40, 80, 120, 120, 120]);
  retry.reset();
  expect(pauses(7)).toEqual([5, 5, 7, 7, 7, 7, 7, 7, 7]);
  retry.reset();
  expect(pauses(1)).toEqual([5, 5, 5, 5, 5, 5, 5, 5, 5]);
});

test("a session that has lived for a minute clears it, a brief one does not", () => {
  const { retry } = world();
  for (let i = 0; i < 6; i++) retry.sessionEnded(5, 59_999, false);
  expect(retry.sessionEnded(5, 59_999, false)).toBe(120_000);
  expect(retry.sessionEnded(5, 60_000, false)).toBe(5_000);
});

test("the neighbour's own attempts are refused from the fourth failure on, for connectRetrySeconds and no longer", () => {
  const { clock, retry } = world();
  for (const refused of [false, false, false, true, true, true, true, true]) {
    retry.sessionEnded(5, 0, false);
    expect(retry.refusing).toBe(refused);
    clock.at += 4_999;
    expect(retry.refusing).toBe(refused);
    clock.at += 1;
    expect(retry.refusing).toBe(false);
  }
});

test("too many prefixes: refused for the whole pause, which doubles up to 15 minutes", () => {
  const { clock, retry } = world();
  const pauses: number[] = [];
  for (let i = 0; i < 6; i++) {
    const pause = retry.sessionEnded(5, 0, true);
    pauses.push(pause / 1000);
    clock.at += pause - 1;
    expect(retry.refusing).toBe(true);
    clock.at += 1;
    expect(retry.refusing).toBe(false);
  }
  expect(pauses).toEqual([60, 120, 240, 480, 900, 900]);
});
