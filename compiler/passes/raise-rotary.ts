/** Rotary embedding spelled as x·cos + concat(-x₂, x₁)·sin with tables of the full width. */
import { rotary } from "../ir/build-anchor.js";
import { slice } from "../ir/build.js";
import { ElementReader, NotElementwise } from "../ir/element.js";
import { isNode, topological, type Graph, type Node } from "../ir/graph.js";
import { add, constValue, coord, int, load, zero } from "../scalar/build.js";
import { linearize } from "../ir/element.js";
import { substituteNodes } from "../rewrite/substitute.js";
import { eitherOf, numbersOf, operandsOf, unbroadcast } from "./match.js";
import type { Pass, PassContext } from "./pass.js";

/** x where `node` is concat(-x[half..], x[..half]) along the last axis. */
function turned(node: Node): Node | null {
  if (
    !isNode(node, "concat") ||
    node.inputs.length !== 2 ||
    node.attrs.axis !== node.shape.length - 1
  )
    return null;
  const [negated, first] = node.inputs as [Node, Node];
  const second = operandsOf(negated, "neg")?.[0];
  if (
    second === undefined ||
    !isNode(first, "slice") ||
    !isNode(second, "slice") ||
    first.inputs[0] !== second.inputs[0]
  )
    return null;
  const x = first.inputs[0]!;
  const last = x.shape.length - 1;
  const width = constValue(x.shape[last]!);
  const half = constValue(first.shape[last]!);
  const starts = [first, second].map((part) => constValue(part.attrs.starts[last]!));
  const plain = [first, second].every((part) => part.attrs.steps[last] === 1);
  return plain && half !== null && width === 2 * half && starts[0] === 0 && starts[1] === half
    ? x
    : null;
}

/** True if element d and d + half of the table are the same value. */
function halvesRepeat(table: Node, context: PassContext): boolean {
  const last = table.shape.length - 1;
  const width = constValue(table.shape[last]!);
  if (width === null || width % 2 !== 0) return false;
  const values = table.op === "constant" ? numbersOf(table, context) : null;
  if (values !== null)
    return values.every(
      (value, index) => index % width >= width / 2 || Object.is(value, values[index + width / 2]!),
    );
  const reader = new ElementReader({
    strict: true,
    site: () => 1,
    scalar: () => null,
    stored: (node, coords) =>
      node.op === "constant" || node.op === "input" || node.op === "matmul"
        ? load(`node${node.id}`, linearize(coords, node.shape), node.dtype)
        : null,
  });
  const outer = table.shape.slice(0, last).map((dim, axis) => coord(`t${axis}`, dim));
  const d = coord("d", int(width / 2));
  try {
    return reader.at(table, [...outer, d]) === reader.at(table, [...outer, add(d, int(width / 2))]);
  } catch (error) {
    if (error instanceof NotElementwise) return false;
    throw error;
  }
}

function firstHalf(graph: Graph, table: Node): Node {
  const axis = table.shape.length - 1;
  return slice(graph.builder, table, {
    axis,
    start: zero,
    end: int(constValue(table.shape[axis]!)! / 2),
  });
}

function raised(graph: Graph, node: Node, context: PassContext): Node | null {
  return eitherOf(operandsOf(node, "add"), (straight, crossed) => {
    const sine = eitherOf(operandsOf(crossed, "mul"), (value, table) => {
      const x = turned(value);
      return x === null ? null : { x, table };
    });
    if (sine === null) return null;
    const cosine = eitherOf(operandsOf(straight, "mul"), (value, table) =>
      value === sine.x ? table : null,
    );
    if (cosine === null) return null;
    const tables = [cosine, sine.table].map(unbroadcast) as [Node, Node];
    const width = sine.x.shape[sine.x.shape.length - 1]!;
    const fits = tables.every(
      (table) => table.shape[table.shape.length - 1] === width && halvesRepeat(table, context),
    );
    if (!fits) return null;
    const [cos, sin] = tables.map((table) => firstHalf(graph, table)) as [Node, Node];
    return rotary(graph.builder, sine.x, cos, sin, false);
  });
}

export const raiseRotary: Pass = {
  name: "x·cos + concat(-x₂, x₁)·sin => rotary(x, cos, sin)",
  run(graph, context) {
    const replacements = new Map<Node, Node>();
    for (const node of topological(graph)) {
      const replacement = raised(graph, node, context);
      if (replacement !== null) replacements.set(node, replacement);
    }
    return substituteNodes(graph, replacements);
  },
};
