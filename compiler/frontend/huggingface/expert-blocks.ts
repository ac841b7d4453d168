/** Mixtures of experts: scores, the choice among them, and the products of whoever is chosen. */
import { expertMatmul, route } from "../../ir/build-experts.js";
import { matmul } from "../../ir/build-anchor.js";
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
} from "../../ir/build.js";
import type { Node } from "../../ir/graph.js";
import { constValue } from "../../scalar/build.js";
import type { RouteAttrs } from "../../ir/ops.js";
import { primitive } from "../../scalar/primitives.js";
import type { Activation } from "./activations.js";
import * as b from "./blocks.js";
import { blockScaled } from "./quantised.js";
import type { Scope } from "./scope.js";

/** Each token's experts [tokens, count], and the factors on what they give. */
export interface Routing {
  readonly chosen: Node;
  readonly factors: Node;
}

export type RouteOptions = Partial<RouteAttrs> & {
  readonly count: number;
  /** Chosen by these scores instead. */
  readonly choice?: Node;
  /** Factors of a token are divided by their sum, with this added to it; null leaves them. */
  readonly normalise: number | null;
  /** A factor on all factors. */
  readonly scale?: number;
};

/** Chooses by scores [tokens, experts] in f32. */
export function routed(s: Scope, scores: Node, options: RouteOptions): Routing {
  const { choice = scores, normalise, scale = 1, ...attrs } = options;
  const chosen = route(s.g, choice, attrs);
  const index = reshape(s.g, chosen, [...chosen.shape, 1]);
  let factors: Node = gatherNd(s.g, scores, index, 1);
  if (normalise !== null) {
    const sum = reduce(s.g, "sum", factors, [1]);
    const some = normalise === 0 ? sum : b.add(s, sum, number(s, normalise));
    factors = map(s.g, primitive("div"), [factors, broadcastTo(s.g, some, factors.shape)]);
  }
  return { chosen, factors: scale === 1 ? factors : b.multiply(s, factors, number(s, scale)) };
}

const number = (s: Scope, value: number): Node => b.literal(s, "f32", [], Float64Array.of(value));

/** Scores before they are made positive, in f32: the product as it is rounded, or exact. */
export function routerLogits(
  s: Scope,
  x: Node,
  name: string,
  options: { readonly experts: number; readonly exact: boolean },
): Node {
  const stored = b.weight(s, `${name}.weight`, [options.experts, b.widthOf(x)]);
  const w = transpose(s.g, stored, [1, 0]);
  const [left, right] = options.exact ? [b.wide(s, x), b.wide(s, w)] : [x, w];
  return b.wide(s, b.named(s, name, matmul(s.g, left, right)));
}

export const softmaxScores = (s: Scope, logits: Node): Node => softmax(s.g, logits, 1);

export interface ExpertOptions {
  readonly experts: number;
  readonly inner: number;
  readonly activation: Activation;
  /** The weights of an expert. */
  readonly names: (expert: number) => b.GatedNames;
}

/** Σ over a token's experts of factor · down(activation(gate(x)) · up(x)): [tokens, width]. */
export function mixture(
  s: Scope,
  x: Node,
  { chosen, factors }: Routing,
  { experts, inner, activation, names }: ExpertOptions,
): Node {
  const width = b.widthOf(x);
  const all = Array.from({ length: experts }, (_, expert) => names(expert));
  const stack = (part: keyof b.GatedNames, shape: readonly [number, number]): Node => {
    const weights = all.map((each) => `${each[part]}.weight`);
    return s.weights.once(`stack of ${weights[0]!}`, () => stacked(s, weights, shape));
  };
  const inwards = concat(s.g, [stack("gate", [inner, width]), stack("up", [inner, width])], 1);
  const both = expertMatmul(s.g, x, transpose(s.g, inwards, [0, 2, 1]), chosen);
  const [gate, up] = split(s.g, both, 2, [inner, inner]) as [Node, Node];
  const middle = b.multiply(s, b.activate(s, activation, gate), up);
  const down = transpose(s.g, stack("down", [width, inner]), [0, 2, 1]);
  // The factors come first: they are there before the product is.
  const repeated = reshape(s.g, factors, [...factors.shape, 1]);
  const out = expertMatmul(s.g, middle, down, chosen);
  const same = factors.dtype === s.dtype;
  const value = cast(s.g, b.multiply(s, repeated, same ? out : b.wide(s, out)), s.dtype);
  return b.named(s, mixtureName(all[0]!.down), sumOverSlots(s, value));
}

/** [tokens, count, width] as [tokens, width], rounded after each of the sums. */
function sumOverSlots(s: Scope, value: Node): Node {
  const [tokens, count, width] = value.shape;
  const parts = split(s.g, value, 1, Array<number>(constValue(count!)!).fill(1));
  return parts
    .map((part) => reshape(s.g, part, [tokens!, width!]))
    .reduce((x, y) => b.add(s, x, y));
}

/** The module of the experts, from a name of one of its weights. */
const mixtureName = (name: string): string => name.replace(/\.experts\..*$/, ".experts");

/** Weights [rows, columns] of all experts in the model's arithmetic: [experts, rows, columns]. */
function stacked(s: Scope, names: readonly string[], shape: readonly [number, number]): Node {
  const scales = s.weights.scalesOf(names[0]!);
  if (scales !== null) return cast(s.g, blockScaled(s, names, shape, scales), s.dtype);
  const stored = names.map((name) => s.weights.tensor(name, shape, { scale: 0.02, shift: 0 }));
  return cast(s.g, reshape(s.g, concat(s.g, stored, 0), [names.length, ...shape]), s.dtype);
}
