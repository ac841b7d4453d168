/** What the operators' rules have in common. */
import { bug, FarrierError } from "../errors.js";
import { add, zero } from "../scalar/build.js";
import type { Expr } from "../scalar/expr.js";
import type { DType } from "./dtype.js";
import type { Node, Shape } from "./graph.js";
import type { OpAttrs, OpName } from "./ops.js";

export interface Signature {
  readonly dtype: DType;
  readonly shape: Shape;
}

/** A node about to be made; dtype and shape only where the operator leaves them free. */
export interface Proposal<O extends OpName> {
  readonly op: O;
  readonly inputs: readonly Node[];
  readonly attrs: OpAttrs[O];
  readonly dtype: DType | undefined;
  readonly shape: Shape | undefined;
  /** Where the error is, for people. */
  readonly where: string;
}

type Placed = Pick<Proposal<OpName>, "where">;

/** Throws `code` unless `holds`; the text is made only then. */
export function need(holds: boolean, p: Placed, code: string, what: () => string): void {
  if (!holds) throw new FarrierError(code, what(), { where: p.where });
}

type Inputs<N extends number> = N extends 0
  ? readonly []
  : N extends 1
    ? readonly [Node]
    : N extends 2
      ? readonly [Node, Node]
      : N extends 3
        ? readonly [Node, Node, Node]
        : N extends 4
          ? readonly [Node, Node, Node, Node]
          : N extends 5
            ? readonly [Node, Node, Node, Node, Node]
            : never;

/** The inputs, which must be exactly `count`. */
export function takes<O extends OpName, N extends number>(p: Proposal<O>, count: N): Inputs<N> {
  if (p.inputs.length !== count)
    throw bug(`${p.where}: ${p.op} takes ${count} inputs, got ${p.inputs.length}`);
  return p.inputs as unknown as Inputs<N>;
}

/** The dtype and shape that the proposal must name where no default is given. */
export function declared(p: Proposal<OpName>, dtype?: DType, shape?: Shape): Signature {
  const result = { dtype: dtype ?? p.dtype, shape: shape ?? p.shape };
  if (result.dtype === undefined || result.shape === undefined)
    throw bug(`${p.where}: ${p.op} without a dtype or shape`);
  return { dtype: result.dtype, shape: result.shape };
}

export const sumOf = (dims: readonly Expr[]): Expr =>
  dims.reduce((total, dim) => add(total, dim), zero);
