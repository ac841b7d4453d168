/** Constants computed while compiling. */
import { byteSize } from "../../ir/dtype.js";
import { broadcastTo, constant } from "../../ir/build.js";
import { evaluateGraph } from "../../ir/evaluate.js";
import { below, isNode, type GraphBuilder, type Node } from "../../ir/graph.js";
import { isUniform, literalBytes, staticElements } from "../../ir/literal.js";
import type { ConstantSource } from "../../ir/ops.js";
import { toBytes } from "../../ir/tensor.js";
import { op } from "../../rewrite/pattern.js";
import { rule, type Rule } from "../../rewrite/rule.js";
import { constValue } from "../../scalar/build.js";

/** The bytes of a constant if they may be read now and are at most `limit`. */
export type ConstantBytes = (node: Node, limit: number) => Uint8Array | null;

/** Results that are larger are left to the weight program. */
const largestResult = 64 * 2 ** 20;
/** Tensors of a file that are larger are weights: they keep their name and their place in the file. */
const largestFileConstant = 256;
/** Results of so few elements may be larger than what they are made of. */
const smallResult = 64;
/** Nodes between a result and its constants: folding goes bottom-up, so that few are left. */
const mostNodes = 32;
/** Elements of what is computed on the way. */
const mostElements = 2 ** 24;
/** Multiplications of a product. */
const mostWork = 2 ** 28;

/**
 * The constants below `node`, or null if it has other leaves. Ranges are none: what is computed from
 * positions stays a function of them, which masks are recognised by.
 */
function constantsBelow(
  node: Node,
  bytesOf: ConstantBytes,
): Map<ConstantSource, Uint8Array> | null {
  const found = new Map<ConstantSource, Uint8Array>();
  const seen = new Set<Node>([node]);
  const stack = [node];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (seen.size > mostNodes || !isSmall(next) || !isClosed(next)) return null;
    if (isNode(next, "constant")) {
      const bytes = literalBytes(next) ?? bytesOf(next, largestFileConstant);
      if (bytes === null) return null;
      found.set(next.attrs.source, bytes);
    } else if (next.inputs.length === 0) return null;
    for (const input of next.inputs) {
      if (seen.has(input)) continue;
      seen.add(input);
      stack.push(input);
    }
  }
  return found;
}

/** Whether no attribute of `node` is over symbols. */
function isClosed(node: Node): boolean {
  if (isNode(node, "slice")) return node.attrs.starts.every((start) => constValue(start) !== null);
  return node.op !== "attention";
}

function isSmall(node: Node): boolean {
  const count = staticElements(node);
  const depth = isNode(node, "matmul") ? constValue(node.inputs[0]!.shape.at(-1)!) : 1;
  return count !== null && count <= mostElements && depth !== null && count * depth <= mostWork;
}

class Folder {
  /** Nodes that are not constants that may be computed: nor is anything over them. */
  readonly #kept = new WeakSet<Node>();

  constructor(readonly bytesOf: ConstantBytes) {}

  apply(root: Node, g: GraphBuilder): Node | null {
    if (root.op === "constant") return null;
    const waits = root.inputs.some((input) => this.#kept.has(input));
    const constants = waits ? null : constantsBelow(root, this.bytesOf);
    if (constants === null) {
      this.#kept.add(root);
      return null;
    }
    return isWorthwhile(root) ? folded(g, root, constants) : null;
  }
}

/** A value that is repeated is cheaper as it is. */
function isWorthwhile(root: Node): boolean {
  const count = staticElements(root)!;
  if (root.op === "broadcast" || byteSize(root.dtype, count) > largestResult) return false;
  const leaves = below([root]).filter((node) => node.op === "constant");
  const given = leaves.reduce((total, node) => total + (staticElements(node) ?? 0), 0);
  return count <= Math.max(smallResult, given);
}

function folded(
  g: GraphBuilder,
  root: Node,
  constants: ReadonlyMap<ConstantSource, Uint8Array>,
): Node {
  const graph = { builder: g, inputs: [], outputs: [{ name: "", node: root }], states: [] };
  const { outputs } = evaluateGraph(graph, new Map(), {
    mode: "strict",
    constants: (source) => constants.get(source)!,
  });
  const data = toBytes(outputs.get("")!);
  return constant(g, { kind: "literal", data }, root.dtype, root.shape);
}

export function foldRules(bytesOf: ConstantBytes): readonly Rule[] {
  const folder = new Folder(bytesOf);
  return [
    rule("[c, c, …] => broadcast(c)", op("constant"), (_, { builder, root }) => {
      const count = staticElements(root);
      if (count === null || count < 2 || !isUniform(root)) return null;
      const data = literalBytes(root)!.slice(0, byteSize(root.dtype, 1));
      const one = constant(builder, { kind: "literal", data }, root.dtype, []);
      return broadcastTo(builder, one, root.shape);
    }),
    {
      name: "f(constants) => constant",
      roots: null,
      apply: (node, { builder }) => folder.apply(node, builder),
    },
  ];
}
