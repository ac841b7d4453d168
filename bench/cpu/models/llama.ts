/** Two layers of Llama: hidden 2048, 32 query and 8 key heads of 64, SwiGLU of 8192. */
import { attr } from "../../../compiler/frontend/onnx/wire/encode.testing.js";
import { GraphWriter } from "../graph-writer.js";
import type { InputSpec, Model } from "../model.js";
import { cached, causal, pastInputs, type Span } from "./cache.js";

const [layers, heads, keyHeads, width, inner] = [2, 32, 8, 2048, 8192];
const depth = width / heads;
const repeats = heads / keyHeads;
const epsilon = 1e-5;

function rmsNorm(g: GraphWriter, x: string, name: string): string {
  const mean = g.op("ReduceMean", [g.op("Pow", [x, g.float(2)])], { axes: attr.ints([-1]) });
  const root = g.op("Sqrt", [g.add(mean, g.float(epsilon))]);
  const normed = g.mul(x, g.op("Div", [g.float(1), root]));
  return g.mul(g.weight(`${name}.weight`, [width], 1, 0.2), normed);
}

/** cos and sin [1, 1, tokens, depth] of the positions. */
function angles(g: GraphWriter, places: string): readonly [string, string] {
  const frequencies = Array.from({ length: depth / 2 }, (_, i) => 500000 ** ((-2 * i) / depth));
  const column = g.floats("inv_freq", [1, depth / 2, 1], frequencies);
  const row = g.op("Cast", [g.op("Unsqueeze", [places, g.ints([1])])], { to: attr.int(1) });
  const angle = g.transpose(g.matmul(column, row), [0, 2, 1]);
  const both = g.concat([angle, angle], -1);
  return ["Cos", "Sin"].map((f) =>
    g.op("Unsqueeze", [g.op(f, [both]), g.ints([1])]),
  ) as unknown as readonly [string, string];
}

function rotated(g: GraphWriter, x: string, [cos, sin]: readonly [string, string]): string {
  const slice = (from: number, to: number): string =>
    g.op("Slice", [x, g.ints([from]), g.ints([to]), g.ints([3]), g.ints([1])]);
  const swapped = g.concat([g.op("Neg", [slice(depth / 2, depth)]), slice(0, depth / 2)], -1);
  return g.add(g.mul(x, cos), g.mul(swapped, sin));
}

/** Each key head for `repeats` query heads. */
function repeated(g: GraphWriter, x: string, length: number): string {
  const wide = g.op("Unsqueeze", [x, g.ints([2])]);
  const expanded = g.op("Expand", [wide, g.ints([1, keyHeads, repeats, length, depth])]);
  return g.reshape(expanded, [1, heads, length, depth]);
}

function attention(
  g: GraphWriter,
  x: string,
  turn: readonly [string, string],
  span: Span,
  name: string,
): string {
  const project = (part: string, count: number): string => {
    const product = g.matmul(x, g.weight(`${name}.${part}`, [width, count * depth]));
    return g.transpose(g.reshape(product, [1, span.tokens, count, depth]), [0, 2, 1, 3]);
  };
  const query = rotated(g, project("q_proj", heads), turn);
  const key = rotated(g, project("k_proj", keyHeads), turn);
  const shape = [1, keyHeads, depth] as const;
  const length = span.past + span.tokens;
  const keys = repeated(g, cached(g, `${name}.key`, key, shape, span), length);
  const value = cached(g, `${name}.value`, project("v_proj", keyHeads), shape, span);
  const products = g.matmul(query, g.transpose(keys, [0, 1, 3, 2]));
  const scores = g.mul(products, g.float(1 / Math.sqrt(depth)));
  const out = g.matmul(g.softmax(causal(g, scores, span)), repeated(g, value, length));
  const flat = g.reshape(g.transpose(out, [0, 2, 1, 3]), [1, span.tokens, width]);
  return g.matmul(flat, g.weight(`${name}.o_proj`, [width, width]));
}

function write(directory: string, span: Span): string {
  const { tokens, past } = span;
  const g = new GraphWriter();
  let x = g.input("hidden", "f32", [1, tokens, width]);
  const turn = angles(g, g.input("position_ids", "i64", [1, tokens]));
  for (let layer = 0; layer < layers; layer++) {
    const name = `${layer}`;
    x = g.add(x, attention(g, rmsNorm(g, x, `${name}.norm1`), turn, span, name));
    const normed = rmsNorm(g, x, `${name}.norm2`);
    const gate = g.matmul(normed, g.weight(`${name}.gate_proj`, [width, inner]));
    const up = g.matmul(normed, g.weight(`${name}.up_proj`, [width, inner]));
    const hidden = g.mul(g.mul(gate, g.op("Sigmoid", [gate])), up);
    x = g.add(x, g.matmul(hidden, g.weight(`${name}.down_proj`, [inner, width])));
  }
  g.output("out", x, [1, tokens, width]);
  return g.write(directory, past === 0 ? "llama-prefill" : "llama-decode");
}

const caches = ({ past }: Span): Readonly<Record<string, InputSpec>> =>
  pastInputs(past === 0 ? 0 : layers, { kind: "real", shape: [1, keyHeads, past, depth] });

export const llamaPair = (name: string, span: Span): Model => ({
  name,
  write: (directory) => write(directory, span),
  inputs: {
    hidden: { kind: "real", shape: [1, span.tokens, width] },
    position_ids: { kind: "count", from: span.past, shape: [1, span.tokens] },
    ...caches(span),
  },
});
