/** At which sizes an entry is profiled, and for which a model is compiled for that. */
import {
  capacityOf,
  PageAllocator,
  pageLayoutOf,
  type EntryInfo,
  type Inputs,
  type Model,
} from "../../../runtime/node/index.js";
import { FarrierError } from "../../errors.js";
import { importModel } from "../../import.js";
import type { CompileOptions } from "../../compile.js";
import { dimsFromShapes } from "../dims-from-shapes.js";
import type { FileTensor } from "../tensors.js";

export type Sizes = Readonly<Record<string, number>>;

/** Where sizes that nobody named stand, as near as their range comes; `batch` is the least. */
const usual = 512;
/** The input of entries with caches that says how far each is filled. */
export const filledInput = "lengths";
/** The input of entries with paged caches that says which pages a sequence has. */
const pagesInput = "block_table";

/** What the command line says of sizes. */
export interface Asked {
  readonly entry: string | undefined;
  readonly dims: CompileOptions["dims"];
  readonly context: number | undefined;
  readonly inputs: Readonly<Record<string, FileTensor>>;
}

/** The ends of ranges: `--dim batch=16` and `--dim batch=1..16` ask for 16. */
const askedSizes = ({ dims = {} }: Asked): Record<string, number> =>
  Object.fromEntries(
    Object.entries(dims).flatMap(([name, size]) =>
      typeof size === "string" ? [] : [[name, size[1]]],
    ),
  );

interface Symbol {
  readonly name: string;
  readonly min: number;
  readonly max: number;
  readonly divisor: number;
}

function usualSize({ name, min, max, divisor }: Symbol): number {
  const size = name === "batch" ? min : Math.max(min, Math.min(max, usual));
  return Math.max(min, size - (size % divisor));
}

/** Ranges for a language model whose caches would otherwise be as long as it can read. */
export function dimsToCompile(place: string, options: CompileOptions, asked: Asked) {
  const { dims = dimsFromShapes(place, new Map(Object.entries(asked.inputs))) } = options;
  const model = importModel(place, { ...options, dims, needWeights: false });
  const seq = model.symbols.find(({ name }) => name === "seq");
  if (!model.entries.some(({ name }) => name === "decode") || seq === undefined) return dims;
  const size = askedSizes(asked)["seq"] ?? usualSize(seq);
  const needed = (asked.context ?? usual) + (asked.entry === "prefill" ? size : 1);
  return {
    batch: [1, 1] as const,
    seq: [1, Math.min(seq.max, Math.max(size, needed))] as const,
    ...dims,
  };
}

/** The values of the symbols of an entry's inputs. @throws FarrierError E_DIM, E_RT_INPUT */
export function sizesOf(model: Model, entry: EntryInfo, asked: Asked): Sizes {
  const given = askedSizes(asked);
  for (const [name, { shape }] of Object.entries(asked.inputs)) {
    const input = entry.inputs.find((each) => each.name === name);
    if (input === undefined)
      throw new FarrierError("E_RT_INPUT", `entry ${entry.name} has no such input`, {
        where: `--input ${name}`,
        hint: `it has ${entry.inputs.map((each) => each.name).join(", ")}`,
      });
    input.shape.forEach((dim, axis) => {
      const size = shape[axis];
      if (typeof dim === "string" && size !== undefined) given[dim] = size;
    });
  }
  for (const name of Object.keys(given)) checkSize(model, name, given[name]!);
  return Object.fromEntries(
    model.symbols.map((symbol) => [symbol.name, given[symbol.name] ?? usualSize(symbol)]),
  );
}

function checkSize(model: Model, name: string, size: number): void {
  const where = `--dim ${name}`;
  const symbol = model.symbols.find((each) => each.name === name);
  if (symbol === undefined)
    throw new FarrierError("E_DIM", "there is no symbol of that name", {
      where,
      hint: `there are ${model.symbols.map((each) => each.name).join(", ") || "none"}`,
    });
  const { min, max, divisor } = symbol;
  if (size >= min && size <= max && size % divisor === 0) return;
  const step = divisor === 1 ? "" : ` in steps of ${divisor}`;
  throw new FarrierError("E_DIM", `${size} is not in ${min}..${max}${step}`, {
    where,
    hint: "compile the model for it",
  });
}

/**
 * Pages for sequences of `positions`, none of them shared; nothing where caches are not paged.
 * @throws FarrierRuntimeError E_RT_OOM
 */
export function pagesFor(
  model: Model,
  entry: EntryInfo,
  sequences: number,
  positions: number,
): Inputs {
  const layout = pageLayoutOf(model);
  if (layout === null || !entry.inputs.some(({ name }) => name === pagesInput)) return {};
  const pages = new PageAllocator(layout);
  const rows = Array.from({ length: sequences }, (_, row) => row);
  for (const row of rows) pages.grow(row, positions);
  return { [pagesInput]: pages.table(rows) };
}

/**
 * How far caches are filled; null for an entry without any.
 * @throws FarrierError E_OPTION
 */
export function contextOf(
  model: Model,
  entry: EntryInfo,
  context: number | undefined,
  tokens: number,
): number | null {
  if (!entry.inputs.some(({ name }) => name === filledInput)) {
    if (context === undefined) return null;
    throw new FarrierError("E_OPTION", `entry ${entry.name} has no cache`, { where: "--context" });
  }
  const room = capacityOf(model) - tokens;
  const filled = context ?? (entry.name === "prefill" ? 0 : Math.min(usual, room));
  if (filled >= 0 && filled <= room) return filled;
  throw new FarrierError(
    "E_OPTION",
    `the cache holds ${room + tokens}: ${filled} and ${tokens} new are more`,
    { where: "--context", hint: "compile with a larger --dim seq" },
  );
}
