/**
 * Values that are stored because too much would be computed in one body otherwise. The text of a
 * body grows with its operators, and so do the time and the stack that it takes to print and
 * compile; and where a value is read at several places, all that is below it is computed for each.
 */
import { isNode, type Node } from "../ir/graph.js";
import { roles, type Analysis } from "./analysis.js";
import { refusal, type Refusal } from "./limits.js";
import type { Materialised } from "./materialise.js";

/** Operators that follow one another in one kernel. */
export const longestChain = 64;
/** Places at which one element of a result may read, counted with those of all that it computes. */
export const mostPlaces = 128;

/** What computing one element of a value takes, from what is in memory. */
interface Body {
  /** Operators in a row. */
  readonly length: number;
  /** The movements and look-ups at which it leaves its own coordinates, each counted once. */
  readonly moves: ReadonlySet<Node>;
}

const empty: Body = { length: 0, moves: new Set() };

const changesNoCoordinate = (node: Node): boolean =>
  isNode(node, "map") || isNode(node, "cast") || isNode(node, "dequantize");

class Bodies {
  readonly #bodies = new Map<Node, Body>();
  /** Places below a movement. */
  readonly #places = new Map<Node, number>();
  readonly ends = new Map<Node, Refusal>();

  constructor(
    readonly analysis: Analysis,
    readonly materialised: Materialised,
  ) {}

  add(node: Node): void {
    const inputs = [...new Set(node.inputs)].map((input) => this.#read(input, node));
    const below = new Set(inputs.flatMap(({ moves }) => [...moves]));
    const places = [...below].reduce((sum, move) => sum + this.#places.get(move)!, 0);
    const own = roles[node.op] === "element" ? 1 : 0;
    const length = own + Math.max(0, ...inputs.map((body) => body.length));
    const moves = changesNoCoordinate(node) ? below : new Set([node]);
    this.#places.set(node, 1 + places);
    this.#bodies.set(node, { length, moves });
    if (this.#isStored(node) && !this.#goesOn(node)) return;
    if (length >= longestChain) this.#end(node, refusal("chain", length + 1, longestChain));
    else if (places > mostPlaces) this.#end(node, refusal("reads", places, mostPlaces));
  }

  /** What `input` adds to the body of its reader: nothing where it comes from memory. */
  #read(input: Node, reader: Node): Body {
    const { producer } = this.materialised;
    const anchor = producer.get(reader);
    // In one epilogue a value stays at hand, whether it is stored too or not.
    const atHand = anchor !== undefined && producer.get(input) === anchor;
    if (!atHand && this.#isStored(input)) return empty;
    const body = this.#bodies.get(input)!;
    // What is pushed through an epilogue is computed once.
    return atHand ? { ...body, moves: empty.moves } : body;
  }

  #isStored(node: Node): boolean {
    return (
      roles[node.op] === "anchor" ||
      roles[node.op] === "leaf" ||
      this.analysis.isTabled(node) ||
      this.materialised.nodes.has(node)
    );
  }

  /** A stored value that an epilogue goes on from. */
  #goesOn(node: Node): boolean {
    const anchor = this.materialised.producer.get(node);
    const users = this.analysis.users.get(node) ?? [];
    return (
      anchor !== undefined && users.some((user) => this.materialised.producer.get(user) === anchor)
    );
  }

  #end(node: Node, why: Refusal): void {
    const users = this.analysis.users.get(node) ?? [];
    if (users.every((user) => roles[user.op] === "anchor")) return;
    this.ends.set(node, why);
    this.#bodies.set(node, empty);
    this.#places.set(node, 1);
  }
}

/** The values that end a body, each with how large it would have become. */
export function longChains(analysis: Analysis, materialised: Materialised): Map<Node, Refusal> {
  const bodies = new Bodies(analysis, materialised);
  // What is in memory from the start ends every body.
  for (const node of analysis.order) if (roles[node.op] !== "leaf") bodies.add(node);
  return bodies.ends;
}
