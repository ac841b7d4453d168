/** Models of directories on a GPU, against what transformers gave. */
import fs from "node:fs";
import path from "node:path";
import {
  asInput,
  compare,
  numbersOf,
  readTensors,
  type FileTensor,
} from "../../compiler/cli/tensors.js";
import { importModel } from "../../compiler/import.js";
import { tensor } from "../../compiler/ir/tensor.js";
import type { Model, Tensor, TensorLike } from "../../runtime/node/index.js";
import {
  equalChoices,
  evaluatedRouting,
  withRoutingGiven,
  withRoutingShown,
} from "../models/routing.js";
import { check, fixtures, onGpu } from "./checks.js";

export type DType = "f32" | "bf16" | "f16";
type Golden = ReadonlyMap<string, FileTensor>;

interface Reference {
  readonly prompt: readonly number[];
  readonly greedy: readonly number[];
  readonly rel_rms_of_transformers: Readonly<Record<DType, number>>;
}

async function step(
  model: Model,
  state: ReturnType<Model["createState"]>,
  ids: readonly number[],
  past: number,
  graph = false,
): Promise<Float64Array> {
  const entry = past === 0 ? "prefill" : "decode";
  const { logits } = await model.run(
    { input_ids: [[...ids]], lengths: [past] },
    { entry, state, graph },
  );
  return logits!.toFloat64();
}

const argmax = (row: Float64Array): number =>
  row.reduce((best, value, index) => (value > row[best]! ? index : best), 0);

/** The model's outputs that transformers gave too, as one list of numbers. */
async function computed(model: Model, golden: Golden, options: { graph?: boolean } = {}) {
  const given = [...golden].flatMap(([name, file]): [string, TensorLike][] =>
    model.description.plan.entries[0]!.inputs.some((each) => each.name === name)
      ? [[name, asInput(name, file, "i64")]]
      : [],
  );
  const results = await model.run(Object.fromEntries(given), options);
  return Object.entries(results).filter(([name]) => golden.has(name));
}

const goldenOf = (name: string): Golden =>
  readTensors(path.join(fixtures, name, "golden-hf.safetensors"));

const referenceOf = (name: string): Reference =>
  JSON.parse(fs.readFileSync(path.join(fixtures, name, "reference.json"), "utf8")) as Reference;

const boundOf = (name: string, dtype: DType): number => {
  const { rel_rms_of_transformers: own } = referenceOf(name);
  return dtype === "f32" ? Math.max(2e-6, 2 * own.f32) : 2 * own[dtype];
};

/** A mixture's own choices in a narrow type are not those of float64: see `routing`. */
const isMixture = (name: string): boolean => /mixtral|deepseek/.test(name);

export async function directory(
  name: string,
  dtype: DType,
  without: readonly string[],
): Promise<void> {
  const golden = goldenOf(name);
  const bound = boundOf(name, dtype);
  const title = `${name} ${dtype}${without.length === 0 ? "" : ", not absorbed"}`;
  await onGpu(path.join(fixtures, name, "hf"), { dtype, without }, async (model) => {
    const first = await computed(model, golden);
    for (const [output, tensor] of first) {
      const expected = golden.get(output)!;
      const error = compare(tensor.toFloat64(), numbersOf(expected), expected.shape);
      const told = `rel-RMS ${error.relRms.toExponential(3)}`;
      if (isMixture(name) && dtype !== "f32") check(`${title} ${output}`, error.sameSpecials, told);
      else
        check(
          `${title} ${output}`,
          error.relRms <= bound && error.sameSpecials,
          `${told}, bound ${bound.toExponential(3)}`,
        );
    }
    let same = 0;
    for (let i = 0; i < 100; i++) {
      const again = await computed(model, golden, { graph: i % 2 === 0 });
      const equal = again.every(
        ([, tensor], at) =>
          Buffer.compare(Buffer.from(tensor.bytes), Buffer.from(first[at]![1].bytes)) === 0,
      );
      if (equal) same++;
    }
    check(
      `${title} repeats`,
      same === 100,
      `${same} of 100 runs, every other one a graph, have the bits of the first`,
    );
    if (dtype === "f32" && !name.endsWith("bert"))
      await generation(title, model, referenceOf(name));
  });
}

/** A mixture in a narrow type with float64's choices of experts; and with its own, how far both are. */
export async function routing(name: string, dtype: DType): Promise<void> {
  const golden = goldenOf(name);
  const expected = golden.get("logits")!;
  const ids = asInput("input_ids", golden.get("input_ids")!, "i64");
  const files = path.join(fixtures, name, "hf");
  const wide = tensor("i64", expected.shape.slice(0, 2), [...numbersOf(golden.get("input_ids")!)]);
  const chosen = evaluatedRouting(importModel(files, { dtype: "f32", needWeights: true }), wide);
  const bound = boundOf(name, dtype);
  const errorOf = (logits: Tensor): number =>
    compare(logits.toFloat64(), numbersOf(expected), expected.shape).relRms;
  await onGpu(
    withRoutingGiven(importModel(files, { dtype, needWeights: true })),
    {},
    async (model) => {
      const forced = [...chosen].map(([input, { data, shape }]): [string, TensorLike] => [
        input,
        {
          data: Array.from<number | bigint, number>(data, Number),
          shape: [...wide.shape, shape[1]!],
        },
      ]);
      const { logits } = await model.run({ input_ids: ids, ...Object.fromEntries(forced) });
      const error = errorOf(logits!);
      check(
        `${name} ${dtype} with float64's choices`,
        error <= bound,
        `rel-RMS ${error.toExponential(3)}, bound ${bound.toExponential(3)}`,
      );
    },
  );
  await onGpu(
    withRoutingShown(importModel(files, { dtype, needWeights: true })),
    {},
    async (model) => {
      const results = await model.run({ input_ids: ids });
      const shares = [...chosen].map(([output, values]) =>
        equalChoices(results[output]!.toFloat64(), values),
      );
      const share = shares.reduce((a, b) => a + b, 0) / shares.length;
      const error = errorOf(results["logits"]!);
      check(
        `${name} ${dtype} with its own choices`,
        share > 0.9,
        `rel-RMS ${error.toExponential(3)}, ${(100 * share).toFixed(2)} % of them float64's`,
      );
    },
  );
}

async function generation(
  name: string,
  model: Model,
  { prompt, greedy }: Reference,
): Promise<void> {
  for (const graph of [false, true]) {
    const state = model.createState();
    const ids: number[] = [];
    let logits = await step(model, state, prompt, 0);
    while (ids.length < greedy.length) {
      ids.push(argmax(logits));
      if (ids.length < greedy.length)
        logits = await step(model, state, ids.slice(-1), prompt.length + ids.length - 1, graph);
    }
    check(`${name} generates${graph ? " by graph" : ""}`, ids.join() === greedy.join(), ids.join());
    state.close();
  }
  const whole = (await model.run({ input_ids: [[...prompt]] }))["logits"]!.toFloat64();
  const vocabulary = whole.length / prompt.length;
  const state = model.createState();
  let worst = 0;
  for (let i = 0; i < prompt.length; i++) {
    const logits = await step(model, state, [prompt[i]!], i);
    worst = Math.max(
      worst,
      compare(logits, whole.subarray(i * vocabulary, (i + 1) * vocabulary), [vocabulary]).relRms,
    );
  }
  state.close();
  check(
    `${name} step by step`,
    worst <= 2e-6,
    `largest rel-RMS against one pass ${worst.toExponential(3)}`,
  );
}
