/**
 * Blocked products on a CPU. A task is a block of rows by a run of panels of B: it evaluates A's body
 * once for each block of depth into scratch, multiplies with register tiles, and runs the stores over
 * its accumulators. Depth is never split between tasks, so any number of threads gives the same bits.
 */
import type { GemmDesc } from "../../compiler/kernel/desc.js";
import type { FamilyTemplate, KernelText } from "../../compiler/kernel/family.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { isContiguous, linearIn, type Linear } from "../../compiler/codegen/affine.js";
import { CEmitter, type Binding, type Block } from "../../compiler/codegen/c/emitter.js";
import {
  cModule,
  lda,
  panelColumns,
  tallestTile,
  tileDepth,
  tileStorage,
  type TileStorage,
} from "../../compiler/codegen/c/module.js";
import { emitStage } from "../../compiler/codegen/c/stage.js";
import { cType } from "../../compiler/codegen/c/types.js";
import {
  ceilDiv,
  int,
  isOp,
  le,
  max,
  min,
  mul,
  one,
  param,
  select,
} from "../../compiler/codegen/expressions.js";
import { indent, renderTemplate, type View } from "../../compiler/codegen/render.js";
import { dtypes } from "../../compiler/ir/dtype.js";

export interface GemmCpuConfig {
  /** Rows of a task at most: a multiple of the tallest tile. */
  readonly rows: number;
  /** Panels of 16 columns of a task, at most. */
  readonly panels: number;
  /** At least, where there are rows enough: every task evaluates A's prologue for its rows. */
  readonly leastPanels: number;
  /** Tasks to aim at: enough to keep the threads of a large machine busy. */
  readonly tasks: number;
}

/** The holes of `cpu.c.hbs`. */
interface GemmView extends View {
  readonly head: string;
  readonly real: string;
  readonly rowTasks: string;
  readonly rowsPerTask: string;
  /** The type of the number of rows; how many there are where the device knows it. */
  readonly rowsOf: string;
  readonly bounded: boolean;
  readonly present: string;
  readonly columnTasks: string;
  readonly panelsPerTask: string;
  readonly mExtent: string;
  readonly nExtent: string;
  readonly kExtent: string;
  readonly panels: string;
  /** Batch coordinates, the fastest first. */
  readonly batch: readonly { readonly name: string; readonly extent: string }[];
  readonly batchLines: string;
  readonly tileDepth: number;
  readonly tallestTile: number;
  readonly aElements: number;
  readonly ldc: number;
  readonly hasStages: boolean;
  readonly stages: readonly {
    readonly name: string;
    readonly type: string;
    readonly rowsMax: number;
  }[];
  readonly stageLines: string;
  /** Where the rows of A are: in memory, or in scratch once its body was evaluated. */
  readonly left: string;
  readonly aRow: string;
  readonly aElement: string;
  readonly aValue: string;
  /** Packs a block of B where it is no packed weight. */
  readonly right: string;
  readonly storage: TileStorage;
  readonly bPointer: string;
  readonly bPanel: string;
  /** Of a panel. */
  readonly logicalColumns: number;
  readonly cRow: string;
  readonly cElement: string;
}

export const gemmCpu: FamilyTemplate<"gemm", GemmCpuConfig> = {
  family: "gemm",
  candidates: (desc, target) => (target.multiplies.includes(desc.dtype) ? [configOf(desc)] : []),
  render: (desc, config) => renderGemm(desc, config),
};

/** A strided B is packed by every task that reads it, so its blocks must leave room in L2. */
const configOf = ({ b }: GemmDesc): GemmCpuConfig => ({
  rows: 96,
  panels: b.kind === "strided" ? 16 : 32,
  leastPanels: 8,
  tasks: 64,
});

interface Grid {
  readonly rowTasks: Expr;
  readonly rowsPerTask: Expr;
  readonly panels: Expr;
  readonly panelsPerTask: Expr;
  readonly columnTasks: Expr;
  readonly batch: Expr;
}

/** Balanced blocks of rows; runs of panels in multiples of what a tile has side by side. */
function gridOf(desc: GemmDesc, config: GemmCpuConfig): Grid {
  const batch = desc.batchExtents.reduce(mul, one);
  const rowTasks = ceilDiv(desc.mExtent, int(config.rows));
  const perRow = ceilDiv(desc.mExtent, rowTasks);
  const rowsPerTask = mul(ceilDiv(perRow, int(tallestTile)), int(tallestTile));
  const panels = ceilDiv(mul(desc.nExtent, int(desc.group)), int(panelColumns));
  const wanted = ceilDiv(panels, ceilDiv(int(config.tasks), mul(rowTasks, batch)));
  // With few rows a task is memory traffic: about 128 KiB of B are worth a task, and four panels
  // pass side by side.
  const few = le(desc.mExtent, int(tallestTile));
  // Few tasks of rows are made up for by narrow ones, where A costs them nothing but reading.
  const narrow = rowsInMemory(desc) === null ? config.leastPanels : config.leastPanels / 2;
  const many = select(le(rowTasks, int(2)), int(narrow), int(config.leastPanels));
  const least = select(few, ceilDiv(int(2048), desc.kExtent), many);
  const multiple = select(few, int(4), int(2));
  const whole = mul(ceilDiv(max(wanted, least), multiple), multiple);
  const panelsPerTask = min(whole, int(config.panels));
  return {
    rowTasks,
    rowsPerTask,
    panels,
    panelsPerTask,
    columnTasks: ceilDiv(panels, panelsPerTask),
    batch,
  };
}

function renderGemm(desc: GemmDesc, config: GemmCpuConfig): KernelText {
  const emitter = new CEmitter(desc.operands);
  const grid = gridOf(desc, config);
  const outer = (expr: Expr): string => emitter.value(expr, emitter.root);
  const real = desc.dtype === "f64" ? "double" : "float";
  const axes = desc.batch.map((coord, index) => ({
    coord,
    extent: desc.batchExtents[index]!,
    name: `c${index}`,
  }));
  const moving = axes.filter(({ coord }) => isOp(coord, "coord")).reverse();
  const batch = emitter.block(
    emitter.root,
    moving.map(({ coord, name }): Binding => [coord, name]),
  );
  const present = presentRows(emitter, desc, batch);
  const ldc = config.panels * panelColumns + 16;
  const [aElements, cElements] = [config.rows * lda, config.rows * ldc];
  const right = rightOperand(emitter, desc, batch, real, cElements);
  const bodies = bodiesOf(emitter, desc, batch, config.rows);
  const left = leftRows(emitter, desc, batch, real);
  const view: GemmView = {
    ...right,
    ...bodies,
    left,
    real,
    rowsOf: desc.rows === undefined ? "const int64_t" : "int64_t",
    bounded: desc.rows !== undefined,
    present,
    rowTasks: outer(grid.rowTasks),
    rowsPerTask: outer(grid.rowsPerTask),
    columnTasks: outer(grid.columnTasks),
    panelsPerTask: outer(grid.panelsPerTask),
    mExtent: outer(desc.mExtent),
    nExtent: outer(desc.nExtent),
    kExtent: outer(desc.kExtent),
    panels: outer(grid.panels),
    batch: moving.map(({ name, extent }) => ({ name, extent: outer(extent) })),
    batchLines: indent(batch.lines, 2),
    tileDepth,
    tallestTile,
    aElements,
    ldc,
    logicalColumns: panelColumns / desc.group,
    head: indent(emitter.head(), 2),
  };
  const bElements = desc.b.kind === "strided" ? config.panels * panelColumns * tileDepth : 0;
  const bytes = dtypes[real === "double" ? "f64" : "f32"].bits / 8;
  return {
    text: cModule("gemm/cpu.c.hbs", view, {
      lanes: desc.stages.length > 0,
      tiles: [right.storage],
    }),
    scalars: emitter.scalars.list(),
    launch: {
      kind: "cpu",
      tasks: mul(grid.batch, mul(grid.rowTasks, grid.columnTasks)),
      scratchBytes: (aElements + cElements + bElements) * bytes,
    },
  };
}

function presentRows(emitter: CEmitter, { rows }: GemmDesc, batch: Block): string {
  if (rows === undefined) return "";
  emitter.mark([rows]);
  return emitter.value(rows, batch);
}

/** Where the row m of A begins, if rows need no prologue and can be read where they are. */
function rowsInMemory({ a, k, m, dtype }: GemmDesc): (Linear & { readonly buffer: string }) | null {
  if (!isOp(a, "load") || a.type !== dtype || (dtype !== "f32" && dtype !== "f64")) return null;
  const offset = a.args[0]!;
  const rows = isContiguous(offset, k) ? linearIn(linearIn(offset, k)!.base, m) : null;
  return rows === null ? null : { ...rows, buffer: a.attr.buffer };
}

/** The rows that tiles read from memory; the others go through scratch. */
function leftRows(emitter: CEmitter, desc: GemmDesc, batch: Block, real: string): string {
  const rows = rowsInMemory(desc);
  if (rows === null) return `const ${real}* const x = a;\n  const int64_t ldx = 0, whole = 0;`;
  emitter.mark([rows.base, rows.stride]);
  const [base, stride] = [rows.base, rows.stride].map((expr) => emitter.value(expr, batch));
  return [
    `const int64_t ldx = ${stride}, whole = farrier_whole_${tileStorage(desc.dtype)}(rows);`,
    `  const ${real}* const x = ${emitter.pointer(rows.buffer)} + ${base} + m0 * ldx;`,
  ].join("\n");
}

/** Prologue and epilogue: A's body over (m, k), the stores over (m, n), both with the row's stages. */
function bodiesOf(emitter: CEmitter, desc: GemmDesc, batch: Block, rowsMax: number) {
  const stages = desc.stages.map((stage, index) => ({
    param: param(stage.name, stage.finish.type),
    view: { name: `stage${index}`, type: cType(stage.finish.type).value, rowsMax },
  }));
  const stageBlock = emitStages(
    emitter,
    desc,
    batch,
    stages.map(({ view }) => view.name),
  );
  const row = (): Block =>
    emitter.block(batch, [
      [desc.m, "m"],
      ...stages.map(({ param, view }): Binding => [param, `${view.name}[r]`]),
    ]);
  const aRow = row();
  const aElement = emitter.block(aRow, [[desc.k, "k"]]);
  emitter.mark([desc.a]);
  const aValue = emitter.value(desc.a, aElement);
  const cRow = row();
  const accumulators = ["acc0", "acc1"].slice(0, desc.group).map((name, index): Binding => {
    const at = desc.group === 1 ? "j" : `j * ${desc.group} + ${index}`;
    return [param(name, desc.dtype === "f64" ? "f64" : "f32"), `from[${at}]`];
  });
  const cElement = emitter.block(cRow, [[desc.n, "n"], ...accumulators]);
  emitter.stores(desc.stores, cElement);
  return {
    hasStages: stages.length > 0,
    stages: stages.map(({ view }) => view),
    stageLines: indent(stageBlock.lines, 4),
    aRow: indent(aRow.lines, 6),
    aElement: indent(aElement.lines, 8),
    aValue,
    cRow: indent(cRow.lines, 4),
    cElement: indent(cElement.lines, 6),
  };
}

/** Statistics of a row over the whole depth, kept for the prologue and for the stores. */
function emitStages(
  emitter: CEmitter,
  desc: GemmDesc,
  batch: Block,
  names: readonly string[],
): Block {
  const depth = emitter.value(desc.kExtent, emitter.root);
  const block = emitter.block(batch, [[desc.m, "m"]]);
  desc.stages.forEach((stage, index) => {
    emitStage(emitter, stage, block, desc.k, depth);
    const finished = emitter.value(param(stage.name, stage.finish.type), block);
    block.lines.push(`${names[index]}[r] = ${finished};`);
  });
  return block;
}

type Right = Pick<GemmView, "right" | "storage" | "bPointer" | "bPanel">;

/** Where tiles find B: in the packed weight, or in a block that the task packs. */
function rightOperand(
  emitter: CEmitter,
  desc: GemmDesc,
  batch: Block,
  real: string,
  cElements: number,
): Right {
  const depth = emitter.value(desc.kExtent, emitter.root);
  if (desc.b.kind === "packed") {
    const pointer = emitter.pointer(desc.b.operand);
    const { first } = desc.b;
    if (first !== undefined) emitter.mark([first]);
    const matrix = first === undefined ? pointer : `${pointer} + ${emitter.value(first, batch)}`;
    const bPointer = `${matrix} + panel0 * 16 * ${depth} + k0 * 16`;
    return { right: "", storage: tileStorage(desc.dtype), bPointer, bPanel: `16 * ${depth}` };
  }
  const { value } = desc.b;
  const alongColumns = isOp(value, "load") ? isContiguous(value.args[0]!, desc.n) : true;
  const row = emitter.block(batch, [alongColumns ? [desc.k, "k"] : [desc.n, "n"]]);
  const element = emitter.block(row, [alongColumns ? [desc.n, "n"] : [desc.k, "k"]]);
  emitter.mark([value]);
  const view: View = {
    real,
    cElements,
    alongColumns,
    nExtent: emitter.value(desc.nExtent, emitter.root),
    value: emitter.value(value, element),
    row: indent(row.lines, 4),
    element: indent(element.lines, 6),
  };
  const right = indent(renderTemplate("gemm/cpu-pack.c.hbs", view).trimEnd().split("\n"), 4);
  return {
    right,
    storage: desc.dtype === "f64" ? "f64" : "f32",
    bPointer: "b",
    bPanel: "deep * 16",
  };
}
