/** Values of inputs and constants: inside each operator's domain, and of kinds that find faults. */
import { dtypes, isFloat, type DType } from "../../compiler/ir/dtype.js";
import { countOf, newData, setInteger, type TensorValue } from "../../compiler/ir/tensor.js";
import { roundInPlace } from "../../compiler/ir/evaluate-map.js";
import type { Rng } from "./random.js";

export type Domain =
  /** Around zero. */
  | "any"
  /** Away from zero. */
  | "positive"
  /** Of size one over the root of `fan`, as weights of a product are. */
  | { readonly weight: number }
  /** Integers in [0, extent). */
  | { readonly below: number };

/** How floats are drawn throughout a graph. */
export type Style = "real" | "whole" | "special";

const specials = [
  ...[NaN, Infinity, -Infinity, 0, -0, 1, -1, 2 ** -149, -(2 ** -130), 2 ** -24, 65504, -3.5],
];

function floatOf(rng: Rng, domain: Domain, style: Style, scale: number): number {
  if (style === "special" && rng.chance(0.2)) return rng.pick(specials);
  if (style === "whole") return domain === "positive" ? rng.int(1, 3) : rng.int(-3, 3);
  if (domain === "positive") return rng.float(0.25, 2.5);
  if (typeof domain === "object" && "weight" in domain)
    return (rng.float(-1, 1) * 1.7) / Math.sqrt(Math.max(1, domain.weight));
  return rng.float(-2, 2) * scale;
}

function integerOf(rng: Rng, domain: Domain, dtype: DType): bigint {
  if (typeof domain === "object" && "below" in domain)
    return BigInt(rng.int(0, Math.max(0, domain.below - 1)));
  const signed = dtypes[dtype].kind === "int";
  const most = 2 ** (dtypes[dtype].bits - (signed ? 1 : 0)) - 1;
  if (domain === "positive") return BigInt(rng.int(1, Math.min(7, most)));
  return BigInt(rng.int(signed ? Math.max(-6, -most - 1) : 0, Math.min(9, most)));
}

export function sample(
  rng: Rng,
  dtype: DType,
  shape: readonly number[],
  domain: Domain,
  style: Style,
): TensorValue {
  const data = newData(dtype, countOf(shape));
  const value = { dtype, shape, data };
  const scale = rng.pick([1, 1, 1, 0.1, 4]);
  for (let i = 0; i < data.length; i++) {
    if (dtype === "bool") data[i] = rng.chance(0.5) ? 1 : 0;
    else if (isFloat(dtype)) data[i] = floatOf(rng, domain, style, scale);
    else setInteger(data, i, integerOf(rng, domain, dtype), dtype);
  }
  roundInPlace(value);
  return value;
}
