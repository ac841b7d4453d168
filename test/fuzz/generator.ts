/** A graph under construction: every value is computed as it is made, so that operators know theirs. */
import { Dimensions } from "../../compiler/ir/bind.js";
import { broadcastTo, input, literal, make, reshape } from "../../compiler/ir/build.js";
import { isFloat, type DType } from "../../compiler/ir/dtype.js";
import { evaluateGraph } from "../../compiler/ir/evaluate.js";
import {
  GraphBuilder,
  isNode,
  type Graph,
  type GraphState,
  type Node,
} from "../../compiler/ir/graph.js";
import { shapeOf, type Dim } from "../../compiler/ir/shape.js";
import { countOf, newData, type TensorValue } from "../../compiler/ir/tensor.js";
import { constValue, sym } from "../../compiler/scalar/build.js";
import type { Expr, SymbolInfo } from "../../compiler/scalar/expr.js";
import type { Binding, FuzzCase } from "./case.js";
import { sample, type Domain, type Style } from "./inputs.js";
import { Rng } from "./random.js";

/** What is known of a value in the first run. */
export interface Facts {
  readonly value: TensorValue;
  readonly low: number;
  readonly high: number;
  /** Least size of an element. */
  readonly least: number;
  readonly finite: boolean;
  readonly whole: boolean;
}

function factsOf(value: TensorValue): Facts {
  const { data } = value;
  let [low, high, least] = [Infinity, -Infinity, Infinity];
  let [finite, whole] = [true, true];
  for (let i = 0; i < data.length; i++) {
    const x = Number(data[i]);
    low = Math.min(low, x);
    high = Math.max(high, x);
    least = Math.min(least, Math.abs(x));
    finite &&= Number.isFinite(x);
    whole &&= Number.isInteger(x);
  }
  return { value, low, high, least, finite, whole };
}

/** Elements of a value, and multiplications of a product, that tests are worth. */
export const mostElements = 12_000;

/** Sizes beyond which floats of a dtype would overflow a few operators later. */
const largestOf = (dtype: DType): number => (dtype === "f16" ? 500 : 5000);

export class Generator {
  readonly g = new GraphBuilder();
  readonly rng: Rng;
  readonly style: Style;
  /** Of most floats. */
  readonly dtype: DType;
  readonly values: Node[] = [];
  readonly symbols: SymbolInfo[] = [];
  /** Dimensions that change from run to run. */
  readonly symbolDims: Expr[] = [];
  readonly states: GraphState[] = [];
  readonly #facts = new Map<Node, Facts>();
  readonly #inputs: { node: Node<"input">; fill: (shape: readonly number[]) => TensorValue }[] = [];
  readonly #bound = new Map<string, number>();
  dims: Dimensions;

  constructor(readonly seed: number) {
    this.rng = new Rng(seed);
    const { rng } = this;
    this.style = rng.weighted<Style>([
      [75, "real"],
      [20, "whole"],
      [5, "special"],
    ]);
    this.dtype = rng.weighted<DType>([
      [60, "f32"],
      [15, "bf16"],
      [15, "f16"],
      [10, "f64"],
    ]);
    this.dims = new Dimensions(this.#bound);
  }

  /** A dimension that changes from run to run. */
  symbol(name: string, most: number): Expr {
    const info = { name, space: "host", min: 1, max: most, divisor: 1 } as const;
    this.symbols.push(info);
    this.#bound.set(name, this.rng.int(1, most));
    this.dims = new Dimensions(this.#bound);
    const dim = sym(info);
    this.symbolDims.push(dim);
    return dim;
  }

  /** Elements in the largest run, about: all symbols at their bounds. */
  count(dims: readonly Dim[]): number {
    const most = new Dimensions(new Map(this.symbols.map(({ name, max }) => [name, max])));
    return countOf(most.shape(shapeOf(dims)));
  }

  size(dim: Expr): number {
    return this.dims.of(dim);
  }

  /** An input, or a constant where the shape is known. */
  leaf(dtype: DType, dims: readonly Dim[], domain: Domain = "any", constant = 0.4): Node {
    const shape = shapeOf(dims);
    const known = shape.map(constValue);
    const fill = (actual: readonly number[]): TensorValue =>
      sample(this.rng, dtype, actual, domain, this.style);
    if (known.every((dim) => dim !== null) && this.rng.chance(constant)) {
      const made = fill(known);
      return this.put(literal(this.g, dtype, known, made.data), made);
    }
    const node = input(this.g, `x${this.#inputs.length}`, dtype, shape);
    this.#inputs.push({ node, fill });
    return this.put(node, fill(this.dims.shape(shape)));
  }

  scalar(dtype: DType, value: number | bigint): Node {
    return literal(this.g, dtype, [], [value]);
  }

  put(node: Node, value: TensorValue): Node {
    this.#facts.set(node, factsOf(value));
    return node;
  }

  of(node: Node): Facts {
    const known = this.#facts.get(node);
    if (known !== undefined) return known;
    const facts = factsOf(this.#evaluate(node));
    this.#facts.set(node, facts);
    return facts;
  }

  /** One node over its inputs' values. */
  #evaluate(node: Node): TensorValue {
    if (isNode(node, "state")) {
      const shape = this.dims.shape(node.shape);
      return { dtype: node.dtype, shape, data: newData(node.dtype, countOf(shape)) };
    }
    const builder = new GraphBuilder();
    const inputs = node.inputs.map((each, i) => input(builder, `i${i}`, each.dtype, each.shape));
    const { dtype, shape } = node;
    const copy = make(builder, node.op, inputs, node.attrs, { dtype, shape });
    const given = new Map(node.inputs.map((each, i) => [`i${i}`, this.of(each).value]));
    const graph = { builder, inputs, outputs: [{ name: "y", node: copy }], states: [] };
    return evaluateGraph(graph, given, { symbols: this.#bound }).outputs.get("y")!;
  }

  /** Keeps a value if later operators can live with it. */
  keep(node: Node | null): Node | null {
    if (node === null || node.shape.length > 6 || this.count(node.shape) > mostElements)
      return null;
    for (const inner of node.inputs)
      if (this.count(inner.shape) > mostElements || !this.#known(inner)) return null;
    const { finite, low, high } = this.of(node);
    if (isFloat(node.dtype) && this.style !== "special")
      if (!finite || Math.max(-low, high) > largestOf(node.dtype)) return null;
    if (!this.values.includes(node)) this.values.push(node);
    return node;
  }

  #known(node: Node): boolean {
    const { finite } = this.of(node);
    return finite || this.style === "special" || !isFloat(node.dtype);
  }

  /** A value that `fits`, more likely a late one. */
  pick(fits: (node: Node) => boolean): Node | null {
    const found = this.values.filter(fits);
    if (found.length === 0) return null;
    const late = found.slice(-4);
    return this.rng.chance(0.6) ? this.rng.pick(late) : this.rng.pick(found);
  }

  /** A value of `x`'s shape, or one that repeats to it: another value, an input, a constant. */
  beside(x: Node, dtype: DType = x.dtype, domain: Domain = "any"): Node {
    const { rng } = this;
    const same = (node: Node): boolean =>
      node.dtype === dtype &&
      node.shape.length === x.shape.length &&
      node.shape.every((dim, axis) => dim === x.shape[axis]);
    const other = domain === "any" && rng.chance(0.5) ? this.pick(same) : null;
    if (other !== null) return other;
    if (rng.chance(0.2)) return this.leaf(dtype, [], domain, 0.8);
    const dropped = rng.int(0, Math.max(0, x.shape.length - 1));
    const kept = x.shape.slice(rng.chance(0.5) ? dropped : 0);
    return this.leaf(
      dtype,
      kept.map((dim) => (rng.chance(0.25) ? 1 : dim)),
      domain,
    );
  }

  /** `node` with the shape of `x`. */
  like(node: Node, x: Node): Node {
    return broadcastTo(this.g, node, x.shape);
  }

  flat(node: Node): Node {
    return reshape(this.g, node, [-1]);
  }

  /** The runs: the first is the one that the values are of. */
  #bindings(inputs: readonly Node<"input">[]): Binding[] {
    const runs = this.symbols.length > 0 || this.states.length > 0 ? 3 : 1;
    const fills = new Map(this.#inputs.map(({ node, fill }) => [node, fill]));
    return Array.from({ length: runs }, (_, run) => {
      const symbols = new Map(
        this.symbols.map(({ name, max }): [string, number] => [
          name,
          run === 0 ? this.#bound.get(name)! : this.rng.pick([1, max, this.rng.int(1, max)]),
        ]),
      );
      const dims = new Dimensions(symbols);
      const values = inputs.map((node): [string, TensorValue] => [
        node.attrs.name,
        run === 0 ? this.of(node).value : fills.get(node)!(dims.shape(node.shape)),
      ]);
      return { symbols, inputs: new Map(values) };
    });
  }

  finish(outputs: readonly Node[]): FuzzCase {
    const inputs = this.#inputs.map(({ node }) => node);
    const graph: Graph = {
      builder: this.g,
      inputs,
      outputs: outputs.map((node, index) => ({ name: `y${index}`, node })),
      states: this.states,
    };
    return {
      seed: this.seed,
      graph,
      symbols: this.symbols,
      bindings: this.#bindings(inputs),
      special: this.style === "special",
    };
  }
}
