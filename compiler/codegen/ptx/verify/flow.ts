/** The control-flow graph of a body: blocks, reachability, post-dominators. */
import type { Problems } from "./problem.js";
import type { Instruction, Module } from "./types.js";

export interface Block {
  readonly index: number;
  /** Instructions from `first` to before `end`. */
  readonly first: number;
  readonly end: number;
  readonly next: number[];
  readonly previous: number[];
  reachable: boolean;
  /** The block that every path from here to the end passes first; -1: the end itself. */
  postDominator: number;
}

export interface Flow {
  readonly blocks: readonly Block[];
  /** Number of the block of an instruction. */
  readonly blockOf: Int32Array;
}

const isJump = ({ form }: Instruction): boolean =>
  form !== null && ["branch", "exit", "trap"].includes(form.role);

export function buildFlow(module: Module, problems: Problems): Flow {
  const flow = split(module);
  connect(module, flow, problems);
  reach(module, flow.blocks, problems);
  findPostDominators(module, flow.blocks, problems);
  return flow;
}

function split({ instructions, labels }: Module): Flow {
  const starts = new Uint8Array(instructions.length + 1);
  starts[0] = 1;
  for (const { index } of labels.values()) starts[index] = 1;
  instructions.forEach((instruction, index) => {
    if (isJump(instruction)) starts[index + 1] = 1;
  });
  const blockOf = new Int32Array(instructions.length);
  const blocks: Block[] = [];
  for (let first = 0; first < instructions.length;) {
    let end = first + 1;
    while (end < instructions.length && starts[end] === 0) end++;
    blockOf.fill(blocks.length, first, end);
    blocks.push({
      index: blocks.length,
      first,
      end,
      next: [],
      previous: [],
      reachable: false,
      postDominator: -1,
    });
    first = end;
  }
  return { blocks, blockOf };
}

/** Edges. A jump behind the last instruction, or running past it, is a problem. */
function connect(module: Module, { blocks, blockOf }: Flow, problems: Problems): void {
  const { instructions, labels, endLine } = module;
  for (const block of blocks) {
    const last = instructions[block.end - 1]!;
    const role = last.form?.role;
    const to = (index: number): void => {
      const target = index < instructions.length ? blockOf[index]! : -1;
      if (target < 0)
        problems.add(
          "FALL",
          index === block.end ? endLine : last.line,
          "control runs past the end",
        );
      else if (!block.next.includes(target)) {
        block.next.push(target);
        blocks[target]!.previous.push(block.index);
      }
    };
    const [target] = last.operands;
    if (role === "branch" && target?.kind === "symbol") to(labels.get(target.name)!.index);
    if (!isJump(last) || last.guard >= 0) to(block.end);
  }
}

function reach(module: Module, blocks: readonly Block[], problems: Problems): void {
  const stack = blocks.slice(0, 1);
  for (let block = stack.pop(); block !== undefined; block = stack.pop()) {
    if (block.reachable) continue;
    block.reachable = true;
    for (const next of block.next) stack.push(blocks[next]!);
  }
  if (blocks.length === 0) problems.add("FALL", module.endLine, "an empty body");
  for (const block of blocks)
    if (!block.reachable)
      problems.add("UNREACHABLE", module.instructions[block.first]!.line, "no path leads here");
}

/** Blocks in an order in which those nearer the end come first, from the end. */
function fromTheEnd(module: Module, blocks: readonly Block[]): number[] {
  const order: number[] = [];
  const seen = new Uint8Array(blocks.length);
  const visit = (root: number): void => {
    const stack: [number, number][] = [[root, 0]];
    seen[root] = 1;
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const before = blocks[top[0]]!.previous[top[1]++];
      if (before === undefined) {
        order.push(top[0]);
        stack.pop();
      } else if (seen[before] === 0) {
        seen[before] = 1;
        stack.push([before, 0]);
      }
    }
  };
  for (const block of blocks)
    if (seen[block.index] === 0 && leaves(module, block)) visit(block.index);
  return order.reverse();
}

const leaves = (module: Module, block: Block): boolean =>
  module.instructions[block.end - 1]!.form?.role === "exit";

/** No thread goes on from here: nobody waits for those that come. */
const gives = (module: Module, block: Block): boolean =>
  module.instructions[block.end - 1]!.form?.role === "trap";

/** Cooper, Harvey and Kennedy's iteration, on the graph turned around. */
function findPostDominators(module: Module, blocks: readonly Block[], problems: Problems): void {
  const order = fromTheEnd(module, blocks);
  const rank = new Int32Array(blocks.length).fill(-1);
  order.forEach((block, index) => (rank[block] = index));
  for (const block of blocks)
    if (block.reachable && rank[block.index] === -1 && !gives(module, block))
      problems.add("ENDLESS", module.instructions[block.first]!.line, "no path leads to the end");
  const none = -2;
  const found = new Int32Array(blocks.length).fill(none);
  const meet = (x: number, y: number): number => {
    let [a, b] = [x, y];
    while (a !== b) {
      if (a === -1 || b === -1) return -1;
      if (rank[a]! > rank[b]!) a = found[a]!;
      else b = found[b]!;
    }
    return a;
  };
  for (let changed = true; changed;) {
    changed = false;
    for (const index of order) {
      const block = blocks[index]!;
      let best = leaves(module, block) ? -1 : none;
      for (const next of block.next)
        if (found[next] !== none) best = best === none ? next : meet(best, next);
      if (best !== none && best !== found[index]) {
        found[index] = best;
        changed = true;
      }
    }
  }
  for (const block of blocks) block.postDominator = Math.max(-1, found[block.index]!);
}
