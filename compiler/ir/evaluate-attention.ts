/** Reference evaluation of attention, row by row, never holding the score matrix. */
import { compileExpr, type Env, type Value } from "../scalar/evaluate.js";
import { isOp, type Expr } from "../scalar/expr.js";
import { integerAt, isWide, movable, type TensorValue } from "./tensor.js";

export interface AttentionInputs {
  readonly q: TensorValue;
  readonly k: TensorValue;
  readonly v: TensorValue;
  /** Tensors that the score loads, by buffer name. */
  readonly loads: ReadonlyMap<string, TensorValue>;
  readonly scale: number;
  readonly score: Expr;
  /** The value of a symbol. */
  readonly symbol: (name: string) => number;
}

type Score = (product: number, b: number, h: number, q: number, k: number) => number;

/** The score body as a function; the identity, the usual case in tests, is not interpreted. */
function scoreFunction({ score, loads, symbol }: AttentionInputs): Score {
  if (isOp(score, "param")) return (product) => product;
  const run = compileExpr([score]);
  const params: Record<string, number> = { score: 0, b: 0, h: 0, q: 0, k: 0 };
  const env: Env = {
    param: (name) => params[name]!,
    sym: symbol,
    load: (buffer, offset): Value => {
      const x = loads.get(buffer)!;
      return isWide(x.dtype) ? integerAt(x, offset) : Number(x.data[offset]);
    },
  };
  return (product, b, h, q, k) => {
    Object.assign(params, { score: product, b, h, q, k });
    return Number(run(env)[0]);
  };
}

export function attended(inputs: AttentionInputs): TensorValue {
  const { q, k, v, scale } = inputs;
  const [batch, heads, length, depth] = q.shape as [number, number, number, number];
  const [, groups, keys] = k.shape as [number, number, number, number];
  const width = v.shape[3]!;
  const score = scoreFunction(inputs);
  const out = new Float64Array(batch * heads * length * width);
  const weights = new Float64Array(keys);
  const [qs, ks, vs] = [movable(q.data), movable(k.data), movable(v.data)];
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++) {
      const group = b * groups + Math.floor((h * groups) / heads);
      for (let i = 0; i < length; i++) {
        const row = (b * heads + h) * length + i;
        for (let j = 0; j < keys; j++) {
          const product = dot(qs, row * depth, ks, (group * keys + j) * depth, depth);
          weights[j] = score(product * scale, b, h, i, j);
        }
        const total = exponentials(weights);
        const target = out.subarray(row * width, (row + 1) * width);
        if (total !== 0) combine(weights, total, vs, group * keys * width, target);
      }
    }
  return { dtype: q.dtype, shape: [batch, heads, length, width], data: out };
}

function dot(a: Float64Array, from: number, b: Float64Array, start: number, count: number): number {
  let total = 0;
  for (let i = 0; i < count; i++) total += a[from + i]! * b[start + i]!;
  return total;
}

/** Replaces scores by exponentials and returns their sum: 0 where every score is minus infinity. */
function exponentials(weights: Float64Array): number {
  let top = -Infinity;
  for (const weight of weights) top = Math.max(top, weight);
  if (top === -Infinity) return 0;
  let total = 0;
  for (let j = 0; j < weights.length; j++) total += weights[j] = Math.exp(weights[j]! - top);
  return total;
}

/** Masked keys are skipped, since what they hold may be infinite or never written. */
function combine(
  weights: Float64Array,
  total: number,
  values: Float64Array,
  first: number,
  out: Float64Array,
): void {
  const width = out.length;
  for (let j = 0; j < weights.length; j++) {
    const weight = weights[j]! / total;
    if (weight === 0) continue;
    for (let e = 0; e < width; e++) out[e]! += weight * values[first + j * width + e]!;
  }
}
