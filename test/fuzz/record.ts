/** Results that accumulate: one line of JSON for each run. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { packageRoot } from "../../compiler/version.js";

/** The commit that is checked out, with a plus where files differ from it. */
function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync("git", args, { cwd: packageRoot(), encoding: "utf8" }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return `${git("rev-parse", "--short", "HEAD")}${changed ? "+" : ""}`;
  } catch {
    return "unknown";
  }
}

/** @param given the commit, where the sources are no repository */
export function record(
  file: string,
  fields: Readonly<Record<string, unknown>>,
  given?: string,
): void {
  fs.appendFileSync(file, `${JSON.stringify({ ...fields, commit: given ?? commit() })}\n`);
}
