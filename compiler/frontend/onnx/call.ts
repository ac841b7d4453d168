/** What the function of an operator is given, and what it gives back. */
import { FarrierError } from "../../errors.js";
import type { GraphBuilder, Node, Shape } from "../../ir/graph.js";
import { printExpr } from "../../ir/print-expr.js";
import { axisOf, largestElements, printShape } from "../../ir/shape.js";
import { constValue } from "../../scalar/build.js";
import { isOp, type Expr } from "../../scalar/expr.js";
import type { Attributes } from "./attributes.js";
import type { Constants } from "./constants.js";
import type { HostValues } from "./host-values.js";
import type { OnnxGraph, OnnxNode } from "./wire/types.js";

/** A node for each output, in order; those at the end that nobody asked for may be absent. */
export type Operator = (call: Call) => Node | readonly Node[];

/** Runs the body of a subgraph on values of its inputs and gives its outputs. */
export type RunSubgraph = (graph: OnnxGraph, inputs: readonly Node[]) => readonly Node[];

export interface CallContext {
  readonly g: GraphBuilder;
  readonly host: HostValues;
  readonly constants: Constants;
  readonly runSubgraph: RunSubgraph;
}

/** One node being imported. */
export class Call {
  readonly g: GraphBuilder;
  readonly host: HostValues;
  readonly constants: Constants;
  readonly runSubgraph: RunSubgraph;
  readonly node: OnnxNode;
  /** Of the operator set that the node is of. */
  readonly version: number;
  readonly attrs: Attributes;
  readonly where: string;
  readonly #inputs: readonly (Node | undefined)[];
  readonly #seen = new Set<number>();

  constructor(
    context: CallContext,
    node: OnnxNode,
    version: number,
    attrs: Attributes,
    inputs: readonly (Node | undefined)[],
    where: string,
  ) {
    this.g = context.g;
    this.host = context.host;
    this.constants = context.constants;
    this.runSubgraph = context.runSubgraph;
    this.node = node;
    this.version = version;
    this.attrs = attrs;
    this.where = where;
    this.#inputs = inputs;
  }

  input(index: number): Node {
    const value = this.optional(index);
    if (value !== undefined) return value;
    throw new FarrierError("E_INPUT_MISSING", `input ${index} is missing`, { where: this.where });
  }

  optional(index: number): Node | undefined {
    this.#seen.add(index);
    return this.#inputs[index];
  }

  /** Inputs from `first` on, none of which may be left out. */
  all(first = 0): Node[] {
    const rest = Array.from(this.#inputs.slice(first), (_, i) => this.input(first + i));
    if (rest.length === 0) this.input(first);
    return rest;
  }

  /** Whether output `index` has a name. */
  wants(index: number): boolean {
    return (this.node.outputs[index] ?? "") !== "";
  }

  axis(axis: number, rank: number): number {
    return axisOf(axis, rank, this.where);
  }

  /** Integers that an input holds, each a literal or an expression over symbols. */
  integers(value: Node, what: string): readonly Expr[] {
    const values = value.shape.length <= 1 ? this.host.elements(value) : null;
    if (values?.every((each) => each.type === "i64") === true) return values;
    throw this.dataDependent(what);
  }

  integer(value: Node, what: string): Expr {
    const values = this.host.elements(value);
    if (values?.length === 1 && values[0]!.type === "i64") return values[0]!;
    throw this.dataDependent(what);
  }

  /** Numbers that an input holds, which must be literals. */
  numbers(value: Node, what: string): number[] {
    const values = this.host.numbers(value);
    if (values === null) throw this.dataDependent(what);
    return values;
  }

  number(value: Node, what: string): number {
    const values = this.numbers(value, what);
    if (values.length === 1) return values[0]!;
    throw this.error("E_SHAPE", `${what}: expected one number, found ${printShape(value.shape)}`);
  }

  /** `value`, which has as many axes as the operator takes. */
  ranked(value: Node, least: number, most = least): Node {
    const { length } = value.shape;
    if (length >= least && length <= most) return value;
    const range = least === most ? `${least}` : `${least} to ${most}`;
    throw this.error("E_SHAPE", `${printShape(value.shape)}, expected ${range} axes`);
  }

  /** A dimension that must be known. */
  extent(dim: Expr, what: string): number {
    const value = constValue(dim);
    if (value !== null) return value;
    throw this.unsupported(`${what} of ${printExpr(dim)}: it must be a number`);
  }

  dataDependent(what: string): FarrierError {
    return new FarrierError("E_OP_UNSUPPORTED", `data-dependent shape: ${what}`, {
      where: this.where,
      hint: "make it a constant of the model",
    });
  }

  unsupported(what: string): FarrierError {
    return new FarrierError("E_OP_UNSUPPORTED", what, { where: this.where });
  }

  error(code: string, what: string): FarrierError {
    return new FarrierError(code, what, { where: this.where });
  }

  /** Refuses values of sizes that only a defect of the model explains. */
  limit(shape: Shape): Shape {
    if (largestElements(shape) <= largestMade) return shape;
    const what = `${printShape(shape)} is ${largestElements(shape)} elements, the limit is 2^40`;
    throw this.error("E_LIMIT_CONST", what);
  }

  /** A number of values or nodes that are made one by one, which takes memory for each. */
  listed(count: number, what: string, most = mostListed): number {
    if (!Number.isInteger(count) || count < 0)
      throw this.error("E_SHAPE", `${what}: ${count} is no count`);
    if (count <= most) return count;
    throw this.error("E_LIMIT_FOLD", `${what}: ${count}, the limit is ${most}`);
  }

  /** Throws if there are attributes or inputs that the operator did not look at. */
  finish(): void {
    this.attrs.finish();
    const extra = this.#inputs.findIndex((value, i) => value !== undefined && !this.#seen.has(i));
    if (extra >= 0)
      throw this.error("E_INPUT_UNKNOWN", `input ${extra} is none of this operator's`);
  }
}

/** Elements that an operator may make out of nothing. */
const largestMade = 2 ** 40;
/** Values that the importer computes one by one. */
const mostListed = 2 ** 22;

/** An integer literal as a number; those beyond 2^53 become infinite. */
export function clampedInteger(value: Expr): number | null {
  if (!isOp(value, "const")) return null;
  const number = Number(value.attr.value);
  return Number.isSafeInteger(number) ? number : number < 0 ? -Infinity : Infinity;
}
