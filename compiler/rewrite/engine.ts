/**
 * Applies rules bottom-up until none applies: memoised, linear in nodes for each round, and iterative,
 * so that no graph is too deep.
 */
import { bug } from "../errors.js";
import { topological, type Graph, type GraphBuilder, type Node } from "../ir/graph.js";
import { printNode } from "../ir/print.js";
import { sameShape } from "../ir/shape.js";
import { countUses, rootKey } from "./pattern.js";
import type { RewriteContext, Rule } from "./rule.js";

export interface RewriteOptions {
  /** Called for each rule that fires. */
  readonly trace?: (rule: string, before: Node, after: Node) => void;
  /**
   * Most rounds over the graph. One reaches the fixpoint of rules that look at what is below a node;
   * further ones serve conditions on uses. Default 16.
   */
  readonly rounds?: number;
}

export interface RewriteResult {
  readonly graph: Graph;
  /** How often each rule fired, by name, in order of the first time. */
  readonly fired: ReadonlyMap<string, number>;
}

/** Replacements of one node, one after the other: more means rules that undo one another. */
const longestChain = 256;

export function rewriteGraph(
  graph: Graph,
  rules: readonly Rule[],
  options: RewriteOptions = {},
): RewriteResult {
  const fired = new Map<string, number>();
  let current = graph;
  for (let round = options.rounds ?? 16; round > 0; round--) {
    const rewriter = new Rewriter(current, rules, fired, options.trace);
    const next = rewriter.run();
    if (!rewriter.changed) break;
    current = next;
  }
  return { graph: current, fired };
}

/** A node under way: its inputs, then the node over them, then what replaced that. */
interface Frame {
  readonly node: Node;
  /** Inputs that are settled. */
  next: number;
  /** The node over settled inputs, once a rule has replaced it. */
  rebuilt: Node | null;
  replacement: Node | null;
  /** Replacements that led here. */
  readonly chain: number;
}

const frameOf = (node: Node, chain: number): Frame => ({
  node,
  next: 0,
  rebuilt: null,
  replacement: null,
  chain,
});

class Rewriter {
  changed = false;
  readonly #graph: Graph;
  readonly #builder: GraphBuilder;
  readonly #byRoot = new Map<string, Rule[]>();
  readonly #rules: readonly Rule[];
  readonly #fired: Map<string, number>;
  readonly #trace: RewriteOptions["trace"];
  readonly #settled = new Map<Node, Node>();
  readonly #replacing = new Set<Node>();
  readonly #order: readonly Node[];
  readonly #uses: Map<Node, number>;
  readonly #context: RewriteContext;

  constructor(
    graph: Graph,
    rules: readonly Rule[],
    fired: Map<string, number>,
    trace: RewriteOptions["trace"],
  ) {
    this.#graph = graph;
    this.#builder = graph.builder;
    this.#rules = rules;
    this.#fired = fired;
    this.#trace = trace;
    this.#order = topological(graph);
    this.#uses = countUses(graph, this.#order);
    this.#context = {
      builder: graph.builder,
      uses: (node) => this.#uses.get(node) ?? Infinity,
    };
  }

  run(): Graph {
    for (const node of this.#order)
      // Weights are most of a large model's nodes.
      if (node.inputs.length === 0 && this.#rulesFor(node).length === 0)
        this.#settled.set(node, node);
      else this.#settle(node);
    const { builder, inputs, outputs, states } = this.#graph;
    const now = (node: Node): Node => this.#settled.get(node)!;
    for (const node of [...inputs, ...states.map((state) => state.initial)])
      if (now(node) !== node) throw bug(`a rule replaced ${printNode(builder, node)}`);
    return {
      builder,
      inputs,
      outputs: outputs.map(({ name, node }) => ({ name, node: now(node) })),
      states: states.map((state) => ({ ...state, final: now(state.final) })),
    };
  }

  /** Finds what `start` becomes. New nodes are few and shallow, but the stack has no limit anyway. */
  #settle(start: Node): void {
    const stack = [frameOf(start, 0)];
    while (stack.length > 0) {
      const frame = stack[stack.length - 1]!;
      const waiting = this.#step(frame);
      if (waiting === null) stack.pop();
      else stack.push(waiting);
    }
  }

  /** One step; null when the frame's node is settled, otherwise what must be settled first. */
  #step(frame: Frame): Frame | null {
    const { node } = frame;
    if (frame.replacement !== null) return this.#finish(frame, frame.replacement);
    if (this.#settled.has(node)) return null;
    for (; frame.next < node.inputs.length; frame.next++) {
      const input = node.inputs[frame.next]!;
      if (this.#replacing.has(input))
        throw bug(`a rule builds on ${this.#text(input)}, which it replaces`);
      if (!this.#settled.has(input)) return frameOf(input, 0);
    }
    const rebuilt = this.#rebuild(node);
    const known = this.#settled.get(rebuilt);
    const replacement = known ?? this.#firstOf(rebuilt);
    if (replacement === null || replacement === rebuilt) {
      this.#record(node, rebuilt, rebuilt);
      return null;
    }
    if (frame.chain >= longestChain || this.#replacing.has(replacement))
      throw bug(`rules undo one another at ${this.#text(node)}`);
    frame.rebuilt = rebuilt;
    frame.replacement = replacement;
    this.#replacing.add(rebuilt);
    return frameOf(replacement, frame.chain + 1);
  }

  #finish(frame: Frame, replacement: Node): null {
    const rebuilt = frame.rebuilt!;
    this.#replacing.delete(rebuilt);
    this.#record(frame.node, rebuilt, this.#settled.get(replacement)!);
    return null;
  }

  #record(node: Node, rebuilt: Node, result: Node): void {
    this.#settled.set(node, result);
    this.#settled.set(rebuilt, result);
    if (result !== rebuilt) this.#adopt(node, result);
  }

  /** Name and uses of what a node became. */
  #adopt(from: Node, to: Node): void {
    if (from === to) return;
    const name = this.#builder.nameOf(from);
    if (name !== undefined) this.#builder.name(to, name);
    this.#uses.set(to, (this.#uses.get(to) ?? 0) + (this.#uses.get(from) ?? 0));
  }

  /** `node` over what its inputs became. */
  #rebuild(node: Node): Node {
    const inputs = node.inputs.map((input) => this.#settled.get(input)!);
    if (inputs.every((input, i) => input === node.inputs[i])) return node;
    const rebuilt = this.#builder.node(node.op, inputs, node.attrs, node.dtype, node.shape);
    this.#adopt(node, rebuilt);
    return rebuilt;
  }

  /** What the first rule that applies makes of `node`, or null. */
  #firstOf(node: Node): Node | null {
    for (const rule of this.#rulesFor(node)) {
      const after = rule.apply(node, this.#context);
      if (after === null || after === node) continue;
      if (after.dtype !== node.dtype || !sameShape(after.shape, node.shape))
        throw bug(`"${rule.name}" makes ${this.#text(after)} of ${this.#text(node)}`);
      this.changed = true;
      this.#fired.set(rule.name, (this.#fired.get(rule.name) ?? 0) + 1);
      this.#trace?.(rule.name, node, after);
      return after;
    }
    return null;
  }

  /** Rules that can match, in their order. */
  #rulesFor(node: Node): readonly Rule[] {
    const key = rootKey(node);
    let found = this.#byRoot.get(key);
    if (found === undefined) {
      found = this.#rules.filter((rule) => rule.roots === null || rule.roots.includes(key));
      this.#byRoot.set(key, found);
    }
    return found;
  }

  #text(node: Node): string {
    return printNode(this.#builder, node);
  }
}
