/** Further families on a CPU: goldens of transformers where there are, the evaluator for the rest. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lower } from "../../compiler/compile.js";
import { ModelDirectory } from "../../compiler/frontend/files/source-file.js";
import {
  tinyDirectory,
  tinyIds,
  tinyModels,
} from "../../compiler/frontend/huggingface/families.testing.js";
import { importHuggingFace } from "../../compiler/frontend/huggingface/import.js";
import { idsOf, run } from "../../compiler/frontend/huggingface/models.testing.js";
import { isConst } from "../../compiler/scalar/build.js";
import { asInput, bundleOf, fixture, golden, isas, loaded, reference, relRms } from "../support.js";
import { compare, numbersOf } from "../support.js";

const bound = 2e-6;
const dims = { batch: [1, 2], seq: [1, 12] } as const;

const directories: { remove(): void }[] = [];
afterAll(() => {
  for (const directory of directories) directory.remove();
});

// Windows shorter than the text, caps, heads that turn in part, norms after, parallel residuals.
describe.each(["gemma2", "phi3", "opt", "gpt_neox"] as const)("%s", (family) => {
  const rows = [[...tinyIds], [...tinyIds].reverse()];
  const vocabulary = 13;
  let bundle: string;
  let expected: Float64Array;
  beforeAll(async () => {
    const directory = tinyDirectory(tinyModels[family].config);
    directories.push(directory);
    bundle = await bundleOf(directory.path, { dtype: "f32", dims });
    const model = importHuggingFace(ModelDirectory.at(directory.path), { dtype: "f32", dims });
    const { logits } = run(model, "main", { input_ids: idsOf(rows) });
    expected = Float64Array.from(logits.data, Number);
  }, 240_000);

  it.each(isas())("computes the evaluator's logits, %s", async (isa) => {
    const model = await loaded(bundle, isa);
    const { logits } = await model.run({ input_ids: rows });
    const shape = [2, tinyIds.length, vocabulary];
    expect(compare(logits!.toFloat64(), expected, shape).relRms).toBeLessThanOrEqual(bound);
    await model.close();
  });

  it("gives them step by step with its caches", async () => {
    const model = await loaded(bundle);
    const state = model.createState();
    const [found, wanted]: [number[], number[]] = [[], []];
    for (let past = 0; past < tinyIds.length;) {
      const count = past === 0 ? 5 : 1;
      const ids = rows.map((row) => row.slice(past, past + count));
      const entry = past === 0 ? "prefill" : "decode";
      const { logits } = await model.run(
        { input_ids: ids, lengths: [past, past] },
        { entry, state },
      );
      past += count;
      found.push(...logits!.toFloat64());
      for (const row of rows.keys()) {
        const start = (row * tinyIds.length + past - 1) * vocabulary;
        wanted.push(...expected.subarray(start, start + vocabulary));
      }
    }
    const [all, reference] = [found, wanted].map((each) => Float64Array.from(each));
    expect(compare(all!, reference!, [found.length]).relRms).toBeLessThanOrEqual(bound);
    await model.close();
  });
});

describe("a window", () => {
  it("bounds the keys that the kernel reads, with caches and without", async () => {
    const lowered = await lower(mistralWith(3), { target: ["cpu"], dims });
    const full = await lower(mistralWith(null), { target: ["cpu"], dims });
    const firsts = ({ targets }: typeof lowered): boolean[] =>
      targets[0]!.partitions.flatMap(({ partition }) =>
        partition.kernels.flatMap(({ desc }) =>
          desc.family === "attention" ? [isConst(desc.bounds.first, 0)] : [],
        ),
      );
    // Two layers in each of three entries.
    expect(firsts(lowered)).toEqual(Array<boolean>(6).fill(false));
    expect(firsts(full)).toEqual(Array<boolean>(6).fill(true));
  });

  function mistralWith(window: number | null): ReturnType<typeof importHuggingFace> {
    const directory = tinyDirectory(tinyModels.mistral.config, { sliding_window: window });
    directories.push(directory);
    return importHuggingFace(ModelDirectory.at(directory.path), { dtype: "f32", dims });
  }
});

describe.each(["bert", "published/bert"])("%s", (name) => {
  const tensors = golden(fixture(name, "golden-hf.safetensors"));
  const ids = asInput("input_ids", tensors.get("input_ids")!, "i64");
  const expected = tensors.get("last_hidden_state")!;
  let bundle: string;
  beforeAll(async () => {
    bundle = await bundleOf(fixture(name, "hf"), { dtype: "f32" });
  }, 240_000);

  it.each(isas())("computes transformers' hidden values, %s", async (isa) => {
    const model = await loaded(bundle, isa);
    const { last_hidden_state: hidden } = await model.run({ input_ids: ids });
    expect(relRms(hidden!, expected)).toBeLessThanOrEqual(bound);
    await model.close();
  });

  it("does not see what is masked", async () => {
    const model = await loaded(bundle);
    const [first, rest] = [
      [5, 6, 7, 8, 9],
      [200, 201, 202],
    ];
    const whole = await model.run({ input_ids: [first] });
    const padded = await model.run({
      input_ids: [[...first, ...rest]],
      attention_mask: [[1, 1, 1, 1, 1, 0, 0, 0]],
      token_type_ids: [Array<number>(8).fill(0)],
    });
    const [a, b] = [padded, whole].map((run) => run["pooler_output"]!.toFloat64());
    expect(compare(a!, b!, [1, 64]).relRms).toBeLessThanOrEqual(bound);
    await model.close();
  });
});

describe("bert in bf16", () => {
  it("is within twice transformers' own error", async () => {
    const tensors = golden(fixture("bert", "golden-hf.safetensors"));
    const model = await loaded(await bundleOf(fixture("bert", "hf"), { dtype: "bf16" }));
    const { last_hidden_state: hidden } = await model.run({
      input_ids: asInput("input_ids", tensors.get("input_ids")!, "i64"),
    });
    const expected = tensors.get("last_hidden_state")!;
    const error = compare(hidden!.toFloat64(), numbersOf(expected), expected.shape).relRms;
    expect(error).toBeLessThanOrEqual(2 * reference("bert").rel_rms_of_transformers.bf16);
    await model.close();
  }, 240_000);
});
