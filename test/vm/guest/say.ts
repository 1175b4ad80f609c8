// test, vm: how a program in the guest tells the test outside what it saw: one line of JSON for each thing that it looked at.
import { writeSync } from "node:fs";

/** What was seen, or the error that came instead. */
export type Observation = { readonly value: unknown } | { readonly error: string };

const mark = "@@ ";

const plain = (_: string, value: unknown): unknown => (typeof value === "bigint" ? Number(value) : value);

/** Looks, and tells; an error is told as well, and what comes after is done all the same. */
export async function observe(name: string, look: () => unknown): Promise<void> {
  let observation: Observation;
  try {
    observation = { value: await look() };
  } catch (error) {
    observation = { error: (error as Error).stack ?? String(error) };
  }
  writeSync(1, `${mark}${JSON.stringify({ name, ...observation }, plain)}\n`);
}

/** All that was told in a guest's output. */
export class Observations {
  readonly #all = new Map<string, Observation>();
  readonly #output: string;

  constructor(output: string) {
    this.#output = output;
    for (const line of output.split("\n")) {
      if (!line.startsWith(mark)) continue;
      const { name, ...observation } = JSON.parse(line.slice(mark.length)) as { name: string } & Observation;
      this.#all.set(name, observation);
    }
  }

  /** @throws Error with what went wrong in the guest */
  get(name: string): unknown {
    const found = this.#all.get(name);
    if (!found) throw new Error(`the guest did not get to "${name}":\n${this.#output.slice(-4000)}`);
    if ("error" in found) throw new Error(`in the guest: ${found.error}`);
    return found.value;
  }
}
