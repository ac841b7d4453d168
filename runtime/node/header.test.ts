/** The C header, from C11, against the shared library. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { compileC, writeBundle } from "./testing/bundle.js";
import { scaleBundle } from "./testing/scale.js";

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const library = at("../../build/Release");
const root = mkdtempSync(join(tmpdir(), "farrier-header-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe.skipIf(!existsSync(join(library, "libfarrier.so")))("farrier.h", () => {
  const program = join(root, "header");
  const run = (device: string, env: Record<string, string>): string => {
    const bundle = writeBundle(join(root, "bundle"), scaleBundle(["cpu", "sm_80"]));
    return execFileSync(program, [bundle, device], {
      env: { ...process.env, LD_LIBRARY_PATH: library, ...env },
      encoding: "utf8",
      stdio: "pipe",
    });
  };

  it("compiles as strict C11, and runs from several threads", () => {
    const flags = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"];
    const include = ["-I", at("../native/include")];
    execFileSync("cc", [
      ...flags,
      ...include,
      at("testing/header.c"),
      "-o",
      program,
      "-L",
      library,
      "-lfarrier",
    ]);
    for (const threads of ["1", "3"])
      expect(run("cpu", { FARRIER_THREADS: threads })).toBe("good\n");
    expect(run("cpu", { FARRIER_ISA: "portable" })).toBe("good\n");
    expect(() => run("cpu", { FARRIER_ISA: "avx2" })).toThrow(/E_TARGET: FARRIER_ISA/);
    expect(() => run("cpu", { FARRIER_THREADS: "none" })).toThrow(/E_OPTION: FARRIER_THREADS/);
  });

  it("runs on a GPU, as the stand-in driver shows", () => {
    const mock = join(root, "libmock.so");
    compileC(readFileSync(at("testing/mock-cuda.c"), "utf8"), mock);
    expect(run("cuda", { FARRIER_CUDA_LIBRARY: mock })).toBe("good\n");
  });

  it("exports nothing but its own names, and needs nothing but libc", () => {
    const file = join(library, "libfarrier.so");
    const names = execFileSync("nm", ["-D", "--defined-only", file], { encoding: "utf8" });
    for (const line of names.trim().split("\n")) expect(line).toMatch(/ (farrier_|__tvm_ffi_)/);
  });
});
