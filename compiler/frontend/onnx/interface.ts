/** A graph's inputs as nodes: their named dimensions become symbols of the profile. */
import { FarrierError } from "../../errors.js";
import { input } from "../../ir/build.js";
import type { GraphBuilder, Node } from "../../ir/graph.js";
import type { Dim } from "../../ir/shape.js";
import { sym } from "../../scalar/build.js";
import type { SymbolInfo } from "../../scalar/expr.js";
import { quoted } from "./labels.js";
import type { OnnxDim, OnnxValueInfo } from "./wire/types.js";

/** Lowest and highest value of a symbol. */
export type Span = readonly [number, number];
export type Dims = Readonly<Record<string, Span>>;

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
  const missing = [...names].filter((name) => !Object.hasOwn(dims, name));
  if (missing.length > 0) throw unbounded(missing);
  const symbols = new Map([...names].map((name) => [name, symbolOf(name, dims[name]!)]));
  const inputs = typed.map(({ name, dtype, shape }) => {
    const sizes = shape.map((dim): Dim => (typeof dim === "number" ? dim : sym(symbols.get(dim)!)));
    return input(g, name, dtype, sizes);
  });
  return { inputs, symbols: [...symbols.values()].filter(({ min, max }) => min < max) };
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
  for (const [name, [low, high]] of Object.entries(dims)) {
    const place = { where: `--dim ${name}` };
    if (!names.has(name)) {
      const known = names.size === 0 ? "none" : [...names].map(quoted).join(", ");
      throw new FarrierError("E_DIM", `the model's symbols are ${known}`, place);
    }
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
