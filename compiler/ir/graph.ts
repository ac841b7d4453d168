/**
 * The graph of operators: one node shape, frozen and interned within its graph. Names and provenance
 * live in a side table, so that equal computations are the same object whatever they were called.
 */
import type { Expr } from "../scalar/expr.js";
import type { DType } from "./dtype.js";
import type { OpAttrs, OpName } from "./ops.js";

/** Dimensions, each an i64 expression over the profile's symbols. */
export type Shape = readonly Expr[];

export interface Node<O extends OpName = OpName> {
  readonly op: O;
  readonly inputs: readonly Node[];
  readonly attrs: OpAttrs[O];
  readonly dtype: DType;
  readonly shape: Shape;
  /** Order of creation within its graph: inputs have smaller ids than their users. */
  readonly id: number;
}

export function isNode<O extends OpName>(node: Node, op: O): node is Node<O> {
  return node.op === op;
}

export interface GraphOutput {
  readonly name: string;
  readonly node: Node;
}

/** A resource of fixed capacity that a run updates: a linear chain from `initial` to `final`. */
export interface GraphState {
  readonly name: string;
  readonly initial: Node<"state">;
  readonly final: Node;
}

/** Makes nodes; equal op, inputs, attributes, dtype and shape give the same node. */
export class GraphBuilder {
  readonly #table = new Map<string, Node>();
  readonly #made = new WeakSet<Node>();
  readonly #names = new Map<Node, string>();
  #nextId = 1;

  node<O extends OpName>(
    op: O,
    inputs: readonly Node[],
    attrs: OpAttrs[O],
    dtype: DType,
    shape: Shape,
  ): Node<O> {
    const key = `${op}|${dtype}|${shape.map((dim) => dim.id).join(",")}|${inputs.map((input) => input.id).join(",")}|${attrsKey(attrs)}`;
    const found = this.#table.get(key);
    if (found !== undefined) return found as Node<O>;
    const made = Object.freeze({
      op,
      inputs: Object.freeze([...inputs]),
      attrs: Object.freeze(attrs),
      dtype,
      shape: Object.freeze([...shape]),
      id: this.#nextId++,
    }) as Node<O>;
    this.#table.set(key, made);
    this.#made.add(made);
    return made;
  }

  /** Whether this builder made `node`: what it makes is interned, and never changes. */
  made(node: Node): boolean {
    return this.#made.has(node);
  }

  /** Records what the source model called this value; the first name stays. */
  name(node: Node, name: string): void {
    if (!this.#names.has(node)) this.#names.set(node, name);
  }

  nameOf(node: Node): string | undefined {
    return this.#names.get(node);
  }
}

/** Canonical text of attributes: expressions and functions by identity, the rest by value. */
export function attrsKey(value: unknown): string {
  if (value === null || typeof value !== "object")
    return typeof value === "bigint" ? `${value}n` : (JSON.stringify(value) ?? "undefined");
  if (Array.isArray(value)) return `[${value.map(attrsKey).join(",")}]`;
  if (value instanceof Uint8Array) return bytesKey(value);
  if ("op" in value && "id" in value) return `#${(value as Expr).id}`;
  if ("apply" in value && "key" in value) return `fn:${String(value.key)}`;
  return `{${Object.entries(value)
    .map(([key, item]) => `${key}:${attrsKey(item)}`)
    .join(",")}}`;
}

/** Bytes of more are compared by identity: a key must not be a copy of a weight. */
const comparedBytes = 256;
const byteIds = new WeakMap<Uint8Array, number>();
let nextByteId = 1;

function bytesKey(bytes: Uint8Array): string {
  if (bytes.length <= comparedBytes) return `bytes:${Buffer.from(bytes).toString("base64")}`;
  let id = byteIds.get(bytes);
  if (id === undefined) byteIds.set(bytes, (id = nextByteId++));
  return `bytes#${id}`;
}

export interface Graph {
  readonly builder: GraphBuilder;
  readonly inputs: readonly Node<"input">[];
  readonly outputs: readonly GraphOutput[];
  readonly states: readonly GraphState[];
}

/** Every node that an output or a state needs, inputs before users. Iterative. */
export function topological(graph: Graph): readonly Node[] {
  const known = orders.get(graph);
  if (known !== undefined) return known;
  const roots = [
    ...graph.inputs,
    ...graph.outputs.map((o) => o.node),
    ...graph.states.map((s) => s.final),
  ];
  const order = below(roots);
  orders.set(graph, order);
  return order;
}

const orders = new WeakMap<Graph, readonly Node[]>();

const none: ReadonlySet<Node> = new Set();

/**
 * Every node below `roots`, each once, inputs before users.
 * @param leaves nodes that are looked at no further
 */
export function below(roots: readonly Node[], leaves: Pick<Set<Node>, "has"> = none): Node[] {
  const order: Node[] = [];
  const done = new Set<Node>();
  const stack: { node: Node; next: number }[] = [];
  for (const root of roots) {
    stack.push({ node: root, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      const input = done.has(top.node) ? undefined : top.node.inputs[top.next];
      if (input !== undefined) {
        top.next++;
        if (done.has(input)) continue;
        if (input.inputs.length > 0 && !leaves.has(input)) stack.push({ node: input, next: 0 });
        else {
          done.add(input);
          order.push(input);
        }
        continue;
      }
      stack.pop();
      if (!done.has(top.node)) {
        done.add(top.node);
        order.push(top.node);
      }
    }
  }
  return order;
}

/** Users of each node, in topological order; a user appears once per use. */
export function usersOf(graph: Graph): ReadonlyMap<Node, readonly Node[]> {
  const known = userMaps.get(graph);
  if (known !== undefined) return known;
  const users = new Map<Node, Node[]>();
  // The tensors of a stack have one user, and one list of it, until one of them has another.
  const shared = new Set<Node[]>();
  const order = topological(graph);
  for (const node of order) {
    const only = [node];
    if (node.inputs.length > 1) shared.add(only);
    for (const input of node.inputs) {
      const known = users.get(input);
      if (known === undefined) users.set(input, only);
      else if (shared.has(known)) users.set(input, [...known, node]);
      else known.push(node);
    }
  }
  for (const node of order) if (!users.has(node)) users.set(node, []);
  userMaps.set(graph, users);
  return users;
}

const userMaps = new WeakMap<Graph, ReadonlyMap<Node, readonly Node[]>>();
