/** Results against the test's own outputs, by ONNX's tolerances. */
import { isFloat } from "../../compiler/ir/dtype.js";
import { readElements, type Elements } from "../../compiler/scalar/elements.js";
import type { CaseTensor } from "./cases.js";

const relative = 1e-3;
const absolute = 1e-7;

export interface Result {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

function close(found: number, wanted: number): boolean {
  if (Number.isNaN(found) || Number.isNaN(wanted))
    return Number.isNaN(found) === Number.isNaN(wanted);
  if (found === wanted) return true;
  return Math.abs(found - wanted) <= absolute + relative * Math.abs(wanted);
}

/** Integers and booleans are equal, or wrong. */
function firstDifference(found: Elements, wanted: Elements, float: boolean): number {
  for (let i = 0; i < wanted.length; i++) {
    const same = float ? close(Number(found[i]), Number(wanted[i])) : found[i] === wanted[i];
    if (!same) return i;
  }
  return -1;
}

/** What is wrong with a result, or null. */
export function difference(result: Result | undefined, wanted: CaseTensor): string | null {
  const { name, dtype, shape, bytes } = wanted;
  if (result === undefined) return `${name} is missing`;
  if (result.dtype !== dtype || result.shape.join() !== shape.join())
    return `${name} is ${result.dtype}[${result.shape.join(", ")}], expected ${dtype}[${shape.join(", ")}]`;
  const count = shape.reduce((product, dim) => product * dim, 1);
  const [left, right] = [
    readElements(dtype, result.bytes, count),
    readElements(dtype, bytes, count),
  ];
  const at = firstDifference(left, right, isFloat(dtype));
  return at < 0 ? null : `${name}[${at}] is ${left[at]}, expected ${right[at]}`;
}
