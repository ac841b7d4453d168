/**
 * Softmax attention on a CPU, never holding more than a block of scores. A task is a run of query
 * rows of one key head: keys and values pass in blocks, each row keeps its running maximum, the sum
 * of its weights (f64) and its output (f32), rescaled when the maximum grows.
 */
import type { AttentionDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { CEmitter, type Binding, type Block } from "../../compiler/codegen/c/emitter.js";
import { cModule, lda, tileDepth } from "../../compiler/codegen/c/module.js";
import { literal } from "../../compiler/codegen/c/types.js";
import {
  cast,
  ceilDiv,
  constValue,
  int,
  mul,
  param,
  unary,
} from "../../compiler/codegen/expressions.js";
import { indent, type View } from "../../compiler/codegen/render.js";
import { bug } from "../../compiler/errors.js";

export interface AttentionCpuConfig {
  /** Query rows of a task at most: a multiple of the tallest tile. */
  readonly rows: number;
  /** Keys of a block: a multiple of 32, at most the depth of a tile. */
  readonly keys: number;
}

/** The holes of `cpu.c.hbs`: texts of bodies, names of extents, sizes of scratch. */
type AttentionView = View & {
  readonly [
    H in
      | "head"
      | "rowTasks"
      | "rowsPerTask"
      | "rowsTotal"
      | "queryExtent"
      | "keyExtent"
      | "taskLines"
      | "boundsRow"
      | "first"
      | "end"
      | "queryRow"
      | "queryElement"
      | "query"
      | "keyRow"
      | "keyElement"
      | "key"
      | "scoreRow"
      | "scoreElement"
      | "score"
      | "scale"
      | "weightElement"
      | "weight"
      | "rescaleLines"
      | "rescale"
      | "valueRow"
      | "valueElement"
      | "value"
      | "storeRow"
      | "storeElement"
  ]: string;
} & {
  readonly [
    S in
      | "depth"
      | "valueDepth"
      | "valuePadded"
      | "tileDepth"
      | "keyBlock"
      | "rowsMax"
      | "gatheredStride"
      | "outStride"
      | "queriesElements"
      | "scoresElements"
      | "keysElements"
      | "valuesElements"
      | "outElements"
  ]: number;
} & { readonly groups: readonly { readonly name: string; readonly extent: string }[] };

export const attentionCpu: FamilyTemplate<"attention", AttentionCpuConfig> = {
  family: "attention",
  candidates: (desc, target) =>
    desc.dtype !== "f64" && target.multiplies.includes(desc.dtype)
      ? [
          { rows: 48, keys: 128 },
          { rows: 24, keys: 256 },
        ]
      : [],
  render: (desc, config) => renderAttention(desc, config),
};

const fixed = (extent: Expr): number => {
  const value = constValue(extent);
  if (value === null) throw bug("the depths of attention must be literals");
  return value;
};

const roundUp = (value: number, multiple: number): number => Math.ceil(value / multiple) * multiple;

function sizesOf(desc: AttentionDesc, { rows, keys }: AttentionCpuConfig) {
  const [depth, valueDepth] = [fixed(desc.extents.d), fixed(desc.extents.e)];
  const [valuePadded, gatheredStride] = [roundUp(valueDepth, 16), roundUp(depth, 16) + 16];
  // A tile of two vectors may write one vector past an odd number of panels.
  const outStride = valuePadded + 16;
  return {
    depth,
    valueDepth,
    valuePadded,
    tileDepth,
    keyBlock: keys,
    rowsMax: rows,
    gatheredStride,
    outStride,
    queriesElements: Math.ceil(depth / tileDepth) * rows * lda,
    scoresElements: rows * lda,
    keysElements: keys * depth,
    valuesElements: keys * valuePadded,
    outElements: rows * outStride,
    gatheredElements: 16 * gatheredStride,
  };
}

/** One body in a block below a row's, with the lines of both. */
function body(emitter: CEmitter, value: Expr, row: Block, leaves: readonly Binding[]) {
  const element = emitter.block(row, leaves);
  emitter.mark([value]);
  return { value: emitter.value(value, element), element };
}

function renderAttention(desc: AttentionDesc, config: AttentionCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const { extents } = desc;
  const outer = (expr: Expr): string => emitter.value(expr, emitter.root);
  const rowsTotal = mul(extents.r, extents.q);
  const rowTasks = ceilDiv(rowsTotal, int(config.rows));
  const sizes = sizesOf(desc, config);
  const task = emitter.block(emitter.root, [
    [desc.b, "b"],
    [desc.g, "g"],
  ]);
  const row = (): Block =>
    emitter.block(task, [
      [desc.r, "r"],
      [desc.q, "q"],
    ]);
  const key = (): Block => emitter.block(task, [[desc.k, "k"]]);
  emitter.mark([extents.k, desc.bounds.first, desc.bounds.end]);

  const [bounds, queryRow, scoreRow, storeRow] = [row(), row(), row(), row()];
  const keyExtent = emitter.value(extents.k, task);
  const first = emitter.value(desc.bounds.first, bounds);
  const end = emitter.value(desc.bounds.end, bounds);
  const query = body(emitter, cast(desc.queries, "f32"), queryRow, [[desc.d, "d"]]);
  const [keyRow, valueRow] = [key(), key()];
  const keys = body(emitter, cast(desc.keys, "f32"), keyRow, [[desc.d, "d"]]);
  const values = body(emitter, cast(desc.values, "f32"), valueRow, [[desc.e, "e"]]);
  const score = body(emitter, desc.score, scoreRow, [
    [desc.k, "k"],
    [param("score", "f32"), "score"],
  ]);
  const difference = param("difference", "f32");
  const weight = body(emitter, unary("exp", difference), row(), [[difference, "difference"]]);
  const rescale = body(emitter, unary("exp", difference), row(), [[difference, "difference"]]);
  const storeElement = emitter.block(storeRow, [
    [desc.e, "e"],
    [param("acc", "f32"), "acc"],
  ]);
  emitter.stores(desc.stores, storeElement);

  const view: AttentionView = {
    ...sizes,
    rowTasks: outer(rowTasks),
    rowsPerTask: outer(ceilDiv(rowsTotal, rowTasks)),
    rowsTotal: outer(rowsTotal),
    queryExtent: outer(extents.q),
    keyExtent,
    groups: [
      { name: "g", extent: outer(extents.g) },
      { name: "b", extent: outer(extents.b) },
    ],
    taskLines: indent(task.lines, 2),
    boundsRow: indent(bounds.lines, 4),
    first,
    end,
    queryRow: indent(queryRow.lines, 4),
    queryElement: indent(query.element.lines, 8),
    query: query.value,
    keyRow: indent(keyRow.lines, 8),
    keyElement: indent(keys.element.lines, 10),
    key: keys.value,
    scale: literal("f32", desc.scale),
    scoreRow: indent(scoreRow.lines, 6),
    scoreElement: indent(score.element.lines, 8),
    score: score.value,
    weightElement: indent(weight.element.lines, 8),
    weight: weight.value,
    rescaleLines: indent(rescale.element.lines, 8),
    rescale: rescale.value,
    valueRow: indent(valueRow.lines, 6),
    valueElement: indent(values.element.lines, 10),
    value: values.value,
    storeRow: indent(storeRow.lines, 4),
    storeElement: indent(storeElement.lines, 6),
    head: indent(emitter.head(), 2),
  };
  const elements =
    sizes.queriesElements +
    sizes.scoresElements +
    sizes.keysElements +
    sizes.valuesElements +
    sizes.outElements +
    sizes.gatheredElements;
  return {
    text: cModule("attention/cpu.c.hbs", view, { lanes: true, tiles: ["f32"] }),
    scalars: emitter.scalars.list(),
    launch: {
      kind: "cpu",
      tasks: mul(mul(extents.b, extents.g), rowTasks),
      scratchBytes: elements * 4,
    },
  };
}
