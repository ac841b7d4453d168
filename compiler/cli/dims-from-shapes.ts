/** Ranges of symbols for data that is at hand: of one value, the data's own. */
import { FarrierError } from "../errors.js";
import { inputShapes } from "../input-shapes.js";

type Dims = Record<string, readonly [number, number]>;

/** A range of one value for each symbol in the shape of an input that `tensors` has. */
export function dimsFromShapes(
  model: string,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>,
): Dims {
  const dims: Dims = {};
  for (const [name, shape] of inputShapes(model)) {
    const given = tensors.get(name)?.shape;
    if (given === undefined) continue;
    if (given.length !== shape.length)
      throw new FarrierError(
        "E_RT_INPUT",
        `it has ${given.length} dimensions, the model wants ${shape.length}`,
        { where: name },
      );
    shape.forEach((dim, axis) => {
      if (typeof dim === "string") dims[dim] = [given[axis]!, given[axis]!];
    });
  }
  return dims;
}
