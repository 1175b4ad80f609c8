// test, vm: runs in the guest: scripts one after the other in one process, as `waggle trace --local -f json` runs each. Usage: FILE, which
// holds [name, script, command or ""][] as JSON.
import { readFileSync, writeSync } from "node:fs";
import { runLocal } from "../../../src/trace/local.ts";

const cases = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as readonly (readonly [
  name: string,
  program: string,
  command: string,
])[];

for (const [name, program, command] of cases) {
  writeSync(1, `== ${name}\n`);
  const code = await runLocal({ program, format: "json", ...(command === "" ? {} : { command }) });
  writeSync(1, `== rc ${code}\n`);
}
