/**
 * Bytes that values between kernels take, beside the least that any plan of one launch for each
 * product and each attention could need.
 *
 * The least is a minimum cut. What a product or an attention computes reaches the next one through
 * memory; anything else (elementwise, movements, normalisations) can be computed again from what is
 * in memory. So of the values between them some set has to be stored, such that every path from one
 * to the next meets it, and the cheapest such set is a minimum vertex cut of the graph, each vertex
 * weighing its bytes. Outputs and states are written anyway and weigh nothing.
 */
import { byteSize } from "../ir/dtype.js";
import { topological, type Graph, type Node } from "../ir/graph.js";
import { largestElements } from "../ir/shape.js";
import { opTraits } from "../ir/traits.js";
import { weightNodes } from "../ir/cones.js";
import type { Buffer, PlannedKernel } from "../kernel/memory.js";
import { rangeOf } from "../scalar/range.js";

/** Bytes of a buffer for the largest shapes of the profile. */
export const largestBytes = ({ dtype, elements }: Buffer): number =>
  byteSize(dtype, rangeOf(elements).max);

/** Σ bytes of temporaries written. */
export function temporaryBytes(kernels: readonly PlannedKernel[]): number {
  let bytes = 0;
  for (const { desc, buffers } of kernels)
    desc.operands.forEach(({ access }, index) => {
      const buffer = buffers[index]!;
      if (access !== "read" && buffer.place === "temp") bytes += largestBytes(buffer);
    });
  return bytes;
}

const isLaunch = (node: Node): boolean => node.op === "matmul" || node.op === "attention";

/** The least bytes of temporaries, for the largest shapes of the profile. */
export function leastBytes(graph: Graph): number {
  const order = topological(graph);
  const weights = weightNodes(order);
  const free = new Set<Node>(graph.outputs.map(({ node }) => node));
  const network = new Network(2);
  const [source, sink] = [0, 1];
  const into = new Map<Node, number>();
  for (const node of order) {
    if (weights.has(node)) continue;
    const enter = network.vertex();
    const leave = network.vertex();
    into.set(node, enter);
    const written = free.has(node) || opTraits[node.op].updatesState;
    const bytes = written ? 0 : byteSize(node.dtype, largestElements(node.shape));
    network.edge(enter, leave, bytes);
    if (isLaunch(node)) network.edge(source, enter, Infinity);
    for (const input of node.inputs) {
      const from = into.get(input);
      if (from !== undefined) network.edge(from + 1, isLaunch(node) ? sink : enter, Infinity);
    }
  }
  return network.flow(source, sink);
}

/** Maximum flow by Dinic's algorithm, without recursion. */
class Network {
  /** Edge 2i and its reverse 2i + 1: where it leads and what it can still carry. */
  readonly #to: number[] = [];
  readonly #room: number[] = [];
  readonly #edges: number[][];

  constructor(vertices: number) {
    this.#edges = Array.from({ length: vertices }, () => []);
  }

  vertex(): number {
    return this.#edges.push([]) - 1;
  }

  edge(from: number, to: number, room: number): void {
    this.#edges[from]!.push(this.#to.push(to) - 1);
    this.#room.push(room);
    this.#edges[to]!.push(this.#to.push(from) - 1);
    this.#room.push(0);
  }

  flow(source: number, sink: number): number {
    let total = 0;
    for (;;) {
      const level = this.#levels(source);
      if (level[sink]! < 0) return total;
      const next = this.#edges.map(() => 0);
      for (let sent = this.#send(source, sink, level, next); sent > 0;) {
        total += sent;
        sent = this.#send(source, sink, level, next);
      }
    }
  }

  #levels(source: number): number[] {
    const level = this.#edges.map(() => -1);
    level[source] = 0;
    const queue = [source];
    for (const vertex of queue)
      for (const edge of this.#edges[vertex]!)
        if (this.#room[edge]! > 0 && level[this.#to[edge]!]! < 0) {
          level[this.#to[edge]!] = level[vertex]! + 1;
          queue.push(this.#to[edge]!);
        }
    return level;
  }

  /** Sends as much as one path holds; 0 if there is none left at these levels. */
  #send(source: number, sink: number, level: readonly number[], next: number[]): number {
    const path: number[] = [];
    for (let at = source; at !== sink;) {
      const edges = this.#edges[at]!;
      const open = (edge: number): boolean =>
        this.#room[edge]! > 0 && level[this.#to[edge]!]! === level[at]! + 1;
      while (next[at]! < edges.length && !open(edges[next[at]!]!)) next[at]!++;
      const edge = edges[next[at]!];
      if (edge !== undefined) {
        path.push(edge);
        at = this.#to[edge]!;
        continue;
      }
      const back = path.pop();
      if (back === undefined) return 0;
      at = this.#to[back ^ 1]!;
      next[at]!++;
    }
    const sent = Math.min(...path.map((edge) => this.#room[edge]!));
    for (const edge of path) {
      this.#room[edge]! -= sent;
      this.#room[edge ^ 1]! += sent;
    }
    return sent;
  }
}
