/** A case with parts of it changed: made again, node by node, by the constructors' rules. */
import { cast, literal, make } from "../../compiler/ir/build.js";
import { isFloat, type DType } from "../../compiler/ir/dtype.js";
import {
  GraphBuilder,
  isNode,
  topological,
  type GraphState,
  type Node,
  type Shape,
} from "../../compiler/ir/graph.js";
import { Dimensions } from "../../compiler/ir/bind.js";
import { FarrierError } from "../../compiler/errors.js";
import { sameShape, staticShape } from "../../compiler/ir/shape.js";
import { countOf, fromBytes, newData, type TensorValue } from "../../compiler/ir/tensor.js";
import { constValue, int, rewriteExpr, sub } from "../../compiler/scalar/build.js";
import { isOp, type Expr } from "../../compiler/scalar/expr.js";
import type { OpName } from "../../compiler/ir/ops.js";
import type { Binding, FuzzCase } from "./case.js";

export interface Edit {
  /** Names of the outputs that stay. */
  readonly outputs?: readonly string[];
  /** The value that becomes the one output. */
  readonly only?: Node;
  /** Nodes that become inputs. */
  readonly cut?: readonly Node[];
  /** Nodes that become one of their inputs, where it has their shape. */
  readonly bypass?: readonly (readonly [Node, number])[];
  /** Extents, wherever they occur. */
  readonly extents?: ReadonlyMap<number, number>;
  /** Symbols that become numbers. */
  readonly symbols?: ReadonlyMap<string, number>;
  readonly dtypes?: ReadonlyMap<DType, DType>;
  readonly runs?: readonly number[];
  /** Inputs that nothing uses go. */
  readonly dropInputs?: boolean;
  /** Every input is ones: data that says nothing. */
  readonly ones?: boolean;
}

/** As a value of the new shape and dtype: elements repeat or are left out. */
function fitted(value: TensorValue, dtype: DType, shape: readonly number[]): TensorValue {
  const data = newData(dtype, countOf(shape));
  const count = value.data.length;
  for (let i = 0; i < data.length; i++) {
    const x = count === 0 ? 0 : value.data[i % count]!;
    if (data instanceof BigInt64Array) data[i] = BigInt(Math.trunc(Number(x)));
    else data[i] = Number(x);
  }
  return { dtype, shape, data };
}

class Rebuilder {
  readonly g = new GraphBuilder();
  readonly #made = new Map<Node, Node>();
  readonly inputs: Node<"input">[] = [];
  /** The value from which those of an input of the new graph are taken; zeros where it is null. */
  readonly #from = new Map<Node, string | null>();
  readonly states = new Map<string, Node<"state">>();
  readonly #cut: ReadonlySet<Node>;
  readonly #bypass: ReadonlyMap<Node, number>;
  #next = 0;

  constructor(
    readonly found: FuzzCase,
    readonly edit: Edit,
  ) {
    this.#cut = new Set(edit.cut);
    this.#bypass = new Map(edit.bypass);
  }

  dtype(dtype: DType): DType {
    return this.edit.dtypes?.get(dtype) ?? dtype;
  }

  #dim(dim: Expr): Expr {
    const { extents, symbols } = this.edit;
    const known = constValue(dim);
    if (known !== null) return int(extents?.get(known) ?? known);
    if (symbols === undefined) return dim;
    return this.#expr(dim);
  }

  #expr(expr: Expr): Expr {
    const { symbols } = this.edit;
    if (symbols === undefined) return expr;
    return rewriteExpr([expr], (node) => {
      const to = isOp(node, "sym") ? symbols.get(node.attr.name) : undefined;
      return to === undefined ? null : int(to);
    })[0]!;
  }

  shape(shape: Shape): Expr[] {
    return shape.map((dim) => this.#dim(dim));
  }

  #input(node: Node, from: string | null): Node<"input"> {
    const name = from ?? this.#fresh();
    const made = make(
      this.g,
      "input",
      [],
      { name },
      { dtype: this.dtype(node.dtype), shape: this.shape(node.shape) },
    );
    this.inputs.push(made);
    this.#from.set(made, from);
    return made;
  }

  #fresh(): string {
    const { inputs } = this.found.graph;
    for (;;) {
      const name = `z${this.#next++}`;
      if (!inputs.some(({ attrs }) => attrs.name === name)) return name;
    }
  }

  of(node: Node): Node {
    for (const each of this.#pending(node)) this.#made.set(each, this.#one(each));
    return this.#made.get(node)!;
  }

  /** What `node` needs, inputs first; nothing below a cut. */
  #pending(node: Node): Node[] {
    const order: Node[] = [];
    const seen = new Set<Node>(this.#made.keys());
    const visit = (each: Node): void => {
      if (seen.has(each)) return;
      seen.add(each);
      if (!this.#cut.has(each)) for (const input of each.inputs) visit(input);
      order.push(each);
    };
    visit(node);
    return order;
  }

  #one(node: Node): Node {
    if (this.#cut.has(node)) return this.#input(node, null);
    if (isNode(node, "input")) return this.#input(node, node.attrs.name);
    if (isNode(node, "constant")) return this.#constant(node);
    if (isNode(node, "state")) {
      const free = { dtype: this.dtype(node.dtype), shape: this.shape(node.shape) };
      const made = make(this.g, "state", [], node.attrs, free);
      this.states.set(node.attrs.name, made);
      return made;
    }
    const inputs = node.inputs.map((input) => this.#made.get(input)!);
    const bypass = this.#bypass.get(node);
    if (bypass !== undefined) return this.#through(node, inputs[bypass]!);
    return this.#copy(node, inputs);
  }

  /** An input instead of the node, converted where only the dtype differs. */
  #through(node: Node, input: Node): Node {
    if (!sameShape(input.shape, this.shape(node.shape)))
      throw new FarrierError("E_REDUCE", "another shape");
    return cast(this.g, input, this.dtype(node.dtype));
  }

  #constant(node: Node<"constant">): Node {
    const { source } = node.attrs;
    const before = staticShape(node.shape)!;
    const shape = staticShape(this.shape(node.shape))!;
    if (source.kind !== "literal") throw new FarrierError("E_REDUCE", "no bytes");
    const value = fromBytes(node.dtype, before, source.data);
    const dtype = this.dtype(node.dtype);
    return literal(this.g, dtype, shape, fitted(value, dtype, shape).data);
  }

  #copy<O extends OpName>(node: Node<O>, inputs: readonly Node[]): Node {
    const shape = this.shape(node.shape);
    const dtype = this.dtype(node.dtype);
    if (isNode(node, "cast") && inputs[0]!.dtype === dtype) return inputs[0]!;
    if (isNode(node, "slice")) {
      // A start counted from an end that moved, or one inside a range that is smaller now.
      const starts = node.attrs.starts.map((start, axis) => {
        const [first, extent] = [constValue(this.#expr(start)), constValue(shape[axis]!)];
        const whole = constValue(inputs[0]!.shape[axis]!);
        if (first === null || extent === null || whole === null) return this.#expr(start);
        const room = whole - 1 - (extent - 1) * Math.abs(node.attrs.steps[axis]!);
        return node.attrs.steps[axis]! > 0
          ? int(Math.max(0, Math.min(first, room)))
          : sub(int(whole - 1), int(Math.max(0, Math.min(whole - 1 - first, room))));
      });
      return make(this.g, "slice", inputs, { ...node.attrs, starts }, { dtype, shape });
    }
    const attrs = isNode(node, "dim") ? { value: this.#expr(node.attrs.value) } : node.attrs;
    return make(this.g, node.op, inputs, attrs as typeof node.attrs, { dtype, shape });
  }

  bindings(): Binding[] {
    const { found, edit } = this;
    const runs = edit.runs ?? [...found.bindings.keys()];
    const gone = edit.symbols;
    return runs.map((run) => {
      const { symbols, inputs } = found.bindings[run]!;
      const kept = new Map([...symbols].filter(([name]) => gone?.has(name) !== true));
      const dims = new Dimensions(kept);
      const values = this.inputs.map((node): [string, TensorValue] => {
        const { name } = node.attrs;
        const from = this.#from.get(node) ?? null;
        const shape = dims.shape(node.shape);
        const given = from === null ? undefined : inputs.get(from);
        const value = given ?? filler(node.dtype);
        return [name, fitted(edit.ones === true ? one(node.dtype) : value, node.dtype, shape)];
      });
      return { symbols: kept, inputs: new Map(values) };
    });
  }
}

const one = (dtype: DType): TensorValue => ({
  dtype,
  shape: [1],
  data: newData(dtype, 1).fill(dtype === "i64" || dtype === "u64" ? (1n as never) : (1 as never)),
});

/** Small numbers in no simple order, in the place of a value that was cut. */
function filler(dtype: DType): TensorValue {
  const values = [1, 3, 2, 0, 1, 2, 5, 1, 4, 2, 3];
  const shape = [values.length];
  const data = newData(dtype, values.length);
  values.forEach((value, i) => {
    if (data instanceof BigInt64Array) data[i] = BigInt(value);
    else data[i] = isFloat(dtype) ? value / 4 : dtype === "bool" ? value % 2 : value;
  });
  return { dtype, shape, data };
}

/** @throws FarrierError where the edit leaves no valid graph */
export function rebuild(found: FuzzCase, edit: Edit): FuzzCase {
  const { graph } = found;
  const made = new Rebuilder(found, edit);
  const wanted =
    edit.only === undefined
      ? graph.outputs.filter(({ name }) => edit.outputs?.includes(name) ?? true)
      : [{ name: "y0", node: edit.only }];
  const outputs = wanted.map(({ name, node }) => ({ name, node: made.of(node) }));
  const reached = new Set(topological({ ...graph, inputs: [], outputs, states: [] }));
  const states = graph.states.flatMap(({ name, final }): GraphState[] => {
    const copy = made.of(final);
    const initial = made.states.get(name);
    return initial === undefined || !reached.has(copy) ? [] : [{ name, initial, final: copy }];
  });
  const names = new Set(states.map((state) => state.name));
  if ([...made.states].some(([name, node]) => reached.has(node) && !names.has(name)))
    throw new FarrierError("E_REDUCE", "a state without its update");
  if (edit.dropInputs !== true && edit.only === undefined)
    for (const node of graph.inputs) made.of(node);
  return {
    ...found,
    graph: { builder: made.g, inputs: made.inputs, outputs, states },
    symbols: found.symbols.filter(({ name }) => edit.symbols?.has(name) !== true),
    bindings: made.bindings(),
  };
}
