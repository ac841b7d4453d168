import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { machine } from "../../runtime/node/index.js";
import { FarrierError } from "../errors.js";
import { stageKit } from "./kit-files.js";
import type { AddCommand } from "./main.js";
import { bytesText, Output } from "./output.js";
import { scratchDirectory } from "./scratch.js";

const folder = "farrier-kit";

/** By the end of an archive's name: what compresses it. The same files give the same bytes. */
const compressors: Readonly<Record<string, readonly string[]>> = {
  ".tar.gz": ["-I", "gzip -9n"],
  ".tar.xz": ["-I", "xz -6 -T2"],
  ".tar": [],
};

export const kitCommand: AddCommand = (program) => {
  program
    .command("kit")
    .description("pack Node, the compiler and the runtime into one archive")
    .option("-o, --output <file>", "ends in .tar.gz, .tar.xz or .tar", `${folder}.tar.gz`)
    .option("--with-suite", "the checks on a GPU too, from a checkout")
    .option("--json", "one event a line")
    .action(async (raw: { output: string; withSuite?: boolean; json?: boolean }) => {
      const output = new Output(raw.json === true);
      const file = raw.output;
      const compressor = Object.entries(compressors).find(([end]) => file.endsWith(end));
      if (compressor === undefined)
        throw new FarrierError("E_OPTION", `an archive that ends in .tar.gz, .tar.xz or .tar`, {
          where: `--output ${file}`,
        });
      // A kit that cannot run is none: E_NO_ADDON.
      machine();
      const scratch = scratchDirectory();
      try {
        output.progress("copying files", 0, 0);
        stageKit(path.join(scratch, folder), raw.withSuite === true);
        output.progress("packing", 0, 0);
        await pack(scratch, file, compressor[1]);
      } finally {
        fs.rmSync(scratch, { recursive: true, force: true });
      }
      const { size } = fs.statSync(file);
      output.event("packed", { path: file, bytes: size }, `${file}: ${bytesText(size)}`);
    });
};

/** Sorted, of nobody and of no time. Beside its place first, so that a half is never there. */
async function pack(scratch: string, file: string, compressor: readonly string[]): Promise<void> {
  const half = `${file}.${process.pid}`;
  const same = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];
  const args = [...same, "--mode=go=rX", ...compressor, "-cf", path.resolve(half)];
  try {
    await promisify(execFile)("tar", [...args, "-C", scratch, folder]);
    fs.renameSync(half, file);
  } catch (error) {
    fs.rmSync(half, { force: true });
    const { code, stderr } = error as { code?: unknown; stderr?: string };
    const said = (stderr ?? "").trim();
    if (code === "ENOENT" || /not found|cannot exec/i.test(said))
      throw new FarrierError("E_UNSUPPORTED", `a kit is packed by GNU tar, gzip or xz: ${said}`, {
        hint: "install them, or choose another ending, as in -o farrier-kit.tar",
        cause: error,
      });
    throw new FarrierError("E_IO", `it cannot be written: ${said === "" ? String(error) : said}`, {
      file,
      cause: error,
    });
  }
}
