/** The command line: `farrier COMMAND`, see `farrier --help`. */
import { Command, CommanderError } from "commander";
import { exitStatus, FarrierError } from "../errors.js";
import { version } from "../version.js";
import { compileCommand } from "./compile.js";
import { doctorCommand } from "./doctor.js";
import { explainCommand } from "./explain.js";
import { generateCommand } from "./generate.js";
import { inspectCommand } from "./inspect.js";
import { kitCommand } from "./kit.js";
import { Output } from "./output.js";
import { profileCommand } from "./profile.js";
import { runCommand } from "./run.js";
import { withScratch } from "./scratch.js";
import { verifyCommand } from "./verify.js";
import { warmCommand } from "./warm.js";

/** Adds its command to the program; `finish` is told the exit status. */
export type AddCommand = (program: Command, finish: (status: number) => void) => void;

const commands: readonly AddCommand[] = [
  compileCommand,
  runCommand,
  verifyCommand,
  generateCommand,
  profileCommand,
  explainCommand,
  inspectCommand,
  warmCommand,
  kitCommand,
  doctorCommand,
];

/** Later commands, refused by name so that nobody takes them for a typing error. */
const later = ["tune"];

export async function main(argv: readonly string[]): Promise<number> {
  let status: number = exitStatus.ok;
  const json = argv.includes("--json");
  const program = new Command("farrier");
  program
    .description("Compiles models into bundles of fused kernels, and runs them.")
    .version(version);
  program.exitOverride();
  program.configureOutput({
    writeOut: (text) => process.stdout.write(text),
    // As an event, the error says all that there is to say.
    writeErr: (text) => (json ? true : process.stderr.write(text)),
    // `failed` says it, with a code.
    outputError: () => undefined,
  });
  for (const add of commands) add(program, (value) => (status = value));
  const [name] = argv;
  watchStreams();
  try {
    if (name !== undefined && later.includes(name))
      throw new FarrierError("E_UNSUPPORTED", `\`farrier ${name}\` does not exist yet`, {
        hint: "see farrier --help for what does",
      });
    await withScratch(() => program.parseAsync([...argv], { from: "user" }));
  } catch (error) {
    return failed(error, new Output(json), name);
  }
  return status;
}

let watched = false;

/** What cannot be written is told as late as after the last command, so that nobody stops listening. */
function watchStreams(): void {
  if (watched) return;
  watched = true;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // As in `farrier explain … | head`: whoever read the output has enough.
    if (error.code === "EPIPE") process.exit(exitStatus.ok);
    process.stderr.write(`farrier: E_IO: cannot write to standard output: ${error.message}\n`);
    process.exit(exitStatus.io);
  });
  // There is nowhere left to say it; the exit status does.
  process.stderr.on("error", () => undefined);
}

const waysOut: Readonly<Record<string, string>> = {
  ENOSPC: "make room, or set TMPDIR to a directory that has some",
  EDQUOT: "make room, or set TMPDIR to a directory that has some",
  EROFS: "choose a place that can be written to",
  EACCES: "choose a place that can be written to",
  EMFILE: "raise the limit of open files, as by ulimit -n 4096",
};

function usageText({ code, message }: CommanderError, command: string | undefined): string {
  if (code === "commander.help") return "E_OPTION: no command is named (see farrier --help)";
  const known = code !== "commander.unknownCommand" && command?.startsWith("-") === false;
  const help = known && command !== undefined ? `farrier ${command} --help` : "farrier --help";
  const [what = "", ...more] = message.replace(/^error: /, "").split("\n");
  const guess = /Did you mean (.*)\?/.exec(more.join(" "))?.[1];
  const hint = guess === undefined ? `see ${help}` : `did you mean ${guess}? see ${help}`;
  return `E_OPTION: ${what.replace(/\.$/, "")} (${hint})`;
}

function failed(error: unknown, output: Output, command: string | undefined): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitStatus.ok;
    // Without a command, people have been given the help.
    const helped = error.code === "commander.help";
    if (!helped || output.json)
      output.error("E_OPTION", usageText(error, command), exitStatus.badInput);
    return exitStatus.badInput;
  }
  const known = error as { code?: unknown; exitStatus?: unknown };
  const { code } = known;
  if (error instanceof Error && typeof code === "string" && typeof known.exitStatus === "number") {
    output.error(code, error.message, known.exitStatus);
    return known.exitStatus;
  }
  if (error instanceof Error && typeof code === "string" && "syscall" in error) {
    const hint = waysOut[code];
    const text = `E_IO: ${error.message}${hint === undefined ? "" : ` (${hint})`}`;
    output.error("E_IO", text, exitStatus.io);
    return exitStatus.io;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const message = `E_INTERNAL: this is a defect of farrier: please report it\n${text}`;
  output.error("E_INTERNAL", message, exitStatus.internal);
  return exitStatus.internal;
}
