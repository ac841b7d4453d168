/** The typed binding of a bundle: its text, its types, and that it opens the bundle. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import ts from "typescript";
import { beforeAll, describe, expect, it } from "vitest";
import { bindingFiles } from "../../compiler/bundle/binding.js";
import type { BundlePlan } from "../../compiler/plan/plan.js";
import { packageRoot } from "../../compiler/version.js";
import { bundleOf, fixture, temporaryDirectory } from "../support.js";

const strange = "__proto__ */ `${1}` \u2028 \"'\n";

const plan: BundlePlan = {
  format: 1,
  symbols: [
    { name: "batch", min: 1, max: 8, divisor: 1 },
    { name: "__proto__", min: 4, max: 64, divisor: 4 },
  ],
  sources: [],
  states: [],
  entries: [
    {
      name: "main",
      inputs: [
        { name: "input_ids", dtype: "i64", shape: ["batch", ["add", "past", 1]] },
        { name: strange, dtype: "bf16", shape: [2], fill: 1 },
      ],
      outputs: [{ name: strange, dtype: "f16", shape: [["mul", "batch", ["add", "seq", 2]]] }],
    },
  ],
  targets: {},
  checks: {},
};

describe("the text", () => {
  it("is the same for the same plan, and holds names of any kind", () => {
    expect(bindingFiles(plan)).toEqual(bindingFiles(plan));
    const [script, types] = ["index.js", "index.d.ts"].map((name) => bindingFiles(plan).get(name)!);
    for (const text of [script!, types!]) {
      const parsed = ts.transpileModule(text, { reportDiagnostics: true });
      expect(parsed.diagnostics).toEqual([]);
    }
    expect(types).toContain("/** i64 [batch, past + 1] */");
    expect(types).toContain("/** f16 [batch * (seq + 2)] */");
    expect(types).toContain("filled with 1 where it is left out");
    expect(script).toContain('["__proto__"]: { min: 4, max: 64, divisor: 4 }');
  });
});

/** A directory that a bundle's binding finds `farrier/runtime` from: a stub that notes calls. */
function project(bundle: string): string {
  const directory = temporaryDirectory();
  const runtime = path.join(directory, "node_modules", "farrier");
  fs.mkdirSync(runtime, { recursive: true });
  const exports = { "./runtime": "./runtime.js" };
  fs.writeFileSync(
    path.join(runtime, "package.json"),
    JSON.stringify({ name: "farrier", type: "module", exports }),
  );
  fs.writeFileSync(
    path.join(runtime, "runtime.js"),
    `export const load = async (path, options) => ({
      run: async (inputs, options) => ({ inputs, options }),
      createState: () => "state", close: async () => undefined, path, options });`,
  );
  fs.cpSync(bundle, path.join(directory, "model.farrier"), { recursive: true });
  return directory;
}

/** Errors of a program that uses the binding, as text. */
function typeErrors(directory: string, program: string): string[] {
  const file = path.join(directory, "use.ts");
  fs.writeFileSync(file, program);
  const root = packageRoot();
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    exactOptionalPropertyTypes: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    types: ["node"],
    typeRoots: [path.join(root, "node_modules", "@types")],
    paths: { "farrier/runtime": [path.join(root, "runtime", "node", "index.ts")] },
  };
  const made = ts.createProgram([file], options);
  const own = ts
    .getPreEmitDiagnostics(made)
    .filter(({ file: at }) => at?.fileName.startsWith(directory) === true);
  return own.map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
}

describe("a bundle's binding", () => {
  let directory: string;
  beforeAll(async () => {
    const dims = { batch: [1, 2], seq: [1, 16] } as const;
    directory = project(await bundleOf(fixture("llama", "hf"), { target: ["sm_80"], dims }));
    fs.writeFileSync(path.join(directory, "package.json"), '{ "type": "module" }');
  });

  it("opens the directory that it is in, and runs its entries", () => {
    const script = `import { open, symbols } from "./model.farrier/index.js";
const bundle = await open({ device: "cuda:0" });
const ran = await bundle.decode.run({ input_ids: [[1]], lengths: [3] }, { state: bundle.createState() });
console.log(JSON.stringify({ symbols, path: bundle.model.path, options: bundle.model.options, ran }));`;
    fs.writeFileSync(path.join(directory, "use.js"), script);
    const out = execFileSync(process.execPath, ["use.js"], { cwd: directory, encoding: "utf8" });
    const said = JSON.parse(out) as Record<string, unknown>;
    expect(said["symbols"]).toMatchObject({ seq: { min: 1, max: 16, divisor: 1 } });
    expect(fs.realpathSync(said["path"] as string)).toBe(
      fs.realpathSync(path.join(directory, "model.farrier")),
    );
    expect(said["options"]).toEqual({ device: "cuda:0" });
    expect(said["ran"]).toEqual({
      inputs: { input_ids: [[1]], lengths: [3] },
      options: { entry: "decode", state: "state" },
    });
  });

  it("types what goes in and what comes out", () => {
    const head = `import { open } from "./model.farrier/index.js";
const bundle = await open();
const state = bundle.createState();
`;
    expect(
      typeErrors(
        directory,
        `${head}
const { logits } = await bundle.main.run({ input_ids: [[1, 2, 3]] });
const data: Uint16Array = logits.data;
const dtype: "bf16" = logits.dtype;
await bundle.prefill.run({ input_ids: [[1n]], lengths: new Int32Array([0]) }, { state, outputs: ["logits"] });
void [data, dtype];
await bundle.close();`,
      ),
    ).toEqual([]);
    const wrong = typeErrors(
      directory,
      `${head}
await bundle.main.run({ ids: [[1]] });
await bundle.main.run({ input_ids: new Float32Array(3) });
await bundle.prefill.run({ input_ids: [[1]], lengths: [0] });
await bundle.main.run({ input_ids: [[1]] }, { outputs: ["probabilities"] });
(await bundle.main.run({ input_ids: [[1]] })).hidden;
bundle.main.run({});`,
    );
    expect(wrong).toHaveLength(6);
    expect(wrong[0]).toContain("'ids' does not exist");
  }, 120_000);
});
