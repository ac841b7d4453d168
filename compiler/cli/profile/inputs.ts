/** Values to run an entry with where the user gives none: times hardly depend on them. */
import type { EntryInfo, Inputs } from "../../../runtime/node/index.js";
import { floorValue, type FloorExpr } from "../../plan/floor-expr.js";
import { asInput, numbersOf, type FileTensor } from "../tensors.js";
import { filledInput, type Sizes } from "./sizes.js";

export interface Values {
  readonly inputs: Inputs;
  /** By the names that floors have for them. */
  readonly means: Readonly<Record<string, number>>;
}

/** Numbers in [0, 1), always the same. */
function* fractions(): Generator<number, never> {
  for (let state = 1; ;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state / 2 ** 32;
  }
}

export const shapeOf = (shape: EntryInfo["inputs"][number]["shape"], sizes: Sizes): number[] =>
  shape.map((dim) => floorValue(dim as FloorExpr, sizes));

/**
 * Ids below the vocabulary, caches filled as far as asked, other integers 1, floats in [-1, 1).
 * Inputs that have a value of their own when left out are left out.
 * @param laidOut inputs whose values say where caches are
 */
export function valuesFor(
  entry: EntryInfo,
  sizes: Sizes,
  filled: number | null,
  given: Readonly<Record<string, FileTensor>>,
  laidOut: Inputs,
): Values {
  const vocabulary = entry.outputs.find(({ name }) => name === "logits")?.shape.at(-1);
  const next = fractions();
  const fraction = (): number => next.next().value;
  const inputs: Record<string, Inputs[string]> = { ...laidOut };
  const means: Record<string, number> = {};
  for (const { name, dtype, shape, fill } of entry.inputs) {
    const own = given[name];
    if (own !== undefined) {
      inputs[name] = asInput(name, own, dtype);
      means[`@${name}`] = mean(numbersOf(own));
    } else if (name in laidOut) continue;
    else if (fill !== undefined) means[`@${name}`] = fill;
    else {
      const value = (): number => {
        if (name === filledInput && filled !== null) return filled;
        if (name === "input_ids" && typeof vocabulary === "number")
          return Math.floor(fraction() * vocabulary);
        return /^[iu]|^bool/.test(dtype) ? 1 : fraction() * 2 - 1;
      };
      const dims = shapeOf(shape, sizes);
      const length = dims.reduce((count, dim) => count * dim, 1);
      const data = Array.from({ length }, value);
      inputs[name] = { data, shape: dims };
      means[`@${name}`] = mean(data);
    }
  }
  return { inputs, means };
}

const mean = (values: ArrayLike<number>): number =>
  values.length === 0
    ? 0
    : Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
