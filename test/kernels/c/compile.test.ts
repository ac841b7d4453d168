import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { compileC, defaultIsas } from "../../../compiler/codegen/c/compile.js";
import { FarrierError } from "../../../compiler/errors.js";

const folder = mkdtempSync(join(tmpdir(), "farrier-cc-test-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const text = (name: string): string => `int ${name}(void) { return __LINE__; }\n`;
const files = Array.from({ length: 20 }, (_, i) => ({ name: `f${i}.c`, text: text(`f${i}`) }));

async function failure(promise: Promise<unknown>): Promise<FarrierError> {
  const error: unknown = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof FarrierError))
    throw new Error(`expected a FarrierError, got ${String(error)}`);
  return error;
}

describe("compileC", () => {
  it("makes one library for each instruction set, the same bytes wherever and however it runs", async () => {
    const one = await compileC(files, join(folder, "a"));
    const two = await compileC([...files, ...files], join(folder, "elsewhere/b"), { processes: 5 });
    expect(one.map(({ isa }) => isa)).toEqual(defaultIsas());
    expect(two).toEqual(one);
    for (const { file } of one) {
      const bytes = readFileSync(join(folder, "a", file));
      expect(bytes.equals(readFileSync(join(folder, "elsewhere/b", file)))).toBe(true);
      expect(bytes.includes("farrier-cc-")).toBe(false);
      expect(bytes.includes(process.cwd())).toBe(false);
    }
  });

  it("says what to do without a compiler", async () => {
    const error = await failure(compileC(files, folder, { cc: "no-such-compiler -m64" }));
    expect(error.code).toBe("E_NO_CC");
    expect(error.message).toContain('"no-such-compiler" is not installed');
    expect(error.message).toContain("set CC");
  });

  it("shows the compiler's words where our own C fails, by file and line", async () => {
    const broken = [files[0]!, { name: "broken.c", text: "int x;\nint f(void) { return y; }\n" }];
    const error = await failure(compileC(broken, folder, { isas: ["portable"] }));
    expect(error.code).toBe("E_INTERNAL");
    expect(error.message).toContain("broken.c:2");
  });
});
