/** What a value's history says about its precision. */
import { dtypes, isFloat, type DType } from "./dtype.js";
import { opTraits } from "./traits.js";
import type { Node } from "./graph.js";

/** True if every value of `from` is a value of `to`. */
export function widens(from: DType, to: DType): boolean {
  if (!isFloat(from) || !isFloat(to)) return false;
  if (from === to) return true;
  return to === "f64" || (to === "f32" && dtypes[from].bits < 32);
}

/**
 * The narrowest float dtype that holds the node's values exactly, as its casts tell: a product of two
 * such values may multiply in that dtype, whatever dtype the graph widened them to.
 */
export function exactDtype(node: Node): DType {
  let current = node;
  for (;;) {
    const input = current.inputs[0];
    if (input === undefined) return current.dtype;
    if (current.op === "cast" && widens(input.dtype, current.dtype)) current = input;
    else if (current.op === "concat")
      return commonDtype(current.inputs.map(exactDtype), node.dtype);
    else if (opTraits[current.op].view) current = input;
    else return current.dtype;
  }
}

const commonDtype = (found: readonly DType[], otherwise: DType): DType =>
  found.every((dtype) => dtype === found[0]) ? found[0]! : otherwise;
