import fs from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { isNode, topological } from "../../ir/graph.js";
import { tensor, type TensorValue } from "../../ir/tensor.js";
import { verify } from "../../ir/verify.js";
import { packageRoot } from "../../version.js";
import { failure } from "../files/failure.testing.js";
import { ModelDirectory } from "../files/source-file.js";
import type { ImportedModel } from "../model.js";
import * as blocks from "./blocks.js";
import {
  tinyBert,
  tinyDirectory,
  tinyFamilies,
  tinyIds,
  tinyModels,
  type TinyFamily,
  type TinyModel,
} from "./families.testing.js";
import { importHuggingFace, type HuggingFaceOptions } from "./import.js";
import {
  golden,
  idsOf,
  importConfig,
  importFixture,
  lengthsOf,
  relativeRms,
  run,
  scores,
  type Config,
} from "./models.testing.js";

const opened: { remove(): void }[] = [];
afterAll(() => {
  for (const directory of opened) directory.remove();
});

const dims = { batch: [1, 2], seq: [1, 12] } as const;

function importTiny(
  config: Config,
  spelling: Config = {},
  options: HuggingFaceOptions & { nameInFile?: (name: string) => string } = {},
): ImportedModel {
  const directory = tinyDirectory(config, spelling, options.nameInFile);
  opened.push(directory);
  return importHuggingFace(ModelDirectory.at(directory.path), { dtype: "f32", dims, ...options });
}

const input_ids = idsOf([tinyIds]);

/** Scores after the last id, of the ids whose scores are known. */
const known = (model: ImportedModel): number[] =>
  scores(run(model, "main", { input_ids }).logits, 0, tinyIds.length - 1).slice(0, 6);

describe.each(tinyFamilies)("%s", (family: TinyFamily) => {
  const { config, published, logits }: TinyModel = tinyModels[family];
  const model = importTiny(config);

  it("gives graphs that the verifier accepts", () => {
    expect(model.entries.map(({ name }) => name)).toEqual(["main", "prefill", "decode"]);
    for (const { name, graph } of model.entries) verify(graph, `import of ${name}`);
  });

  it("gives the logits of transformers", () => {
    expect(relativeRms(known(model), logits)).toBeLessThanOrEqual(2e-6);
  });

  it("is the same model in the older spelling", () => {
    expect(known(importTiny(config, published))).toEqual(known(model));
  });

  it.each([1, 5, 8])("step by step after %i ids equals the whole sequence", (first) => {
    const whole = run(model, "main", { input_ids }).logits;
    let states: ReadonlyMap<string, TensorValue> = new Map();
    for (let length = 0; length < tinyIds.length;) {
      const ids = tinyIds.slice(length, length === 0 ? first : length + 1);
      const inputs = { input_ids: idsOf([ids]), lengths: lengthsOf([length]) };
      const step = run(model, ids.length === 1 ? "decode" : "prefill", inputs, { states });
      states = step.states;
      length += ids.length;
      // Keys of phi3's shorter sequences have other frequencies.
      if (family === "phi3" && first <= 4) continue;
      const expected = scores(whole, 0, length - 1);
      expect(relativeRms(scores(step.logits, 0, 0), expected)).toBeLessThan(1e-12);
    }
  });

  it("reads a base model's tensors without its prefix, and the head beside them", () => {
    const base = (name: string): string =>
      name.replace(/^(model\.decoder|model|gpt_neox)\./, family === "opt" ? "decoder." : "");
    expect(known(importTiny(config, {}, { nameInFile: base }))).toEqual(known(model));
  });
});

describe("windows", () => {
  const { config }: TinyModel = tinyModels.mistral;
  const loads = (of: Config, seq: number): number =>
    topological(importConfig(of, { dims: { seq: [1, seq] } }).entries[0]!.graph).filter(
      (node) => isNode(node, "attention") && JSON.stringify(node.attrs.score).includes("sub"),
    ).length;

  it("change nothing where no sequence is longer", () => {
    const withWindow = (window: number | null): number =>
      importConfig({ ...config, sliding_window: window }, { dims: { seq: [1, 12] } }).entries[0]!
        .graph.outputs[0]!.node.id;
    expect(withWindow(12)).toBe(withWindow(null));
    expect(loads({ ...config, sliding_window: 12 }, 12)).toBe(0);
  });

  it("are 4096 in a Mistral that does not say, and none in one that says null", () => {
    const eleven = (edit: Config): number[] => known(importTiny({ ...config, ...edit }));
    expect(eleven({ sliding_window: undefined })).toEqual(eleven({ sliding_window: null }));
    expect(eleven({ sliding_window: null })).not.toEqual(eleven({}));
  });

  it("of Qwen3 are off unless it says so", () => {
    const qwen3: Config = tinyModels.qwen3.config;
    const full = { ...qwen3, layer_types: undefined };
    const off = known(importTiny({ ...full, use_sliding_window: false }));
    expect(off).toEqual(known(importTiny({ ...full, max_window_layers: 2 })));
    expect(off).not.toEqual(known(importTiny(full)));
  });
});

describe("what a head turns in part", () => {
  it.each(["phi3", "gpt_neox"] as const)("%s costs nothing in the graph of a run", (family) => {
    const { config }: TinyModel = tinyModels[family];
    const kinds = (of: Config): string[] => {
      const { graph } = importTiny(of).entries[0]!;
      const ids = graph.inputs[0]!;
      const depends = new Set<unknown>([ids]);
      const order = topological(graph);
      for (const node of order)
        if (node.inputs.some((input) => depends.has(input))) depends.add(node);
      return order.filter((node) => depends.has(node)).map((node) => node.op);
    };
    const whole = { rope_parameters: { rope_type: "default", partial_rotary_factor: 1 } };
    expect(kinds(config)).toEqual(kinds({ ...config, ...whole }));
    expect(kinds(config)).not.toContain("concat");
  });

  it("may be an odd number of elements, of which the last pairs with the next", () => {
    const { config }: TinyModel = tinyModels.gpt_neox;
    const part = { rope_type: "default", partial_rotary_factor: 0.4 };
    const model = importTiny({ ...config, rope_parameters: part });
    for (const { graph } of model.entries) verify(graph, "import");
  });
});

describe("OPT", () => {
  it("counts positions by the mask where it is given one", () => {
    const { config }: TinyModel = tinyModels.opt;
    const model = importTiny(config, {}, { inputs: ["attention_mask"] });
    expect(model.fills.get("attention_mask")).toBe(1);
    const mask = tensor("i64", [1, 11], [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    const padded = { input_ids: idsOf([[7, 7, ...tinyIds]]), attention_mask: mask };
    const { logits } = run(model, "main", padded);
    const plain = known(importTiny(config));
    expect(relativeRms(scores(logits, 0, 10).slice(0, 6), plain)).toBeLessThan(1e-12);
  });
});

describe("BERT", () => {
  const row = (values: readonly number[]): TensorValue => tensor("i64", [1, 9], values);
  const optional = {
    attention_mask: row(tinyBert.inputs.attention_mask),
    token_type_ids: row(tinyBert.inputs.token_type_ids),
  };
  const model = importTiny(tinyBert.config);

  it("has one entry, two outputs, and inputs that may be left out", () => {
    expect(model.entries.map(({ name }) => name)).toEqual(["main"]);
    const { graph } = model.entries[0]!;
    verify(graph, "import");
    expect(graph.outputs.map(({ name }) => name)).toEqual(["last_hidden_state", "pooler_output"]);
    expect(model.fills).toEqual(
      new Map([
        ["attention_mask", 1],
        ["token_type_ids", 0],
      ]),
    );
    expect(model.generation).toBeUndefined();
  });

  it("gives transformers' values with types and padding", () => {
    const { outputs } = run(model, "main", { input_ids, ...optional });
    const pooled = Array.from(outputs.get("pooler_output")!.data, Number);
    expect(relativeRms(pooled.slice(0, 4), tinyBert.pooled)).toBeLessThanOrEqual(1e-7);
    const last = scores(outputs.get("last_hidden_state")!, 0, 8);
    expect(relativeRms(last.slice(0, 2), tinyBert.last)).toBeLessThanOrEqual(1e-7);
  });

  it.each(["bert", "published/bert"] as const)("gives transformers' hidden values, %s", (name) => {
    const fixture = importFixture(name, { dtype: "f32", inputs: [] });
    const { outputs } = run(fixture, "main", { input_ids: golden(name, "input_ids") });
    const hidden = outputs.get("last_hidden_state")!;
    expect(relativeRms(hidden.data, golden(name, "last_hidden_state").data)).toBeLessThan(1e-6);
  });

  it("with its fills is what it is without the inputs", () => {
    const fixture = importFixture("bert", { dtype: "f32" });
    const ids = golden("bert", "input_ids");
    const full = (value: number): TensorValue =>
      tensor("i64", ids.shape, Array<number>(48).fill(value));
    const given = { input_ids: ids, attention_mask: full(1), token_type_ids: full(0) };
    const { outputs } = run(fixture, "main", given);
    const bare = run(importFixture("bert", { dtype: "f32", inputs: [] }), "main", {
      input_ids: ids,
    });
    const name = "last_hidden_state";
    expect(outputs.get(name)).toEqual(bare.outputs.get(name));
  });

  it("leaves heads of other tasks with a notice, and has no pooler where none is stored", () => {
    expect(importFixture("published/bert").notices).toEqual([
      "the head of BertForMaskedLM is left out",
    ]);
    const directory = tinyDirectory(tinyBert.config, {}, (name) =>
      name.replace(/^bert\.pooler\./, "cls.other."),
    );
    opened.push(directory);
    const { graph } = importHuggingFace(ModelDirectory.at(directory.path)).entries[0]!;
    expect(graph.outputs.map(({ name }) => name)).toEqual(["last_hidden_state"]);
  });
});

describe("GPT-NeoX", () => {
  const { config, logits }: TinyModel = tinyModels.gpt_neox;

  it("reads the head's older name", () => {
    const nameInFile = (name: string): string => name.replace("lm_head", "embed_out");
    const model = importTiny(config, {}, { nameInFile });
    expect(relativeRms(known(model), logits)).toBeLessThanOrEqual(2e-6);
  });

  it("refuses two values for one thing", () => {
    const spelled = { rope_parameters: undefined, rotary_pct: 0.5, rotary_emb_base: 100 };
    const same = { partial_rotary_factor: 0.5, rope_theta: 100 };
    expect(importConfig({ ...config, ...spelled, ...same }).entries).toHaveLength(3);
    const other = { ...config, ...spelled, partial_rotary_factor: 1 };
    expect(failure(() => importConfig(other)).code).toBe("E_CONFIG_UNSUPPORTED");
  });
});

describe("docs/adding-a-family.md", () => {
  const page = fs.readFileSync(path.join(packageRoot(), "docs", "adding-a-family.md"), "utf8");

  it("shows Granite's file as it is", () => {
    const file = path.join(import.meta.dirname, "families", "granite.ts");
    expect(page).toContain(fs.readFileSync(file, "utf8"));
  });

  it("names blocks that there are", () => {
    const named = [...page.matchAll(/`b\.(\w+)`/g)].map((match) => match[1]!);
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((name) => !Object.hasOwn(blocks, name))).toEqual([]);
  });
});
