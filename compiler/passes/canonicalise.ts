/** One spelling for what has many: exact rewrites, constants folded, dead nodes dropped. */
import { readElements } from "../scalar/elements.js";
import { staticElements } from "../ir/literal.js";
import { rewriteGraph } from "../rewrite/engine.js";
import type { Rule } from "../rewrite/rule.js";
import { arithmeticRules } from "./canonical/arithmetic.js";
import { foldRules, type ConstantBytes } from "./canonical/fold.js";
import { movementRules, type ReadConstant } from "./canonical/movement.js";
import type { Pass } from "./pass.js";

/** Folding last: a rewrite may leave less to compute. */
export function canonicalRules(strict: boolean, bytesOf: ConstantBytes): readonly Rule[] {
  const read: ReadConstant = (node, limit) => {
    const bytes = bytesOf(node, limit);
    const count = staticElements(node);
    if (bytes === null || count === null) return null;
    return Array.from<number | bigint, number | bigint>(
      readElements(node.dtype, bytes, count),
      (value) => value,
    );
  };
  return [...arithmeticRules(strict), ...movementRules(read), ...foldRules(bytesOf)];
}

export const canonicalise: Pass = {
  name: "canonicalise",
  run: (graph, context) =>
    rewriteGraph(
      graph,
      canonicalRules(context.strict, (node, limit) => context.bytes(node, limit)),
    ).graph,
};
