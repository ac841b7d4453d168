/** Operators that choose what runs and how often, and those of training. */
import {
  broadcastTo,
  concat,
  constantScalar,
  reshape,
  slice,
  unsqueeze,
} from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import type { Call } from "../call.js";

/** Only the branch that a known condition chooses is there at all. */
export function If(call: Call): readonly Node[] {
  const [whenTrue, whenFalse] = [call.attrs.graph("then_branch"), call.attrs.graph("else_branch")];
  const condition = call.host.numbers(call.input(0));
  if (condition?.length !== 1) throw call.unsupported("If with a condition that depends on data");
  return call.runSubgraph(condition[0] === 0 ? whenFalse : whenTrue, []);
}

/** Rounds of a loop that are written out. */
const mostTrips = 65_536;

/** Written out, round by round: how many there are must be known. */
export function Loop(call: Call): readonly Node[] {
  const { g, host, attrs } = call;
  const body = attrs.graph("body");
  const [trips, condition] = [call.optional(0), call.optional(1)];
  let state = Array.from({ length: Math.max(0, call.node.inputs.length - 2) }, (_, i) =>
    call.input(i + 2),
  );
  const carried = state.length;
  const limit = trips === undefined ? Infinity : call.number(trips, "the trip count");
  let goes = condition === undefined || truth(call, condition);
  const scans: Node[][] = Array.from({ length: body.outputs.length - 1 - carried }, () => []);
  for (let round = 0; goes && round < limit; round++) {
    if (round >= mostTrips)
      throw call.error("E_LIMIT_FOLD", `more than ${mostTrips} rounds of a loop`);
    const index = constantScalar(g, "i64", round);
    const yes = constantScalar(g, "bool", true);
    const [again, ...results] = call.runSubgraph(body, [index, yes, ...state]);
    state = results.slice(0, carried).map((each) => host.simplified(each));
    scans.forEach((scan, i) => scan.push(unsqueeze(g, results[carried + i]!, [0])));
    goes = round + 1 >= limit || (again !== undefined && truth(call, again));
  }
  return [...state, ...scans.map((scan) => stacked(call, scan, 0))];
}

function truth(call: Call, condition: Node): boolean {
  const value = call.host.numbers(condition);
  if (value?.length !== 1) throw call.unsupported("a loop whose end depends on data");
  return value[0] !== 0;
}

function stacked(call: Call, parts: readonly Node[], axis: number): Node {
  if (parts.length === 0) throw call.unsupported("a loop of no rounds");
  return concat(call.g, parts, axis);
}

/** Written out, element by element of the scanned axes. */
export function Scan(call: Call): readonly Node[] {
  const { g, attrs, host } = call;
  const body = attrs.graph("body");
  const inputs = call.all();
  const scanned = attrs.int("num_scan_inputs");
  if (scanned === undefined) throw attrs.missing("num_scan_inputs");
  if (scanned < 1 || scanned > inputs.length) throw attrs.invalid("num_scan_inputs", `${scanned}`);
  const carried = inputs.length - scanned;
  const made = body.outputs.length - carried;
  const list = (name: string, length: number): number[] => {
    const values = attrs.ints(name) ?? Array.from({ length }, () => 0);
    if (values.length !== length) throw attrs.invalid(name, `expected ${length} values`);
    return values;
  };
  const backwards = list("scan_input_directions", scanned);
  const sources = inputs.slice(carried);
  const axes = list("scan_input_axes", scanned).map((axis, i) =>
    call.axis(axis, sources[i]!.shape.length),
  );
  const outputAxes = list("scan_output_axes", made);
  const outputBackwards = list("scan_output_directions", made);
  const count = call.extent(sources[0]!.shape[axes[0]!]!, "the scanned axis");
  if (count > mostTrips)
    throw call.error("E_LIMIT_FOLD", `more than ${mostTrips} rounds of a scan`);
  let state = inputs.slice(0, carried);
  const scans: Node[][] = Array.from({ length: made }, () => []);
  for (let round = 0; round < count; round++) {
    const elements = sources.map((x, i) => {
      const start = backwards[i] === 0 ? round : count - 1 - round;
      const part = slice(g, x, { axis: axes[i]!, start, end: start + 1 });
      return reshape(
        g,
        part,
        x.shape.filter((_, axis) => axis !== axes[i]),
      );
    });
    const results = call.runSubgraph(body, [...state, ...elements]);
    state = results.slice(0, carried).map((each) => host.simplified(each));
    scans.forEach((scan, i) => scan.push(results[carried + i]!));
  }
  const outputs = scans.map((scan, i) => {
    const ordered = outputBackwards[i] === 0 ? scan : [...scan].reverse();
    const axis = call.axis(outputAxes[i]!, (scan[0]?.shape.length ?? 0) + 1);
    const parts = ordered.map((part) => unsqueeze(g, part, [axis]));
    return stacked(call, parts, axis);
  });
  return [...state, ...outputs];
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
