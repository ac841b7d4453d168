/** A rewrite is a value: its equation, what it matches, and what it builds instead. */
import type { GraphBuilder, Node } from "../ir/graph.js";
import { match, type MatchContext, type Pattern } from "./pattern.js";

export interface RewriteContext extends MatchContext {
  readonly builder: GraphBuilder;
}

export interface Rule {
  /** The equation, e.g. `x * 1 => x`. */
  readonly name: string;
  /** Keys of the nodes that it can match, or null for any: see `rootKey`. */
  readonly roots: readonly string[] | null;
  /** The replacement of `node`, of its dtype and shape; null if the rule does not apply. */
  apply(node: Node, context: RewriteContext): Node | null;
}

/**
 * The rule `name`: where `pattern` matches, what `build` makes of its bindings; null declines. The
 * result must have the dtype and shape of the node that it replaces, `root`.
 */
export function rule<B, T extends Node>(
  name: string,
  pattern: Pattern<B, T>,
  build: (bound: B, context: RewriteContext & { readonly root: T }) => Node | null,
): Rule {
  return Object.freeze({
    name,
    roots: pattern.roots,
    apply(node: Node, context: RewriteContext): Node | null {
      const bound = match<B>(pattern, node, context);
      if (bound === null) return null;
      return build(bound, {
        builder: context.builder,
        uses: (each) => context.uses(each),
        root: node as T,
      });
    },
  });
}
