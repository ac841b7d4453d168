/** Interval arithmetic on integer expressions: what the simplifier may prove. */
import { dtypes } from "../ir/dtype.js";
import { isOp, type Expr } from "./expr.js";
import { limits } from "./round.js";

export interface Range {
  readonly min: number;
  readonly max: number;
}

const everything: Range = { min: -Infinity, max: Infinity };
const cache = new WeakMap<Expr, Range>();

const times = (a: number, b: number): number => (a === 0 || b === 0 ? 0 : a * b);

function mulRange(a: Range, b: Range): Range {
  const products = [
    times(a.min, b.min),
    times(a.min, b.max),
    times(a.max, b.min),
    times(a.max, b.max),
  ];
  return { min: Math.min(...products), max: Math.max(...products) };
}

const boolRange: Range = { min: 0, max: 1 };

/** Beyond 2^53 sums of doubles are rounded, and prove nothing. */
export function outwards({ min, max }: Range): Range {
  return {
    min: min >= Number.MIN_SAFE_INTEGER ? min : -Infinity,
    max: max <= Number.MAX_SAFE_INTEGER ? max : Infinity,
  };
}

/** Bounds of an integer or boolean expression; infinite where nothing is known. */
export function rangeOf(expr: Expr): Range {
  const known = cache.get(expr);
  if (known !== undefined) return known;
  const range = withinType(expr, compute(expr));
  cache.set(expr, range);
  return range;
}

/** Narrow integers wrap around: a range that leaves the type says nothing but the type. */
function withinType(expr: Expr, range: Range): Range {
  const { bits, kind } = dtypes[expr.type];
  if (kind === "float") return everything;
  if (bits === 64) {
    const known = outwards(range);
    const mayWrap = kind === "uint" && !(known.min >= 0 && known.max < Infinity);
    return mayWrap ? { min: 0, max: Infinity } : known;
  }
  const [min, max] = kind === "bool" ? [0, 1] : limits(expr.type).map(Number);
  return range.min >= min! && range.max <= max! ? range : { min: min!, max: max! };
}

function compute(expr: Expr): Range {
  if (isOp(expr, "const")) {
    const value = Number(expr.attr.value);
    return Number.isInteger(value) ? { min: value, max: value } : everything;
  }
  if (isOp(expr, "sym")) return { min: expr.attr.min, max: expr.attr.max };
  const [a, b, c] = expr.args;
  switch (expr.op) {
    case "coord": {
      const extent = rangeOf(a!);
      return { min: 0, max: Math.max(0, extent.max - 1) };
    }
    case "check":
      return { min: 0, max: Math.max(0, rangeOf(b!).max - 1) };
    case "add": {
      const [x, y] = [rangeOf(a!), rangeOf(b!)];
      return { min: x.min + y.min, max: x.max + y.max };
    }
    case "sub": {
      const [x, y] = [rangeOf(a!), rangeOf(b!)];
      return { min: x.min - y.max, max: x.max - y.min };
    }
    case "neg": {
      const x = rangeOf(a!);
      return { min: -x.max, max: -x.min };
    }
    case "mul":
      return mulRange(rangeOf(a!), rangeOf(b!));
    case "div": {
      const [x, y] = [rangeOf(a!), rangeOf(b!)];
      if (expr.type !== "i64" || y.min < 1) return everything;
      return {
        min: Math.floor(x.min / (x.min < 0 ? y.min : y.max)) || 0,
        max: Math.floor(x.max / (x.max < 0 ? y.max : y.min)),
      };
    }
    case "mod": {
      const [x, y] = [rangeOf(a!), rangeOf(b!)];
      if (expr.type !== "i64" || y.min < 1) return everything;
      return { min: 0, max: Math.min(y.max - 1, x.min >= 0 ? x.max : Infinity) };
    }
    case "min": {
      const [x, y] = [rangeOf(a!), rangeOf(b!)];
      return { min: Math.min(x.min, y.min), max: Math.min(x.max, y.max) };
    }
    case "max": {
      const [x, y] = [rangeOf(a!), rangeOf(b!)];
      return { min: Math.max(x.min, y.min), max: Math.max(x.max, y.max) };
    }
    case "select": {
      const [x, y] = [rangeOf(b!), rangeOf(c!)];
      return { min: Math.min(x.min, y.min), max: Math.max(x.max, y.max) };
    }
    case "cast":
      if (dtypes[a!.type].kind === "float") return everything;
      return a!.type === "u64" && rangeOf(a!).max === Infinity ? everything : rangeOf(a!);
    default:
      return expr.type === "bool" ? boolRange : everything;
  }
}
