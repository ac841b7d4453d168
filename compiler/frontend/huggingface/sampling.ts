/**
 * The next id of each sequence, drawn from its scores. Noise comes from a counter, so that a draw is a
 * function of the seed and of the id's place alone: not of the batch, nor of the steps that led there.
 * Adding Gumbel noise to scores and taking the largest draws from their softmax (Gumbel, 1954).
 */
import { sample } from "../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  constantScalar,
  dim,
  input,
  iota,
  map,
  reshape,
} from "../../ir/build.js";
import type { Node } from "../../ir/graph.js";
import type { Expr } from "../../scalar/expr.js";
import { primitive, type PrimitiveName } from "../../scalar/primitives.js";
import { builtin } from "../../scalar/table.js";
import type { Scope } from "./scope.js";

/** Of each sequence, [batch]. */
export interface SamplingInputs {
  /** f32: what scores are divided by; 0 takes the largest. */
  readonly temperature: Node<"input">;
  /** i32: how many of the largest scores may be drawn; 0 for all. */
  readonly topK: Node<"input">;
  /** f32: how much of their softmax may be drawn, from above; 1 for all. */
  readonly topP: Node<"input">;
  /** i64. */
  readonly seed: Node<"input">;
}

/** Their names, and what stands for those that are left out: the largest score is taken. */
export const samplingFills = { temperature: 0, top_k: 0, top_p: 1, seed: 0 } as const;

export function samplingInputs(s: Pick<Scope, "g">, batch: Expr): SamplingInputs {
  return {
    temperature: input(s.g, "temperature", "f32", [batch]),
    topK: input(s.g, "top_k", "i32", [batch]),
    topP: input(s.g, "top_p", "f32", [batch]),
    seed: input(s.g, "seed", "i64", [batch]),
  };
}

/** i64 [batch]: drawn from scores [batch, vocabulary]; `place` i64 [batch] is where the ids will be. */
export function nextIds(s: Scope, scores: Node, place: Node, inputs: SamplingInputs): Node {
  const { g } = s;
  const { temperature, topK, topP, seed } = inputs;
  const { shape } = scores;
  const each = (row: Node): Node => broadcastTo(g, reshape(g, row, [shape[0]!, 1]), shape);
  const noise = gumbel(s, each, hash(s, seed, place), shape);
  return sample(g, scores, noise, { temperature, count: topK, mass: topP });
}

/** u32 of the same shape: MurmurHash3's final mix. */
function mixed(s: Scope, x: Node): Node {
  const number = (value: number): Node => constantScalar(s.g, "u32", value);
  const apply = (name: PrimitiveName, a: Node, b: Node): Node => map(s.g, primitive(name), [a, b]);
  const folded = (y: Node, by: number): Node => apply("xor", y, apply("shr", y, number(by)));
  const first = apply("mul", folded(x, 16), number(0x85ebca6b));
  const second = apply("mul", folded(first, 13), number(0xc2b2ae35));
  return folded(second, 16);
}

/** Of the 64 bits of each of two numbers, u32. */
function hash(s: Scope, seed: Node, place: Node): Node {
  const { g } = s;
  const low = (x: Node): Node =>
    cast(g, map(g, primitive("and"), [x, constantScalar(g, "i64", 0xffffffff)]), "u32");
  const high = (x: Node): Node => low(map(g, primitive("shr"), [x, dim(g, 32)]));
  const xor = (a: Node, b: Node): Node => map(g, primitive("xor"), [a, b]);
  return [low(seed), high(place), low(place)].reduce(
    (state, word) => mixed(s, xor(state, word)),
    mixed(s, high(seed)),
  );
}

/** -log(-log(u)), u uniform in (0, 1): finer near 0, where the largest draws come from. */
function gumbel(s: Scope, each: (row: Node) => Node, rows: Node, shape: readonly Expr[]): Node {
  const { g } = s;
  const index = cast(g, iota(g, shape, 1), "u32");
  const golden = constantScalar(g, "u32", 0x9e3779b1);
  const spread = map(g, primitive("mul"), [index, golden]);
  const bits = mixed(s, map(g, primitive("add"), [spread, each(rows)]));
  const [half, unit] = [0.5, 2 ** -32].map((value) => constantScalar(g, "f32", value)) as [
    Node,
    Node,
  ];
  const u = map(g, primitive("mul"), [
    map(g, primitive("add"), [cast(g, bits, "f32"), half]),
    unit,
  ]);
  const negative = (x: Node): Node => map(g, primitive("neg"), [x]);
  const exponential = negative(map(g, builtin("log1p"), [negative(u)]));
  return negative(map(g, builtin("log"), [exponential]));
}
