/** The text form of a graph: one value a line, stable under renumbering of nodes. */
import { readElements } from "../scalar/elements.js";
import { constValue } from "../scalar/build.js";
import { dtypes, isFloat } from "./dtype.js";
import { isNode, topological, type Graph, type GraphBuilder, type Node } from "./graph.js";
import type { ConstantSource, OpAttrs, OpName } from "./ops.js";
import { printExpr } from "./print-expr.js";
import { printShape } from "./shape.js";

/** How many values of a literal are shown. */
const shownValues = 8;

const list = (items: readonly (number | string)[]): string => `[${items.join(", ")}]`;

function printSource(source: ConstantSource, node: Node): string {
  if (source.kind === "file") return `${JSON.stringify(source.tensor)}, file=${source.file}`;
  if (source.kind === "absent") return `${JSON.stringify(source.tensor)}, absent`;
  const count = node.shape.reduce((product, dim) => product * (constValue(dim) ?? 0), 1);
  const read = readElements(node.dtype, source.data, Math.min(count, shownValues));
  const values = Array.from<number | bigint, string>(read, (value) => printValue(value, node));
  return list(count > shownValues ? [...values, `… ${count} values`] : values);
}

function printValue(value: number | bigint, node: Node): string {
  if (node.dtype === "bool") return Number(value) === 0 ? "false" : "true";
  if (dtypes[node.dtype].kind !== "float" || typeof value === "bigint") return value.toString();
  const text = Object.is(value, -0) ? "-0" : shortest(value, node);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** The fewest digits that give an f32 back, as a double's own text would show its excess. */
function shortest(value: number, node: Node): string {
  if (node.dtype === "f64" || !isFloat(node.dtype)) return value.toString();
  for (let digits = 1; digits <= 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short.toString();
  }
  return value.toString();
}

const attrPrinters: {
  readonly [O in OpName]: (attrs: OpAttrs[O], node: Node) => readonly string[];
} = {
  input: ({ name }) => [JSON.stringify(name)],
  constant: ({ source }, node) => [printSource(source, node)],
  state: ({ name }) => [JSON.stringify(name)],
  iota: ({ axis }) => [`axis=${axis}`],
  dim: ({ value }) => [printExpr(value)],
  map: () => [],
  cast: () => [],
  reshape: () => [],
  transpose: ({ perm }) => [`perm=${list(perm)}`],
  broadcast: () => [],
  slice: ({ starts, steps }) => [
    `starts=${list(starts.map(printExpr))}`,
    ...(steps.every((step) => step === 1) ? [] : [`steps=${list(steps)}`]),
  ],
  concat: ({ axis }) => [`axis=${axis}`],
  gather: ({ axis }) => [`axis=${axis}`],
  gather_nd: ({ batchDims }) => (batchDims === 0 ? [] : [`batch=${batchDims}`]),
  reduce: ({ axes }) => [`axes=${list(axes)}`],
  scan: ({ kind, axis, exclusive, reverse }) => [
    `kind=${kind}`,
    `axis=${axis}`,
    ...(exclusive ? ["exclusive"] : []),
    ...(reverse ? ["reverse"] : []),
  ],
  top_k: ({ axis, count, largest }) => [
    `axis=${axis}`,
    `count=${count}`,
    ...(largest ? [] : ["smallest"]),
  ],
  scatter: ({ axis, reduction }) => [`axis=${axis}`, `reduction=${reduction}`],
  softmax: ({ axis }) => [`axis=${axis}`],
  normalize: ({ epsilon }) => [`epsilon=${epsilon}`],
  matmul: () => [],
  rotary: ({ interleaved }) => (interleaved ? ["interleaved"] : []),
  attention: ({ scale, score }) => [`scale=${scale}`, `score=${printExpr(score)}`],
  cache_write: () => [],
  paged_write: () => [],
  sample: () => [],
  route: ({ count, groups, kept, rank }) => [
    `count=${count}`,
    ...(groups === 1 ? [] : [`groups=${groups}`, `kept=${kept}`, `rank=${rank}`]),
  ],
  expert_groups: ({ experts }) => [`experts=${experts}`],
  expert_matmul: () => [],
  dequantize: ({ axis, group }) => [`axis=${axis}`, `group=${group}`],
};

/** The operator with the attribute that names its variety. */
const titles: { readonly [O in OpName]?: (attrs: OpAttrs[O]) => string } = {
  map: ({ fn }) => `map ${fn.name}`,
  reduce: ({ kind }) => `reduce ${kind}`,
  normalize: ({ kind }) => `normalize ${kind}`,
};

function printCall<O extends OpName>(node: Node<O>, nameOf: (node: Node) => string): string {
  const title: ((attrs: OpAttrs[O]) => string) | undefined = titles[node.op];
  const attrs: (attrs: OpAttrs[O], node: Node) => readonly string[] = attrPrinters[node.op];
  const parts = [...node.inputs.map(nameOf), ...attrs(node.attrs, node)];
  return `${title?.(node.attrs) ?? node.op}(${parts.join(", ")})`;
}

/** Literals of rank 0 are written where they are used. */
function inlineText(node: Node): string | null {
  if (!isNode(node, "constant") || node.shape.length > 0) return null;
  const { source } = node.attrs;
  if (source.kind !== "literal") return null;
  return `${printValue(readElements(node.dtype, source.data, 1)[0]!, node)}:${node.dtype}`;
}

const printType = (node: Node): string => `${node.dtype}${printShape(node.shape)}`;

/** One node as a line; inputs by name, or by number where they have none. */
export function printNode(builder: GraphBuilder, node: Node): string {
  const nameOf = (each: Node): string =>
    inlineText(each) ?? quoted(builder.nameOf(each) ?? `#${each.id}`);
  return `${nameOf(node)}: ${printType(node)} = ${printCall(node, nameOf)}`;
}

const quoted = (name: string): string =>
  /^[\w.#/:-]+$/.test(name) ? `%${name}` : `%${JSON.stringify(name)}`;

/** Names of values: the source model's where there is one, numbers by order otherwise. */
class ValueNames {
  readonly #builder: GraphBuilder;
  readonly #names = new Map<Node, string>();
  readonly #used = new Set<string>();
  #next = 0;

  constructor(builder: GraphBuilder, nodes: readonly Node[]) {
    this.#builder = builder;
    // Source names first, so that a number never takes one of them.
    for (const node of nodes) this.#nameFromSource(node);
  }

  #nameFromSource(node: Node): void {
    const name = this.#builder.nameOf(node);
    if (name === undefined) return;
    let unique = name;
    for (let copy = 1; this.#used.has(unique); copy++) unique = `${name}.${copy}`;
    this.#used.add(unique);
    this.#names.set(node, quoted(unique));
  }

  of(node: Node): string {
    const inline = inlineText(node);
    if (inline !== null) return inline;
    let name = this.#names.get(node);
    if (name === undefined) {
      while (this.#used.has(String(this.#next))) this.#next++;
      name = quoted(String(this.#next++));
      this.#names.set(node, name);
    }
    return name;
  }
}

export function printGraph(graph: Graph): string {
  const nodes = topological(graph);
  const names = new ValueNames(graph.builder, nodes);
  const nameOf = (node: Node): string => names.of(node);
  const lines: string[] = [];
  for (const node of nodes) {
    if (inlineText(node) !== null) continue;
    lines.push(`${nameOf(node)}: ${printType(node)} = ${printCall(node, nameOf)}`);
  }
  for (const { name, initial, final } of graph.states)
    lines.push(`state ${JSON.stringify(name)}: ${nameOf(initial)} -> ${nameOf(final)}`);
  for (const { name, node } of graph.outputs)
    lines.push(`output ${JSON.stringify(name)}: ${nameOf(node)}`);
  return lines.join("\n") + "\n";
}
