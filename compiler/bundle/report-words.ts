/** What a kernel computes, in the words of the model: its weights' names and its operators. */
import { isFloat } from "../ir/dtype.js";
import { below, isNode, type Graph, type Node } from "../ir/graph.js";
import type { OpAttrs, OpName } from "../ir/ops.js";
import { roles } from "../kernel/analysis.js";
import type { Buffer, PlannedKernel } from "../kernel/memory.js";
import { constValue, isConst } from "../scalar/build.js";

/** What an operator is called; null where it moves or names values and computes nothing. */
const words: { readonly [O in OpName]: ((attrs: OpAttrs[O]) => string) | null } = {
  input: null,
  constant: null,
  state: null,
  iota: null,
  dim: null,
  map: ({ fn }) => fn.name,
  cast: null,
  reshape: null,
  transpose: null,
  broadcast: null,
  slice: null,
  concat: () => "concat",
  gather: () => "gather",
  gather_nd: () => "gather",
  reduce: ({ kind }) => kind,
  scan: ({ kind }) => (kind === "sum" ? "running sum" : "running product"),
  top_k: () => "top-k",
  scatter: () => "scatter",
  softmax: () => "softmax",
  normalize: ({ kind }) => (kind === "rms" ? "RMS norm" : "layer norm"),
  matmul: () => "product",
  rotary: () => "rotary embedding",
  attention: () => "attention",
  cache_write: () => "cache write",
  paged_write: () => "cache write",
  sample: () => "sampling",
  route: () => "routing",
  expert_groups: () => "rows by expert",
  expert_matmul: () => "product by experts",
  dequantize: () => "dequantize",
};

/** Anchors that a product or an attention computes as it reads its rows. */
const statistics: ReadonlySet<OpName> = new Set(["normalize", "reduce", "softmax"]);

export interface KernelWords {
  /** One line: the anchor, its weights, and what is computed with it. */
  readonly computes: string;
  /** Operators computed on the way to the anchor, and on its results. */
  readonly prologue: readonly string[];
  readonly epilogue: readonly string[];
  /** The part of the model that it is in, such as `model.layers.0.self_attn`. */
  readonly part: string | null;
  /** The nodes that it computes. */
  readonly nodes: ReadonlySet<Node>;
}

/** Which nodes the kernels of one entry compute. */
export class KernelNames {
  /** The part of the model that wrote a buffer. */
  readonly #parts = new Map<Buffer, string>();
  readonly #versions = new Map<string, Node[]>();
  /** All that some kernel leaves in memory. */
  readonly #stored = new Set<Node>();

  constructor(
    readonly graph: Graph,
    readonly weights: ReadonlySet<Node>,
    kernels: readonly PlannedKernel[],
  ) {
    for (const { name, initial, final } of graph.states) {
      const versions: Node[] = [initial];
      for (let node = final; node !== initial; node = node.inputs[0]!) versions.push(node);
      this.#versions.set(name, versions);
    }
    for (const { buffers } of kernels)
      for (const buffer of buffers)
        for (const node of this.#nodesOf(buffer)) this.#stored.add(node);
  }

  of(kernel: PlannedKernel): KernelWords {
    const [reads, writes] = [operands(kernel, "write"), operands(kernel, "read")];
    const read = new Set(reads.flatMap((buffer) => this.#nodesOf(buffer)));
    const exits = writes.flatMap((buffer) => this.#nodesOf(buffer));
    const written = new Set(exits);
    // What other kernels leave in memory is not computed here, even where it is not seen to be read.
    const stored: Pick<Set<Node>, "has"> = {
      has: (node) => read.has(node) || (this.#stored.has(node) && !written.has(node)),
    };
    const inside = this.#between(exits, stored);
    const family = kernel.desc.family;
    const isAnchor = (node: Node): boolean =>
      roles[node.op] === "anchor" &&
      (family === "gemm" || family === "attention" ? !statistics.has(node.op) : true);
    const anchor = family === "map" ? undefined : [...inside].reverse().find(isAnchor);
    const before = this.#between(anchor?.inputs.filter((node) => !stored.has(node)) ?? [], stored);
    const named = (nodes: readonly Node[]): string[] =>
      counted(nodes.filter((node) => node !== anchor).flatMap((node) => wordOf(node) ?? []));
    const order = [...inside].sort((a, b) => a.id - b.id);
    const prologue = named(order.filter((node) => before.has(node)));
    const epilogue = named(order.filter((node) => !before.has(node)));
    const modules =
      anchor === undefined ? this.#modulesIn(inside, reads) : this.#modulesOf(anchor, inside);
    const part = modules.length > 0 ? partOf(modules) : commonPart(this.#partsOf(reads));
    for (const buffer of writes) if (part !== null) this.#parts.set(buffer, part);
    const computes = headline(anchor, modules, part, epilogue);
    return { computes, prologue, epilogue, part, nodes: inside };
  }

  #nodesOf(buffer: Buffer): readonly Node[] {
    if (buffer.place === "state") return this.#versions.get(buffer.name) ?? [];
    if (buffer.place === "output") {
      const node = this.graph.outputs.find(({ name }) => name === buffer.name)?.node;
      const shapes: Node[] = node === undefined ? [] : [node];
      // Others may read it in a shape that it had before.
      while (shapes.at(-1)?.op === "reshape") shapes.push(shapes.at(-1)!.inputs[0]!);
      return shapes;
    }
    return buffer.node === null ? [] : [buffer.node];
  }

  /** Nodes that the kernel computes: from what it writes down to what it reads. */
  #between(exits: readonly Node[], stored: Pick<Set<Node>, "has">): Set<Node> {
    const inside = new Set<Node>();
    const stack = exits.filter((node) => roles[node.op] !== "leaf");
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (inside.has(node) || this.weights.has(node)) continue;
      inside.add(node);
      for (const input of node.inputs)
        if (!stored.has(input) && roles[input.op] !== "leaf") stack.push(input);
    }
    return inside;
  }

  /** Names of the matrices that an anchor multiplies by, or else of what it gives. */
  #modulesOf(anchor: Node, inside: ReadonlySet<Node>): string[] {
    const weights = anchor.inputs.filter((input) => this.weights.has(input));
    const names = weights.flatMap(moduleNames);
    if (names.length > 0 || weights.length === 0) return names;
    const name = (node: Node): string | undefined => this.graph.builder.nameOf(node);
    const own = name(anchor);
    if (own !== undefined) return [own];
    const parts = [...inside].filter(
      (node): node is Node<"slice"> => isNode(node, "slice") && node.inputs[0] === anchor,
    );
    const start = (node: Node<"slice">): number => constValue(node.attrs.starts.at(-1)!) ?? 0;
    return parts.sort((a, b) => start(a) - start(b)).flatMap((node) => name(node) ?? []);
  }

  #modulesIn(inside: ReadonlySet<Node>, reads: readonly Buffer[]): string[] {
    const tables = [...inside].filter((node) => isNode(node, "gather"));
    const used = tables.length > 0 ? tables.flatMap((node) => node.inputs) : [];
    const own = used.filter((node) => this.weights.has(node)).flatMap(moduleNames);
    return own.length > 0
      ? own
      : reads.flatMap(({ node }) =>
          node !== null && this.weights.has(node) ? moduleNames(node) : [],
        );
  }

  #partsOf(reads: readonly Buffer[]): string[] {
    return reads.flatMap((buffer) => this.#parts.get(buffer) ?? []);
  }
}

function operands({ desc, buffers }: PlannedKernel, not: "read" | "write"): Buffer[] {
  return buffers.filter(
    (buffer, index) => desc.operands[index]!.access !== not && buffer.place !== "status",
  );
}

/** Arithmetic on positions and indices is not what a model computes. */
export function wordOf(node: Node): string | null {
  if (isNode(node, "map") && !isFloat(node.dtype)) return null;
  const word = words[node.op] as ((attrs: Node["attrs"]) => string) | null;
  return word === null ? null : word(node.attrs);
}

/** `mul ×2, add`: each word once, with how often, in order of the first. */
function counted(list: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const word of list) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => (count === 1 ? word : `${word} ×${count}`));
}

/** The model's names of the matrices below a weight, without their last part. */
function moduleNames(weight: Node): readonly string[] {
  const known = namesOfWeights.get(weight);
  if (known !== undefined) return known;
  const names = below([weight]).flatMap((node) => {
    if (!isNode(node, "constant") || node.attrs.source.kind === "literal") return [];
    const wide = node.shape.filter((dim) => !isConst(dim, 1)).length >= 2;
    return wide ? [node.attrs.source.tensor.replace(/\.weight$/, "")] : [];
  });
  const made = numbered([...new Set(names)]);
  namesOfWeights.set(weight, made);
  return made;
}

const namesOfWeights = new WeakMap<Node, readonly string[]>();

/** Names that differ in one number only, as one with their range: `experts.[0-63].up_proj`. */
export function numbered(names: readonly string[]): string[] {
  const groups = new Map<string, number[]>();
  for (const name of names) {
    const [, before = name, number, after = ""] = /^(.*\.)(\d+)(\..*)$/.exec(name) ?? [];
    const group = groups.get(`${before}\0${after}`) ?? [];
    groups.set(`${before}\0${after}`, group);
    if (number !== undefined) group.push(Number(number));
  }
  return [...groups].flatMap(([key, numbers]) => {
    const [before, after] = key.split("\0") as [string, string];
    const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
    const isRun = numbers.length >= leastRun && most - least === numbers.length - 1;
    if (isRun) return [`${before}[${least}-${most}]${after}`];
    return numbers.length === 0 ? [before] : numbers.map((each) => `${before}${each}${after}`);
  });
}

const leastRun = 4;

/** The part of the model that modules belong to. */
function partOf(modules: readonly string[]): string | null {
  const [only, ...others] = modules;
  if (only === undefined || others.length > 0) return commonPart(modules);
  return only.includes(".") ? only.slice(0, only.lastIndexOf(".")) : only;
}

/** The dotted beginning that all names share; of one name, all of it. */
function commonPart(names: readonly string[]): string | null {
  const [first, ...rest] = names.map((name) => name.split("."));
  if (first === undefined) return null;
  let length = first.length;
  for (const name of rest) {
    let same = 0;
    while (same < Math.min(length, name.length) && name[same] === first[same]) same++;
    length = same;
  }
  return length === 0 ? null : first.slice(0, length).join(".");
}

/** `model.layers.0.self_attn.{q_proj, k_proj, v_proj}` */
export function braced(names: readonly string[]): string {
  if (names.length <= 1) return names[0] ?? "";
  const part = commonPart(names);
  if (part === null || names.includes(part)) return names.join(", ");
  return `${part}.{${names.map((name) => name.slice(part.length + 1)).join(", ")}}`;
}

function headline(
  anchor: Node | undefined,
  modules: readonly string[],
  part: string | null,
  epilogue: readonly string[],
): string {
  const verb = anchor === undefined ? epilogue.join(", ") || "copy" : (wordOf(anchor) ?? anchor.op);
  if (modules.length > 0) return `${verb}: ${braced(modules)}`;
  return part === null ? verb : `${verb}: ${part}`;
}
