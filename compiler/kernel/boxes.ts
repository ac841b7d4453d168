/**
 * Boxes of a profile: ranges of its symbols that have kernels of their own. Tiles that are right for a
 * prompt of a thousand ids are not for one of ten.
 */
import { sym, substitute } from "../scalar/build.js";
import { isOp, postorder, type Expr, type SymbolInfo } from "../scalar/expr.js";
import type { Graph } from "../ir/graph.js";
import type { KernelDesc } from "./desc.js";

/** Lowest and highest value of each symbol; symbols left out are free. */
export type Box = Readonly<Record<string, readonly [number, number]>>;

/** Upper ends of the ranges that a symbol is cut into, by its name. */
export type Splits = (symbol: string) => readonly number[];

/** The symbols of the host that the inputs of a graph bind. */
export function symbolsOf(graph: Graph): Expr<"sym">[] {
  const dims = graph.inputs.flatMap((node) => node.shape);
  const found: Expr<"sym">[] = [];
  postorder(dims, (each) => {
    if (isOp(each, "sym") && each.attr.space === "host") found.push(each);
  });
  return found;
}

function rangesOf({ min, max }: SymbolInfo, ends: readonly number[]): [number, number][] {
  const inner = [...new Set(ends)].filter((end) => end >= min && end < max).sort((a, b) => a - b);
  return [...inner, max].map((end, i) => [i === 0 ? min : inner[i - 1]! + 1, end]);
}

/** Boxes that together are the whole of the symbols' ranges, the smallest values first. */
export function boxesOf(symbols: readonly Expr<"sym">[], splits: Splits): Box[] {
  return symbols.reduce<Box[]>(
    (boxes, { attr }) =>
      boxes.flatMap((box) =>
        rangesOf(attr, splits(attr.name)).map((range) => ({ ...box, [attr.name]: range })),
      ),
    [{}],
  );
}

/** A box, and the symbols with its ranges in place of their own. */
export interface Narrowing {
  readonly box: Box;
  readonly symbols: ReadonlyMap<Expr, Expr>;
  /** The same for equal boxes. */
  readonly key: string;
}

export function narrowing(symbols: readonly Expr<"sym">[], box: Box): Narrowing {
  const narrowed = symbols.flatMap((each): [Expr, Expr][] => {
    const range = box[each.attr.name];
    if (range === undefined) return [];
    const [min, max] = range;
    return [[each, sym({ ...each.attr, min, max })]];
  });
  return { box, symbols: new Map(narrowed), key: JSON.stringify(box) };
}

/** Boxes joined where neighbours have the same `kind`; what is joined has that of its largest part. */
export function joinedBoxes(
  symbols: readonly Expr<"sym">[],
  boxes: readonly Box[],
  kind: (box: Box) => string,
): { readonly box: Box; readonly like: Box }[] {
  let joined = boxes.map((box) => ({ box, like: box }));
  for (const { attr } of [...symbols].reverse()) {
    const { name } = attr;
    const others = (box: Box): string => JSON.stringify({ ...box, [name]: null });
    const runs: (typeof joined)[] = [];
    const open = new Map<string, typeof joined>();
    for (const each of joined) {
      const place = `${others(each.box)} ${kind(each.like)}`;
      const run = open.get(place);
      const follows = run?.at(-1)!.box[name]![1] === each.box[name]![0] - 1;
      if (run !== undefined && follows) run.push(each);
      else {
        open.set(place, [each]);
        runs.push(open.get(place)!);
      }
    }
    joined = runs.map((run) => {
      const [first, last] = [run[0]!, run.at(-1)!];
      const range = [first.box[name]![0], last.box[name]![1]] as const;
      return { box: { ...last.box, [name]: range }, like: last.like };
    });
  }
  return joined;
}

const isExpr = (value: object): value is Expr => "op" in value && "id" in value && "args" in value;

/** A description with every expression in it narrowed. */
export function narrowedDesc<D extends KernelDesc>(desc: D, map: ReadonlyMap<Expr, Expr>): D {
  const narrowed = (value: unknown): unknown => {
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map(narrowed);
    if (isExpr(value)) return substitute([value], map)[0];
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, narrowed(each)]));
  };
  return narrowed(desc) as D;
}
