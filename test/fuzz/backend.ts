/** Where graphs run, and kernel texts as the files that the runtime loads there. */
import fs from "node:fs";
import path from "node:path";
import type { Isa } from "../../compiler/codegen/c/compile.js";
import { targetNamed, type Target } from "../../compiler/kernel/target.js";
import { buildLibrary, type Level } from "./library.js";

export type Backend =
  | { readonly target: "cpu"; readonly isa: Isa; readonly level: Level }
  | { readonly target: "sm_80" };

export const targetOf = ({ target }: Backend): Target => targetNamed(target);

export interface BuiltKernels {
  readonly target: Backend["target"];
  /** Paths below the bundle: host libraries by instruction set, and all files. */
  readonly libraries?: Readonly<Record<string, string>>;
  readonly files: readonly string[];
  readonly fileOf: (symbol: string) => string;
}

/** Nobody reads the sources of C kernels here: one file stands for all. */
const sourceFile = "kernels.c";

/**
 * @param texts kernels by symbol
 * @param work a directory for a compiler's own files
 * @param bundle where the files go
 */
export async function buildKernels(
  texts: ReadonlyMap<string, string>,
  work: string,
  bundle: string,
  backend: Backend,
): Promise<BuiltKernels> {
  if (backend.target === "cpu") {
    const [isa, file] = await buildLibrary(texts, work, bundle, backend);
    fs.writeFileSync(path.join(bundle, sourceFile), "");
    return {
      target: "cpu",
      libraries: { [isa]: file },
      files: [file, sourceFile],
      fileOf: () => sourceFile,
    };
  }
  const fileOf = (symbol: string): string => `${symbol}.ptx`;
  fs.mkdirSync(bundle, { recursive: true });
  for (const [symbol, text] of texts) fs.writeFileSync(path.join(bundle, fileOf(symbol)), text);
  return { target: backend.target, files: [...texts.keys()].map(fileOf), fileOf };
}
