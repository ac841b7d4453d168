/**
 * Values that are stored because too much would be computed in one body otherwise: the text of a
 * body grows with its operators, and so do the time and the stack that it takes to print and compile.
 */
import type { Node } from "../ir/graph.js";
import { roles, type Analysis } from "./analysis.js";
import { refusal, type Refusal } from "./limits.js";

/** Operators that follow one another in one kernel. */
export const longestChain = 64;

/** The values that end a chain, each with how long it would have become. */
export function longChains(analysis: Analysis): Map<Node, Refusal> {
  const ends = new Map<Node, Refusal>();
  /** Operators in a row up to a value, since the last that is in memory. */
  const lengths = new Map<Node, number>();
  for (const node of analysis.order) {
    const own = { anchor: 0, leaf: 0, movement: 0, store: 1, element: 1 }[roles[node.op]];
    const before =
      roles[node.op] === "anchor" || roles[node.op] === "leaf" || analysis.isTabled(node)
        ? 0
        : Math.max(0, ...node.inputs.map((input) => lengths.get(input)!));
    const length = before + own;
    lengths.set(node, length);
    if (length < longestChain || analysis.isTabled(node) || roles[node.op] !== "element") continue;
    const users = analysis.users.get(node) ?? [];
    if (!users.some((user) => roles[user.op] === "element" || roles[user.op] === "movement"))
      continue;
    ends.set(node, refusal("chain", length + 1, longestChain));
    lengths.set(node, 0);
  }
  return ends;
}
