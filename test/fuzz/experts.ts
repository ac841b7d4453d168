/** A mixture of experts as models have it: scores, the choice, products by experts, their sum. */
import { matmul } from "../../compiler/ir/build-anchor.js";
import { expertMatmul, route } from "../../compiler/ir/build-experts.js";
import {
  broadcastTo,
  cast,
  concat,
  gatherNd,
  map,
  reduce,
  reshape,
  softmax,
  split,
  transpose,
} from "../../compiler/ir/build.js";
import type { Node } from "../../compiler/ir/graph.js";
import type { Dim } from "../../compiler/ir/shape.js";
import { one } from "../../compiler/scalar/build.js";
import { primitive, type PrimitiveName } from "../../compiler/scalar/primitives.js";
import { builtin } from "../../compiler/scalar/table.js";
import type { Generator } from "./generator.js";

interface Mixture {
  readonly tokens: Dim;
  readonly width: number;
  readonly inner: number;
  readonly experts: number;
  readonly groups: number;
  readonly kept: number;
  readonly count: number;
}

function mixtureOf(gen: Generator): Mixture {
  const { rng } = gen;
  const groups = rng.pick([1, 1, 2, 4]);
  const size = rng.int(groups === 1 ? 1 : 2, 5);
  const kept = rng.int(1, groups);
  const tokens = rng.chance(0.4) ? gen.symbol("tokens", rng.pick([5, 17, 33])) : rng.extent(33);
  return {
    ...{ tokens, groups, kept, experts: groups * size },
    width: rng.extent(33),
    inner: rng.extent(17),
    count: rng.int(1, Math.min(4, kept * size)),
  };
}

const apply = (gen: Generator, name: PrimitiveName, inputs: readonly Node[]): Node =>
  map(gen.g, primitive(name), inputs);

/** Scores of each expert, in f32, and whom they choose. */
function routed(gen: Generator, x: Node, m: Mixture): { chosen: Node; factors: Node } {
  const { g, rng } = gen;
  const w = gen.leaf(x.dtype, [m.width, m.experts], { weight: m.width / 16 }, 0.7);
  const logits = cast(g, matmul(g, x, w), "f32");
  const scores = rng.chance(0.5) ? softmax(g, logits, 1) : map(g, builtin("sigmoid"), [logits]);
  const bias = gen.leaf("f32", [m.experts], "any", 0.8);
  const choice = rng.chance(0.4) ? apply(gen, "add", [scores, bias]) : scores;
  const rank = m.groups > 1 && rng.chance(0.5) ? "two" : "largest";
  const chosen = route(g, choice, { count: m.count, groups: m.groups, kept: m.kept, rank });
  const factors = gatherNd(g, scores, reshape(g, chosen, [...chosen.shape, one]), 1);
  if (rng.chance(0.5)) return { chosen, factors };
  const sum = reduce(g, "sum", factors, [1]);
  return { chosen, factors: apply(gen, "div", [factors, broadcastTo(g, sum, factors.shape)]) };
}

function expertWeights(gen: Generator, m: Mixture, rows: number, columns: number): Node {
  const { g, rng } = gen;
  const fan = { weight: rows };
  const dtype = gen.dtype;
  if (rng.chance(0.3)) return gen.leaf(dtype, [m.experts, rows, columns], fan, 0.8);
  if (rng.chance(0.5))
    return transpose(g, gen.leaf(dtype, [m.experts, columns, rows], fan, 0.9), [0, 2, 1]);
  // One tensor for each expert, as checkpoints have them.
  const parts = Array.from({ length: m.experts }, () => gen.leaf(dtype, [rows, columns], fan, 1));
  return reshape(g, concat(g, parts, 0), [m.experts, rows, columns]);
}

/** Gate and up, product of both, down, factors, sum over a token's experts. */
export function mixture(gen: Generator): Node | null {
  const { g, rng } = gen;
  if (gen.dtype === "f64") return null;
  const m = mixtureOf(gen);
  const x = gen.leaf(gen.dtype, [m.tokens, m.width], "any", 0);
  const { chosen, factors } = routed(gen, x, m);
  gen.keep(chosen);
  const gated = rng.chance(0.7);
  const both = expertMatmul(
    g,
    x,
    expertWeights(gen, m, m.width, gated ? 2 * m.inner : m.inner),
    chosen,
  );
  if (rng.chance(0.2)) return both;
  const [gate, up] = gated ? split(g, both, 2, [m.inner, m.inner]) : [both];
  const active = map(g, builtin("silu"), [gate!]);
  const middle = up === undefined ? active : apply(gen, "mul", [active, up]);
  const out = expertMatmul(g, middle, expertWeights(gen, m, m.inner, m.width), chosen);
  const weight = cast(
    g,
    broadcastTo(g, reshape(g, factors, [...factors.shape, 1]), out.shape),
    out.dtype,
  );
  const weighted = apply(gen, "mul", [weight, out]);
  return reduce(g, "sum", weighted, [1], { keep: false });
}
