/** How many elements of its operands a kernel needs to load, and how many it stores. */
import { add, constValue, int, min, mul, one, zero } from "../scalar/build.js";
import { compileExpr } from "../scalar/evaluate.js";
import { isOp, postorder, someExpr, type Expr, type ExprOp } from "../scalar/expr.js";
import { rangeOf } from "../scalar/range.js";
import type { KernelDesc, Operand, Store } from "./desc.js";

/** How many values a coordinate takes, where that is not its extent. */
export type Extents = ReadonlyMap<Expr, Expr>;

/** A coordinate with more values is taken to pass every guard. */
const mostTried = 65_536;

export class Uses {
  readonly #counts = { read: new Map<string, Expr>(), write: new Map<string, Expr>() };

  constructor(
    readonly desc: KernelDesc,
    readonly extents: Extents,
  ) {
    const { exprs, stores } = partsOf(desc);
    postorder([...exprs, ...stores.flatMap(storeExprs)], (node) => {
      if (isOp(node, "load")) this.#add("read", node.attr.buffer, node.args[0]!, []);
    });
    for (const { operand, offset, guard } of stores)
      this.#add("write", operand, offset, guard === null ? [] : conjuncts(guard));
    // A packed weight is named, not loaded: all of it, or the matrices of a stack that the batch takes.
    if (desc.family === "gemm" && desc.b.kind === "packed" && desc.b.first !== undefined) {
      const matrix = [desc.kExtent, desc.nExtent, int(desc.group)].reduce(mul);
      this.#counts.read.set(desc.b.operand, desc.batchExtents.reduce(mul, matrix));
    }
  }

  /** Each element once, at most all there are; of what no expression names, all. */
  of({ name, elements }: Operand, how: "read" | "write"): Expr {
    const count = this.#counts[how].get(name);
    return count === undefined ? elements : min(count, elements);
  }

  /** As many as the coordinates that the offset depends on have values that meet the conditions. */
  #add(how: "read" | "write", operand: string, offset: Expr, conditions: readonly Expr[]): void {
    const coords = coordsOf(offset);
    const { desc } = this;
    // Rows of all matrices of the batch, not as many of each.
    if (desc.family === "gemm" && desc.rowsInAll !== undefined && coords.has(desc.m))
      for (const each of desc.batch) coords.delete(each);
    const count = [...coords].map((each) => this.#values(each, conditions)).reduce(mul, one);
    const counts = this.#counts[how];
    counts.set(operand, add(counts.get(operand) ?? zero, count));
  }

  #values(coord: Expr, conditions: readonly Expr[]): Expr {
    const extent = this.extents.get(coord) ?? overSymbols(coord.args[0]!);
    const own = conditions.filter((each) => dependsOnlyOn(each, coord));
    const count = constValue(extent);
    return own.length === 0 || count === null || count > mostTried
      ? extent
      : int(countWhere(own, count));
  }
}

/** What is left of an expression over symbols alone. */
export const plain: ReadonlySet<ExprOp> = new Set<ExprOp>([
  ...(["const", "sym", "add", "sub", "mul", "div", "mod", "min", "max"] as const),
  ...(["select", "lt", "le", "eq", "ne"] as const),
]);

/** What only a kernel knows is taken at its largest. */
const overSymbols = (extent: Expr): Expr =>
  someExpr(extent, ({ op }) => !plain.has(op)) ? int(rangeOf(extent).max) : extent;

const coordsOf = (expr: Expr): Set<Expr> => {
  const coords = new Set<Expr>();
  postorder([expr], (node) => {
    if (isOp(node, "coord")) coords.add(node);
  });
  return coords;
};

function dependsOnlyOn(condition: Expr, coord: Expr): boolean {
  let only = true;
  postorder([condition], (node) => {
    const other = isOp(node, "coord") && node !== coord;
    only &&= !other && !isOp(node, "load") && !isOp(node, "param") && !isOp(node, "sym");
  });
  return only;
}

const counted = new Map<string, number>();

/** For how many values below `count` all conditions hold. Layers are alike: remembered. */
function countWhere(conditions: readonly Expr[], count: number): number {
  const key = `${count}:${conditions.map(({ id }) => id).join()}`;
  const known = counted.get(key);
  if (known !== undefined) return known;
  const holds = compileExpr(conditions);
  let found = 0;
  for (let at = 0; at < count; at++)
    if (holds({ coord: () => at }).every((value) => value !== 0)) found++;
  counted.set(key, found);
  return found;
}

const conjuncts = (condition: Expr): Expr[] =>
  isOp(condition, "and") ? condition.args.flatMap(conjuncts) : [condition];

const storeExprs = ({ offset, value, guard }: Store): Expr[] =>
  guard === null ? [offset, value] : [offset, value, guard];

/** All expressions of a description but its coordinates and extents, and its stores. */
function partsOf(desc: KernelDesc): { exprs: Expr[]; stores: Store[] } {
  const exprs: Expr[] = [];
  const stores: Store[] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    if ("op" in value && "args" in value) exprs.push(value as Expr);
    else if ("offset" in value && "operand" in value) stores.push(value as Store);
    else for (const each of Object.values(value)) visit(each);
  };
  const { operands: _, ...own } = desc;
  visit(own);
  return { exprs, stores };
}
