/** Groups of checks, each in a process of its own: one bad kernel does not end the others. */
import { spawn } from "node:child_process";
import os from "node:os";
import { counts } from "./checks.js";

/** Runs a group in a child: what it printed, and its closing line. */
async function inChild(program: string, group: string): Promise<string> {
  const args = [program, "--group", group];
  const child = spawn(process.execPath, args, { timeout: 120_000 });
  let [out, err] = ["", ""];
  child.stdout.on("data", (part: Buffer) => (out += part.toString()));
  child.stderr.on("data", (part: Buffer) => (err += part.toString()));
  await new Promise((resolve) => child.on("close", resolve));
  return /^\d+ passed, \d+ failed$/m.test(out)
    ? out
    : `${out}FAIL ${group}: the process ended without a count: ${err.slice(-800)}\n0 passed, 1 failed\n`;
}

/** Prints what a child printed, and adds up its counts. */
function tell(out: string): void {
  for (const line of out.split("\n").filter((each) => each !== "")) {
    const closing = /^(\d+) passed, (\d+) failed$/.exec(line);
    if (closing === null) process.stdout.write(`${line}\n`);
    counts.passed += Number(closing?.[1] ?? 0);
    counts.failed += Number(closing?.[2] ?? 0);
  }
}

/** Groups at a time: most of a group's time is compiling on the host. */
const atOnce = Math.max(1, Math.min(6, Math.floor(os.availableParallelism() / 2)));

/** Runs groups by `program`, and prints what they print in their order. */
export async function runGroups(
  program: string,
  groups: readonly string[],
  processes = atOnce,
): Promise<void> {
  const outputs: Promise<string>[] = [];
  for (const [index, group] of groups.entries())
    outputs.push(
      (outputs[index - processes] ?? Promise.resolve("")).then(() => inChild(program, group)),
    );
  for (const output of outputs) tell(await output);
}
