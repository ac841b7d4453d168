/** The passes, in order. Each names what it did; a comment says where the order matters. */
import type { Graph } from "../ir/graph.js";
import { verify } from "../ir/verify.js";
import { absorbLatent } from "./absorb-latent.js";
import { canonicalise } from "./canonicalise.js";
import { foldNorms } from "./fold-norms.js";
import { mergeProducts } from "./merge-products.js";
import type { Pass, PassContext } from "./pass.js";
import { raiseActivations } from "./raise-activations.js";
import { raiseAttention } from "./raise-attention.js";
import { raiseNorms } from "./raise-norms.js";
import { raisePositions } from "./raise-positions.js";
import { raiseRotary } from "./raise-rotary.js";

export const passes: readonly Pass[] = [
  canonicalise,
  raisePositions,
  raiseNorms,
  raiseActivations,
  // Before attention, so that rotated queries and keys are one node each.
  raiseRotary,
  raiseAttention,
  // Before merging: what the products read must still be what attention needs.
  absorbLatent,
  // Before folding: products that share a normalised input must still share it.
  mergeProducts,
  foldNorms,
];

/** Runs every pass and verifies the graph after each. */
export function runPasses(
  graph: Graph,
  context: PassContext,
  after: (pass: string, graph: Graph, changed: boolean) => void = () => undefined,
): Graph {
  let current = graph;
  for (const pass of passes) {
    if (context.without?.some((text) => pass.name.includes(text)) === true) continue;
    const before = current;
    current = pass.run(current, context);
    if (current !== before) verify(current, pass.name);
    after(pass.name, current, current !== before);
  }
  return current;
}
