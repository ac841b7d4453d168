/** What operators compute, where ONNX leaves room to get it wrong. */
import { describe, expect, test } from "vitest";
import type { DType } from "../../ir/dtype.js";
import { tensor, type TensorValue } from "../../ir/tensor.js";
import { evaluated, imported } from "./import.testing.js";
import { attr, i64Tensor, node, type AttrSpec, type TensorSpec } from "./wire/encode.testing.js";

type Values = readonly (number | bigint | boolean)[];

interface Case {
  readonly op: string;
  readonly about: string;
  readonly opset?: number;
  readonly type?: DType;
  /** Inputs at run time: shape and values. */
  readonly inputs: readonly (readonly [readonly number[], Values, DType?])[];
  /** Inputs behind them that are known. */
  readonly known?: readonly (readonly number[])[];
  readonly attrs?: Readonly<Record<string, AttrSpec>>;
  readonly shape: readonly number[];
  readonly gives: Values;
  readonly outputs?: number;
  readonly output?: number;
  /** Names of inputs before all others. */
  readonly leading?: readonly string[];
}

const six = [1, 2, 3, 4, 5, 6];
const m23 = [[2, 3], six] as const;

const cases: readonly Case[] = [
  {
    op: "Div",
    about: "truncates",
    type: "i32",
    inputs: [
      [[2], [-7, 7]],
      [[2], [2, -2]],
    ],
    shape: [2],
    gives: [-3, -3],
  },
  {
    op: "Mod",
    about: "has the divisor's sign",
    type: "i32",
    inputs: [
      [[2], [-7, 7]],
      [[2], [3, -3]],
    ],
    shape: [2],
    gives: [2, -2],
  },
  {
    op: "Mod",
    about: "has the dividend's sign by fmod",
    inputs: [
      [[2], [-7, 7]],
      [[2], [3, -3]],
    ],
    attrs: { fmod: attr.int(1) },
    shape: [2],
    gives: [-1, 1],
  },
  {
    op: "Pow",
    about: "takes the base's type",
    inputs: [
      [[2], [2, 3]],
      [[2], [3n, 2n], "i64"],
    ],
    shape: [2],
    gives: [8, 9],
  },
  {
    op: "Round",
    about: "takes ties to even",
    inputs: [[[4], [0.5, 1.5, 2.5, -0.5]]],
    shape: [4],
    gives: [0, 2, 2, -0],
  },
  {
    op: "Clip",
    about: "has attributes at first",
    opset: 7,
    inputs: [[[3], [-2, 0.5, 2]]],
    attrs: { min: attr.float(-1), max: attr.float(1) },
    shape: [3],
    gives: [-1, 0.5, 1],
  },
  {
    op: "Max",
    about: "takes any number of inputs",
    inputs: [m23, [[3], [2, 2, 2]], [[1], [5]]],
    shape: [2, 3],
    gives: [5, 5, 5, 5, 5, 6],
  },
  {
    op: "IsInf",
    about: "tells one side",
    inputs: [[[3], [Infinity, -Infinity, 1]]],
    attrs: { detect_negative: attr.int(0) },
    shape: [3],
    gives: [1, 0, 0],
  },
  {
    op: "Softmax",
    about: "flattens before opset 13",
    opset: 11,
    inputs: [
      [
        [1, 2, 2],
        [0, 0, 0, 0],
      ],
    ],
    shape: [1, 2, 2],
    gives: [0.25, 0.25, 0.25, 0.25],
  },
  {
    op: "Reshape",
    about: "copies and infers",
    inputs: [m23],
    known: [[0, 1, -1]],
    shape: [2, 1, 3],
    gives: six,
  },
  {
    op: "Reshape",
    about: "takes 0 for a size by allowzero",
    inputs: [[[0, 3], []]],
    known: [[3, 0]],
    attrs: { allowzero: attr.int(1) },
    shape: [3, 0],
    gives: [],
  },
  {
    op: "Flatten",
    about: "takes its axis from the end",
    inputs: [[[1, 2, 3], six]],
    attrs: { axis: attr.int(-1) },
    shape: [2, 3],
    gives: six,
  },
  {
    op: "Squeeze",
    about: "has attributes before opset 13",
    opset: 11,
    inputs: [
      [
        [1, 2, 1],
        [1, 2],
      ],
    ],
    attrs: { axes: attr.ints([0]) },
    shape: [2, 1],
    gives: [1, 2],
  },
  {
    op: "Squeeze",
    about: "drops every 1",
    inputs: [
      [
        [1, 2, 1],
        [1, 2],
      ],
    ],
    shape: [2],
    gives: [1, 2],
  },
  {
    op: "Slice",
    about: "runs backwards",
    inputs: [[[4], [1, 2, 3, 4]]],
    known: [[-1], [-100], [0], [-2]],
    shape: [2],
    gives: [4, 2],
  },
  {
    op: "Slice",
    about: "has attributes before opset 10",
    opset: 9,
    inputs: [m23],
    attrs: { starts: attr.ints([1]), ends: attr.ints([2n ** 63n - 1n]), axes: attr.ints([1]) },
    shape: [2, 2],
    gives: [2, 3, 5, 6],
  },
  {
    op: "Slice",
    about: "may be empty",
    inputs: [[[4], [1, 2, 3, 4]]],
    known: [[3], [1]],
    shape: [0],
    gives: [],
  },
  {
    op: "Split",
    about: "leaves the last part smaller",
    inputs: [[[5], [1, 2, 3, 4, 5]]],
    attrs: { num_outputs: attr.int(2) },
    outputs: 2,
    output: 1,
    shape: [2],
    gives: [4, 5],
  },
  {
    op: "Expand",
    about: "broadcasts both ways",
    inputs: [
      [
        [2, 1],
        [1, 2],
      ],
    ],
    known: [[2, 1, 2]],
    shape: [2, 2, 2],
    gives: [1, 1, 2, 2, 1, 1, 2, 2],
  },
  {
    op: "Tile",
    about: "repeats each axis",
    inputs: [
      [
        [1, 2],
        [1, 2],
      ],
    ],
    known: [[2, 2]],
    shape: [2, 4],
    gives: [1, 2, 1, 2, 1, 2, 1, 2],
  },
  {
    op: "Pad",
    about: "reflects",
    inputs: [[[3], [1, 2, 3]]],
    known: [[2, 1]],
    attrs: { mode: attr.string("reflect") },
    shape: [6],
    gives: [3, 2, 1, 2, 3, 2],
  },
  {
    op: "Pad",
    about: "cuts where negative",
    inputs: [[[3], [1, 2, 3]]],
    known: [[-1, 1]],
    shape: [3],
    gives: [2, 3, 0],
  },
  {
    op: "Gather",
    about: "counts from the end",
    inputs: [m23, [[2], [-1n, 0n], "i64"]],
    attrs: { axis: attr.int(1) },
    shape: [2, 2],
    gives: [3, 1, 6, 4],
  },
  {
    op: "GatherElements",
    about: "picks along one axis",
    inputs: [m23, [[1, 3], [1n, 0n, -1n], "i64"]],
    shape: [1, 3],
    gives: [4, 2, 6],
  },
  {
    op: "GatherND",
    about: "counts from the end",
    inputs: [m23, [[2, 2], [0n, -1n, 1n, 0n], "i64"]],
    shape: [2],
    gives: [3, 4],
  },
  {
    op: "ArgMax",
    about: "takes the first",
    inputs: [[[4], [1, 3, 3, 2]]],
    attrs: { keepdims: attr.int(0) },
    shape: [],
    gives: [1n],
  },
  {
    op: "ArgMin",
    about: "takes the last if asked",
    inputs: [[[4], [1, 3, 1, 2]]],
    attrs: { select_last_index: attr.int(1) },
    shape: [1],
    gives: [2n],
  },
  {
    op: "ReduceSum",
    about: "reduces nothing by noop",
    inputs: [m23],
    attrs: { noop_with_empty_axes: attr.int(1) },
    shape: [2, 3],
    gives: six,
  },
  {
    op: "ReduceMean",
    about: "has attributes before opset 18",
    opset: 17,
    inputs: [m23],
    attrs: { axes: attr.ints([-1]), keepdims: attr.int(0) },
    shape: [2],
    gives: [2, 5],
  },
  {
    op: "ReduceMax",
    about: "is any of booleans",
    opset: 20,
    type: "bool",
    inputs: [[[2], [false, true]]],
    shape: [1],
    gives: [1],
  },
  {
    op: "ReduceLogSumExp",
    about: "does not overflow",
    inputs: [[[2], [1000, 1000]]],
    shape: [1],
    gives: [1000 + Math.LN2],
  },
  {
    op: "CumSum",
    about: "is exclusive and backwards",
    inputs: [[[3], [1, 2, 3]]],
    known: [[0]],
    attrs: { exclusive: attr.int(1), reverse: attr.int(1) },
    shape: [3],
    gives: [5, 3, 0],
  },
  {
    op: "Gemm",
    about: "scales and transposes",
    inputs: [
      [
        [2, 1],
        [1, 2],
      ],
      [
        [2, 1],
        [3, 4],
      ],
      [[1], [1]],
    ],
    attrs: { transA: attr.int(1), alpha: attr.float(2), beta: attr.float(3) },
    shape: [1, 1],
    gives: [25],
  },
  {
    op: "MatMul",
    about: "is a number for two vectors",
    inputs: [
      [[3], [1, 2, 3]],
      [[3], [4, 5, 6]],
    ],
    shape: [],
    gives: [32],
  },
  {
    op: "Trilu",
    about: "keeps what is below",
    inputs: [m23],
    known: [[1]],
    attrs: { upper: attr.int(0) },
    shape: [2, 3],
    gives: [1, 2, 0, 4, 5, 6],
  },
  {
    op: "Range",
    about: "runs backwards",
    inputs: [],
    known: [[5], [0], [-2]],
    shape: [3],
    gives: [5n, 3n, 1n],
  },
  {
    op: "ConstantOfShape",
    about: "is f32 zeros",
    inputs: [],
    known: [[1, 2]],
    shape: [1, 2],
    gives: [0, 0],
  },
  {
    op: "Shape",
    about: "clamps its bounds",
    inputs: [[[1, 2, 3], six]],
    attrs: { start: attr.int(-2), end: attr.int(9) },
    shape: [2],
    gives: [2n, 3n],
  },
  {
    op: "Einsum",
    about: "takes the diagonal",
    inputs: [
      [
        [2, 2],
        [1, 2, 3, 4],
      ],
    ],
    attrs: { equation: attr.string("ii->i") },
    shape: [2],
    gives: [1, 4],
  },
  {
    op: "QuantizeLinear",
    about: "rounds to even and saturates",
    inputs: [
      [[3], [0.5, 1.5, 999]],
      [[], [1]],
    ],
    shape: [3],
    gives: [0, 2, 255],
  },
  {
    op: "LayerNormalization",
    about: "gives its statistics",
    inputs: [
      [
        [1, 2],
        [1, 3],
      ],
      [[2], [1, 1]],
    ],
    attrs: { epsilon: attr.float(0) },
    outputs: 3,
    output: 1,
    shape: [1, 1],
    gives: [2],
  },
  {
    op: "Dropout",
    about: "keeps everything",
    inputs: [m23],
    outputs: 2,
    output: 1,
    shape: [2, 3],
    gives: [1, 1, 1, 1, 1, 1],
  },
  {
    op: "CumProd",
    about: "leaves out the element itself",
    opset: 26,
    inputs: [[[4], [2, 3, 4, 5]]],
    known: [[0]],
    attrs: { exclusive: attr.int(1), reverse: attr.int(1) },
    shape: [4],
    gives: [60, 20, 5, 1],
  },
  {
    op: "TopK",
    about: "gives the values in order",
    inputs: [
      [
        [2, 3],
        [4, 6, 5, 1, 1, 3],
      ],
    ],
    known: [[2]],
    outputs: 2,
    shape: [2, 2],
    gives: [6, 5, 3, 1],
  },
  {
    op: "TopK",
    about: "takes the first of equal values",
    inputs: [
      [
        [2, 3],
        [4, 4, 5, 1, 1, 3],
      ],
    ],
    known: [[2]],
    attrs: { largest: attr.int(0) },
    outputs: 2,
    output: 1,
    shape: [2, 2],
    gives: [0n, 1n, 0n, 1n],
  },
  {
    op: "ScatterElements",
    about: "counts negative indices from the end",
    inputs: [
      [
        [1, 5],
        [1, 2, 3, 4, 5],
      ],
      [[1, 2], [1, -1], "i64"],
      [
        [1, 2],
        [10, 20],
      ],
    ],
    attrs: { axis: attr.int(1), reduction: attr.string("add") },
    shape: [1, 5],
    gives: [1, 12, 3, 4, 25],
  },
  {
    op: "ScatterND",
    about: "applies updates in order",
    inputs: [
      [
        [2, 2],
        [1, 2, 3, 4],
      ],
      [[3, 1], [1, 0, -1], "i64"],
      [
        [3, 2],
        [5, 6, 7, 8, 9, 1],
      ],
    ],
    shape: [2, 2],
    gives: [7, 8, 9, 1],
  },
  {
    op: "Scan",
    about: "scans each row of the batch before opset 9",
    opset: 8,
    inputs: [
      [
        [2, 1],
        [0, 10],
      ],
      [
        [2, 3, 1],
        [1, 2, 3, 4, 5, 6],
      ],
    ],
    leading: [""],
    attrs: {
      num_scan_inputs: attr.int(1),
      body: attr.graph({
        inputs: [
          { name: "a", type: "f32" },
          { name: "b", type: "f32" },
        ],
        outputs: [
          { name: "c", type: "f32" },
          { name: "d", type: "f32" },
        ],
        nodes: [node("Add", ["a", "b"], ["c"]), node("Identity", ["c"], ["d"])],
      }),
    },
    outputs: 2,
    output: 1,
    shape: [2, 3, 1],
    gives: [1, 3, 6, 14, 19, 25],
  },
];

/** Operators whose known inputs are scalars. */
const scalars = new Set(["Range", "CumProd", "CumSum", "Trilu"]);

function run(each: Case): TensorValue {
  const type = each.type ?? "f32";
  const values = each.inputs.map(([shape, data, dtype]) => tensor(dtype ?? type, shape, data));
  const names = values.map((_, i) => `x${i}`);
  const known = (each.known ?? []).map((data, i): TensorSpec => {
    return i64Tensor(`k${i}`, scalars.has(each.op) ? [] : [data.length], data);
  });
  const inputs = [...(each.leading ?? []), ...names, ...known.map(({ name }) => name!)];
  const outputs = Array.from({ length: each.outputs ?? 1 }, (_, i) => `y${i}`);
  const wanted = outputs[each.output ?? 0]!;
  const graph = {
    inputs: values.map(({ dtype, shape }, i) => ({ name: names[i]!, type: dtype, shape })),
    outputs: [{ name: wanted, type: evaluatedType(each, type) }],
    initializers: known,
    nodes: [node(each.op, inputs, outputs, each.attrs)],
  };
  const model = imported({ opset: each.opset ?? 24, graph });
  const given = Object.fromEntries(values.map((value, i) => [names[i]!, value]));
  return evaluated(model, given).get(wanted)!;
}

function evaluatedType({ op, gives }: Case, type: DType): DType {
  if (typeof gives[0] === "bigint") return "i64";
  if (op === "IsInf" || op === "Dropout") return "bool";
  return op === "QuantizeLinear" ? "u8" : type;
}

describe("operators", () => {
  test.each(cases.map((each) => [`${each.op} ${each.about}`, each] as const))("%s", (_, each) => {
    const found = run(each);
    expect(found.shape).toEqual(each.shape);
    const values = Array.from(found.data as ArrayLike<number | bigint>);
    expect(values).toHaveLength(each.gives.length);
    values.forEach((value, i) => expect(Number(value)).toBeCloseTo(Number(each.gives[i]), 9));
  });
});

describe("attention", () => {
  const ones = tensor("f32", [1, 1, 2, 2], [1, 1, 1, 1]);
  const values = tensor("f32", [1, 1, 2, 2], [1, 2, 3, 4]);
  const inputs = [
    { name: "q", type: "f32", shape: [1, 1, "s", 2] },
    { name: "v", type: "f32", shape: [1, 1, "s", 2] },
    { name: "m", type: "bool", shape: ["s", "s"] },
  ] as const;
  const graph = {
    inputs,
    outputs: [{ name: "y", type: "f32" }] as const,
    nodes: [node("Attention", ["q", "q", "v", "m"], ["y"], { is_causal: attr.int(1) })],
  };

  test("a row that sees nothing is zero", () => {
    const model = imported({ opset: 23, graph }, { dims: { s: [1, 8] } });
    const y = evaluated(model, {
      q: ones,
      v: values,
      m: tensor("bool", [2, 2], [false, true, true, true]),
    }).get("y")!;
    expect([...y.data]).toEqual([0, 0, 2, 3]);
  });
});
