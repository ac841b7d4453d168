/** The passes, in order. Each names what it did; a comment says where the order matters. */
import { FarrierError } from "../errors.js";
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

/** Throws unless each of `without` is in the name of some pass. */
function checkNames(without: readonly string[]): void {
  const unknown = without.find((text) => !passes.some(({ name }) => name.includes(text)));
  if (unknown === undefined) return;
  throw new FarrierError("E_OPTION", `no pass has ${JSON.stringify(unknown)} in its name`, {
    where: "--without",
    hint: `the passes are ${passes.map(({ name }) => name).join("; ")}`,
  });
}

/** Runs every pass and verifies the graph after each. */
export function runPasses(
  graph: Graph,
  context: PassContext,
  after: (pass: string, graph: Graph, changed: boolean) => void = () => undefined,
): Graph {
  checkNames(context.without ?? []);
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
