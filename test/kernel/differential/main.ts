// differential tests: `waggle trace --local` alone, without the other commands, so that it is bundled in a moment.
import { localMain } from "../../../src/cli/local.ts";

process.exitCode = await localMain(["--local", ...process.argv.slice(2)]);
