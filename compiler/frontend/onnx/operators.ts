/** The operators that farrier imports, and the versions of their operator set that have them. */
import type { Operator } from "./call.js";
import * as activation from "./operators/activation.js";
import * as attention from "./operators/attention.js";
import * as casts from "./operators/cast.js";
import * as control from "./operators/control.js";
import * as convolution from "./operators/convolution.js";
import { Einsum } from "./operators/einsum.js";
import * as elementwise from "./operators/elementwise.js";
import * as image from "./operators/image.js";
import * as index from "./operators/index.js";
import * as linalg from "./operators/linalg.js";
import { LinearAttention } from "./operators/linear-attention.js";
import * as loss from "./operators/loss.js";
import * as movement from "./operators/movement.js";
import * as normalisation from "./operators/normalisation.js";
import * as order from "./operators/order.js";
import * as pooling from "./operators/pooling.js";
import * as quantise from "./operators/quantise.js";
import * as recurrent from "./operators/recurrent.js";
import * as reduction from "./operators/reduction.js";
import * as resize from "./operators/resize.js";
import * as shape from "./operators/shape.js";
import * as signal from "./operators/signal.js";

export interface OperatorEntry {
  readonly run: Operator;
  /** The first version with the operator, and the last. */
  readonly since: number;
  readonly until?: number;
}

type Entries = Readonly<Record<string, OperatorEntry>>;

/** Operators of one version each. */
const from = (since: number, run: Readonly<Record<string, Operator>>): Entries =>
  Object.fromEntries(Object.entries(run).map(([name, each]) => [name, { run: each, since }]));

const { Abs, Acos, Acosh, Add, And, Asin, Asinh, Atan, Atanh, BitShift } = elementwise;
const { BitwiseAnd, BitwiseNot, BitwiseOr, BitwiseXor, Ceil, Clip } = elementwise;
const { Cos, Cosh, Div, Equal, Erf, Exp, Floor, Greater, GreaterOrEqual, Identity } = elementwise;
const { IsInf, IsNaN, Less, LessOrEqual, Log, Max, Mean, Min, Mod, Mul, Neg, Not } = elementwise;
const { Or, Pow, Reciprocal, Round, Sign, Sin, Sinh, Sqrt, Sub, Sum, Tan, Where } = elementwise;
const { Xor } = elementwise;
const { Celu, Elu, Gelu, HardSigmoid, HardSwish, LeakyRelu, Mish, PRelu, Relu } = activation;
const { Selu, Shrink, Sigmoid, Softplus, Softsign, Swish, Tanh, ThresholdedRelu } = activation;
const { SwiGLU } = activation;
const { Concat, DepthToSpace, Expand, Flatten, Pad, Reshape, Slice, SpaceToDepth } = movement;
const { Split, Squeeze, Tile, Transpose, Unsqueeze } = movement;
const { ArgMax, ArgMin, Compress, Gather, GatherElements, GatherND, NonZero, OneHot } = index;
const { Scatter, ScatterElements, ScatterND, TopK } = order;
const { CumProd, CumSum, Hardmax, LogSoftmax, ReduceL1, ReduceL2, ReduceLogSum } = reduction;
const { ReduceLogSumExp, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum } = reduction;
const { ReduceSumSquare, Softmax } = reduction;
const { Gemm, MatMul, MatMulInteger } = linalg;
const { BatchNormalization, GroupNormalization, InstanceNormalization } = normalisation;
const { LayerNormalization, LpNormalization, MeanVarianceNormalization } = normalisation;
const { RMSNormalization } = normalisation;
const { Constant, ConstantOfShape, EyeLike, Range, Shape, Size, Trilu } = shape;
const { Dropout, If, Loop, Scan } = control;
const { Attention, FlexAttention, RotaryEmbedding, TensorScatter } = attention;
const { BitCast, Cast, CastLike } = casts;
const { CausalConvWithState, Conv, ConvInteger, ConvTranspose, QLinearConv } = convolution;
const { AveragePool, GlobalAveragePool, GlobalLpPool, GlobalMaxPool, LpPool, LRN } = pooling;
const { MaxPool, MaxUnpool } = pooling;
const { AffineGrid, CenterCropPad, Col2Im, Det, GridSample } = image;
const { NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss } = loss;
const { GRU, LSTM, ReverseSequence, RNN } = recurrent;
const { Resize, Upsample } = resize;
const { BlackmanWindow, DFT, HammingWindow, HannWindow, MelWeightMatrix, STFT } = signal;
const { DequantizeLinear, DynamicQuantizeLinear, QLinearMatMul, QuantizeLinear } = quantise;

const standard: Entries = {
  ...from(1, { Abs, Add, And, ArgMax, ArgMin, BatchNormalization, Cast, Ceil, Clip, Concat }),
  ...from(1, { Constant, DepthToSpace, Div, Dropout, Elu, Equal, Exp, Flatten, Floor, Gather }),
  ...from(1, { Gemm, Greater, Hardmax, HardSigmoid, Identity, If, InstanceNormalization }),
  ...from(1, { LeakyRelu, Less, Log, LogSoftmax, LpNormalization, MatMul, Max, Mean, Min, Mul }),
  ...from(1, { Neg, Not, Or, Pad, Pow, PRelu, Reciprocal, ReduceL1, ReduceL2, ReduceLogSum }),
  ...from(1, { ReduceLogSumExp, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum }),
  ...from(1, { ReduceSumSquare, Relu, Reshape, Selu, Shape, Sigmoid, Size, Slice, Softmax }),
  ...from(1, { Softplus, Softsign, SpaceToDepth, Split, Sqrt, Squeeze, Sub, Sum, Tanh, Tile }),
  ...from(1, { AveragePool, Conv, ConvTranspose, GlobalAveragePool, GlobalMaxPool, Loop, MaxPool }),
  ...from(1, { TopK, Transpose, Unsqueeze, Xor }),
  ...from(1, { GlobalLpPool, GRU, LpPool, LRN, LSTM, RNN }),
  Upsample: { run: Upsample, since: 7, until: 9 },
  ...from(9, { MaxUnpool }),
  ...from(10, { Resize, ReverseSequence }),
  ...from(11, { Det }),
  ...from(12, { NegativeLogLikelihoodLoss, SoftmaxCrossEntropyLoss }),
  ...from(16, { GridSample }),
  ...from(17, { BlackmanWindow, DFT, HammingWindow, HannWindow, MelWeightMatrix, STFT }),
  ...from(18, { CenterCropPad, Col2Im }),
  ...from(20, { AffineGrid }),
  ...from(7, { Acos, Asin, Atan, Cos, Sin, Tan }),
  ...from(8, { Expand, Scan }),
  ...from(9, { Compress, NonZero }),
  Scatter: { run: Scatter, since: 9, until: 10 },
  ...from(9, { Acosh, Asinh, Atanh, ConstantOfShape, Cosh, Erf, EyeLike, IsNaN }),
  ...from(9, { MeanVarianceNormalization, OneHot, Shrink, Sign, Sinh, Where }),
  ...from(10, { ConvInteger, DequantizeLinear, QLinearConv, QLinearMatMul, QuantizeLinear }),
  ...from(10, { IsInf, MatMulInteger, Mod, ThresholdedRelu }),
  ...from(11, { DynamicQuantizeLinear }),
  ...from(11, { BitShift, CumSum, GatherElements, GatherND, Range, Round }),
  ...from(11, { ScatterElements, ScatterND }),
  ...from(12, { Celu, Einsum, GreaterOrEqual, LessOrEqual }),
  ...from(14, { HardSwish, Trilu }),
  ...from(15, { CastLike }),
  ...from(17, { LayerNormalization }),
  ...from(18, { BitwiseAnd, BitwiseNot, BitwiseOr, BitwiseXor, GroupNormalization, Mish }),
  ...from(20, { Gelu }),
  ...from(23, { Attention, RMSNormalization, RotaryEmbedding }),
  ...from(24, { Swish, TensorScatter }),
  ...from(26, { BitCast, CumProd }),
  ...from(27, { CausalConvWithState, LinearAttention }),
  ...from(28, { SwiGLU }),
};

const preview: Entries = from(1, { FlexAttention });

/** By `domain:op`; the standard domain is the empty string. */
export const operators: ReadonlyMap<string, OperatorEntry> = new Map([
  ...Object.entries(standard).map(([name, entry]) => [`:${name}`, entry] as const),
  ...Object.entries(preview).map(([name, entry]) => [`ai.onnx.preview:${name}`, entry] as const),
]);

export function versionText({ since, until }: OperatorEntry): string {
  return until === undefined
    ? `defined from opset ${since} on`
    : `defined in opsets ${since} to ${until}`;
}
