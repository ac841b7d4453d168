/**
 * Partition: from a graph to kernels and the buffers between them. Epilogues and prologues are
 * tried at their largest; an attempt that fails names the node that broke it, which is then cut, so
 * that the loop ends after at most as many attempts as there are nodes.
 */
import { FarrierError } from "../errors.js";
import { NotElementwise } from "../ir/element.js";
import { isNode, type Graph, type Node } from "../ir/graph.js";
import type { Expr } from "../scalar/expr.js";
import { roles, type Analysis } from "./analysis.js";
import { elementsRead } from "./elements-read.js";
import { refusal, type Refusal } from "./limits.js";
import { longChains } from "./chains.js";
import { lowerAlong } from "./lower-along.js";
import { lowerAttention } from "./lower-attention.js";
import { lowerExpertMatmul, lowerGroups, lowerRoute } from "./lower-experts.js";
import { hasProduct, lowerGemm } from "./lower-gemm.js";
import { lowerSample } from "./lower-sample.js";
import { lowerReduce } from "./lower-reduce.js";
import { analysisFor, refuseMadeWeights } from "./live-weights.js";
import { BlockedNode, ForcedNode, lowerCopy, lowerMap, type LoweringContext } from "./lowering.js";
import { materialise, type Materialised } from "./materialise.js";
import { Memory, type Buffer, type PlannedKernel } from "./memory.js";
import { normalisedApart } from "./row-statistics.js";
import { inOrder } from "./order.js";
import { Reuse } from "./reuse.js";
import { Structures } from "./structure.js";
import type { Target } from "./target.js";

export interface PartitionOptions {
  readonly target: Target;
  readonly strict: boolean;
  /** Off: every operator that computes is its own kernel, and movements alone are free. */
  readonly fuse: boolean;
  /** The graph computes weights from source tensors. */
  readonly weightProgram?: boolean;
  /** Values that are stored where shapes make that cheaper, and why; default: for all shapes. */
  readonly apart?: ReadonlyMap<Node, Refusal>;
  /** Weights are the caller's own tensors: kernels read them as they are. */
  readonly live?: boolean;
  /** What is known of weights, shared by the entries of a bundle. */
  readonly structures?: Structures;
  /** The value of a constant of one element, if its bytes may be read now. */
  scalar(node: Node): Expr | null;
  /** Registers a run-time check and returns its site. */
  site(node: Node): number;
}

/** A fusion that was tried and refused: what broke it. */
export interface FusionRefusal extends Refusal {
  readonly node: string;
  /** What could not take the value. */
  readonly part: "epilogue" | "operand" | "product" | "chain";
}

export interface Partition {
  readonly kernels: readonly PlannedKernel[];
  readonly memory: Memory;
  readonly outputs: readonly Buffer[];
  readonly refusals: readonly FusionRefusal[];
}

/**
 * @param memory shared by the entries of a bundle for one target, so that they share weights
 * @throws FarrierError E_OP_UNSUPPORTED naming the operators that have no kernel
 */
export function partition(
  graph: Graph,
  options: PartitionOptions,
  memory = new Memory(),
): Partition {
  const analysis = analysisFor(graph, options);
  const blocked = new Set<Node>();
  const apart = options.fuse
    ? (options.apart ?? normalisedApart(analysis, options.target))
    : new Map<Node, Refusal>();
  const forced = new Set<Node>(apart.keys());
  const refusals = [...apart].map(([node, why]): FusionRefusal => ({
    node: nameIn(graph, node),
    part: "product",
    ...why,
  }));
  const reuse = new Reuse(options.structures ?? new Structures());
  for (;;) {
    const materialised = materialise(graph, analysis, { blocked, forced, fuse: options.fuse });
    const chains = [...longChains(analysis, materialised)].filter(([end]) => !blocked.has(end));
    if (chains.length > 0) {
      for (const [end, why] of chains) {
        blocked.add(end);
        forced.add(end);
        refusals.push({ node: nameIn(graph, end), part: "chain", ...why });
      }
      continue;
    }
    const attempt = new Attempt(graph, options, analysis, materialised, memory.fork(), reuse);
    const result = attempt.run();
    if (attempt.failures.length === 0) {
      if (options.live === true)
        refuseMadeWeights(graph, result.kernels, (node) => nameIn(graph, node));
      memory.adopt(attempt.memory);
      return { ...result, memory, refusals };
    }
    const cutOf = (failure: CutNode): Set<Node> =>
      failure instanceof BlockedNode ? blocked : forced;
    const fresh = attempt.failures.filter((failure) => {
      const cut = cutOf(failure);
      return !cut.has(failure.node) && cut.add(failure.node);
    });
    const [first] = attempt.failures;
    if (fresh.length === 0) throw unsupported(graph, [first!.node], first!.refusal.text);
    for (const failure of fresh)
      refusals.push({
        node: nameIn(graph, failure.node),
        part: failure instanceof BlockedNode ? "epilogue" : "operand",
        ...failure.refusal,
      });
  }
}

type CutNode = BlockedNode | ForcedNode;

/** A body met an anchor that no kernel of its own was planned for. */
const unread = ({ node }: NotElementwise): ForcedNode =>
  new ForcedNode(node, refusal("elements", elementsRead(node), 1, node.op));

export function nameIn(graph: Graph, node: Node): string {
  return graph.builder.nameOf(node) ?? `${node.op} %${node.id}`;
}

function unsupported(graph: Graph, nodes: readonly Node[], why: string): FarrierError {
  const names = nodes.map((node) => nameIn(graph, node)).join(", ");
  return new FarrierError(
    "E_OP_UNSUPPORTED",
    `no kernel computes ${[...new Set(nodes.map((n) => n.op))].join(", ")}: ${why}`,
    { where: names },
  );
}

class Attempt {
  /** What broke kernels: layers are alike, and so are their failures. */
  readonly failures: CutNode[] = [];
  readonly #kernels: PlannedKernel[] = [];
  readonly #context: LoweringContext;

  /** Values that are stored as another shape of them is. */
  readonly #views = new Set<Node>();

  constructor(
    readonly graph: Graph,
    readonly options: PartitionOptions,
    readonly analysis: Analysis,
    readonly materialised: Materialised,
    readonly memory: Memory,
    readonly reuse: Reuse,
  ) {
    this.#context = {
      memory,
      analysis,
      materialised,
      target: options.target,
      strict: options.strict,
      nameOf: (node) => nameIn(graph, node),
      site: (node) => options.site(node),
      scalar: (node) => options.scalar(node),
    };
  }

  run(): { kernels: PlannedKernel[]; outputs: Buffer[] } {
    const copies = this.#placeEverything();
    const exits = new Map<Node, Node[]>();
    for (const node of this.analysis.order) {
      if (!this.materialised.nodes.has(node) || this.#views.has(node)) continue;
      const producer =
        roles[node.op] === "anchor" && !this.analysis.isWeight(node)
          ? node
          : this.materialised.producer.get(node);
      if (producer === undefined) this.#try(node, [node], (context) => [lowerMap(context, node)]);
      else exits.set(producer, [...(exits.get(producer) ?? []), node]);
    }
    for (const [anchor, nodes] of exits)
      this.#try(anchor, nodes, (context) => this.#lower(context, anchor, nodes));
    if (this.failures.length > 0) return { kernels: [], outputs: [] };
    for (const { node, from, to } of copies)
      this.#kernels.push(lowerCopy(this.#context, from, to, node));
    const outputs = this.graph.outputs.map((output, index) =>
      this.memory.buffers.get(`output:${output.name}:${index}`)!,
    );
    return { kernels: inOrder(this.#kernels), outputs };
  }

  #try(
    anchor: Node,
    exits: readonly Node[],
    lower: (context: LoweringContext) => readonly PlannedKernel[],
  ): void {
    try {
      this.#kernels.push(...this.reuse.kernels(this.#context, anchor, exits, lower));
    } catch (thrown) {
      const error = thrown instanceof NotElementwise ? unread(thrown) : thrown;
      if (!(error instanceof BlockedNode || error instanceof ForcedNode)) throw error;
      this.failures.push(error);
    }
  }

  #lower(context: LoweringContext, anchor: Node, exits: readonly Node[]): readonly PlannedKernel[] {
    if (isNode(anchor, "attention")) return lowerAttention(context, anchor, exits);
    return lowerAlong(context, anchor, exits) ?? [this.#lowerOne(context, anchor, exits)];
  }

  #lowerOne(context: LoweringContext, anchor: Node, exits: readonly Node[]): PlannedKernel {
    if (isNode(anchor, "matmul") && hasProduct(context, anchor))
      return lowerGemm(context, anchor, exits);
    if (isNode(anchor, "expert_matmul")) return lowerExpertMatmul(context, anchor, exits);
    if (isNode(anchor, "sample")) return lowerSample(context, anchor, exits);
    if (isNode(anchor, "route")) return lowerRoute(context, anchor, exits);
    if (isNode(anchor, "expert_groups")) return lowerGroups(context, anchor, exits);
    const kernel = lowerReduce(context, anchor, exits);
    if (kernel === null)
      throw unsupported(
        this.graph,
        [anchor],
        `target ${this.options.target.name} has no such family yet`,
      );
    return kernel;
  }

  /** Gives every value in memory its buffer; outputs whose value has another place are copied. */
  #placeEverything(): { node: Node; from: Buffer; to: Buffer }[] {
    const { memory, graph } = this;
    for (const node of graph.inputs)
      memory.place(
        node,
        memory.make(
          "input",
          node,
          node.attrs.name,
          node.dtype,
          node.shape,
          `input:${node.attrs.name}`,
        ),
      );
    for (const { name, initial, final } of graph.states) {
      const buffer =
        memory.buffers.get(`state:${name}`) ??
        memory.make("state", initial, name, initial.dtype, initial.shape, `state:${name}`);
      for (let version = final; version !== initial; version = version.inputs[0]!)
        memory.place(version, buffer);
      memory.place(initial, buffer);
    }
    const copies: { node: Node; from: Buffer; to: Buffer }[] = [];
    const pending: { node: Node; to: Buffer }[] = [];
    graph.outputs.forEach(({ name, node }, index) => {
      const to = memory.make(
        "output",
        node,
        name,
        node.dtype,
        node.shape,
        `output:${name}:${index}`,
      );
      if (memory.of(node) === undefined && this.materialised.nodes.has(node)) {
        memory.place(node, to);
        this.#placeViews(node, to);
      } else pending.push({ node, to });
    });
    for (const node of this.materialised.nodes)
      if (memory.of(node) === undefined)
        memory.place(node, memory.make("temp", node, nameIn(graph, node), node.dtype, node.shape));
    for (const { node, to } of pending) {
      const from = memory.of(node) ?? this.#weightOutput(node);
      copies.push({ node, from, to });
    }
    return copies;
  }

  /**
   * What an output is another shape of is in the output's memory, where others read it too. It needs
   * a kernel of its own all the same where the output is not stored by the kernel that computes it.
   */
  #placeViews(output: Node, buffer: Buffer): void {
    const { memory, materialised } = this;
    const producer = materialised.producer.get(output);
    if (producer === undefined) return;
    for (let node = output; isNode(node, "reshape");) {
      node = node.inputs[0]!;
      if (node !== producer && materialised.producer.get(node) !== producer) return;
      if (memory.of(node) !== undefined || !materialised.nodes.has(node)) continue;
      memory.place(node, { ...buffer, node, shape: node.shape });
      this.#views.add(node);
    }
  }

  #weightOutput(node: Node): Buffer {
    if (node.op === "constant") {
      const buffer = this.memory.make(
        "source",
        node,
        nameIn(this.graph, node),
        node.dtype,
        node.shape,
        `source:${node.id}`,
      );
      this.memory.place(node, buffer);
      return buffer;
    }
    return this.memory.weight(node, nameIn(this.graph, node), null);
  }
}
