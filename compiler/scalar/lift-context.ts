/**
 * What the lifting of one function knows, and how it refuses. The only file that loads ts-morph, at
 * the first call: compiling with built-in functions never does.
 */
import { createRequire } from "node:module";
import type * as Morph from "ts-morph";
import { FarrierError } from "../errors.js";
import type { Expr } from "./expr.js";
import type { Lifted } from "./tree.js";

type MorphModule = typeof import("ts-morph");
let loaded: MorphModule | undefined;

/** ts-morph is CommonJS: requiring it keeps `elementwise` synchronous. */
export function morph(): MorphModule {
  loaded ??= createRequire(import.meta.url)("ts-morph") as MorphModule;
  return loaded;
}

export interface LiftOptions {
  /** What errors call the source: a file's name, or the function's. */
  readonly source?: string;
  /** Another function that may be called by this name, or null. */
  readonly resolve?: (name: string) => Lifted | null;
}

/** One function being lifted. */
export interface Context {
  readonly options: LiftOptions;
  readonly name: string;
  /** Columns of line 1 that are not the caller's text. */
  readonly shift: number;
}

export type Scope = ReadonlyMap<string, Expr>;

export function refuse(
  node: Morph.Node,
  context: Context,
  what: string,
  hint?: string,
): FarrierError {
  const { line, column } = node.getSourceFile().getLineAndColumnAtPos(node.getStart());
  const place = `${line}:${line === 1 ? column - context.shift : column}`;
  return new FarrierError("E_SCALAR_LIFT", `${what} cannot be lifted`, {
    where: `${context.options.source ?? "function"} ${place}`,
    ...(hint === undefined ? {} : { hint }),
  });
}

export const quote = (node: Morph.Node): string => {
  const text = node.getText().replace(/\s+/g, " ");
  return `\`${text.length > 60 ? `${text.slice(0, 57)}...` : text}\``;
};
