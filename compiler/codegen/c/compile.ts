/**
 * Runs the C compiler: the same texts once for every instruction set of the build machine's
 * architecture, each into one shared object. The bytes depend on the texts and the compiler only.
 */
import { execFile } from "node:child_process";
import { access, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { bug, FarrierError } from "../../errors.js";

const run = promisify(execFile);

export type Isa = "portable" | "avx2" | "avx512";

/** Instruction sets of each architecture, the best last. */
const isasOf: Readonly<Record<string, readonly Isa[]>> = { x64: ["portable", "avx2", "avx512"] };

const isaFlags: { readonly [I in Isa]: readonly string[] } = {
  portable: [],
  avx2: ["-mavx2", "-mfma", "-mf16c", "-mbmi2"],
  avx512: [
    ...["-mavx2", "-mfma", "-mf16c", "-mbmi2", "-mavx512f", "-mavx512bw", "-mavx512dq"],
    ...["-mavx512vl", "-mavx512cd", "-mprefer-vector-width=512"],
  ],
};

/**
 * Sums are never contracted or re-associated by the compiler: templates write `fma` where they mean
 * it, so results depend on the text and the instruction set, never on the optimiser's mood. The two
 * `-fno-` flags only give up errno and floating-point exception flags, which nobody reads.
 */
const flags = [
  ...["-std=gnu11", "-O3", "-fPIC", "-g0", "-w", "-ffp-contract=off", "-fno-math-errno"],
  ...["-fno-trapping-math", "-fwrapv", "-fno-strict-aliasing", "-fno-ident"],
];
const linkFlags = process.platform === "linux" ? ["-Wl,--build-id=none", "-Wl,-z,noexecstack"] : [];

export interface CFile {
  /** Base name, for messages: unique among the files. */
  readonly name: string;
  readonly text: string;
}

export interface CompileOptions {
  /** Default: all of this machine's architecture. */
  readonly isas?: readonly Isa[];
  /** Default: the environment's CC, or `cc`. */
  readonly cc?: string;
  /** Compiler processes at a time. */
  readonly processes?: number;
}

export interface CLibrary {
  readonly isa: Isa;
  /** Below the output directory. */
  readonly file: string;
}

export const defaultIsas = (): readonly Isa[] => isasOf[process.arch] ?? ["portable"];

/** Files of one compiler run: one run for each would parse the vector headers every time. */
const unitFiles = 12;

/**
 * Compiles `files` into `<outDir>/cpu.<isa>.so` for every instruction set.
 * @throws E_NO_CC without a working compiler
 */
export async function compileC(
  files: readonly CFile[],
  outDir: string,
  options: CompileOptions = {},
): Promise<CLibrary[]> {
  const cc = options.cc ?? (process.env["CC"] || "cc");
  const isas = options.isas ?? defaultIsas();
  const distinct = [...new Map(files.map((file) => [file.text, file])).values()];
  const units = chunks(distinct, unitFiles);
  const work = await mkdtemp(join(tmpdir(), "farrier-cc-"));
  try {
    await mkdir(outDir, { recursive: true });
    await Promise.all(
      units.map((unit, index) => writeFile(join(work, `unit${index}.c`), unitText(unit))),
    );
    await inParallel(
      isas.flatMap((isa) =>
        units.map((_, index) => () => {
          const paths = ["-c", `unit${index}.c`, "-o", `unit${index}.${isa}.o`];
          return invoke(cc, [...flags, ...isaFlags[isa], ...paths], work);
        }),
      ),
      options.processes ?? 2,
    );
    return await Promise.all(
      isas.map(async (isa) => {
        const objects = units.map((_, index) => `unit${index}.${isa}.o`);
        const file = `cpu.${isa}.so`;
        await invoke(
          cc,
          ["-shared", "-s", ...linkFlags, "-o", join(outDir, file), ...objects, "-lm"],
          work,
        );
        if (!(await exists(join(outDir, file)))) throw noCompiler(cc, "makes no files");
        return { isa, file };
      }),
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

const unitText = (files: readonly CFile[]): string =>
  files.map(({ name, text }) => `#line 1 "${name}"\n${text}\n`).join("");

function chunks<T>(items: readonly T[], size: number): T[][] {
  const out: T[][] = [];
  for (let i = 0; i < items.length; i += size) out.push(items.slice(i, i + size));
  return out;
}

async function inParallel(
  jobs: readonly (() => Promise<void>)[],
  processes: number,
): Promise<void> {
  const waiting = [...jobs];
  const worker = async (): Promise<void> => {
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) await job();
  };
  await Promise.all(Array.from({ length: Math.max(1, processes) }, worker));
}

interface ExecFailure extends Error {
  readonly code?: string | number;
  readonly stderr?: string;
}

async function invoke(cc: string, args: readonly string[], cwd: string): Promise<void> {
  // CC may hold flags too, as in `CC="ccache gcc"`.
  const [command = "cc", ...first] = cc.split(/\s+/).filter((word) => word !== "");
  try {
    // Messages in English, whatever the user's locale, since reports quote them.
    await run(command, [...first, ...args], {
      cwd,
      maxBuffer: 1 << 26,
      env: { ...process.env, LC_ALL: "C" },
    });
  } catch (error) {
    const failure = error as ExecFailure;
    if (typeof failure.code === "string") throw noCompiler(command, reasonOf(failure.code));
    const said = (failure.stderr ?? failure.message).slice(0, 4000);
    if (/No space left on device|Disk quota exceeded/.test(said))
      throw new FarrierError("E_IO", "the C compiler found no space left", {
        file: cwd,
        hint: "make room, or set TMPDIR to a directory that has some",
      });
    const fault = await faultOf([command, ...first], cwd);
    if (fault !== null) throw noCompiler(cc, fault);
    throw bug(`${cc} ${args.join(" ")} failed on farrier's own C:\n${said}`);
  }
}

/** What is wrong with a compiler that cannot compile a single declaration; null where it can. */
async function faultOf(
  [command = "cc", ...flags]: readonly string[],
  cwd: string,
): Promise<string | null> {
  const [source, object] = ["probe.c", "probe.o"].map((name) => join(cwd, name)) as [
    string,
    string,
  ];
  await writeFile(source, "int farrier_probe;\n");
  try {
    await run(command, [...flags, "-c", source, "-o", object], { cwd });
    return (await exists(object)) ? null : "makes no files";
  } catch (error) {
    const { stderr = "", message } = error as ExecFailure;
    const [line = ""] = (stderr.trim() === "" ? message : stderr.trim()).split("\n");
    return `cannot compile anything: ${line.slice(0, 200)}`;
  }
}

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

const reasonOf = (code: string): string =>
  code === "ENOENT" ? "is not installed or not on PATH" : `cannot be run (${code})`;

function noCompiler(command: string, found: string): FarrierError {
  return new FarrierError(
    "E_NO_CC",
    `target cpu needs a C compiler, but ${JSON.stringify(command)} ${found}`,
    {
      hint: "install gcc or clang, or set CC to one",
    },
  );
}
