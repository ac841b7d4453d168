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
  const program = new Command("farrier");
  program.description("Compiles models into bundles of fused kernels, and runs them.").version(version);
  program.exitOverride().showHelpAfterError("(see farrier COMMAND --help)");
  program.configureOutput({ writeErr: (text) => process.stderr.write(text) });
  for (const add of commands) add(program, (value) => (status = value));
  const [name] = argv;
  try {
    if (name !== undefined && later.includes(name))
      throw new FarrierError("E_UNSUPPORTED", `\`farrier ${name}\` does not exist yet`, { hint: "see farrier --help for what does" });
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    return failed(error, new Output(argv.includes("--json")));
  }
  return status;
}

function failed(error: unknown, output: Output): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitStatus.ok : exitStatus.badInput;
  const known = error as { code?: unknown; exitStatus?: unknown };
  if (error instanceof Error && typeof known.code === "string" && typeof known.exitStatus === "number") {
    output.error(known.code, error.message, known.exitStatus);
    return known.exitStatus;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  output.error("E_INTERNAL", `E_INTERNAL: this is a defect of farrier: please report it\n${text}`, exitStatus.internal);
  return exitStatus.internal;
}
