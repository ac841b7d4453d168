/** A small graph and how it was compiled when it was wrong. */
import {
  GraphBuilder,
  isNode,
  below,
  type GraphState,
  type Node,
} from "../../../compiler/ir/graph.js";
import { Dimensions } from "../../../compiler/ir/bind.js";
import { sym } from "../../../compiler/scalar/build.js";
import type { Expr, SymbolInfo } from "../../../compiler/scalar/expr.js";
import { allVariants, type FuzzCase, type Variant } from "../case.js";
import { sample } from "../inputs.js";
import { Rng } from "../random.js";

export interface Bench {
  readonly g: GraphBuilder;
  /** A dimension that changes from run to run, from 1 to `most`. */
  readonly symbol: (name: string, most: number) => Expr;
  readonly state: (state: GraphState) => void;
}

export interface Regression {
  readonly name: string;
  /** By default all of them. */
  readonly variants: readonly Variant[];
  readonly build: () => FuzzCase;
}

export function regression(
  name: string,
  body: (bench: Bench) => Node | readonly Node[],
  variants: readonly Variant[] = allVariants,
): Regression {
  return { name, variants, build: () => caseOf(body) };
}

function caseOf(body: (bench: Bench) => Node | readonly Node[]): FuzzCase {
  const g = new GraphBuilder();
  const symbols: SymbolInfo[] = [];
  const states: GraphState[] = [];
  const made = body({
    g,
    symbol(name, most) {
      const info = { name, space: "host", min: 1, max: most, divisor: 1 } as const;
      symbols.push(info);
      return sym(info);
    },
    state: (state) => void states.push(state),
  });
  const nodes: readonly Node[] = Array.isArray(made) ? (made as readonly Node[]) : [made as Node];
  const roots = [...nodes, ...states.map(({ final }) => final)];
  const inputs = below(roots).filter((node): node is Node<"input"> => isNode(node, "input"));
  const outputs = nodes.map((node, index) => ({ name: `y${index}`, node }));
  const rng = new Rng(1);
  const runs = symbols.length > 0 || states.length > 0 ? [2, 1, Infinity] : [1];
  const bindings = runs.map((most) => {
    const values = new Map(symbols.map(({ name, max }) => [name, Math.min(max, most)]));
    const dims = new Dimensions(values);
    const given = inputs.map(
      ({ attrs, dtype, shape }) =>
        [attrs.name, sample(rng, dtype, dims.shape(shape), { below: 1 }, "real")] as const,
    );
    return { symbols: values, inputs: new Map(given) };
  });
  return {
    seed: 1,
    graph: { builder: g, inputs, outputs, states },
    symbols,
    bindings,
    special: false,
  };
}
