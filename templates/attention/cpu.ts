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

interface Body {
  /** Lines of the loop around it, and of its own. */
  readonly row: Block;
  readonly element: Block;
  readonly value: string;
}

/** One body in a loop inside a row's. */
function body(emitter: CEmitter, value: Expr, row: Block, leaves: readonly Binding[]): Body {
  const element = emitter.block(row, leaves);
  emitter.mark([value]);
  return { row, element, value: emitter.value(value, element) };
}

function renderAttention(desc: AttentionDesc, config: AttentionCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const { extents } = desc;
  const outer = (expr: Expr): string => emitter.value(expr, emitter.root);
  const rowsTotal = mul(extents.r, extents.q);
  const rowTasks = ceilDiv(rowsTotal, int(config.rows));
  const sizes = sizesOf(desc, config);
  const bodies = bodiesOf(emitter, desc);
  const view: AttentionView = {
    ...sizes,
    ...bodies,
    rowTasks: outer(rowTasks),
    rowsPerTask: outer(ceilDiv(rowsTotal, rowTasks)),
    rowsTotal: outer(rowsTotal),
    queryExtent: outer(extents.q),
    groups: [
      { name: "g", extent: outer(extents.g) },
      { name: "b", extent: outer(extents.b) },
    ],
    scale: literal("f32", desc.scale),
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

/** Every body of the desc as text; the task's own lines last, since bodies add to them. */
function bodiesOf(emitter: CEmitter, desc: AttentionDesc) {
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
  const as32 = (value: Expr): Expr => cast(value, "f32");
  emitter.mark([desc.extents.k, desc.bounds.first, desc.bounds.end]);
  const keyExtent = emitter.value(desc.extents.k, task);
  const bounds = row();
  const [first, end] = [desc.bounds.first, desc.bounds.end].map((bound) =>
    emitter.value(bound, bounds),
  ) as [string, string];
  const query = body(emitter, as32(desc.queries), row(), [[desc.d, "d"]]);
  const keys = body(emitter, as32(desc.keys), key(), [[desc.d, "d"]]);
  const values = body(emitter, as32(desc.values), key(), [[desc.e, "e"]]);
  const score = body(emitter, desc.score, row(), [
    [desc.k, "k"],
    [param("score", "f32"), "score"],
  ]);
  const difference = param("difference", "f32");
  const exp = (): Body =>
    body(emitter, unary("exp", difference), row(), [[difference, "difference"]]);
  const [weight, rescale] = [exp(), exp()];
  const storeRow = row();
  const storeElement = emitter.block(storeRow, [
    [desc.e, "e"],
    [param("acc", "f32"), "acc"],
  ]);
  emitter.stores(desc.stores, storeElement);
  return {
    keyExtent,
    first,
    end,
    boundsRow: indent(bounds.lines, 4),
    queryRow: indent(query.row.lines, 4),
    queryElement: indent(query.element.lines, 8),
    query: query.value,
    keyRow: indent(keys.row.lines, 8),
    keyElement: indent(keys.element.lines, 10),
    key: keys.value,
    scoreRow: indent(score.row.lines, 6),
    scoreElement: indent(score.element.lines, 8),
    score: score.value,
    weightElement: indent(weight.element.lines, 8),
    weight: weight.value,
    rescaleLines: indent(rescale.element.lines, 8),
    rescale: rescale.value,
    valueRow: indent(values.row.lines, 6),
    valueElement: indent(values.element.lines, 10),
    value: values.value,
    storeRow: indent(storeRow.lines, 4),
    storeElement: indent(storeElement.lines, 6),
    taskLines: indent(task.lines, 2),
  };
}
