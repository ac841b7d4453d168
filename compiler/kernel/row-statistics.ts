/**
 * Where the rows of a product are normalised: inside it, once for each run of columns that a task
 * computes, or apart, once. Counted in passes over a row's elements.
 */
import { isNode, type Node } from "../ir/graph.js";
import { widens } from "../ir/precision.js";
import { constValue, mul, one, substitute } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import { epilogueRegion, roles, type Analysis } from "./analysis.js";
import { refusal, type Refusal } from "./limits.js";
import { keepsRows } from "./materialise.js";
import type { Target } from "./target.js";

/** The reductions of a normalisation: each is one pass over a row. */
const sums = { layer: 2, rms: 1 } as const;
/** Apart, a row is stored once and read back. */
const passesApart = 2;

interface Normalised {
  readonly norm: Node<"normalize">;
  /** From the operand down to the normalisation. */
  readonly path: readonly Node[];
}

/** The normalisation below an operand of which a product asks rows. */
function normalisedBelow(node: Node): Normalised | null {
  if (isNode(node, "normalize")) return { norm: node, path: [] };
  if (!keepsRows(node)) return null;
  for (const input of node.inputs) {
    const below = normalisedBelow(input);
    if (below !== null) return { ...below, path: [node, ...below.path] };
  }
  return null;
}

/** The last value on the way to the product that the normalisation's own kernel can store. */
function storedValue({ norm, path }: Normalised, analysis: Analysis): Node {
  const region = epilogueRegion(norm, analysis, new Set());
  let value: Node = norm;
  for (const node of [...path].reverse()) {
    if (!region.has(node)) break;
    // What is only widened is stored as narrow as it is.
    const same = isNode(node, "cast") && widens(node.inputs[0]!.dtype, node.dtype);
    if (roles[node.op] !== "movement" && !same) value = node;
  }
  return value;
}

/** The most rows that a product has in a box of symbols. */
function rowsIn(product: Node, box: ReadonlyMap<Expr, Expr>): number {
  const rows = product.shape.slice(0, -1).reduce((x, y) => mul(x, y), one);
  return rangeOf(substitute([rows], box)[0]!).max;
}

/**
 * Values that are cheaper stored normalised than normalised in every product that reads them, with
 * the count that says so; none for a target that does not say how many columns a pass serves.
 * @param box symbols with narrower ranges in their place
 */
export function normalisedApart(
  analysis: Analysis,
  target: Target,
  box: ReadonlyMap<Expr, Expr> = new Map(),
): Map<Node, Refusal> {
  const { columnsOfPass, rowsOfPass = 0 } = target;
  const apart = new Map<Node, Refusal>();
  if (columnsOfPass === undefined) return apart;
  const uses = new Map<Node, { norm: Node<"normalize">; passes: number; readers: Set<Node> }>();
  const values = new Map<Node, Node>();
  for (const product of analysis.anchors) {
    if (!isNode(product, "matmul")) continue;
    const below = normalisedBelow(product.inputs[0]!);
    if (below === null || analysis.isWeight(below.norm)) continue;
    if (rowsIn(product, box) <= rowsOfPass) continue;
    const columns = constValue(product.shape.at(-1)!);
    if (columns === null) continue;
    const [operand] = product.inputs;
    if (!values.has(operand!)) values.set(operand!, storedValue(below, analysis));
    const value = values.get(operand!)!;
    const use = uses.get(value) ?? { norm: below.norm, passes: 0, readers: new Set() };
    use.passes += Math.ceil(columns / columnsOfPass);
    use.readers.add(below.path[below.path.indexOf(value) - 1] ?? product);
    uses.set(value, use);
  }
  for (const [value, { norm, passes, readers }] of uses) {
    const each = sums[norm.attrs.kind];
    const more = each * (passes - 1);
    const users = new Set(analysis.users.get(value));
    const others = [...users].some((user) => !readers.has(user));
    const sumsOf = `${each === 1 ? "a sum" : `${each} sums`} for each of ${passes} runs of columns`;
    if (others) apart.set(value, refusal("readers", users.size, readers.size));
    else if (more > passesApart) apart.set(value, refusal("passes", more, passesApart, sumsOf));
  }
  return apart;
}
