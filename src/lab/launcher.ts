// lab: how the lab starts Waggle itself: the same build, so that what is tested is what is shipped.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Directory of the checkout or of the installed package. */
export const installation = (): string => {
  // The bundle lies in build/, the source in src/lab/.
  for (const up of ["../", "../../", "../../../"]) {
    const candidate = fileURLToPath(new URL(up, import.meta.url));
    if (existsSync(`${candidate}crds`) && existsSync(`${candidate}package.json`))
      return candidate.replace(/\/$/, "");
  }
  throw new Error("cannot find crds/ beside the program; run waggle from its checkout or package");
};

/** The words that start a waggle command; WAGGLE_LAB_PROGRAM names another build, for upgrades. */
export function waggle(...args: readonly string[]): readonly string[] {
  const other = process.env.WAGGLE_LAB_PROGRAM;
  if (other) return [other, ...args];
  const built = `${installation()}/bin/waggle`;
  return existsSync(built)
    ? [built, ...args]
    : [process.execPath, `${installation()}/src/cli/main.ts`, ...args];
}
