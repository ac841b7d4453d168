/**
 * Blocks that make one result together. Each leaves its part in the workspace and takes a ticket; the
 * last one to arrive finds the parts of all, and takes them in the order of their numbers, so that the
 * result has the same bits whoever was last. No block waits for another.
 */
import { address, type Value } from "./builder.js";
import { ptx } from "./instructions.js";
import type { PtxKernel } from "./kernel.js";
import { integer } from "./mma.js";
import { workspaceNames } from "../../kernel/family.js";

export interface Arrival {
  readonly thread: Value;
  /** Which of the tickets, and how many blocks take it. */
  readonly ticket: Value;
  readonly count: Value;
  /** Four bytes of shared memory that nothing else uses. */
  readonly flag: Value;
}

/** `partials` at f32 element `index` of `size` each, as an address. */
export function partialAddress(kernel: PtxKernel, index: Value, size: number): Value {
  const { base } = kernel.operand(workspaceNames.partials);
  return kernel.b.op(ptx.madWide.u32!, "u64", index, size * 4, base);
}

/** Into the current block: all threads pass here after their part is written; all but the last block end. */
export function emitArrival(kernel: PtxKernel, { thread, ticket, count, flag }: Arrival): void {
  const { b } = kernel;
  const tickets = kernel.operand(workspaceNames.tickets);
  const place = b.op(ptx.madWide.u32!, "u64", ticket, tickets.memory.bytes, tickets.base);
  const leader = b.op(ptx.setp("eq", "s32"), "pred", thread, 0);
  b.raw(ptx.fence);
  b.raw(ptx.barrier);
  const before = b.op("mov.b32", "s32", 0);
  b.lineIf(leader, ptx.arrive, before, address(place), 1);
  b.lineIf(leader, ptx.storeShared("u32", 1), address(flag), before);
  b.raw(ptx.barrier);
  const seen = b.op(ptx.loadShared("u32", 1), "s32", address(flag));
  const others = b.op(ptx.setp("ne", "s32"), "pred", seen, integer(b, "sub", count, 1));
  b.raw(`@${others.text} ret;`);
  b.raw(ptx.fence);
  // For whoever uses the ticket next.
  b.lineIf(leader, ptx.storeGlobal("u32", 1), address(place), b.op("mov.b32", "u32", 0));
}
