/** Recurrent networks, written out step by step. */
import { matmul } from "../../../ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  concat,
  constantScalar,
  iota,
  reshape,
  slice,
  transpose,
  unsqueeze,
} from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import { constValue } from "../../../scalar/build.js";
import type { Call } from "../call.js";
import { elementsAlong, wrapped } from "./index.js";
import { apply, scalarLike, swapLast, type FunctionName } from "./common.js";

/** Steps that are written out. */
const mostSteps = 4096;

type Activation = (x: Node) => Node;

/** ONNX's names, with the defaults of alpha and beta where a function has them. */
const functions: Readonly<Record<string, readonly [FunctionName, ...number[]]>> = {
  relu: ["relu"],
  tanh: ["tanh"],
  sigmoid: ["sigmoid"],
  softsign: ["softsign"],
  softplus: ["softplus"],
  leakyrelu: ["leaky_relu", Math.fround(0.01)],
  thresholdedrelu: ["thresholded_relu", 1],
  hardsigmoid: ["hard_sigmoid", Math.fround(0.2), 0.5],
  elu: ["elu", 1],
};

/** Weights and states of one direction. */
interface Direction {
  readonly backwards: boolean;
  /** [input, gates · hidden], [hidden, gates · hidden] */
  readonly input: Node;
  readonly recurrent: Node;
  /** For the input's product, and for the state's. */
  readonly biases: readonly [Node, Node];
  readonly hidden: Node;
  readonly cell: Node;
  /** What the cell adds to the input, output and forget gates. */
  readonly peepholes: readonly Node[];
  readonly activations: readonly Activation[];
}

interface State {
  readonly hidden: Node;
  readonly cell: Node;
}

/** The next state, from the products of input and state (their biases added). */
type Cell = (call: Call, x: Node, state: State, direction: Direction) => State;

interface Kind {
  readonly gates: number;
  readonly activations: readonly string[];
  readonly cell: Cell;
}

const add = ({ g }: Call, a: Node, b: Node): Node => apply(g, "add", a, b);
const mul = ({ g }: Call, a: Node, b: Node): Node => apply(g, "mul", a, b);

/** Columns of gate `index`. */
function gate({ g }: Call, x: Node, index: number, count: number): Node {
  const width = constValue(x.shape[1]!)! / count;
  return slice(g, x, { axis: 1, start: index * width, end: (index + 1) * width });
}

function clipped(call: Call, x: Node): Node {
  const bound = call.attrs.float("clip");
  if (bound === undefined) return x;
  return apply(call.g, "clip", x, scalarLike(call.g, x, -bound), scalarLike(call.g, x, bound));
}

const product = ({ g }: Call, a: Node, b: Node): Node => matmul(g, a, b);

const plain: Cell = (call, x, { hidden, cell }, { recurrent, biases, activations }) => {
  const own = add(call, product(call, hidden, recurrent), biases[1]);
  return { hidden: activations[0]!(clipped(call, add(call, x, own))), cell };
};

const gated: Cell = (call, x, { hidden, cell }, { recurrent, biases, activations }) => {
  const { g, attrs } = call;
  const [f, h] = activations as [Activation, Activation];
  const part = (node: Node, i: number): Node => gate(call, node, i, 3);
  const own = add(call, product(call, hidden, recurrent), biases[1]);
  const [z, r] = [0, 1].map((i) => f(clipped(call, add(call, part(x, i), part(own, i))))) as [
    Node,
    Node,
  ];
  const fresh = attrs.flag("linear_before_reset")
    ? mul(call, r, part(own, 2))
    : add(call, product(call, mul(call, r, hidden), part(recurrent, 2)), part(biases[1], 2));
  const candidate = h(clipped(call, add(call, part(x, 2), fresh)));
  const rest = apply(g, "sub", scalarLike(g, z, 1), z);
  return { hidden: add(call, mul(call, rest, candidate), mul(call, z, hidden)), cell };
};

const long: Cell = (call, x, { hidden, cell }, { recurrent, biases, peepholes, activations }) => {
  const { g, attrs } = call;
  const [f, inner, outer] = activations as [Activation, Activation, Activation];
  const whole = add(call, x, add(call, product(call, hidden, recurrent), biases[1]));
  const seen = (index: number, from: Node, peephole: number): Node => {
    const own = gate(call, whole, index, 4);
    const hole = peepholes[peephole];
    return clipped(call, hole === undefined ? own : add(call, own, mul(call, hole, from)));
  };
  const input = f(seen(0, cell, 0));
  const one = scalarLike(g, input, 1);
  const forget = attrs.flag("input_forget") ? apply(g, "sub", one, input) : f(seen(2, cell, 2));
  const candidate = inner(clipped(call, gate(call, whole, 3, 4)));
  const next = add(call, mul(call, forget, cell), mul(call, input, candidate));
  const output = f(seen(1, next, 1));
  return { hidden: mul(call, output, outer(next)), cell: next };
};

const kinds = {
  RNN: { gates: 1, activations: ["Tanh"], cell: plain },
  GRU: { gates: 3, activations: ["Sigmoid", "Tanh"], cell: gated },
  LSTM: { gates: 4, activations: ["Sigmoid", "Tanh", "Tanh"], cell: long },
} as const satisfies Readonly<Record<string, Kind>>;

function activationsOf(call: Call, kind: Kind, directions: number): Activation[] {
  const { g, attrs } = call;
  const defaults = Array.from({ length: directions }, () => kind.activations).flat();
  const names = attrs.strings("activations") ?? defaults;
  if (names.length !== defaults.length)
    throw attrs.invalid("activations", `expected ${defaults.length} of them`);
  // The lists of alphas and betas have values for those functions only that take them.
  const rest = ["activation_alpha", "activation_beta"].map((name) => [
    ...(attrs.floats(name) ?? []),
  ]);
  return names.map((name) => {
    const entry = functions[name.toLowerCase()];
    if (entry === undefined) throw call.unsupported(`activation ${JSON.stringify(name)}`);
    const [fn, ...numbers] = entry;
    const values = numbers.map((number, i) => rest[i]!.shift() ?? number);
    return (x) => apply(g, fn, x, ...values.map((value) => scalarLike(g, x, value)));
  });
}

/** Plane `index` of the first axis, which goes. */
function plane({ g }: Call, x: Node, index: number): Node {
  const part = slice(g, x, { axis: 0, start: index, end: index + 1 });
  return reshape(g, part, x.shape.slice(1));
}

interface Layout {
  readonly steps: number;
  readonly batch: Node["shape"][number];
  readonly hidden: number;
}

function directionOf(
  call: Call,
  kind: Kind,
  index: number,
  backwards: boolean,
  { batch, hidden }: Layout,
  activations: readonly Activation[],
): Direction {
  const { g } = call;
  const x = call.input(0);
  const zeros = (shape: Node["shape"] | readonly number[]): Node =>
    broadcastTo(g, scalarLike(g, x, 0), shape);
  const own = (at: number): Node | undefined => {
    const value = call.optional(at);
    return value && plane(call, value, index);
  };
  const state = (at: number): Node => {
    const value = call.optional(at);
    if (value === undefined) return broadcastTo(g, scalarLike(g, x, 0), [batch, hidden]);
    return plane(call, call.attrs.flag("layout") ? transpose(g, value, [1, 0, 2]) : value, index);
  };
  const width = kind.gates * hidden;
  const bias = own(3) ?? zeros([2 * width]);
  const half = (start: number): Node =>
    reshape(g, slice(g, bias, { axis: 0, start, end: start + width }), [1, width]);
  const isLong = kind.gates === 4;
  const holes = isLong ? own(7) : undefined;
  const hole = (i: number): Node =>
    reshape(g, slice(g, holes!, { axis: 0, start: i * hidden, end: (i + 1) * hidden }), [
      1,
      hidden,
    ]);
  return {
    backwards,
    input: swapLast(g, own(1)!),
    recurrent: swapLast(g, own(2)!),
    biases: [half(0), half(width)],
    hidden: state(5),
    cell: isLong ? state(6) : zeros([1, 1]),
    peepholes: holes === undefined ? [] : [0, 1, 2].map(hole),
    activations,
  };
}

/** Outputs of every step, in the order of time, and the last state. */
function run(
  call: Call,
  kind: Kind,
  direction: Direction,
  x: Node,
  { steps, batch }: Layout,
): { readonly rows: readonly Node[]; readonly last: State } {
  const { g } = call;
  const lengths = call.optional(4);
  // All inputs are multiplied at once: only the state's product has to wait for its step.
  const flat = reshape(g, x, [-1, x.shape[2]!]);
  const columns = direction.input.shape[1]!;
  const all = reshape(g, add(call, product(call, flat, direction.input), direction.biases[0]), [
    x.shape[0]!,
    batch,
    columns,
  ]);
  let state: State = { hidden: direction.hidden, cell: direction.cell };
  const rows = new Array<Node>(steps);
  for (let i = 0; i < steps; i++) {
    const step = direction.backwards ? steps - 1 - i : i;
    const next = kind.cell(call, plane(call, all, step), state, direction);
    if (lengths === undefined) {
      state = next;
      rows[step] = next.hidden;
      continue;
    }
    const at = constantScalar(g, lengths.dtype, step);
    const present = unsqueeze(g, apply(g, "lt", at, lengths), [1]);
    const kept = (fresh: Node, old: Node): Node =>
      fresh === old ? old : apply(g, "select", present, fresh, old);
    const zero = scalarLike(g, next.hidden, 0);
    rows[step] = apply(g, "select", present, next.hidden, zero);
    state = { hidden: kept(next.hidden, state.hidden), cell: kept(next.cell, state.cell) };
  }
  return { rows, last: state };
}

function recurrent(call: Call, kind: Kind): readonly Node[] {
  const { g, attrs } = call;
  const batchFirst = attrs.flag("layout");
  const x = batchFirst ? transpose(g, call.input(0), [1, 0, 2]) : call.input(0);
  const hidden = attrs.int("hidden_size") ?? call.extent(call.input(2).shape[2]!, "a state");
  const steps = call.extent(x.shape[0]!, "a sequence");
  if (steps > mostSteps) throw call.unsupported(`more than ${mostSteps} steps of a recurrence`);
  const ways = attrs.choice("direction", ["forward", "reverse", "bidirectional"], "forward");
  const backwards = { forward: [false], reverse: [true], bidirectional: [false, true] }[ways];
  const layout = { steps, batch: x.shape[1]!, hidden };
  const activations = activationsOf(call, kind, backwards.length);
  const each = kind.activations.length;
  const results = backwards.map((way, i) => {
    const own = activations.slice(i * each, (i + 1) * each);
    return run(call, kind, directionOf(call, kind, i, way, layout, own), x, layout);
  });
  const stacked = (parts: readonly Node[], axis: number): Node =>
    concat(
      g,
      parts.map((part) => unsqueeze(g, part, [axis])),
      axis,
    );
  const whole = stacked(
    results.map(({ rows }) => stacked(rows, 0)),
    1,
  );
  const last = (part: keyof State): Node =>
    stacked(
      results.map((result) => result.last[part]),
      0,
    );
  const states = kind.gates === 4 ? [last("hidden"), last("cell")] : [last("hidden")];
  if (!batchFirst) return [whole, ...states];
  return [
    transpose(g, whole, [2, 0, 1, 3]),
    ...states.map((state) => transpose(g, state, [1, 0, 2])),
  ];
}

export const RNN = (call: Call): readonly Node[] => recurrent(call, kinds.RNN);
export const GRU = (call: Call): readonly Node[] => recurrent(call, kinds.GRU);
export const LSTM = (call: Call): readonly Node[] => recurrent(call, kinds.LSTM);

/** The first elements of each sequence backwards, as many as it has. */
export function ReverseSequence(call: Call): Node {
  const { g, attrs } = call;
  const [x, lengths] = [call.input(0), call.input(1)];
  const [batch, time] = [attrs.int("batch_axis", 1), attrs.int("time_axis", 0)];
  if (batch + time !== 1 || x.shape.length < 2)
    throw call.error("E_AXIS", `batch axis ${batch}, time axis ${time}`);
  const [rows, steps] = [x.shape[batch]!, x.shape[time]!];
  const many = reshape(g, cast(g, lengths, "i64"), batch === 0 ? [rows, 1] : [1, rows]);
  const at = iota(g, x.shape.slice(0, 2), time);
  const behind = apply(g, "sub", apply(g, "sub", many, scalarLike(g, many, 1)), at);
  const from = apply(g, "select", apply(g, "lt", at, many), behind, at);
  const spread = reshape(g, from, [...from.shape, ...x.shape.slice(2).map(() => 1)]);
  const along = broadcastTo(g, wrapped(call, cast(g, spread, "i64"), steps), x.shape);
  return elementsAlong(call, x, along, time);
}
