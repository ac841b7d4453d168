/** The Python package, by its own tests: with NumPy, and with PyTorch where a Python has it. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { packageRoot } from "../../compiler/version.js";
import { compileC, writeBundle } from "../../runtime/node/testing/bundle.js";
import { scaleBundle } from "../../runtime/node/testing/scale.js";
import { bundleOf, fixture, temporaryDirectory } from "../support.js";
import { copyBundle, withoutWeights } from "./bundles.js";

const folder = join(packageRoot(), "test", "python");
const library = join(packageRoot(), "build", "Release", "libfarrier.so");

/** Pythons to try: the one that is named, Debian's, the path's. */
const candidates = [process.env["FARRIER_PYTHON"], "/usr/bin/python3", "python3"].filter(
  (python): python is string => python !== undefined && python !== "",
);
const pythonWith = (...modules: string[]): string | null =>
  candidates.find(
    (python) => spawnSync(python, ["-c", `import ${modules.join(", ")}`]).status === 0,
  ) ?? null;

const numpy = pythonWith("numpy");
const torch = pythonWith("numpy", "torch");
const missing = !existsSync(library)
  ? "libfarrier.so is not built"
  : numpy === null
    ? `no python3 with NumPy (tried ${candidates.join(", ")}; FARRIER_PYTHON names another)`
    : null;

describe.skipIf(missing !== null)(
  `the Python package${missing === null ? "" : `: ${missing}`}`,
  () => {
    let bundles: Record<string, string>;
    let mock: string;
    beforeAll(async () => {
      const gpt2 = fixture("gpt2", "hf");
      const directory = temporaryDirectory();
      mock = join(directory, "libmock-cuda.so");
      const source = join(packageRoot(), "runtime", "node", "testing", "mock-cuda.c");
      compileC(readFileSync(source, "utf8"), mock);
      bundles = {
        gpt2: await bundleOf(gpt2, { dtype: "f32" }),
        "gpt2-paged": await bundleOf(gpt2, {
          dtype: "f32",
          cache: { kind: "paged", pageSize: 8, tokens: 64 },
        }),
        "gpt2-none": await bundleOf(gpt2, { dtype: "f32", weights: { kind: "none" } }),
        "gpt2-live": await bundleOf(gpt2, { dtype: "f32", weights: { kind: "live" } }),
        "llama-live": await bundleOf(fixture("llama", "hf"), {
          dtype: "f32",
          weights: { kind: "live" },
        }),
        scale: writeBundle(join(directory, "scale"), scaleBundle(["cpu", "sm_80"])),
        "scale-none": writeBundle(
          join(directory, "scale-none"),
          withoutWeights(scaleBundle(["cpu", "sm_80"])),
        ),
        copy: writeBundle(join(directory, "copy"), copyBundle()),
      };
    }, 240_000);

    const run = (python: string, file: string): void => {
      const { status, stdout, stderr } = spawnSync(python, ["-B", "-m", "unittest", file], {
        cwd: folder,
        encoding: "utf8",
        env: {
          ...process.env,
          FARRIER_LIBRARY: library,
          FARRIER_TEST_BUNDLES: JSON.stringify(bundles),
          FARRIER_TEST_MOCK: mock,
        },
      });
      expect(status, `${stdout}${stderr}`).toBe(0);
    };

    const files = readdirSync(folder)
      .filter((name) => /^test_.*\.py$/.test(name))
      .map((name) => name.slice(0, -3));
    const plain = files.filter((name) => name !== "test_torch");
    it.each(plain)("passes %s.py", { timeout: 240_000 }, (file) => run(numpy ?? "", file));

    it.skipIf(torch === null)(
      `passes test_torch.py${torch === null ? ": no python3 with PyTorch" : ""}`,
      { timeout: 240_000 },
      () => run(torch ?? "", "test_torch"),
    );

    it("is installed by pip without a network", { timeout: 240_000 }, (context) => {
      const python = numpy ?? "";
      if (spawnSync(python, ["-m", "pip", "--version"]).status !== 0) context.skip("no pip here");
      const target = mkdtempSync(join(tmpdir(), "farrier-pip-"));
      afterAll(() => rmSync(target, { recursive: true, force: true }));
      const source = join(packageRoot(), "runtime", "python");
      const pip = ["-m", "pip", "install", "--quiet", "--no-index", "--target", target, source];
      const installed = spawnSync(python, pip, { encoding: "utf8" });
      expect(installed.status, installed.stderr).toBe(0);
      const program = "import farrier; print(farrier.library_path()); farrier.machine()";
      const used = spawnSync(python, ["-c", program], {
        cwd: target,
        encoding: "utf8",
        env: { PATH: process.env["PATH"], PYTHONPATH: target },
      });
      expect(used.stdout.trim(), used.stderr).toBe(join(target, "farrier", "libfarrier.so"));
    });
  },
);
