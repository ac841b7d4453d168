/** Weights that need no packing: the model stores them as kernels read them. */
import { below, type Node } from "../ir/graph.js";
import { add, constValue, coord, mul } from "../scalar/build.js";
import { rangeOf } from "../scalar/range.js";
import { roles } from "./analysis.js";
import { plainLoad, readerFor, type LoweringContext } from "./lowering.js";
import type { Buffer, PackedWeight } from "./memory.js";

/**
 * The model's tensor that lies in memory as `packed` would: one that is stored [n, k], for targets
 * whose panels are single columns. Null: a copy has to be made.
 */
export function storedAsPacked(
  context: LoweringContext,
  weight: Node,
  { layout, k: kExtent, n: nExtent, stack, key }: PackedWeight,
): Buffer | null {
  const rows = constValue(kExtent);
  const panels = layout.columns === 1 && rows !== null && rows % layout.rows === 0;
  if (!panels || stack !== undefined || key !== "rows" || !isMoved(weight)) return null;
  const [k, n] = [coord("k", kExtent), coord("n", nExtent)];
  const value = plainLoad(readerFor(context).at(weight, [k, n]));
  if (value?.type !== layout.dtype) return null;
  const buffer = context.memory.buffers.get(value.attr.buffer)!;
  const whole = rangeOf(buffer.elements).max === rows * rangeOf(nExtent).max;
  return buffer.place === "source" && whole && value.args[0] === add(mul(n, kExtent), k)
    ? buffer
    : null;
}

/** Nothing is computed: elements of tensors stand in another order. */
const isMoved = (weight: Node): boolean =>
  below([weight]).every(({ op }) => ["constant", "cast"].includes(op) || roles[op] === "movement");
