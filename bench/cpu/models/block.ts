/** x + W₂ · gelu(W₁ · LayerNorm(x)) with biases: d = 768, h = 3072. */
import { GraphWriter } from "../graph-writer.js";
import type { Model } from "../model.js";

const [width, inner] = [768, 3072];

function write(directory: string, tokens: number): string {
  const g = new GraphWriter();
  const x = g.input("x", "f32", [tokens, width]);
  const normed = g.layerNorm(x, "norm", width, 1e-5);
  const hidden = g.geluErf(g.linear(normed, "up", width, inner));
  g.output("out", g.add(x, g.linear(hidden, "down", inner, width)), [tokens, width]);
  return g.write(directory, `block-${tokens}`);
}

export const geluBlock = (tokens: number): Model => ({
  name: `GELU block d=768 h=3072, ${tokens} ${tokens === 1 ? "token" : "tokens"}`,
  write: (directory) => write(directory, tokens),
  inputs: { x: { kind: "real", shape: [tokens, width] } },
});
