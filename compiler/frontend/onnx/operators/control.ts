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
import { maxRank } from "../wire/tensor.js";
import type { OnnxGraph } from "../wire/types.js";

/** Only the branch that a known condition chooses is there at all. */
export function If(call: Call): readonly Node[] {
  const [whenTrue, whenFalse] = [call.attrs.graph("then_branch"), call.attrs.graph("else_branch")];
  const condition = call.host.numbers(call.input(0));
  if (condition?.length !== 1) throw call.unsupported("If with a condition that depends on data");
  return call.runSubgraph(condition[0] === 0 ? whenFalse : whenTrue, []);
}

/** Rounds of a loop that are written out. */
const mostTrips = 16_384;

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
  if (scans.some((scan) => scan.length === 0)) return [...state, ...emptyScans(call, body, state)];
  return [...state, ...scans.map((scan) => stacked(call, scan, 0))];
}

/** Of no rounds: as many axes as a round would have given, the first of extent 0. */
function emptyScans(call: Call, body: OnnxGraph, state: readonly Node[]): Node[] {
  const { g } = call;
  const round = [constantScalar(g, "i64", 0), constantScalar(g, "bool", true), ...state];
  return call
    .runSubgraph(body, round)
    .slice(1 + state.length)
    .map((each) => broadcastTo(g, constantScalar(g, each.dtype, 0), [0, ...each.shape]));
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

interface ScanPlan {
  readonly body: OnnxGraph;
  readonly backwards: readonly number[];
  readonly axes: readonly number[];
  readonly outputAxes: readonly number[];
  readonly outputBackwards: readonly number[];
}

/** Written out, element by element of the scanned axes. */
export function Scan(call: Call): readonly Node[] {
  const { attrs, version } = call;
  const body = attrs.graph("body");
  // Before opset 9 the first input has the lengths of the batch's sequences.
  const inputs = version < 9 ? call.all(1) : call.all();
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
  const zeros = Array.from({ length: made }, () => 0);
  const [state, sources] = [inputs.slice(0, carried), inputs.slice(carried)];
  if (version < 9) {
    if (call.optional(0) !== undefined) throw call.unsupported("sequences of different lengths");
    const backwards = list("directions", scanned);
    const axes = sources.map(() => 0);
    const plan = { body, backwards, axes, outputAxes: zeros, outputBackwards: zeros };
    return batched(call, plan, state, sources);
  }
  const axes = list("scan_input_axes", scanned).map((axis, i) =>
    call.axis(axis, sources[i]!.shape.length),
  );
  const plan = {
    body,
    backwards: list("scan_input_directions", scanned),
    axes,
    outputAxes: list("scan_output_axes", made),
    outputBackwards: list("scan_output_directions", made),
  };
  return scanOnce(call, plan, state, sources);
}

/** Each element of the first axis apart. */
function batched(
  call: Call,
  plan: ScanPlan,
  state: readonly Node[],
  sources: readonly Node[],
): readonly Node[] {
  const { g } = call;
  for (const each of state) call.ranked(each, 1, maxRank);
  for (const each of sources) call.ranked(each, 2, maxRank);
  const batch = call.extent(sources[0]!.shape[0]!, "the batch");
  call.listed(batch, "sequences of a scan", mostTrips);
  const results = Array.from({ length: batch }, (_, i) => {
    const part = (x: Node): Node => dropped(call, x, 0, i);
    return scanOnce(call, plan, state.map(part), sources.map(part));
  });
  return (results[0] ?? []).map((_, i) =>
    stacked(
      call,
      results.map((each) => unsqueeze(g, each[i]!, [0])),
      0,
    ),
  );
}

/** The elements at `index` of an axis, which goes. */
function dropped({ g }: Call, x: Node, axis: number, index: number): Node {
  const part = slice(g, x, { axis, start: index, end: index + 1 });
  return reshape(
    g,
    part,
    x.shape.filter((_, each) => each !== axis),
  );
}

function scanOnce(
  call: Call,
  { body, backwards, axes, outputAxes, outputBackwards }: ScanPlan,
  initial: readonly Node[],
  sources: readonly Node[],
): readonly Node[] {
  const { g, host } = call;
  const carried = initial.length;
  const count = call.extent(sources[0]!.shape[axes[0]!]!, "the scanned axis");
  if (count > mostTrips)
    throw call.error("E_LIMIT_FOLD", `more than ${mostTrips} rounds of a scan`);
  let state = initial;
  const scans: Node[][] = outputAxes.map(() => []);
  for (let round = 0; round < count; round++) {
    const elements = sources.map((x, i) =>
      dropped(call, x, axes[i]!, backwards[i] === 0 ? round : count - 1 - round),
    );
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
