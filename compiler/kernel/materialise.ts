/**
 * Which values are written to memory. Outputs ask for their value exactly; an anchor asks for its
 * operands through slots, each of which accepts some index maps; whatever no slot can take as it is
 * becomes a value in memory, as close to its producer's epilogue as possible.
 */
import { dtypes, isFloat } from "../ir/dtype.js";
import { isNode, type Graph, type Node } from "../ir/graph.js";
import { attentionOperands } from "../ir/rules-anchor.js";
import { epilogueRegion, roles, type Analysis } from "./analysis.js";

/**
 * What a slot accepts: `exact` is the value itself in row-major order; `plain` a strided view of
 * memory; `gathered` the same of rows that indices name; `any` an expression of elements; `rows` the
 * same, and a normalisation over its last axis.
 */
export type SlotClass = "exact" | "plain" | "gathered" | "any" | "rows";

export interface Materialised {
  /** Values in memory. */
  readonly nodes: ReadonlySet<Node>;
  /** The anchor whose kernel produces a value in its epilogue. */
  readonly producer: ReadonlyMap<Node, Node>;
  /** Epilogue nodes of each anchor. */
  readonly regions: ReadonlyMap<Node, ReadonlySet<Node>>;
}

export interface MaterialiseOptions {
  /** Nodes that no epilogue may hold, since an attempt failed. */
  readonly blocked: ReadonlySet<Node>;
  /** Nodes that must be in memory, since a slot refused their map. */
  readonly forced: ReadonlySet<Node>;
  /** Off: every operator that computes is its own kernel. */
  readonly fuse: boolean;
}

/** The slot class of each input of an anchor. */
export function slotsOf(anchor: Node): SlotClass[] {
  if (anchor.op === "matmul") return ["rows", "plain"];
  if (anchor.op === "attention")
    return anchor.inputs.map((_, index) => (index < attentionOperands ? "gathered" : "any"));
  return anchor.inputs.map(() => "any");
}

export function materialise(
  graph: Graph,
  analysis: Analysis,
  options: MaterialiseOptions,
): Materialised {
  return new Materialiser(graph, analysis, options).run();
}

class Materialiser {
  readonly #nodes = new Set<Node>();
  readonly #regions = new Map<Node, Set<Node>>();
  /** Producer of each epilogue node: the last anchor that can hold it. */
  readonly #producer = new Map<Node, Node>();
  readonly #demanded = new Set<string>();
  readonly #work: { node: Node; slot: SlotClass }[] = [];

  constructor(
    readonly graph: Graph,
    readonly analysis: Analysis,
    readonly options: MaterialiseOptions,
  ) {}

  run(): Materialised {
    for (const anchor of this.analysis.anchors) this.#claim(anchor);
    for (const { node } of this.graph.outputs) this.#demand(node, "exact");
    for (const { final } of this.graph.states) this.#demand(final, "exact");
    for (const node of this.options.forced) this.#demand(node, "exact");
    for (let next = this.#work.pop(); next !== undefined; next = this.#work.pop())
      this.#serve(next.node, next.slot);
    this.#dropViews();
    return { nodes: this.#nodes, producer: this.#producer, regions: this.#regions };
  }

  #claim(anchor: Node): void {
    const region = this.options.fuse
      ? epilogueRegion(anchor, this.analysis, this.options.blocked)
      : new Set<Node>();
    for (const node of region) {
      const before = this.#producer.get(node);
      if (before !== undefined) this.#regions.get(before)!.delete(node);
      this.#producer.set(node, anchor);
    }
    this.#regions.set(anchor, region);
  }

  #demand(node: Node, slot: SlotClass): void {
    const key = `${node.id}:${slot}`;
    if (this.#demanded.has(key)) return;
    this.#demanded.add(key);
    this.#work.push({ node, slot });
  }

  #serve(node: Node, slot: SlotClass): void {
    if (this.#nodes.has(node)) return;
    // An output that is in memory anyway, a leaf or a weight with a table, is copied from there.
    const elsewhere = roles[node.op] === "leaf" || this.analysis.isTabled(node);
    if (slot === "exact") return elsewhere ? undefined : this.#store(node);
    if (this.analysis.isWeight(node) || roles[node.op] === "leaf") return;
    if (roles[node.op] === "store" || roles[node.op] === "anchor")
      return this.#serveAnchor(node, slot);
    if (slot === "plain" || slot === "gathered") return this.#serveView(node, slot);
    const claimed = this.#producer.has(node);
    if (isNode(node, "cast") && this.#widens(node)) return this.#demand(node.inputs[0]!, slot);
    if (claimed) {
      const statistics = slot === "rows" && this.#producer.get(node)!.op === "normalize";
      if (!statistics) return this.#store(node);
    } else if (this.#worthStoring(node)) return this.#store(node);
    if (!this.options.fuse && roles[node.op] !== "movement") return this.#store(node);
    for (const input of node.inputs) this.#demand(input, keepsRows(node) ? slot : "any");
  }

  /** Computed from memory by several kernels, each element alike: cheaper to compute once. */
  #worthStoring(node: Node): boolean {
    const users = this.analysis.users.get(node) ?? [];
    return (
      (node.op === "map" || node.op === "dequantize") &&
      isFloat(node.dtype) &&
      new Set(users).size > 1
    );
  }

  #isOutput(node: Node): boolean {
    return this.graph.outputs.some((output) => output.node === node);
  }

  #widens(node: Node<"cast">): boolean {
    return (
      dtypes[node.inputs[0]!.dtype].bits <= dtypes[node.dtype].bits &&
      !this.options.forced.has(node)
    );
  }

  #serveAnchor(node: Node, slot: SlotClass): void {
    const absorbed =
      slot === "rows" &&
      this.options.fuse &&
      node.op === "normalize" &&
      !this.options.forced.has(node);
    if (absorbed) this.#demand(node.inputs[0]!, "any");
    else this.#store(node);
  }

  /** A view: memory is at the first value below the movements, or at a part of it. */
  #serveView(node: Node, slot: "plain" | "gathered"): void {
    if (this.#isWidenedConstant(node)) return;
    let base = node;
    let part: Node | null = null;
    const moves = (each: Node): boolean => roles[each.op] === "movement" || this.#picks(each, slot);
    while (moves(base) && !this.#nodes.has(base)) {
      if (base.op === "slice" && this.#producer.has(base)) part = base;
      for (const index of base.inputs.slice(1)) this.#demand(index, "any");
      base = base.inputs[0]!;
    }
    if (roles[base.op] === "leaf" || this.analysis.isWeight(base)) return;
    if (part !== null && !this.#nodes.has(base) && !this.#onlyViewed(base)) this.#store(part);
    else this.#demand(base, "exact");
  }

  /** A gather that a slot reads through: its kernel looks the indices up. */
  #picks(node: Node, slot: "plain" | "gathered"): boolean {
    return slot === "gathered" && node.op === "gather" && !this.options.forced.has(node);
  }

  /** A tensor of the model whose values the graph widens: products read it as it is stored. */
  #isWidenedConstant(node: Node): boolean {
    let base = node;
    while (roles[base.op] === "movement" || (isNode(base, "cast") && this.#widens(base)))
      base = base.inputs[0]!;
    return base.op === "constant";
  }

  /** All users of `node` are movements that end in slots: one buffer serves them all. */
  #onlyViewed(node: Node): boolean {
    const users = this.analysis.users.get(node) ?? [];
    return users.every((user) => {
      if (roles[user.op] === "anchor") return true;
      return roles[user.op] === "movement" && !this.#isOutput(user) && this.#onlyViewed(user);
    });
  }

  #store(node: Node): void {
    if (this.#nodes.has(node)) return;
    this.#nodes.add(node);
    const producer = roles[node.op] === "anchor" ? node : this.#producer.get(node);
    if (producer !== undefined) this.#demandAnchor(producer, node);
    else for (const input of node.inputs) this.#demand(input, "any");
  }

  #demandAnchor(anchor: Node, exit: Node): void {
    const slots = slotsOf(anchor);
    anchor.inputs.forEach((input, index) => {
      this.#demand(input, slots[index]!);
    });
    const region = this.#regions.get(anchor)!;
    const path = [exit];
    const seen = new Set<Node>(path);
    for (let node = path.pop(); node !== undefined; node = path.pop()) {
      if (node === anchor) continue;
      for (const input of node.inputs) {
        if (input !== anchor && !region.has(input)) this.#demand(input, "any");
        else if (!seen.has(input)) {
          seen.add(input);
          path.push(input);
        }
      }
    }
  }

  /** A view of a value that is in memory anyway needs no memory of its own. */
  #dropViews(): void {
    const exact = new Set([...this.graph.outputs.map((o) => o.node), ...this.options.forced]);
    for (const node of [...this.#nodes]) {
      if (exact.has(node) || roles[node.op] !== "movement") continue;
      let base = node.inputs[0]!;
      while (roles[base.op] === "movement" && !this.#nodes.has(base)) base = base.inputs[0]!;
      if (this.#nodes.has(base)) this.#nodes.delete(node);
    }
  }
}

/** Rows of the input are rows of the output: a normalisation below stays one over the slot's rows. */
export function keepsRows(node: Node): boolean {
  return node.op === "map" || node.op === "cast" || node.op === "reshape";
}
