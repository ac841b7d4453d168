/** Which dtypes hold every value of another. */
import { decodeE8m0, decodeTable, isSmallFloat, limits, roundFloat } from "../scalar/round.js";
import { dtypes, isFloat, isInteger, type DType } from "./dtype.js";

const known = new Map<string, boolean>();

/** True if a cast from `from` to `to` changes no value, not even the sign of a zero. */
export function holds(to: DType, from: DType): boolean {
  if (to === from) return true;
  const key = `${from}>${to}`;
  let answer = known.get(key);
  if (answer === undefined) known.set(key, (answer = compute(to, from)));
  return answer;
}

function compute(to: DType, from: DType): boolean {
  if (to === "bool" || (isFloat(from) && !isFloat(to))) return false;
  if (isFloat(from)) {
    const values = valuesOf(from);
    // f32 and f64 have too many values to try, and only f64 holds all of f32's.
    if (values === null) return from === "f32" && to === "f64";
    return values.every((value) => Object.is(roundFloat(value, to), value));
  }
  if (isInteger(to)) return from === "bool" || integersFit(to, from);
  if (from === "bool") return roundFloat(0, to) === 0;
  return largestInteger(from) <= 2 ** (dtypes[to].mantissa + 1) && roundsNone(to, from);
}

function valuesOf(dtype: DType): readonly number[] | null {
  if (isSmallFloat(dtype)) return Array.from(decodeTable(dtype));
  if (dtype === "e8m0") return Array.from({ length: 256 }, (_, bits) => decodeE8m0(bits));
  return null;
}

function integersFit(to: DType, from: DType): boolean {
  const [[low, high], [least, most]] = [limits(from), limits(to)];
  return low >= least && high <= most;
}

const largestInteger = (dtype: DType): number => {
  const [low, high] = limits(dtype).map(Number) as [number, number];
  return Math.max(-low, high);
};

/** The ends of an integer type are floats of `to`, and so, by their width, is all between. */
const roundsNone = (to: DType, from: DType): boolean =>
  to !== "e8m0" && limits(from).every((end) => roundFloat(Number(end), to) === Number(end));

/**
 * True if cast(cast(x, via), to) is cast(x, to) for every x of dtype `from`: `via` loses nothing, and
 * does not change what overflow means (integers wrap, floats saturate).
 */
export function castsThrough(from: DType, via: DType, to: DType): boolean {
  if (!holds(via, from)) return false;
  const changesKind = isInteger(from) && isFloat(via) && isInteger(to);
  return !changesKind || holds(to, from);
}
