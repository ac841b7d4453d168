/** Hashes of the last of several fixtures, compiled one after the other in a process of its own. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import path from "node:path";
import { packageRoot } from "../compiler/version.js";

const program = `
  import { createHash } from "node:crypto";
  const { lower } = await import("./compiler/compile.ts");
  let hash = "";
  for (const name of process.argv.slice(1)) {
    const { targets } = await lower("test/fixtures/models/" + name + "/hf", { dtype: "bf16", target: ["cpu", "sm_80"] });
    hash = createHash("sha256").update(JSON.stringify(targets.map(({ files, plans }) => [[...files].sort(), plans]))).digest("hex");
  }
  process.stdout.write(hash);
`;

export async function fork(...fixtures: readonly string[]): Promise<string> {
  const tsx = path.join(packageRoot(), "node_modules", "tsx", "dist", "cli.mjs");
  const args = [tsx, "--input-type=module", "--eval", program, ...fixtures];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: packageRoot() });
  return stdout;
}
