/** Facts about nodes that partitioning asks for: what is a weight, what is an anchor, what precedes. */
import { isNode, topological, usersOf, type Graph, type Node } from "../ir/graph.js";
import type { OpName } from "../ir/ops.js";
import { isConst } from "../scalar/build.js";
import { isSubByte } from "./narrow.js";
import { pushedInput, pushRules } from "./push.js";

/** How an operator takes part in a kernel. */
type Role =
  /** Its values need a template of their own. */
  | "anchor"
  /** Only changes coordinates. */
  | "movement"
  /** A function of single elements of its inputs. */
  | "element"
  /** In memory already. */
  | "leaf"
  /** A store into memory that exists. */
  | "store";

export const roles: { readonly [O in OpName]: Role } = {
  input: "leaf",
  constant: "leaf",
  state: "leaf",
  iota: "element",
  dim: "element",
  map: "element",
  cast: "element",
  reshape: "movement",
  transpose: "movement",
  broadcast: "movement",
  slice: "movement",
  concat: "element",
  gather: "element",
  gather_nd: "element",
  rotary: "element",
  dequantize: "element",
  reduce: "anchor",
  scan: "anchor",
  top_k: "anchor",
  scatter: "anchor",
  softmax: "anchor",
  normalize: "anchor",
  matmul: "anchor",
  attention: "anchor",
  cache_write: "store",
  paged_write: "store",
  sample: "anchor",
  route: "anchor",
  expert_groups: "anchor",
  expert_matmul: "anchor",
};

const scalarNode = (node: Node): boolean => node.shape.every((dim) => isConst(dim, 1));

export class Analysis {
  readonly users: ReadonlyMap<Node, readonly Node[]>;
  readonly order: readonly Node[];
  /** Those of them that a run computes. */
  readonly computed: readonly Node[];
  readonly #weights: ReadonlySet<Node>;
  readonly #tabled = new Set<Node>();
  /** Per computed node, the largest number of the anchors that it depends on; -1 for none. */
  readonly #after = new Map<Node, number>();
  readonly anchors: readonly Node[];
  readonly #number = new Map<Node, number>();

  /** @param weights what is computed when weights are bound */
  constructor(graph: Graph, weights: ReadonlySet<Node>) {
    this.order = topological(graph);
    this.users = usersOf(graph);
    this.#weights = weights;
    for (const node of this.order)
      if (this.#weights.has(node) && node.inputs.length > 0 && worthATable(node, this.#tabled))
        this.#tabled.add(node);
    this.computed = this.order.filter((node) => !this.#weights.has(node));
    this.anchors = this.computed.filter((node) => roles[node.op] === "anchor");
    this.anchors.forEach((node, index) => this.#number.set(node, index));
    for (const node of this.computed) {
      const own = this.#number.get(node) ?? -1;
      const below = node.inputs.map((input) => this.#after.get(input) ?? -1);
      this.#after.set(node, Math.max(own, ...below));
    }
  }

  /** Depends on nothing that a run brings: computed when weights are bound. */
  isWeight(node: Node): boolean {
    return this.#weights.has(node);
  }

  /** A weight that is computed into memory rather than at each use. */
  isTabled(node: Node): boolean {
    return this.#tabled.has(node);
  }

  numberOf(anchor: Node): number {
    return this.#number.get(anchor)!;
  }

  /** True if `node` can be computed before the kernel of `anchor` runs. */
  precedes(node: Node, anchor: Node): boolean {
    return (this.#after.get(node) ?? -1) < this.numberOf(anchor);
  }
}

/** Loading and converting a stored weight, or comparing positions, costs less than a table. */
function worthATable(node: Node, tabled: ReadonlySet<Node>): boolean {
  if (scalarNode(node) && roles[node.op] !== "anchor") return false;
  if (roles[node.op] === "movement" || node.op === "cast") return false;
  if (node.op === "gather" || node.op === "gather_nd") return false;
  if (!isNode(node, "map")) return roles[node.op] !== "leaf";
  return node.inputs.some((input) => tabled.has(input) || readsMemory(input)) || !isCheap(node);
}

function readsMemory(node: Node): boolean {
  if (node.op === "constant") return !scalarNode(node);
  return (roles[node.op] === "movement" || node.op === "cast") && readsMemory(node.inputs[0]!);
}

/** A single machine instruction on indices: comparison, arithmetic, selection. */
function isCheap(node: Node<"map">): boolean {
  const cheap = new Set([
    "add",
    "sub",
    "mul",
    "min",
    "max",
    "and",
    "or",
    "not",
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "ne",
    "select",
    "where",
    "neg",
  ]);
  return cheap.has(node.attrs.fn.name);
}

/** The nodes that the epilogue of `anchor` can hold, in topological order, without `anchor` itself. */
export function epilogueRegion(
  anchor: Node,
  analysis: Analysis,
  blocked: ReadonlySet<Node>,
): Set<Node> {
  const region = new Set<Node>();
  // Its values are in memory only: later updates change them.
  if (anchor.op === "scatter") return region;
  const reached = (node: Node): boolean => node === anchor || region.has(node);
  const fits = (node: Node): boolean => {
    if (blocked.has(node) || pushRules[node.op] === null) return false;
    // Elements that share bytes are written by the byte.
    if (isSubByte(node.dtype)) return false;
    const only = pushedInput[node.op];
    return node.inputs.every((input, index) =>
      reached(input) ? only === undefined || only === index : analysis.precedes(input, anchor),
    );
  };
  // By descending ids: the last one's inputs have been looked at before it.
  const waiting: Node[] = [];
  const enqueue = (users: readonly Node[]): void => {
    for (const user of users) {
      let place = waiting.length;
      while (place > 0 && waiting[place - 1]!.id < user.id) place--;
      if (waiting[place - 1] !== user) waiting.splice(place, 0, user);
    }
  };
  enqueue(analysis.users.get(anchor) ?? []);
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (!fits(node)) continue;
    region.add(node);
    enqueue(analysis.users.get(node) ?? []);
  }
  return region;
}
