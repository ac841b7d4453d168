/** Values of symbols, from the caller's tensors, and of the dimensions that use them. */
import { FarrierError } from "../errors.js";
import { constValue } from "../scalar/build.js";
import { evaluateExpr } from "../scalar/evaluate.js";
import { isOp, type Expr } from "../scalar/expr.js";
import type { Shape } from "./graph.js";
import { printExpr } from "./print-expr.js";
import { printShape } from "./shape.js";

/** Evaluates dimensions under fixed values of the symbols. */
export class Dimensions {
  readonly #symbols: ReadonlyMap<string, number>;
  readonly #known = new Map<Expr, number>();

  constructor(symbols: ReadonlyMap<string, number>) {
    this.#symbols = symbols;
  }

  of(dim: Expr): number {
    const literal = constValue(dim);
    if (literal !== null) return literal;
    let value = this.#known.get(dim);
    if (value === undefined) {
      value = Number(evaluateExpr([dim], { sym: (name) => this.symbol(name) })[0]!);
      this.#known.set(dim, value);
    }
    return value;
  }

  shape(shape: Shape): number[] {
    return shape.map((dim) => {
      const value = this.of(dim);
      if (value >= 0) return value;
      throw new FarrierError("E_DIM_NEGATIVE", `${printExpr(dim)} is ${value}`);
    });
  }

  symbol(name: string): number {
    const value = this.#symbols.get(name);
    if (value !== undefined) return value;
    throw new FarrierError("E_RT_INPUT", "has no value", {
      where: `symbol ${name}`,
      hint: "no input has it as a dimension: give it",
    });
  }
}

export interface ShapedInput {
  readonly name: string;
  readonly declared: Shape;
  readonly actual: readonly number[];
}

/**
 * Values of the symbols that are dimensions of inputs, beside those `given`. Every dimension must
 * agree with them and every symbol with its range.
 */
export function bindSymbols(
  inputs: readonly ShapedInput[],
  given: ReadonlyMap<string, number> = new Map(),
): Dimensions {
  const symbols = new Map(given);
  for (const input of inputs) bindInput(input, symbols);
  const dimensions = new Dimensions(symbols);
  for (const { name, declared, actual } of inputs)
    declared.forEach((dim, axis) => {
      const wanted = dimensions.of(dim);
      if (wanted !== actual[axis])
        throw new FarrierError(
          "E_RT_INPUT",
          `axis ${axis} is ${actual[axis]}, ${printExpr(dim)} is ${wanted}`,
          { where: `input ${JSON.stringify(name)}` },
        );
    });
  return dimensions;
}

function bindInput({ name, declared, actual }: ShapedInput, symbols: Map<string, number>): void {
  const where = `input ${JSON.stringify(name)}`;
  if (declared.length !== actual.length)
    throw new FarrierError(
      "E_RT_INPUT",
      `shape [${actual.join(", ")}], expected ${printShape(declared)}`,
      { where },
    );
  declared.forEach((dim, axis) => {
    if (!isOp(dim, "sym")) return;
    const { name: symbol, min, max, divisor } = dim.attr;
    const value = actual[axis]!;
    const before = symbols.get(symbol) ?? value;
    if (before !== value)
      throw new FarrierError("E_SYMBOL_CONFLICT", `${symbol} is ${before} and ${value}`, { where });
    if (value < min || value > max || value % divisor !== 0)
      throw new FarrierError(
        "E_RT_PROFILE",
        `${symbol} is ${value}, the profile allows ${min} to ${max}` +
          (divisor === 1 ? "" : `, multiples of ${divisor}`),
        { where },
      );
    symbols.set(symbol, value);
  });
}
