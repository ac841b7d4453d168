/** A graph's inputs as nodes: their named dimensions become symbols of the profile. */
import { FarrierError } from "../../errors.js";
import { input } from "../../ir/build.js";
import type { GraphBuilder, Node } from "../../ir/graph.js";
import type { Dim } from "../../ir/shape.js";
import { sym } from "../../scalar/build.js";
import type { Expr, SymbolInfo } from "../../scalar/expr.js";
import { dimExpression, isDimExpression } from "./dim-expression.js";
import { quoted } from "./labels.js";
import type { OnnxDim, OnnxValueInfo } from "./wire/types.js";

/** Lowest and highest value of a symbol. */
export type Span = readonly [number, number];
/** A range, or how the dimension follows from others. */
export type Dims = Readonly<Record<string, Span | string>>;

export interface GraphInterface {
  readonly inputs: readonly Node<"input">[];
  /** Those that have more than one value. */
  readonly symbols: readonly SymbolInfo[];
}

export function graphInterface(
  g: GraphBuilder,
  values: readonly OnnxValueInfo[],
  dims: Dims,
): GraphInterface {
  const typed = values.map(tensorOf);
  const names = new Set(typed.flatMap(({ shape }) => shape.filter((d) => typeof d === "string")));
  checkSpans(dims, names);
  const sizes = sizesOf(names, dims);
  const inputs = typed.map(({ name, dtype, shape }) => {
    const own = shape.map((dim): Dim => (typeof dim === "number" ? dim : sizes.of(dim)));
    return input(g, name, dtype, own);
  });
  return { inputs, symbols: sizes.symbols.filter(({ min, max }) => min < max) };
}

interface Sizes {
  readonly symbols: readonly SymbolInfo[];
  readonly of: (name: string) => Expr;
}

/** Names with a range are symbols; the others say how they follow from these. */
function sizesOf(names: ReadonlySet<string>, dims: Dims): Sizes {
  const given = (name: string): Span | string | undefined =>
    Object.hasOwn(dims, name) ? dims[name] : isDimExpression(name) ? name : undefined;
  const missing = [...names].filter((name) => given(name) === undefined);
  if (missing.length > 0) throw unbounded(missing);
  const symbols = new Map<string, SymbolInfo>();
  const texts = new Map<string, string>();
  for (const name of names) {
    const size = given(name)!;
    if (typeof size === "string") texts.set(name, size);
    else symbols.set(name, symbolOf(name, size));
  }
  const sized = (name: string): Expr => sym(symbols.get(name)!);
  const of = (name: string): Expr => {
    const text = texts.get(name);
    if (text === undefined) return sized(name);
    const place = `dimension ${quoted(name)}`;
    return dimExpression(
      text,
      (part) => {
        if (symbols.has(part)) return sized(part);
        const known = [...symbols.keys()].map(quoted).join(", ");
        throw new FarrierError("E_DIM", `${quoted(part)}: dimensions with a range are ${known}`, {
          where: place,
        });
      },
      place,
    );
  };
  return { symbols: [...symbols.values()], of };
}

function tensorOf({ name, type }: OnnxValueInfo): {
  name: string;
  dtype: Node["dtype"];
  shape: (number | string)[];
} {
  const where = `input ${quoted(name)}`;
  if (type === null) throw new FarrierError("E_DTYPE_UNKNOWN", "has no type", { where });
  if (type.kind !== "tensor")
    throw new FarrierError("E_TYPE_UNSUPPORTED", `is a ${type.kind}`, { where });
  if (type.dtype === null)
    throw new FarrierError("E_TYPE_UNSUPPORTED", `is of type ${type.elemType}`, { where });
  if (type.shape === null)
    throw new FarrierError("E_SHAPE_UNBOUNDED", "its rank is not known", { where });
  const named = (dim: OnnxDim, axis: number): number | string => dim ?? `${name}_dim${axis}`;
  return { name, dtype: type.dtype, shape: type.shape.map(named) };
}

function checkSpans(dims: Dims, names: ReadonlySet<string>): void {
  for (const [name, size] of Object.entries(dims)) {
    const place = { where: `--dim ${name}` };
    if (!names.has(name)) {
      const known = names.size === 0 ? "none" : [...names].map(quoted).join(", ");
      throw new FarrierError("E_DIM", `the model's symbols are ${known}`, place);
    }
    if (typeof size === "string") continue;
    const [low, high] = size;
    const ordered = Number.isSafeInteger(low) && Number.isSafeInteger(high) && low <= high;
    if (!ordered || low < 0)
      throw new FarrierError("E_DIM", `${low}..${high} is no range of integers`, place);
  }
}

function unbounded(missing: readonly string[]): FarrierError {
  const flags = missing.map((name) => `--dim ${/^[\w.]+$/.test(name) ? name : quoted(name)}=1..64`);
  const what = `${missing.length === 1 ? "dimension" : "dimensions"} ${missing.map(quoted).join(", ")} without a range`;
  return new FarrierError("E_SHAPE_UNBOUNDED", what, { hint: `give ${flags.join(" ")}` });
}

const symbolOf = (name: string, [min, max]: Span): SymbolInfo => ({
  name,
  space: "host",
  min,
  max,
  divisor: 1,
});
