/** One reduction along an axis, printed into the block of its row. */
import { FarrierError } from "../../errors.js";
import { isFloat, type DType } from "../../ir/dtype.js";
import { rawName, type Stage } from "../../kernel/desc.js";
import { param } from "../../scalar/build.js";
import type { Expr } from "../../scalar/expr.js";
import { indent, renderTemplate, type View } from "../render.js";
import type { Block, CEmitter } from "./emitter.js";
import { cType } from "./types.js";

/** Elements evaluated by one vectorised loop before they are reduced: they stay in L1. */
export const stripLength = 512;

export interface Reducer {
  /** Name of the prelude's reducer. */
  readonly name: string;
  readonly stripType: string;
  readonly lanesType: string;
  readonly identity: string;
}

const infinity = (type: DType, sign: "" | "-"): string =>
  `${sign}__builtin_inf${type === "f64" ? "" : "f"}()`;

const identities: { readonly [K in Stage["kind"]]: (type: DType) => string } = {
  sum: () => "0",
  prod: () => "1",
  max: (type) => (isFloat(type) ? infinity(type, "-") : "INT64_MIN"),
  min: (type) => (isFloat(type) ? infinity(type, "") : "INT64_MAX"),
};

/** f32 sums and products accumulate in f64, which costs little and makes long rows accurate. */
export function reducerOf(kind: Stage["kind"], type: DType): Reducer {
  const exact = kind === "sum" || kind === "prod";
  if (type === "u64" && !exact)
    throw new FarrierError(
      "E_TYPE_UNSUPPORTED",
      `the C back end has no ${kind} reduction of ${type}`,
    );
  const identity = identities[kind](type);
  if (!isFloat(type))
    return { name: `${kind}_int`, stripType: "int64_t", lanesType: "int64_t", identity };
  const wide = type === "f64";
  const stripType = wide ? "double" : "float";
  return {
    name: `${kind}_${wide ? "f64" : "f32"}`,
    stripType,
    lanesType: exact ? "double" : stripType,
    identity,
  };
}

/** One step of a reduction of `v` into `a`, as the prelude's reducers do it. */
export function stepOf(kind: Stage["kind"], type: DType): string {
  if (kind === "sum") return "a + v";
  if (kind === "prod") return "a * v";
  const beyond = kind === "max" ? ">" : "<";
  return isFloat(type) ? `(v ${beyond} a) | (v != v) ? v : a` : `v ${beyond} a ? v : a`;
}

/**
 * Prints the loops of `stage` over `axis` into `block` and binds its finished value there.
 * `axisExtent` is a name that is visible in `block`.
 */
export function emitStage(
  emitter: CEmitter,
  stage: Stage,
  block: Block,
  axis: Expr,
  axisExtent: string,
): void {
  const element = emitter.block(block, [[axis, "k"]]);
  emitter.mark([stage.body]);
  const value = emitter.value(stage.body, element);
  const reducer = reducerOf(stage.kind, stage.body.type);
  const [raw, lanes] = [emitter.fresh(), emitter.fresh()];
  const view: View = {
    lanes,
    raw,
    rawType: cType(stage.body.type).value,
    lanesType: reducer.lanesType,
    stripType: reducer.stripType,
    identity: reducer.identity,
    reducer: reducer.name,
    stripLength,
    axisExtent,
    element: indent(element.lines, 4),
    value,
  };
  block.lines.push(...renderTemplate("reduce/cpu-stage.c.hbs", view).trimEnd().split("\n"));
  block.bound.set(param(rawName(stage.name), stage.body.type), raw);
  emitter.mark([stage.finish]);
  block.bound.set(param(stage.name, stage.finish.type), emitter.value(stage.finish, block));
}
