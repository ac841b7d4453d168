/** The largest elements, and writing to places that other tensors name. */
import {
  broadcastTo,
  cast,
  constantScalar,
  reshape,
  scatter,
  slice,
  topK,
} from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import type { ScatterReduction } from "../../../ir/ops.js";
import { printShape, sameShape } from "../../../ir/shape.js";
import { one } from "../../../scalar/build.js";
import type { Call, Operator } from "../call.js";
import { dimensions } from "../host-values.js";
import { apply, product, scalarLike } from "./common.js";
import { checkTuples, elementsAlong, wrapped } from "./index.js";

/** The values, and where they were; always sorted. */
export function TopK(call: Call): readonly Node[] {
  const { g, attrs, version } = call;
  const x = call.input(0);
  const axis = call.axis(attrs.int("axis", -1), x.shape.length);
  const largest = version >= 11 ? attrs.flag("largest", true) : true;
  if (version >= 11) attrs.ignore("sorted");
  const count = version >= 10 ? call.number(call.input(1), "how many") : attrs.int("k");
  if (count === undefined) throw attrs.missing("k");
  const chosen = topK(g, x, axis, count, largest);
  return [elementsAlong(call, x, chosen, axis), chosen];
}

const reductions = ["none", "add", "mul", "max", "min"] as const;

const reductionOf = (call: Call): ScatterReduction =>
  call.version >= 16 ? call.attrs.choice("reduction", reductions, "none") : "none";

/** Each update goes to its own coordinates, but for that along the axis. */
export const ScatterElements: Operator = (call) => {
  const [data, indices, updates] = [call.input(0), call.input(1), call.input(2)];
  const axis = call.axis(call.attrs.int("axis", 0), data.shape.length);
  const at = wrapped(call, indices, data.shape[axis]!);
  return scatter(call.g, data, at, updates, axis, reductionOf(call));
};

/** The name of ScatterElements before opset 11. */
export const Scatter = ScatterElements;

/** Runs of elements at tuples of indices: along one axis, once those of the tuples are one. */
export function ScatterND(call: Call): Node {
  const { g } = call;
  const [data, indices, updates] = [call.input(0), call.input(1), call.input(2)];
  const count = call.extent(indices.shape.at(-1) ?? one, "an index tuple");
  const [outer, inner] = [data.shape.slice(0, count), data.shape.slice(count)];
  const places = indices.shape.slice(0, -1);
  const fits = count <= data.shape.length && sameShape(updates.shape, [...places, ...inner]);
  if (!fits)
    throw call.error(
      "E_SCATTER",
      `${printShape(updates.shape)} at ${printShape(indices.shape)} of ${printShape(data.shape)}`,
    );
  checkTuples(call, indices, outer);
  const [rows, run, many] = [product(outer), product(inner), product(places)];
  const flat = reshape(g, flatIndex(call, indices, count, outer), [many, one]);
  const shape = [many, run];
  const result = scatter(
    g,
    reshape(g, data, [rows, run]),
    broadcastTo(g, flat, shape),
    reshape(g, updates, shape),
    0,
    reductionOf(call),
  );
  return reshape(g, result, data.shape);
}

/** The row-major position that each tuple names, -1 where a coordinate is outside its axis. */
function flatIndex(call: Call, indices: Node, count: number, outer: Node["shape"]): Node {
  const { g } = call;
  const wide = cast(g, indices, "i64");
  let position: Node = constantScalar(g, "i64", 0);
  let inside: Node = constantScalar(g, "bool", true);
  for (let i = 0; i < count; i++) {
    const part = component(call, wide, i);
    const size = dimensions(g, [outer[i]!], 0);
    const zero = scalarLike(g, part, 0);
    const counted = apply(
      g,
      "select",
      apply(g, "lt", part, zero),
      apply(g, "add", part, size),
      part,
    );
    const valid = apply(g, "and", apply(g, "ge", counted, zero), apply(g, "lt", counted, size));
    inside = apply(g, "and", inside, valid);
    position = apply(g, "add", apply(g, "mul", position, size), counted);
  }
  return apply(g, "select", inside, position, scalarLike(g, position, -1));
}

function component({ g }: Call, indices: Node, i: number): Node {
  const axis = indices.shape.length - 1;
  const part = slice(g, indices, { axis, start: i, end: i + 1 });
  return reshape(g, part, indices.shape.slice(0, -1));
}
