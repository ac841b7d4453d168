/** Operators that choose what runs, and those of training. */
import { broadcastTo, constantScalar } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import type { Call } from "../call.js";

/** Only the branch that a known condition chooses is there at all. */
export function If(call: Call): readonly Node[] {
  const [whenTrue, whenFalse] = [call.attrs.graph("then_branch"), call.attrs.graph("else_branch")];
  const condition = call.host.numbers(call.input(0));
  if (condition?.length !== 1) throw call.unsupported("If with a condition that depends on data");
  return call.runSubgraph(condition[0] === 0 ? whenFalse : whenTrue, []);
}

/** Outside training nothing is dropped. */
export function Dropout(call: Call): readonly Node[] {
  const { g, attrs, version } = call;
  const x = call.input(0);
  attrs.ignore("ratio", "seed");
  const ratio = version >= 12 ? call.optional(1) : undefined;
  const mode = version >= 12 ? call.optional(2) : undefined;
  const trains = mode !== undefined && call.number(mode, "the training mode") !== 0;
  if (trains && (ratio === undefined || call.number(ratio, "the ratio") !== 0))
    throw call.unsupported("Dropout in training");
  if (!call.wants(1)) return [x];
  const kept = constantScalar(g, version >= 10 ? "bool" : x.dtype, 1);
  return [x, broadcastTo(g, kept, x.shape)];
}
