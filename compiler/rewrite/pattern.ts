/**
 * Patterns over graphs, as values that read like the computation:
 *
 *     call("add", [op("matmul", [any().as("x"), any().as("w")]).once(), any().as("bias")])
 *
 * Matching backtracks over the orders of commutative operands. A name that is bound twice must be the
 * same node, which interning makes the same computation.
 */
import type { Graph, Node } from "../ir/graph.js";
import { isNode } from "../ir/graph.js";
import type { OpAttrs, OpName } from "../ir/ops.js";
import { scalarLiteral } from "../ir/literal.js";
import type { PrimitiveName } from "../scalar/primitives.js";
import type { BuiltinName } from "../scalar/table.js";

/** What a pattern may ask about the graph around a node. */
export interface MatchContext {
  /** How often a node is used, by nodes, outputs and states; Infinity where it is not known yet. */
  uses(node: Node): number;
}

interface State {
  readonly context: MatchContext;
  readonly bound: Map<string, Node>;
}

/** Goes on with `next` for each way to match `node`, until one succeeds. */
type Run = (node: Node, state: State, next: () => boolean) => boolean;

/** `B`: the names it binds; `T`: the nodes it matches. */
export class Pattern<B = unknown, T extends Node = Node> {
  /** Only a type. */
  readonly bindings?: B;

  /** @param roots keys (see `rootKey`) of the nodes that it can match; null for any */
  constructor(
    readonly roots: readonly string[] | null,
    readonly run: Run,
  ) {}

  /** Binds the node to `name`. */
  as<N extends string>(name: N): Pattern<B & Readonly<Record<N, T>>, T> {
    return new Pattern(this.roots, (node, state, next) => {
      const before = state.bound.get(name);
      if (before !== undefined) return before === node && this.run(node, state, next);
      state.bound.set(name, node);
      if (this.run(node, state, next)) return true;
      state.bound.delete(name);
      return false;
    });
  }

  /** Only nodes with one use: rewriting them away saves their computation. */
  once(): Pattern<B, T> {
    return this.where((node, context) => context.uses(node) === 1);
  }

  /** Only nodes for which `test` holds. */
  where(test: (node: T, context: MatchContext) => boolean): Pattern<B, T> {
    return new Pattern(this.roots, (node, state, next) =>
      this.run(node, state, () => test(node as T, state.context) && next()),
    );
  }
}

type AnyPattern = Pattern<unknown, Node>;
type BindingsOf<P> = P extends Pattern<infer B, Node> ? B : never;
/** One after the other: a union of them would be swallowed by the `unknown` of one that binds nothing. */
type AllBindings<P extends readonly unknown[]> = P extends readonly [infer First, ...infer Rest]
  ? BindingsOf<First> & AllBindings<Rest>
  : unknown;

/** What rules are indexed by: the operator, and the function of a `map`. */
export function rootKey(node: Node): string {
  return isNode(node, "map") ? `map ${node.attrs.fn.key}` : node.op;
}

/** Any node. */
export const any = (): Pattern => new Pattern(null, (_node, _state, next) => next());

/** Matches `inputs` one after the other, in order. */
function inOrder(
  nodes: readonly Node[],
  patterns: readonly AnyPattern[],
  state: State,
  next: () => boolean,
  index = 0,
): boolean {
  const pattern = patterns[index];
  if (pattern === undefined) return next();
  return pattern.run(nodes[index]!, state, () => inOrder(nodes, patterns, state, next, index + 1));
}

/** An operator with these inputs (any, where they are left out) and attributes. */
export function op<O extends OpName, const P extends readonly AnyPattern[] = []>(
  name: O,
  inputs?: P,
  where?: (attrs: OpAttrs[O], node: Node<O>) => boolean,
): Pattern<AllBindings<P>, Node<O>> {
  // A map's key also names its function, so all maps are only known by their operator.
  return new Pattern(name === "map" ? null : [name], (node, state, next) => {
    if (!isNode(node, name)) return false;
    if (where?.(node.attrs, node) === false) return false;
    if (inputs === undefined) return next();
    return node.inputs.length === inputs.length && inOrder(node.inputs, inputs, state, next);
  });
}

const commutative = new Set<string>(["add", "mul", "min", "max", "and", "or", "xor", "eq", "ne"]);

/** A `map` of the function `name`; operands of commutative functions in any order. */
export function call<const P extends readonly AnyPattern[]>(
  name: PrimitiveName | BuiltinName,
  inputs: P,
): Pattern<AllBindings<P>, Node<"map">> {
  const swapped = commutative.has(name) && inputs.length === 2 ? [inputs[1]!, inputs[0]!] : null;
  return new Pattern([`map ${name}`], (node, state, next) => {
    if (!isNode(node, "map") || node.attrs.fn.key !== name) return false;
    if (node.inputs.length !== inputs.length) return false;
    if (inOrder(node.inputs, inputs, state, next)) return true;
    return swapped !== null && inOrder(node.inputs, swapped, state, next);
  });
}

/** A literal of one value, perhaps reshaped or repeated, that is `wanted` or satisfies it. */
export function scalar(
  wanted: number | ((value: number, node: Node) => boolean) = () => true,
): Pattern {
  const test = typeof wanted === "number" ? (value: number) => Object.is(value, wanted) : wanted;
  return new Pattern(["constant", "broadcast", "reshape"], (node, _state, next) => {
    const value = scalarLiteral(node);
    return value !== null && test(Number(value), node) && next();
  });
}

/** The first of two patterns that lets the rest match. */
export function either<A, B>(a: Pattern<A>, b: Pattern<B>): Pattern<A | B> {
  const roots = a.roots === null || b.roots === null ? null : [...a.roots, ...b.roots];
  return new Pattern<A | B>(
    roots,
    (node, state, next) => a.run(node, state, next) || b.run(node, state, next),
  );
}

/** `inner`, or an operator `name` of one input on top of it. */
export function maybe<B>(name: OpName, inner: Pattern<B>): Pattern<B> {
  return new Pattern<B>(null, (node, state, next) => {
    if (inner.run(node, state, next)) return true;
    const below = node.inputs[0];
    return node.op === name && below !== undefined && inner.run(below, state, next);
  });
}

/** What `pattern` binds at `node`, or null if it does not match. */
export function match<B>(pattern: Pattern<B>, node: Node, context: MatchContext): B | null {
  const bound = new Map<string, Node>();
  const found = pattern.run(node, { context, bound }, () => true);
  return found ? (Object.fromEntries(bound) as B) : null;
}

/** How often each node is used in `graph`; nodes that it lacks are used unknowably often. */
export function countUses(graph: Graph, order: readonly Node[]): Map<Node, number> {
  const uses = new Map<Node, number>();
  const use = (node: Node): unknown => uses.set(node, (uses.get(node) ?? 0) + 1);
  for (const node of order) node.inputs.forEach(use);
  for (const { node } of graph.outputs) use(node);
  for (const { final } of graph.states) use(final);
  return uses;
}
