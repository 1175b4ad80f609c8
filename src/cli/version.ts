// cli: waggle version: which build this is, and what runs it.
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { type OutputFormat, outputOption, printJson } from "./output.ts";

/** Put in by the build; not there when the sources run as they are. */
declare const WAGGLE_VERSION: string | undefined;

/** `0.1.0+6d204d3`: the package's version and the commit that was built; `+source` where nothing was built. */
export function versionText(): string {
  if (typeof WAGGLE_VERSION === "string") return WAGGLE_VERSION;
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return `${(JSON.parse(text) as { version: string }).version}+source`;
}

export function command(): Command {
  return new Command("version").addOption(outputOption()).action((flags: { output: OutputFormat }) => {
    const version = versionText();
    const runtime = `Node.js ${process.versions.node}`;
    const platform = `${process.platform}-${process.arch}`;
    if (flags.output === "json") printJson({ version, node: process.versions.node, platform });
    else console.log(`waggle ${version} (${runtime}, ${platform})`);
  });
}
