/** BERT-base: 12 layers of 768, 12 heads, GELU of 3072, as PyTorch's exporter spells it. */
import { attr } from "../../../compiler/frontend/onnx/wire/encode.testing.js";
import { GraphWriter } from "../graph-writer.js";
import type { Model } from "../model.js";

const [layers, heads, width, inner, vocabulary, positions] = [12, 12, 768, 3072, 30522, 512];
const depth = width / heads;
const epsilon = 1e-12;

function attention(g: GraphWriter, x: string, mask: string, name: string): string {
  const split = (part: string, perm: readonly number[]): string =>
    g.transpose(
      g.reshape(g.linear(x, `${name}.${part}`, width, width), [0, 0, heads, depth]),
      perm,
    );
  const query = split("query", [0, 2, 1, 3]);
  const key = split("key", [0, 2, 3, 1]);
  const value = split("value", [0, 2, 1, 3]);
  const scores = g.op("Div", [g.matmul(query, key), g.float(Math.sqrt(depth))]);
  const out = g.matmul(g.softmax(g.add(scores, mask)), value);
  return g.linear(
    g.reshape(g.transpose(out, [0, 2, 1, 3]), [0, 0, width]),
    `${name}.output`,
    width,
    width,
  );
}

/** 0 where the mask is 1, else the lowest value. */
function additiveMask(g: GraphWriter, mask: string): string {
  const wide = g.op("Unsqueeze", [g.op("Unsqueeze", [mask, g.ints([1])]), g.ints([2])]);
  const cast = g.op("Cast", [wide], { to: attr.int(1) });
  return g.mul(g.op("Sub", [g.float(1), cast]), g.float(-10000));
}

function write(directory: string, tokens: number): string {
  const g = new GraphWriter();
  const ids = g.input("input_ids", "i64", [1, tokens]);
  const types = g.input("token_type_ids", "i64", [1, tokens]);
  const mask = additiveMask(g, g.input("attention_mask", "i64", [1, tokens]));
  const table = (name: string, rows: number, index: string): string =>
    g.op("Gather", [g.weight(`embeddings.${name}`, [rows, width]), index]);
  const places = g.ints(
    Array.from({ length: tokens }, (_, i) => i),
    [1, tokens],
  );
  const words = g.add(table("word", vocabulary, ids), table("type", 2, types));
  const sum = g.add(words, table("position", positions, places));
  let x = g.layerNorm(sum, "embeddings.norm", width, epsilon);
  for (let layer = 0; layer < layers; layer++) {
    const name = `layer.${layer}`;
    x = g.layerNorm(g.add(attention(g, x, mask, name), x), `${name}.norm1`, width, epsilon);
    const hidden = g.geluErf(g.linear(x, `${name}.up`, width, inner));
    const out = g.linear(hidden, `${name}.down`, inner, width);
    x = g.layerNorm(g.add(out, x), `${name}.norm2`, width, epsilon);
  }
  const first = g.op("Gather", [x, g.ints([0], [])], { axis: attr.int(1) });
  const pooled = g.op("Tanh", [g.linear(first, "pooler", width, width)]);
  g.output("last_hidden_state", x, [1, tokens, width]);
  g.output("pooler_output", pooled, [1, width]);
  return g.write(directory, "bert-base");
}

export const bertBase = (tokens: number): Model => ({
  name: `BERT-base, 1×${tokens}`,
  write: (directory) => write(directory, tokens),
  inputs: {
    input_ids: { kind: "ids", below: vocabulary, shape: [1, tokens] },
    token_type_ids: { kind: "ids", below: 2, shape: [1, tokens] },
    attention_mask: { kind: "ones", shape: [1, tokens] },
  },
});
