/** Reductions along a strided axis: neighbouring rows are the lanes, the axis is the outer loop. */
import type { ReduceDesc, Stage } from "../../compiler/kernel/desc.js";
import type { KernelText } from "../../compiler/kernel/family.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { isContiguous, loadsOf } from "../../compiler/codegen/affine.js";
import { CEmitter, type Binding, type Block } from "../../compiler/codegen/c/emitter.js";
import { cModule } from "../../compiler/codegen/c/module.js";
import { reducerOf, stepOf } from "../../compiler/codegen/c/stage.js";
import { cType } from "../../compiler/codegen/c/types.js";
import {
  ceilDiv,
  int,
  isOp,
  mul,
  one,
  param,
  rawName,
} from "../../compiler/codegen/expressions.js";
import { indent, type View } from "../../compiler/codegen/render.js";
import { isHostExpr } from "../../compiler/codegen/scalars.js";

/** Rows that a task reduces side by side: their partial results stay in L1. */
const width = 64;

/** The holes of one stage of `cpu-columns.c.hbs`. */
interface StageView extends View {
  readonly name: string;
  readonly type: string;
  readonly width: number;
  readonly lanesType: string;
  readonly rawType: string;
  readonly identity: string;
  readonly axisExtent: string;
  readonly axisLines: string;
  readonly element: string;
  readonly value: string;
  readonly step: string;
  readonly finishLines: string;
  readonly finish: string;
}

interface ColumnsView extends View {
  readonly head: string;
  readonly blocks: string;
  readonly width: number;
  readonly innerExtent: string;
  readonly coords: readonly { readonly name: string; readonly extent: string }[];
  readonly row: string;
  readonly stages: readonly StageView[];
  readonly hasElements: boolean;
  readonly axisExtent: string;
  readonly axisLines: string;
  readonly element: string;
  readonly rowStores: string;
}

const innerOf = (desc: ReduceDesc): Expr | undefined =>
  desc.coords.filter((coord) => isOp(coord, "coord")).at(-1);

/** True if elements of one row are far apart while those of neighbouring rows are not. */
export function prefersColumns(desc: ReduceDesc): boolean {
  const inner = innerOf(desc);
  if (inner === undefined || !isHostExpr(desc.axisExtent)) return false;
  const loads = loadsOf(desc.stages.map(({ body }) => body));
  const along = (coord: Expr): boolean => loads.some((load) => isContiguous(load.args[0]!, coord));
  return loads.length > 0 && along(inner) && !along(desc.axis);
}

export function renderColumns(desc: ReduceDesc): KernelText {
  const emitter = new CEmitter(desc.operands);
  const inner = innerOf(desc)!;
  const axes = desc.coords.map((coord, index) => ({
    coord,
    extent: desc.extents[index]!,
    name: `c${index}`,
  }));
  const outer = axes.filter(({ coord }) => isOp(coord, "coord") && coord !== inner).reverse();
  const innerExtent = axes.find(({ coord }) => coord === inner)!.extent;
  const row = emitter.block(
    emitter.root,
    outer.map(({ coord, name }): Binding => [coord, name]),
  );
  const known: Binding[] = [[inner, "x"]];
  const stages = desc.stages.map((stage, index) => {
    const { view, finished } = stageOf(emitter, desc, stage, `stage${index}`, row, known);
    known.push(finished);
    return view;
  });
  const elements = stores(emitter, desc, row, known);
  const tail = emitter.block(row, known);
  emitter.stores(desc.rowStores, tail);
  const outerRows = outer.reduce((product, { extent }) => mul(product, extent), one);
  const view: ColumnsView = {
    blocks: emitter.value(ceilDiv(innerExtent, int(width)), emitter.root),
    width,
    innerExtent: emitter.value(innerExtent, emitter.root),
    coords: outer.map(({ name, extent }) => ({
      name,
      extent: emitter.value(extent, emitter.root),
    })),
    row: indent(row.lines, 2),
    stages,
    hasElements: desc.elementStores.length > 0,
    axisExtent: emitter.value(desc.axisExtent, emitter.root),
    ...elements,
    rowStores: indent(tail.lines, 4),
    head: indent(emitter.head(), 2),
  };
  return {
    text: cModule("reduce/cpu-columns.c.hbs", view, {}),
    scalars: emitter.scalars.list(),
    launch: {
      kind: "cpu",
      tasks: mul(outerRows, ceilDiv(innerExtent, int(width))),
      scratchBytes: 0,
    },
  };
}

/** The loops of one stage, and where the bodies after it find its finished values. */
function stageOf(
  emitter: CEmitter,
  desc: ReduceDesc,
  stage: Stage,
  name: string,
  row: Block,
  known: readonly Binding[],
): { view: StageView; finished: Binding } {
  const axis = emitter.block(row, [[desc.axis, "k"]]);
  const element = emitter.block(axis, known);
  emitter.mark([stage.body, stage.finish]);
  const value = emitter.value(stage.body, element);
  const lane = emitter.block(row, [...known, [param(rawName(stage.name), stage.body.type), "raw"]]);
  const finish = emitter.value(stage.finish, lane);
  const { lanesType, identity } = reducerOf(stage.kind, stage.body.type);
  const view: StageView = {
    name,
    type: cType(stage.finish.type).value,
    width,
    lanesType,
    rawType: cType(stage.body.type).value,
    identity,
    axisExtent: emitter.value(desc.axisExtent, emitter.root),
    axisLines: indent(axis.lines, 6),
    element: indent(element.lines, 8),
    value,
    step: stepOf(stage.kind, stage.body.type),
    finishLines: indent(lane.lines, 6),
    finish,
  };
  return { view, finished: [param(stage.name, stage.finish.type), `${name}[j]`] };
}

function stores(emitter: CEmitter, desc: ReduceDesc, row: Block, known: readonly Binding[]) {
  const axis = emitter.block(row, [[desc.axis, "k"]]);
  const element = emitter.block(axis, known);
  emitter.stores(desc.elementStores, element);
  return { axisLines: indent(axis.lines, 4), element: indent(element.lines, 6) };
}
