/** Every kernel of the fixtures assembles for the oldest and newer GPUs, where `ptxas` is present. */
import { execFile, execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { lower } from "../../compiler/compile.js";
import { fixture, temporaryDirectory } from "../support.js";

const run = promisify(execFile);
const architectures = ["sm_80", "sm_90", "sm_120"];

function hasPtxas(): boolean {
  try {
    execFileSync("ptxas", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Texts that were assembled already: models share kernels. */
const seen = new Set<string>();

const present = hasPtxas();
if (!present)
  process.stderr.write("ptxas is absent: the kernels of the fixtures are not assembled\n");

const cases = ["gpt2", "llama"].flatMap((name) => [
  ...(["f32", "bf16", "f16"] as const).map((dtype) => ({
    what: `${name}/hf in ${dtype}`,
    source: fixture(name, "hf"),
    options: { dtype },
  })),
  {
    what: `${name}/dyn.onnx`,
    source: fixture(name, "dyn.onnx"),
    options: { dims: { batch: [1, 4], seq: [1, 128] } as const },
  },
]);

describe.skipIf(!present)("ptxas, where it is present", () => {
  it.each(cases)(
    "assembles $what without spills",
    async ({ source, options }) => {
      const directory = temporaryDirectory();
      const lowered = await lower(source, { ...options, target: ["sm_80"] });
      const all = [...lowered.targets[0]!.files];
      expect(all.length).toBeGreaterThan(4);
      const texts = all.filter(([name]) => !seen.has(name));
      for (const [name] of texts) seen.add(name);
      const files = texts.map(([name, text]) => {
        const file = path.join(directory, path.basename(name));
        fs.writeFileSync(file, text);
        return file;
      });
      for (const architecture of architectures)
        for (const file of files) {
          const { stdout, stderr } = await run("ptxas", [
            `-arch=${architecture}`,
            "-v",
            file,
            "-o",
            `${file}.cubin`,
          ]);
          const said = stdout + stderr;
          expect(said, `${file} for ${architecture}`).not.toMatch(/C75\d\d/);
          if (/gemm|attention/.test(path.basename(file)))
            expect(said, `${file} for ${architecture}`).toMatch(/ 0 bytes spill stores/);
        }
    },
    300_000,
  );
});
