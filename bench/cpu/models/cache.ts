/** Key and value caches as inputs and outputs of a graph, and the mask that goes with them. */
import type { GraphWriter } from "../graph-writer.js";
import type { InputSpec } from "../model.js";

export interface Span {
  readonly tokens: number;
  /** Tokens whose keys and values come in. */
  readonly past: number;
}

/** `fresh` [1, heads, tokens, depth] behind what comes in; the whole goes out as well. */
export function cached(
  g: GraphWriter,
  name: string,
  fresh: string,
  [batch, heads, depth]: readonly [number, number, number],
  { tokens, past }: Span,
): string {
  const shape = (length: number): number[] => [batch, heads, length, depth];
  const whole =
    past === 0 ? fresh : g.concat([g.input(`${name}.past`, "f32", shape(past)), fresh], 2);
  g.output(`${name}.present`, whole, shape(past + tokens));
  return whole;
}

/** Scores [.., tokens, past + tokens] with what comes after a token masked. */
export function causal(g: GraphWriter, scores: string, { tokens, past }: Span): string {
  if (tokens === 1) return scores;
  const total = past + tokens;
  const values = Array.from({ length: tokens * total }, (_, i) =>
    i % total <= past + Math.floor(i / total) ? 0 : -3.4028234663852886e38,
  );
  return g.add(scores, g.floats("causal_mask", [1, 1, tokens, total], values));
}

/** The caches that `cached` takes in, by name. */
export function pastInputs(layers: number, spec: InputSpec): Record<string, InputSpec> {
  const inputs: Record<string, InputSpec> = {};
  for (let layer = 0; layer < layers; layer++)
    for (const part of ["key", "value"]) inputs[`${layer}.${part}.past`] = spec;
  return inputs;
}
