import { describe, expect, it } from "vitest";
import { isNode, topological } from "../../ir/graph.js";
import { tensor, type TensorValue } from "../../ir/tensor.js";
import { verify } from "../../ir/verify.js";
import type { ImportedModel } from "../model.js";
import {
  configOf,
  fixtures,
  golden,
  idsOf,
  importConfig,
  importFixture,
  largest,
  lengthsOf,
  referenceOf,
  relativeRms,
  run,
  scores,
} from "./models.testing.js";

const dims = { batch: [1, 3], seq: [1, 48] } as const;

describe.each(fixtures)("%s", (fixture) => {
  const model = importFixture(fixture, { dtype: "f32", dims });
  const { prompt, greedy, rel_rms_of_transformers: theirs } = referenceOf(fixture);

  it("gives graphs that the verifier accepts, with the same weights", () => {
    for (const { name, graph } of model.entries) verify(graph, `import of ${name}`);
    const constants = model.entries.map(({ graph }) =>
      topological(graph).filter((node) => isNode(node, "constant") && node.shape.length === 2),
    );
    expect(new Set(constants[1])).toEqual(new Set(constants[2]));
    expect(constants[0]!.every((node) => constants[1]!.includes(node))).toBe(true);
  });

  it("gives the logits of transformers", () => {
    const { logits } = run(model, "main", { input_ids: golden(fixture, "input_ids") });
    const expected = golden(fixture, "logits");
    expect(logits.shape).toEqual(expected.shape);
    expect(relativeRms(logits.data, expected.data)).toBeLessThanOrEqual(1e-6);
  });

  it.each(["bf16", "f16"] as const)("rounds in %s about as transformers does", (dtype) => {
    const narrow = importFixture(fixture, { dtype, dims });
    const inputs = { input_ids: golden(fixture, "input_ids") };
    const { logits } = run(narrow, "main", inputs, { mode: "strict" });
    expect(logits.dtype).toBe(dtype);
    const error = relativeRms(logits.data, golden(fixture, "logits").data);
    expect(error / theirs[dtype]).toBeGreaterThan(0.5);
    expect(error / theirs[dtype]).toBeLessThan(1.5);
  });

  it.each([1, 2, 23])("step by step after %i ids equals the whole sequence", (first) => {
    const whole = run(model, "main", { input_ids: idsOf([prompt]) }).logits;
    const steps = [prompt.slice(0, first), ...prompt.slice(first).map((id) => [id])];
    let length = 0;
    for (const { logits, ids } of stepwise(model, [steps])) {
      length += ids;
      const expected = scores(whole, 0, length - 1);
      expect(relativeRms(scores(logits, 0, 0), expected)).toBeLessThan(1e-12);
    }
    expect(length).toBe(prompt.length);
  });

  it("continues the prompt as transformers does", () => {
    const ids: number[] = [];
    let states: ReadonlyMap<string, TensorValue> = new Map();
    let next: readonly number[] = prompt;
    let length = 0;
    while (ids.length < greedy.length) {
      const inputs = { input_ids: idsOf([next]), lengths: lengthsOf([length]) };
      const step = run(model, length === 0 ? "prefill" : "decode", inputs, { states });
      length += next.length;
      states = step.states;
      next = [largest(scores(step.logits, 0, 0))];
      ids.push(...next);
    }
    expect(ids).toEqual(greedy);
  });
});

/** Runs each sequence's parts one after the other; all sequences' parts are equally long. */
function* stepwise(
  model: ImportedModel,
  sequences: readonly (readonly (readonly number[])[])[],
): Generator<{ logits: TensorValue; ids: number }> {
  let states: ReadonlyMap<string, TensorValue> = new Map();
  let length = 0;
  for (let part = 0; part < sequences[0]!.length; part++) {
    const rows = sequences.map((parts) => parts[part]!);
    const lengths = lengthsOf(rows.map(() => length));
    const entry = rows[0]!.length === 1 ? "decode" : "prefill";
    const step = run(model, entry, { input_ids: idsOf(rows), lengths }, { states });
    states = step.states;
    length += rows[0]!.length;
    yield { logits: step.logits, ids: rows[0]!.length };
  }
}

describe("sequences of one batch", () => {
  const model = importFixture("llama", { dtype: "f32", dims });
  const [a, b] = [
    [1, 2, 3, 4, 5, 6, 7],
    [9, 8, 7, 6, 5],
  ];

  it("have lengths of their own", () => {
    const prefix = idsOf([a.slice(0, 4), b.slice(0, 4)]);
    const start = run(model, "prefill", { input_ids: prefix, lengths: lengthsOf([0, 0]) });
    // The second sequence is taken back to 2 ids.
    const parts = idsOf([a.slice(4), b.slice(2)]);
    const inputs = { input_ids: parts, lengths: lengthsOf([4, 2]) };
    const { logits } = run(model, "prefill", inputs, { states: start.states });
    for (const [index, ids] of [a, b].entries()) {
      const whole = run(model, "main", { input_ids: idsOf([ids]) }).logits;
      const expected = scores(whole, 0, ids.length - 1);
      expect(relativeRms(scores(logits, index, 0), expected)).toBeLessThan(1e-12);
    }
  });

  it("may have different numbers of new ids, or none", () => {
    const rows = idsOf([a, [...b, 0, 0]]);
    const start = run(model, "prefill", {
      input_ids: rows,
      lengths: lengthsOf([0, 0]),
      counts: lengthsOf([a.length, b.length]),
    });
    for (const [index, ids] of [a, b].entries()) {
      const whole = run(model, "main", { input_ids: idsOf([ids]) }).logits;
      const expected = scores(whole, 0, ids.length - 1);
      expect(relativeRms(scores(start.logits, index, 0), expected)).toBeLessThan(1e-12);
    }
    // The first stays as it is; the second goes on where its ids end.
    const more = run(
      model,
      "prefill",
      {
        input_ids: idsOf([
          [3, 3, 3],
          [4, 2, 3],
        ]),
        lengths: lengthsOf([a.length, b.length]),
        counts: lengthsOf([0, 2]),
      },
      { states: start.states },
    );
    const whole = run(model, "main", { input_ids: idsOf([[...b, 4, 2]]) }).logits;
    const expected = scores(whole, 0, b.length + 1);
    expect(relativeRms(scores(more.logits, 1, 0), expected)).toBeLessThan(1e-12);
    const next = { input_ids: idsOf([[9], [9]]), lengths: lengthsOf([a.length, b.length + 2]) };
    const step = run(model, "decode", next, { states: more.states });
    for (const [index, ids] of [a, [...b, 4, 2]].entries()) {
      const { logits } = run(model, "main", { input_ids: idsOf([[...ids, 9]]) });
      const wanted = scores(logits, 0, ids.length);
      expect(relativeRms(scores(step.logits, index, 0), wanted)).toBeLessThan(1e-12);
    }
  });

  it("may be padded where a mask and positions are given", () => {
    const inputs = ["attention_mask", "position_ids"] as const;
    const masked = importFixture("llama", { dtype: "f32", dims, inputs });
    expect(masked.fills.get("attention_mask")).toBe(1);
    const given = {
      input_ids: idsOf([a, [0, 0, ...b]]),
      attention_mask: tensor("i64", [2, 7], [1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1]),
      position_ids: tensor("i64", [2, 7], [0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 1, 2, 3, 4]),
    };
    const { logits } = run(masked, "main", given);
    for (const [index, ids] of [a, b].entries()) {
      const whole = run(model, "main", { input_ids: idsOf([ids]) }).logits;
      const expected = scores(whole, 0, ids.length - 1);
      expect(relativeRms(scores(logits, index, 6), expected)).toBeLessThan(1e-12);
    }
  });
});

describe("long rotary frequencies", () => {
  const scaling = {
    rope_type: "longrope",
    short_factor: [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    long_factor: [1, 2, 3, 4, 5, 6, 7, 8],
    original_max_position_embeddings: 4,
  };
  const config = { ...configOf("llama"), rope_parameters: scaling };
  const model = importConfig(config, { dtype: "f32", dims });
  const above = importConfig(config, { dtype: "f32", dims: { ...dims, seq: [1, 4] } });
  const tables = (each: ImportedModel): number =>
    topological(each.entries[0]!.graph).filter((node) => isNode(node, "concat")).length;

  it("are there only if a sequence of the profile is long enough", () => {
    expect([tables(model), tables(above)]).toEqual([2, 0]);
    for (const { graph } of model.entries) verify(graph, "import");
  });
});

describe("without weights", () => {
  it("config.json is enough, and tensors have shapes but no place", () => {
    const model = importConfig(configOf("llama"));
    const full = importFixture("llama");
    const shapes = ({ tensors }: ImportedModel): unknown[] =>
      tensors.map(({ name, dtype, shape }) => [name, dtype, shape]);
    expect(shapes(model)).toEqual(shapes(full));
    expect(model.tensors.every(({ place }) => place === null)).toBe(true);
    expect(model.dtype).toBe("bf16");
    for (const { graph } of model.entries) verify(graph, "import");
  });

  it("random norms are around one, other tensors around zero", () => {
    const { tensors } = importConfig(configOf("gpt2"));
    for (const { name, random } of tensors)
      expect(random.shift).toBe(/\.ln_\w+\.weight$/.test(name) ? 1 : 0);
  });

  it("biases are where the configuration says", () => {
    const config = { ...configOf("llama"), attention_bias: true, mlp_bias: true };
    const biases = importConfig(config)
      .tensors.map(({ name }) => /layers\.0\.\w+\.(\w+)\.bias$/.exec(name)?.[1])
      .filter((name) => name !== undefined);
    expect(biases.map((name) => name[0]).join("")).toBe("qkvogud");
  });
});

describe("what a model says besides its graphs", () => {
  it("stops after the ids of generation_config.json, else of config.json, else the family's", () => {
    expect(importFixture("gpt2").generation?.eosTokenIds).toEqual([2]);
    const ids = (eos: unknown): unknown =>
      importConfig({ ...configOf("llama"), eos_token_id: eos }).generation?.eosTokenIds;
    expect(ids([7, 8])).toEqual([7, 8]);
    expect(ids(undefined)).toEqual([2]);
  });

  it("has batch up to 8 and seq up to the model's limit by default", () => {
    const { symbols } = importFixture("gpt2");
    expect(symbols.map(({ name, min, max }) => [name, min, max])).toEqual([
      ["batch", 1, 8],
      ["seq", 1, 128],
    ]);
  });

  it("computes in what is stored, and says what is unusual", () => {
    expect(importFixture("llama").dtype).toBe("bf16");
    expect(importFixture("published/gpt2").dtype).toBe("f32");
    const auto = { ...configOf("llama"), auto_map: { AutoModel: "modeling_x.X" } };
    const { notices } = importConfig(auto, { dims: { seq: [1, 256] } });
    expect(notices).toHaveLength(2);
    expect(notices[0]).toMatch(/auto_map/);
    expect(notices[1]).toMatch(/256 ids: the model was made for 128/);
  });
});
