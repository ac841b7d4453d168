/** GPT-2 small with its caches as inputs and outputs: 12 layers of 768, 12 heads, 50257 ids. */
import { attr } from "../../../compiler/frontend/onnx/wire/encode.testing.js";
import { GraphWriter } from "../graph-writer.js";
import type { InputSpec, Model } from "../model.js";
import { cached, causal, pastInputs, type Span } from "./cache.js";

const [layers, heads, width, inner, vocabulary, positions] = [12, 12, 768, 3072, 50257, 1024];
const depth = width / heads;
const epsilon = 1e-5;

function attention(g: GraphWriter, x: string, span: Span, name: string): string {
  const parts = g.many(
    "Split",
    [g.linear(x, `${name}.qkv`, width, 3 * width), g.ints([width, width, width])],
    3,
    { axis: attr.int(2) },
  );
  const [query, key, value] = parts.map((part) =>
    g.transpose(g.reshape(part, [0, 0, heads, depth]), [0, 2, 1, 3]),
  ) as [string, string, string];
  const shape = [1, heads, depth] as const;
  const keys = cached(g, `${name}.key`, key, shape, span);
  const values = cached(g, `${name}.value`, value, shape, span);
  const products = g.matmul(query, g.transpose(keys, [0, 1, 3, 2]));
  const scores = g.op("Div", [products, g.float(Math.sqrt(depth))]);
  const out = g.matmul(g.softmax(causal(g, scores, span)), values);
  return g.reshape(g.transpose(out, [0, 2, 1, 3]), [0, 0, width]);
}

function write(directory: string, span: Span): string {
  const { tokens, past } = span;
  const g = new GraphWriter();
  const ids = g.input("input_ids", "i64", [1, tokens]);
  const places = g.input("position_ids", "i64", [1, tokens]);
  const words = g.op("Gather", [g.weight("wte", [vocabulary, width]), ids]);
  let x = g.add(words, g.op("Gather", [g.weight("wpe", [positions, width]), places]));
  for (let layer = 0; layer < layers; layer++) {
    const name = `${layer}`;
    const seen = attention(g, g.layerNorm(x, `${name}.ln_1`, width, epsilon), span, name);
    x = g.add(g.linear(seen, `${name}.attn`, width, width), x);
    const normed = g.layerNorm(x, `${name}.ln_2`, width, epsilon);
    const hidden = g.geluTanh(g.linear(normed, `${name}.up`, width, inner));
    x = g.add(x, g.linear(hidden, `${name}.down`, inner, width));
  }
  const normed = g.layerNorm(x, "ln_f", width, epsilon);
  const logits = g.matmul(normed, g.weight("lm_head", [width, vocabulary]));
  g.output("logits", logits, [1, tokens, vocabulary]);
  return g.write(directory, past === 0 ? "gpt2-prefill" : "gpt2-decode");
}

const caches = ({ past }: Span): Readonly<Record<string, InputSpec>> =>
  pastInputs(past === 0 ? 0 : layers, { kind: "real", shape: [1, heads, past, depth] });

export const gpt2 = (name: string, span: Span): Model => ({
  name,
  write: (directory) => write(directory, span),
  inputs: {
    input_ids: { kind: "ids", below: vocabulary, shape: [1, span.tokens] },
    position_ids: { kind: "count", from: span.past, shape: [1, span.tokens] },
    ...caches(span),
  },
});
