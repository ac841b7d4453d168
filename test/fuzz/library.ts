/** Kernel texts of many graphs to one shared object, quickly. */
import fs from "node:fs";
import path from "node:path";
import { compileC, type CFile, type Isa } from "../../compiler/codegen/c/compile.js";

export type Level = 0 | 1 | 3;

/** The flags are the compiler's own, but for the level of optimisation, which comes last. */
function compilerAt(level: Level, directory: string): string {
  const cc = process.env["CC"] || "cc";
  if (level === 3) return cc;
  const script = path.join(directory, "cc.sh");
  fs.writeFileSync(script, `#!/bin/sh\nexec ${cc} "$@" -O${level}\n`, { mode: 0o755 });
  return script;
}

/** Kernels of one compiler run: the vector headers are parsed once for all of them. */
function joined(texts: ReadonlyMap<string, string>): CFile[] {
  const body = [...texts].map(([name, text]) => `#line 1 "${name}"\n${text}\n`).join("");
  return [{ name: "kernels", text: body }];
}

/**
 * @param work a directory for the compiler's own files
 * @returns the library's instruction set and its path below `directory`
 */
export async function buildLibrary(
  texts: ReadonlyMap<string, string>,
  work: string,
  directory: string,
  options: { readonly isa: Isa; readonly level: Level },
): Promise<readonly [string, string]> {
  const cc = compilerAt(options.level, work);
  const [built] = await compileC(joined(texts), directory, {
    isas: [options.isa],
    cc,
    processes: 1,
  });
  return [options.isa, built!.file];
}
