/** The types that the model declares, against those that follow from its nodes. */
import { FarrierError } from "../../errors.js";
import type { Node } from "../../ir/graph.js";
import { printShape } from "../../ir/shape.js";
import { constValue } from "../../scalar/build.js";
import { rangeOf } from "../../scalar/range.js";
import { quoted } from "./labels.js";
import type { OnnxGraph, OnnxType } from "./wire/types.js";

export class ValueChecks {
  readonly #declared: ReadonlyMap<string, OnnxType>;
  /** Names of dimensions and the number that each is bound to. */
  readonly #dims = new Map<string, number>();

  constructor(graph: OnnxGraph) {
    this.#declared = new Map(
      [...graph.valueInfo, ...graph.outputs].flatMap(({ name, type }) =>
        type === null ? [] : [[name, type]],
      ),
    );
  }

  /** Throws where `value` cannot be of the declared type. */
  check(name: string, value: Node, where: string): void {
    const type = this.#declared.get(name);
    if (type === undefined) return;
    const fail = (what: string): FarrierError =>
      new FarrierError("E_SHAPE_CONFLICT", `${quoted(name)} ${what}`, { where });
    if (type.kind !== "tensor") throw fail(`is declared to be a ${type.kind}`);
    if (type.elemType !== "UNDEFINED" && type.dtype !== value.dtype)
      throw fail(`is declared ${type.dtype ?? type.elemType}, is ${value.dtype}`);
    const { shape } = type;
    if (shape === null) return;
    const said = `is declared [${shape.map((dim) => dim ?? "?").join(", ")}], is ${printShape(value.shape)}`;
    if (shape.length !== value.shape.length) throw fail(said);
    shape.forEach((dim, axis) => {
      const actual = value.shape[axis]!;
      const { min, max } = rangeOf(actual);
      if (typeof dim === "number" && (dim < min || dim > max)) throw fail(said);
      if (typeof dim === "string") this.#bind(dim, constValue(actual), where);
    });
  }

  #bind(dim: string, value: number | null, where: string): void {
    if (value === null) return;
    const before = this.#dims.get(dim) ?? value;
    this.#dims.set(dim, value);
    if (before === value) return;
    const what = `dimension ${quoted(dim)} is ${before} and ${value}`;
    throw new FarrierError("E_SYMBOL_CONFLICT", what, { where });
  }
}
