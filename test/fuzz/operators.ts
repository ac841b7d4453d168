/** One entry for each way to make a node: what it takes, and in which domain. */
import { dequantize, matmul, rotary } from "../../compiler/ir/build-anchor.js";
import {
  broadcastTo,
  cast,
  concat,
  dim,
  iota,
  map,
  normalize,
  reduce,
  reshape,
  slice,
  softmax,
  transpose,
  unsqueeze,
} from "../../compiler/ir/build.js";
import { isFloat, isInteger, type DType } from "../../compiler/ir/dtype.js";
import type { Node } from "../../compiler/ir/graph.js";
import { add, ceilDiv, constValue, int, mul, one, sub } from "../../compiler/scalar/build.js";
import type { Expr } from "../../compiler/scalar/expr.js";
import { primitive, type PrimitiveName } from "../../compiler/scalar/primitives.js";
import { builtin, type BuiltinName } from "../../compiler/scalar/table.js";
import { mostElements, type Facts } from "./generator.js";
import { makeCumsum, makeGather, makeScan, makeScatter, makeTopK, type Make } from "./placed.js";

const floats: readonly DType[] = ["f32", "f32", "bf16", "f16", "f64"];
const integers: readonly DType[] = ["i64", "i64", "i32", "i32", "i8", "u8", "i16", "u32"];

const isFloatNode = (node: Node): boolean => isFloat(node.dtype);
const isIntegerNode = (node: Node): boolean => isInteger(node.dtype);
const isBoolNode = (node: Node): boolean => node.dtype === "bool";
const hasRank =
  (least: number) =>
  (node: Node): boolean =>
    node.shape.length >= least;

const between =
  (low: number, high: number) =>
  (x: Facts): boolean =>
    x.low >= low && x.high <= high;
const size = (most: number): ((x: Facts) => boolean) => between(-most, most);
const anything = (): boolean => true;

/** Functions of one float, and the values that they are for. */
const unary: readonly (readonly [BuiltinName, (x: Facts) => boolean])[] = [
  ["sqrt", between(0, Infinity)],
  ["rsqrt", between(0.05, Infinity)],
  ["reciprocal", (x) => x.least >= 0.1],
  ["square", size(60)],
  ["exp", between(-50, 6)],
  ["exp2", between(-50, 8)],
  ["expm1", between(-50, 6)],
  ["log", between(0.05, Infinity)],
  ["log2", between(0.05, Infinity)],
  ["log1p", between(-0.8, Infinity)],
  ["sin", size(100)],
  ["cos", size(100)],
  ["tan", size(1.3)],
  ["sinh", size(5)],
  ["cosh", size(5)],
  ["tanh", anything],
  ["asinh", anything],
  ["acosh", between(1.05, Infinity)],
  ["atanh", size(0.9)],
  ["atan", anything],
  ["asin", size(0.9)],
  ["acos", size(0.9)],
  ["relu", anything],
  ["sigmoid", anything],
  ["silu", anything],
  ["gelu_erf", anything],
  ["gelu_tanh", size(100)],
  ["softplus", anything],
  ["softsign", anything],
  ["mish", anything],
  ["hard_swish", anything],
  ["erf", anything],
];

/** Functions with constants of their own. */
const withConstants: readonly (readonly [BuiltinName, readonly number[]])[] = [
  ["leaky_relu", [0.01]],
  ["elu", [1.5]],
  ["celu", [0.75]],
  ["selu", [1.67326, 1.0507]],
  ["hard_sigmoid", [0.2, 0.5]],
  ["soft_cap", [5]],
  ["quick_gelu", [1.702]],
];

const makeUnary: Make = (gen) => {
  const x = gen.pick(isFloatNode);
  if (x === null) return null;
  const facts = gen.of(x);
  const fitting = unary.filter(([, fits]) => gen.style === "special" || fits(facts));
  const [name] = gen.rng.pick(fitting);
  if (gen.rng.chance(0.15)) {
    const [other, constants] = gen.rng.pick(withConstants);
    return map(gen.g, builtin(other), [x, ...constants.map((c) => gen.scalar(x.dtype, c))]);
  }
  if (gen.rng.chance(0.15)) return map(gen.g, primitive(gen.rng.pick(["neg", "abs"])), [x]);
  return map(gen.g, builtin(name), [x]);
};

/** Jumps: only of whole numbers, or else where their step is what is tested. */
const makeRounding: Make = (gen) => {
  const x = gen.pick((node) => isFloatNode(node) && gen.of(node).whole);
  const names: PrimitiveName[] = ["floor", "ceil", "round", "trunc", "sign", "is_nan", "is_inf"];
  return x === null ? null : map(gen.g, primitive(gen.rng.pick(names)), [x]);
};

const makeBinary: Make = (gen) => {
  const x = gen.pick(isFloatNode);
  if (x === null) return null;
  const { g, rng } = gen;
  const name = rng.weighted<PrimitiveName>([
    [4, "add"],
    [2, "sub"],
    [4, "mul"],
    [1, "div"],
    [1, "min"],
    [1, "max"],
    [0.5, "pow"],
  ]);
  if (name === "div") return map(g, primitive(name), [x, gen.beside(x, x.dtype, "positive")]);
  if (name === "pow") {
    if (gen.of(x).low < 0.05 && gen.style !== "special") return null;
    return map(g, primitive(name), [x, gen.scalar(x.dtype, rng.pick([0.5, 1.5, 2, 3, -1]))]);
  }
  const y = gen.beside(x);
  return map(g, primitive(name), rng.chance(0.5) ? [x, y] : [y, x]);
};

/** Roundings decide whether computed floats are equal: only their order is asked for. */
const makeCompare: Make = (gen) => {
  const steady = (node: Node): boolean =>
    node.dtype !== "bool" &&
    (isIntegerNode(node) || node.inputs.length === 0 || gen.of(node).whole);
  const x = gen.pick(gen.rng.chance(0.1) ? (node) => node.dtype !== "bool" : steady);
  if (x === null) return null;
  const y = gen.beside(x);
  const names: PrimitiveName[] = ["lt", "le", "gt", "ge"];
  if (steady(x) && steady(y)) names.push("eq", "ne");
  return map(gen.g, primitive(gen.rng.pick(names)), [x, y]);
};

const makeLogic: Make = (gen) => {
  const x = gen.pick(isBoolNode);
  if (x === null) return null;
  if (gen.rng.chance(0.25)) return map(gen.g, primitive("not"), [x]);
  return map(gen.g, primitive(gen.rng.pick(["and", "or", "xor"])), [x, gen.beside(x)]);
};

const makeSelect: Make = (gen) => {
  const x = gen.pick((node) => node.dtype !== "bool" || gen.rng.chance(0.2));
  if (x === null) return null;
  const { g, rng } = gen;
  if (isFloatNode(x) && rng.chance(0.3)) {
    const [low, high] = [-rng.int(0, 2), rng.int(1, 3)];
    return map(g, primitive("clip"), [x, gen.scalar(x.dtype, low), gen.scalar(x.dtype, high)]);
  }
  const condition = gen.beside(x, "bool");
  const y = gen.beside(x);
  return map(g, primitive("select"), [condition, ...(rng.chance(0.5) ? [x, y] : [y, x])]);
};

const makeInteger: Make = (gen) => {
  const x = gen.pick(isIntegerNode);
  if (x === null) return null;
  const { g, rng } = gen;
  if (rng.chance(0.2)) return map(g, primitive(rng.pick(["neg", "abs", "sign", "not"])), [x]);
  const names: PrimitiveName[] = [
    ...(["add", "sub", "mul", "div", "mod", "fmod", "min", "max"] as const),
    ...(["and", "or", "xor"] as const),
  ];
  if (rng.chance(0.2)) {
    const shift = gen.scalar(x.dtype, rng.int(0, 6));
    return map(g, primitive(rng.pick(["shl", "shr", "pow"])), [x, shift]);
  }
  return map(g, primitive(rng.pick(names)), [x, gen.beside(x)]);
};

const makeCast: Make = (gen) => {
  const { g, rng } = gen;
  const x = gen.pick(() => true);
  if (x === null) return null;
  if (isFloatNode(x) && gen.of(x).whole && gen.of(x).finite && rng.chance(0.4)) {
    const narrow = Math.max(-gen.of(x).low, gen.of(x).high) > 100;
    return cast(g, x, narrow ? "i64" : rng.pick(["i64", "i32", "i8"]));
  }
  if (isFloatNode(x) && rng.chance(0.1) && gen.of(x).whole) return cast(g, x, "bool");
  if (isIntegerNode(x) && rng.chance(0.3)) return cast(g, x, rng.pick(["bool", ...integers]));
  return cast(g, x, rng.chance(0.5) ? gen.dtype : rng.pick(floats));
};

/** Another shape of the same elements: axes merged, split, added or dropped. */
const makeReshape: Make = (gen) => {
  const x = gen.pick(() => true);
  if (x === null) return null;
  const { g, rng } = gen;
  const { shape } = x;
  const at = rng.int(0, Math.max(0, shape.length - 1));
  const kind = rng.int(0, 3);
  if (kind === 0 || shape.length === 0) return unsqueeze(g, x, [rng.int(0, shape.length)]);
  if (kind === 1)
    return reshape(
      g,
      x,
      shape.filter((dim) => dim !== one),
    );
  if (kind === 2 && shape.length >= 2 && at + 1 < shape.length) {
    const merged = mul(shape[at]!, shape[at + 1]!);
    return reshape(g, x, [...shape.slice(0, at), merged, ...shape.slice(at + 2)]);
  }
  const extent = constValue(shape[at]!);
  if (extent === null) return null;
  const factors = Array.from({ length: extent }, (_, i) => i + 1).filter((f) => extent % f === 0);
  const factor = rng.pick(factors);
  const parts = [factor, extent / factor];
  return reshape(g, x, [...shape.slice(0, at), ...parts, ...shape.slice(at + 1)]);
};

const makeTranspose: Make = (gen) => {
  const x = gen.pick(hasRank(2));
  return x === null ? null : transpose(gen.g, x, gen.rng.shuffle(x.shape.map((_, axis) => axis)));
};

const makeBroadcast: Make = (gen) => {
  const x = gen.pick(() => true);
  if (x === null) return null;
  const { rng } = gen;
  const grown = x.shape.map((each) => {
    if (each !== one) return each;
    return gen.symbolDims.length > 0 && rng.chance(0.5) ? gen.symbolDims[0]! : int(rng.extent(9));
  });
  const outer = rng.chance(0.6) && x.shape.length < 5 ? [int(rng.int(1, 4))] : [];
  return broadcastTo(gen.g, x, [...outer, ...grown]);
};

const makeSlice: Make = (gen) => {
  const x = gen.pick(hasRank(1));
  if (x === null) return null;
  const { g, rng } = gen;
  const axis = rng.int(0, x.shape.length - 1);
  const extent = constValue(x.shape[axis]!);
  // The last of a length that only a run knows, as language models take it.
  if (extent === null) {
    const end = x.shape[axis]!;
    return slice(g, x, { axis, start: sub(end, one), end });
  }
  const start = rng.int(0, extent - 1);
  const end = rng.int(start + 1, extent);
  if (rng.chance(0.7)) return slice(g, x, { axis, start, end });
  const step = rng.int(2, 4);
  if (rng.chance(0.5)) return slice(g, x, { axis, start, end, step });
  return slice(g, x, { axis, start: end - 1, end: start - 1, step: rng.chance(0.5) ? -1 : -step });
};

const makeConcat: Make = (gen) => {
  const x = gen.pick(hasRank(1));
  if (x === null) return null;
  const { g, rng } = gen;
  const axis = rng.int(0, x.shape.length - 1);
  const fits = (node: Node): boolean =>
    node.dtype === x.dtype &&
    node.shape.length === x.shape.length &&
    node.shape.every((each, i) => i === axis || each === x.shape[i]);
  const part = (): Node => {
    const found = rng.chance(0.6) ? gen.pick(fits) : null;
    const dims = x.shape.map((each, i): Expr => (i === axis ? int(rng.extent(17)) : each));
    return found ?? gen.leaf(x.dtype, dims);
  };
  const parts = [x, ...Array.from({ length: rng.int(1, 2) }, part)];
  return concat(g, rng.shuffle(parts), axis);
};

const makeReduce: Make = (gen) => {
  const x = gen.pick((node) => node.dtype !== "bool" && node.shape.length >= 1);
  if (x === null) return null;
  const { g, rng } = gen;
  const axes = x.shape.map((_, axis) => axis).filter(() => rng.chance(0.45));
  if (axes.length === 0) axes.push(x.shape.length - 1);
  const float = isFloatNode(x);
  const kind = rng.pick([
    "sum",
    "max",
    "min",
    ...(float ? (["mean", "mean"] as const) : []),
  ] as const);
  const keep = rng.chance(0.6);
  const product = rng.chance(0.05) && Math.max(-gen.of(x).low, gen.of(x).high) < 1.5;
  const reduced = reduce(g, product ? "prod" : kind, x, axes, { keep });
  if (!keep || rng.chance(0.4)) return reduced;
  // Put back on what it was taken from, as norms do.
  gen.keep(reduced);
  return map(g, primitive(rng.pick(["sub", "add", "max"])), [x, reduced]);
};

const makeSoftmax: Make = (gen) => {
  const x = gen.pick((node) => isFloatNode(node) && node.shape.length >= 1);
  if (x === null) return null;
  const axis = gen.rng.chance(0.7) ? x.shape.length - 1 : gen.rng.int(0, x.shape.length - 1);
  return softmax(gen.g, x, axis);
};

const makeNormalize: Make = (gen) => {
  const x = gen.pick((node) => isFloatNode(node) && node.shape.length >= 1);
  if (x === null) return null;
  const { g, rng } = gen;
  const normal = gen.keep(
    normalize(g, x, rng.pick(["layer", "rms"]), rng.pick([1e-5, 1e-6, 0.01])),
  );
  if (normal === null || rng.chance(0.4)) return normal;
  const width = [x.shape[x.shape.length - 1]!];
  const scaled = map(g, primitive("mul"), [normal, gen.leaf(x.dtype, width, "positive")]);
  if (rng.chance(0.5)) return scaled;
  gen.keep(scaled);
  return map(g, primitive("add"), [scaled, gen.leaf(x.dtype, width)]);
};

/** Multiplications that a product may take. */
const mostProducts = 300_000;

const makeMatmul: Make = (gen) => {
  const x = gen.pick((node) => isFloatNode(node) && node.shape.length >= 1);
  if (x === null) return null;
  const { g, rng } = gen;
  const k = x.shape[x.shape.length - 1]!;
  const rows = gen.count(x.shape);
  const columns = rng.extent(Math.min(129, Math.floor(mostProducts / rows), mostElements));
  const fan = { weight: gen.size(k) };
  if (rng.chance(0.6) || x.shape.length < 3) {
    const stored = rng.chance(0.3);
    const w = gen.leaf(x.dtype, stored ? [columns, k] : [k, columns], fan, 0.8);
    const product = matmul(g, x, stored ? transpose(g, w, [1, 0]) : w);
    if (rng.chance(0.5)) return product;
    gen.keep(product);
    return map(g, primitive("add"), [product, gen.leaf(x.dtype, [columns], "any", 0.8)]);
  }
  const batch = x.shape.slice(0, -2).map((each) => (rng.chance(0.3) ? one : each));
  return matmul(g, x, gen.leaf(x.dtype, [...batch, k, columns], fan, 0.3));
};

/** Products of two values that are there. */
const makeInner: Make = (gen) => {
  const x = gen.pick((node) => isFloatNode(node) && node.shape.length >= 2);
  if (x === null) return null;
  const fits = (node: Node): boolean =>
    node.dtype === x.dtype &&
    node.shape.length === x.shape.length &&
    node.shape.every((each, i) => i === x.shape.length - 2 || each === x.shape[i]);
  const y = gen.pick(fits) ?? x;
  const rank = x.shape.length;
  const perm = [...x.shape.keys()].slice(0, -2).concat(rank - 1, rank - 2);
  if (gen.count(x.shape) * gen.count([y.shape[rank - 2]!]) > mostProducts) return null;
  return matmul(gen.g, x, transpose(gen.g, y, perm));
};

const makeRotary: Make = (gen) => {
  const even = (node: Node): boolean => {
    const last = constValue(node.shape[node.shape.length - 1] ?? one);
    return isFloatNode(node) && node.shape.length >= 2 && last !== null && last % 2 === 0;
  };
  const x = gen.pick(even);
  if (x === null) return null;
  const half = constValue(x.shape[x.shape.length - 1]!)! / 2;
  const dtype = gen.rng.chance(0.7) ? x.dtype : "f32";
  const rows = x.shape[x.shape.length - 2]!;
  const [cos, sin] = [0, 1].map(() => gen.leaf(dtype, [rows, half])) as [Node, Node];
  return rotary(gen.g, x, cos, sin, gen.rng.chance(0.5));
};

const makeDequantize: Make = (gen) => {
  const { rng } = gen;
  const shape = rng.shape(2, 2000);
  const axis = rng.int(0, 1);
  const group = rng.pick([1, 2, 8, 32, shape[axis]!]);
  const dtype = rng.pick<DType>(["i8", "u8", "i16"]);
  const packed = gen.leaf(dtype, shape, "any", 1);
  const groups = shape.map((each, i) =>
    i === axis ? constValue(ceilDiv(int(each), int(group)))! : each,
  );
  const scale = gen.leaf(isFloat(gen.dtype) ? gen.dtype : "f32", groups, "positive");
  return dequantize(gen.g, packed, scale, { axis, group });
};

const makeSource: Make = (gen) => {
  const { rng } = gen;
  const shape = rng.shape(rng.int(1, 3), 1500);
  const [symbol] = gen.symbolDims;
  if (rng.chance(0.2)) {
    const changing = symbol !== undefined && rng.chance(0.5) ? [symbol, ...shape.slice(1)] : shape;
    return iota(gen.g, changing, rng.int(0, shape.length - 1));
  }
  if (rng.chance(0.2) && symbol !== undefined) return dim(gen.g, add(mul(symbol, int(2)), one));
  const dtype = rng.weighted<DType>([
    [6, gen.dtype],
    [2, rng.pick(integers)],
    [1, "bool"],
  ]);
  return gen.leaf(dtype, shape);
};

export const operators: readonly (readonly [weight: number, Make])[] = [
  [14, makeUnary],
  [2, makeRounding],
  [16, makeBinary],
  [4, makeCompare],
  [2, makeLogic],
  [5, makeSelect],
  [5, makeInteger],
  [6, makeCast],
  [7, makeReshape],
  [6, makeTranspose],
  [4, makeBroadcast],
  [6, makeSlice],
  [5, makeConcat],
  [4, makeGather],
  [6, makeReduce],
  [3, makeSoftmax],
  [4, makeNormalize],
  [0.5, makeCumsum],
  [2, makeScan],
  [2, makeTopK],
  [2, makeScatter],
  [8, makeMatmul],
  [2, makeInner],
  [2, makeRotary],
  [1, makeDequantize],
  [3, makeSource],
];
