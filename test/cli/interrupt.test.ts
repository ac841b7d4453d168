/** Ctrl-C: the command ends at once and leaves nothing behind. */
import { spawn } from "node:child_process";
import path from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../compiler/version.js";
import { fixture, temporaryDirectory } from "../support.js";
import { listed } from "./support.js";

const main = path.join(packageRoot(), "compiler", "cli", "main.ts");

/** Runs the command in a process of its own, and sends `signal` when its output has `text`. */
async function interrupted(
  argv: readonly string[],
  text: string,
  signal: NodeJS.Signals,
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; out: string }> {
  const script = `import { main } from ${JSON.stringify(main)};
process.exitCode = await main(${JSON.stringify(argv)});`;
  const flags = ["--import", "tsx", "--input-type=module", "-e", script];
  const child = spawn(process.execPath, flags, {
    cwd: packageRoot(),
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  let sent = false;
  child.stdout.on("data", (data: Buffer) => {
    out += data.toString();
    if (!sent && out.includes(text)) sent = child.kill(signal);
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, out };
}

it.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "%s while the C compiler runs",
  async (signal, status) => {
    const [output, temporary] = [temporaryDirectory(), temporaryDirectory()];
    const argv = [
      "compile",
      fixture("llama", "hf"),
      "-o",
      path.join(output, "x.farrier"),
      "--json",
    ];
    const { code, out } = await interrupted(argv, "compiling C kernels", signal, {
      TMPDIR: temporary,
    });
    expect({ code, out }).toMatchObject({ code: status });
    expect(out).not.toContain('"compiled"');
    expect(listed(output)).toEqual([]);
    // tsx keeps a cache and a pipe of its own there.
    expect(listed(temporary).filter((name) => !name.startsWith("tsx"))).toEqual([]);
  },
  120_000,
);
