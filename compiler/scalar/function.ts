/** A scalar function: what an elementwise op computes for one element. */
import type { DType } from "../ir/dtype.js";
import { isFloat } from "../ir/dtype.js";
import { cast, constant, rewriteExpr } from "./build.js";
import { isOp, postorder, type Expr } from "./expr.js";

export interface ScalarFunction {
  /** Name for people: of a primitive, of a built-in of `functions.ts`, or of a user's function. */
  readonly name: string;
  readonly arity: number;
  /** Equal keys are equal functions: the name of a built-in, the canonical tree of a user's. */
  readonly key: string;
  /** Whether each number in the body is a value of `type`; absent where the body has none. */
  fits?(type: DType): boolean;
  /** The value as an expression of arguments that already have the compute type. */
  apply(args: readonly Expr[]): Expr;
  /** The value of one element in double precision, or exactly for integers (bigint in, bigint out). */
  evaluate(...args: (number | bigint)[]): number | bigint | boolean;
}

/** The type in which a body computes values of `dtype`: f32 for every narrower float. */
export function computeType(dtype: DType): DType {
  if (!isFloat(dtype)) return dtype;
  return dtype === "f64" ? "f64" : "f32";
}

/** Whether the numbers of a lifted tree are values of `type`: integers have neither 0.5 nor infinity. */
export function literalsFit(tree: Expr, type: DType): boolean {
  if (isFloat(type)) return true;
  let fit = true;
  postorder([tree], (node) => {
    if (isOp(node, "const") && node.type === "f64")
      fit &&= Number.isInteger(Number(node.attr.value));
  });
  return fit;
}

/**
 * Instantiates a tree lifted from TypeScript (all numbers f64, parameters `param(name)`) at the type
 * of its arguments.
 */
export function instantiate(tree: Expr, params: readonly string[], args: readonly Expr[]): Expr {
  const type = args[0]!.type;
  return rewriteExpr([tree], (node, original) => {
    // By the original: an argument may be a parameter too, of the same name.
    if (isOp(original, "param")) {
      const index = params.indexOf(original.attr.name);
      return index < 0 ? null : cast(args[index]!, type);
    }
    if (isOp(original, "const") && original.type === "f64") {
      const value = Number(original.attr.value);
      return constant(type === "f32" ? Math.fround(value) : value, type);
    }
    // Math.fround is a cast to f32 and back.
    return isOp(original, "cast") && original.type === "f64"
      ? cast(node.args[0] ?? node, type)
      : null;
  })[0]!;
}
