/** The command line: `farrier COMMAND`, see `farrier --help`. */
import { Command, CommanderError } from "commander";
import { exitStatus, FarrierError } from "../errors.js";
import { version } from "../version.js";
import { compileCommand } from "./compile.js";
import { doctorCommand } from "./doctor.js";
import { explainCommand } from "./explain.js";
import { generateCommand } from "./generate.js";
import { inspectCommand } from "./inspect.js";
import { Output } from "./output.js";
import { runCommand } from "./run.js";
import { withScratch } from "./scratch.js";
import { verifyCommand } from "./verify.js";

/** Adds its command to the program; `finish` is told the exit status. */
export type AddCommand = (program: Command, finish: (status: number) => void) => void;

const commands: readonly AddCommand[] = [
  compileCommand,
  runCommand,
  verifyCommand,
  generateCommand,
  explainCommand,
  inspectCommand,
  doctorCommand,
];

/** Later commands, refused by name so that nobody takes them for a typing error. */
const later = ["profile", "tune", "warm", "kit"];

export async function main(argv: readonly string[]): Promise<number> {
  let status: number = exitStatus.ok;
  const json = argv.includes("--json");
  const program = new Command("farrier");
  program
    .description("Compiles models into bundles of fused kernels, and runs them.")
    .version(version);
  program.exitOverride().showHelpAfterError("(see farrier COMMAND --help)");
  program.configureOutput({
    writeOut: (text) => process.stdout.write(text),
    // As an event, the error says all that there is to say.
    writeErr: (text) => (json ? true : process.stderr.write(text)),
  });
  for (const add of commands) add(program, (value) => (status = value));
  const [name] = argv;
  process.stdout.on("error", readerLeft);
  try {
    if (name !== undefined && later.includes(name))
      throw new FarrierError("E_UNSUPPORTED", `\`farrier ${name}\` does not exist yet`, {
        hint: "see farrier --help for what does",
      });
    await withScratch(() => program.parseAsync([...argv], { from: "user" }));
  } catch (error) {
    return failed(error, new Output(json));
  } finally {
    process.stdout.off("error", readerLeft);
  }
  return status;
}

/** As in `farrier explain … | head`: whoever read the output has enough. */
function readerLeft(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(exitStatus.ok);
  throw error;
}

function failed(error: unknown, output: Output): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitStatus.ok;
    // Commander has said it to people already.
    const message = error.message.replace(/^error: /, "");
    if (output.json) output.error("E_OPTION", `E_OPTION: ${message}`, exitStatus.badInput);
    return exitStatus.badInput;
  }
  const known = error as { code?: unknown; exitStatus?: unknown };
  const { code } = known;
  if (error instanceof Error && typeof code === "string" && typeof known.exitStatus === "number") {
    output.error(code, error.message, known.exitStatus);
    return known.exitStatus;
  }
  if (error instanceof Error && typeof code === "string" && "syscall" in error) {
    output.error("E_IO", `E_IO: ${error.message}`, exitStatus.io);
    return exitStatus.io;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const message = `E_INTERNAL: this is a defect of farrier: please report it\n${text}`;
  output.error("E_INTERNAL", message, exitStatus.internal);
  return exitStatus.internal;
}
