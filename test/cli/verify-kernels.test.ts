/** `verify --per-kernel`: sound models pass, a kernel with a planted defect is named. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { readTensors } from "../../compiler/cli/tensors.js";
import { findingText, kernelFindings } from "../../compiler/cli/verify-kernels.js";
import { buildNative, lower, writeLowered } from "../../compiler/compile.js";
import { fixture, loaded, temporaryDirectory } from "../support.js";
import { farrier } from "./support.js";

const [gpt2, golden] = [fixture("gpt2", "hf"), fixture("gpt2", "golden-hf.safetensors")];
const dims = { batch: [1, 4], seq: [1, 64] } as const;

it("passes each value of a sound model, and its outputs", async () => {
  const said = await farrier("verify", gpt2, "--golden", golden, "--dtype", "f32", "--per-kernel");
  expect(said).toMatchObject({ status: 0, err: "" });
  expect(said.out).toMatch(/^passed: each of 12 values of 12 kernels\npassed logits: /);
});

describe("a kernel with a wrong constant in its gelu", () => {
  it("is named, and no other: those after it are judged by what they were given", async () => {
    const lowered = await lower(gpt2, { dtype: "f32", dims });
    const [made] = lowered.targets;
    const files = new Map(made!.files);
    const [name, text] = [...files].find(([, each]) => each.includes("0.044714998453855515f"))!;
    files.set(name, text.replace("0.044714998453855515f", "0.054714998453855515f"));
    const broken = { ...lowered, targets: [{ ...made!, files }] };
    const place = path.join(temporaryDirectory(), "broken.farrier");
    const built = await buildNative([broken]);
    const { report } = writeLowered(broken, built, place);
    fs.rmSync(built!.directory, { recursive: true, force: true });
    const model = await loaded(place);
    const findings = await kernelFindings(model, { lowered, report }, readTensors(golden));
    await model.close();
    const off = findings.filter(({ relRms }) => relRms > 2e-6);
    // The layers are alike: they share the kernel.
    expect(off.map(({ computes }) => computes)).toEqual([
      "product: transformer.h.0.mlp.c_fc",
      "product: transformer.h.1.mlp.c_fc",
    ]);
    expect(off[0]!.epilogue).toContain("gelu_tanh");
    expect(findingText(off[0]!, 2e-6)).toMatch(
      /^kernel 4, product: transformer\.h\.0\.mlp\.c_fc with .*gelu_tanh: .* has rel-RMS .* \(bound 2\.0e-6\), largest error/,
    );
  });
});

describe("bad input", () => {
  it("of a bundle is refused: its graph is not in it", async () => {
    const bundle = temporaryDirectory();
    fs.writeFileSync(path.join(bundle, "manifest.json"), "{}");
    const said = await farrier("verify", bundle, "--golden", golden, "--per-kernel");
    expect(said.status).toBe(3);
    expect(said.err).toMatch(
      /E_UNSUPPORTED: --per-kernel: a bundle has no graph .*\(give the model/,
    );
  });

  it("of made-up weights is refused: there is nothing to compare with", async () => {
    const argv = ["--golden", golden, "--per-kernel", "--weights", "random:1"];
    const said = await farrier("verify", gpt2, ...argv);
    expect(said.status).toBe(2);
    expect(said.err).toMatch(/E_WEIGHTS: --per-kernel: the model's values are not at hand/);
  });
});
