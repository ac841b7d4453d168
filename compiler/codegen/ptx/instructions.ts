/**
 * Every PTX instruction has one spelling, here: arithmetic as total tables per operator × type, the
 * rest as named helpers. Target: `sm_80`, PTX ISA 7.0.
 */
import type { DType } from "../../ir/dtype.js";
import type { BinaryOp, UnaryOp } from "../../scalar/expr.js";

/** What a virtual register holds. `b16` is the bit pattern of an f16 or a bf16. */
export type PtxType = "pred" | "b16" | "s32" | "u32" | "s64" | "u64" | "f32" | "f64";

/** Register class: prefix of the names and the `.reg` declaration. */
export const registerClass: {
  readonly [T in PtxType]: { readonly prefix: string; readonly declared: string };
} = {
  pred: { prefix: "%p", declared: ".pred" },
  b16: { prefix: "%h", declared: ".b16" },
  s32: { prefix: "%r", declared: ".b32" },
  u32: { prefix: "%r", declared: ".b32" },
  s64: { prefix: "%d", declared: ".b64" },
  u64: { prefix: "%d", declared: ".b64" },
  f32: { prefix: "%f", declared: ".f32" },
  f64: { prefix: "%g", declared: ".f64" },
};

/** The untyped suffix of moves, selections and loads of a register class. */
export const bitsOf: { readonly [T in PtxType]: string } = {
  pred: "pred",
  b16: "b16",
  s32: "b32",
  u32: "b32",
  s64: "b64",
  u64: "b64",
  f32: "f32",
  f64: "f64",
};

/** The register type that holds a value of a dtype; null: no PTX kernel computes with it. */
export const machineType: { readonly [D in DType]: PtxType | null } = {
  bool: "pred",
  i2: null,
  i4: null,
  i8: "s32",
  i16: "s32",
  i32: "s32",
  i64: "s64",
  u2: null,
  u4: null,
  u8: "u32",
  u16: "u32",
  u32: "u32",
  u64: "u64",
  f16: "b16",
  bf16: "b16",
  f32: "f32",
  f64: "f64",
  e4m3fn: null,
  e4m3fnuz: null,
  e5m2: null,
  e5m2fnuz: null,
  e8m0: null,
  e2m1: null,
};

/** How an element lies in memory: suffix of `ld`/`st`, and the type of the register it goes through. */
export interface MemoryType {
  readonly bytes: number;
  readonly suffix: string;
  readonly register: PtxType;
}

export const memoryType: { readonly [D in DType]: MemoryType | null } = {
  bool: { bytes: 1, suffix: "u8", register: "u32" },
  i2: null,
  i4: null,
  u2: null,
  u4: null,
  i8: { bytes: 1, suffix: "s8", register: "s32" },
  u8: { bytes: 1, suffix: "u8", register: "u32" },
  i16: { bytes: 2, suffix: "s16", register: "s32" },
  u16: { bytes: 2, suffix: "u16", register: "u32" },
  i32: { bytes: 4, suffix: "b32", register: "s32" },
  u32: { bytes: 4, suffix: "b32", register: "u32" },
  i64: { bytes: 8, suffix: "b64", register: "s64" },
  u64: { bytes: 8, suffix: "b64", register: "u64" },
  f16: { bytes: 2, suffix: "b16", register: "b16" },
  bf16: { bytes: 2, suffix: "b16", register: "b16" },
  f32: { bytes: 4, suffix: "f32", register: "f32" },
  f64: { bytes: 8, suffix: "f64", register: "f64" },
  e4m3fn: null,
  e4m3fnuz: null,
  e5m2: null,
  e5m2fnuz: null,
  e8m0: null,
  e2m1: null,
};

type Spelling = { readonly [T in PtxType]?: string };

const ints = ["s32", "u32", "s64", "u64"] as const;
const floats = ["f32", "f64"] as const;
const words = [...ints, "pred", "b16"] as const;

function each(types: readonly PtxType[], spell: (type: PtxType) => string): Spelling {
  return Object.fromEntries(types.map((type) => [type, spell(type)]));
}

/** Untyped bit operations; predicates have them too. */
const bitwise = (op: string): Spelling => each(words, (type) => `${op}.${bitsOf[type]}`);

/**
 * `.rn` on sums and products forbids ptxas to contract them: what is fused is written `fma`.
 * A missing entry is composed of others by `arithmetic.ts`, or was to be legalised before.
 */
export const binaryInstruction: { readonly [O in BinaryOp]: Spelling } = {
  add: { ...each(ints, (t) => `add.${t}`), ...each(floats, (t) => `add.rn.${t}`) },
  sub: { ...each(ints, (t) => `sub.${t}`), ...each(floats, (t) => `sub.rn.${t}`) },
  mul: { ...each(ints, (t) => `mul.lo.${t}`), ...each(floats, (t) => `mul.rn.${t}`) },
  div: { ...each(ints, (t) => `div.${t}`), ...each(floats, (t) => `div.rn.${t}`) },
  mod: each(ints, (t) => `rem.${t}`),
  min: { ...each(ints, (t) => `min.${t}`), f32: "min.NaN.f32" },
  max: { ...each(ints, (t) => `max.${t}`), f32: "max.NaN.f32" },
  pow: {},
  and: bitwise("and"),
  or: bitwise("or"),
  xor: bitwise("xor"),
  shl: each(ints, (t) => `shl.${bitsOf[t]}`),
  shr: each(ints, (t) => `shr.${t}`),
  lt: each([...ints, ...floats], (t) => `setp.lt.${t}`),
  le: each([...ints, ...floats], (t) => `setp.le.${t}`),
  eq: each([...ints, ...floats], (t) => `setp.eq.${t}`),
  // An unordered comparison: NaN differs from everything.
  ne: { ...each(ints, (t) => `setp.ne.${t}`), ...each(floats, (t) => `setp.neu.${t}`) },
};

export const unaryInstruction: { readonly [O in UnaryOp]: Spelling } = {
  neg: {
    s32: "neg.s32",
    s64: "neg.s64",
    u32: "neg.s32",
    u64: "neg.s64",
    f32: "neg.f32",
    f64: "neg.f64",
  },
  abs: { s32: "abs.s32", s64: "abs.s64", f32: "abs.f32", f64: "abs.f64" },
  not: bitwise("not"),
  floor: each(floats, (t) => `cvt.rmi.${t}.${t}`),
  ceil: each(floats, (t) => `cvt.rpi.${t}.${t}`),
  round: each(floats, (t) => `cvt.rni.${t}.${t}`),
  trunc: each(floats, (t) => `cvt.rzi.${t}.${t}`),
  sqrt: each(floats, (t) => `sqrt.rn.${t}`),
  rsqrt: {},
  exp: {},
  exp2: { f32: "ex2.approx.ftz.f32" },
  log: {},
  log2: { f32: "lg2.approx.f32" },
  sin: {},
  cos: {},
  tanh: {},
  erf: {},
};

/** Conversions between register types, rounding to nearest even; to integers they truncate and saturate. */
export const convertInstruction: { readonly [From in PtxType]: Spelling } = {
  pred: {},
  b16: {},
  s32: { s64: "cvt.s64.s32", u64: "cvt.s64.s32", f32: "cvt.rn.f32.s32", f64: "cvt.rn.f64.s32" },
  u32: { s64: "cvt.u64.u32", u64: "cvt.u64.u32", f32: "cvt.rn.f32.u32", f64: "cvt.rn.f64.u32" },
  s64: { s32: "cvt.u32.u64", u32: "cvt.u32.u64", f32: "cvt.rn.f32.s64", f64: "cvt.rn.f64.s64" },
  u64: { s32: "cvt.u32.u64", u32: "cvt.u32.u64", f32: "cvt.rn.f32.u64", f64: "cvt.rn.f64.u64" },
  f32: {
    s32: "cvt.rzi.s32.f32",
    u32: "cvt.rzi.u32.f32",
    s64: "cvt.rzi.s64.f32",
    u64: "cvt.rzi.u64.f32",
    f64: "cvt.f64.f32",
  },
  f64: {
    s32: "cvt.rzi.s32.f64",
    u32: "cvt.rzi.u32.f64",
    s64: "cvt.rzi.s64.f64",
    u64: "cvt.rzi.u64.f64",
    f32: "cvt.rn.f32.f64",
  },
};

/** Narrow integers: the conversion that saturates, or that wraps, a 32-bit register to 8 or 16 bits. */
export const narrowInstruction: Partial<
  Record<DType, { readonly wrap: string; readonly saturate: string }>
> = {
  i8: { wrap: "cvt.s32.s8", saturate: "cvt.sat.s8.s32" },
  i16: { wrap: "cvt.s32.s16", saturate: "cvt.sat.s16.s32" },
  u8: { wrap: "cvt.u32.u8", saturate: "cvt.sat.u8.u32" },
  u16: { wrap: "cvt.u32.u16", saturate: "cvt.sat.u16.u32" },
};

/** 16-bit floats: from f32, from two f32 (the first operand is the high half), and to f32. */
export const halfInstruction: {
  readonly [D in "f16" | "bf16"]: { readonly narrow: string; readonly pack: string };
} = {
  f16: { narrow: "cvt.rn.f16.f32", pack: "cvt.rn.f16x2.f32" },
  bf16: { narrow: "cvt.rn.bf16.f32", pack: "cvt.rn.bf16x2.f32" },
};

/** Instructions that are not an operator of the expression language. */
export const ptx = {
  widenHalf: "cvt.f32.f16",
  fma: { f32: "fma.rn.f32", f64: "fma.rn.f64" } as { readonly [T in PtxType]?: string },
  /** a * b + c: 32-bit factors, 64-bit sum. */
  madWide: { s32: "mad.wide.s32", u32: "mad.wide.u32" } as { readonly [T in PtxType]?: string },
  mad: each(ints, (t) => `mad.lo.${t}`),
  move: (type: PtxType) => `mov.${bitsOf[type]}`,
  select: (type: PtxType) => `selp.${bitsOf[type]}`,
  setp: (compare: "lt" | "le" | "gt" | "ge" | "eq" | "ne", type: PtxType) =>
    `setp.${compare}.${type}`,
  isNaN: (type: "f32" | "f64") => `setp.nan.${type}`,
  loadGlobal: (suffix: string, width: number, constant: boolean) =>
    `ld.global${constant ? ".nc" : ""}${vectorSuffix(width)}.${suffix}`,
  storeGlobal: (suffix: string, width: number) => `st.global${vectorSuffix(width)}.${suffix}`,
  loadShared: (suffix: string, width: number) => `ld.shared${vectorSuffix(width)}.${suffix}`,
  storeShared: (suffix: string, width: number) => `st.shared${vectorSuffix(width)}.${suffix}`,
  /** Without a result, in any order: integers only. */
  reduceShared: (op: "add", type: "u32") => `red.shared.${op}.${type}`,
  /** The value before, by a thread that sees what other blocks wrote before they arrived. */
  arrive: "atom.global.acq_rel.gpu.add.u32",
  /** What this thread wrote is seen by whoever meets it afterwards, on any multiprocessor; and the reverse. */
  fence: "fence.acq_rel.gpu;",
  loadParam: "ld.param.u64",
  toGlobal: "cvta.to.global.u64",
  /** Copies to shared memory of 16 bytes bypass L1; smaller ones cannot. The last operand zero-fills. */
  copyAsync: (bytes: 4 | 8 | 16) =>
    bytes === 16 ? "cp.async.cg.shared.global" : "cp.async.ca.shared.global",
  copyCommit: "cp.async.commit_group;",
  copyWait: (groups: number) => `cp.async.wait_group ${groups};`,
  barrier: "bar.sync 0;",
  /** Ends the kernel as a failed one. */
  trap: "trap;",
  dependencyWait: "griddepcontrol.wait;",
  warpBarrier: "bar.warp.sync 0xffffffff;",
  shuffleUp: "shfl.sync.up.b32",
  shuffleXor: "shfl.sync.bfly.b32",
  shuffleIndex: "shfl.sync.idx.b32",
} as const;

function vectorSuffix(width: number): string {
  return width === 1 ? "" : `.v${width}`;
}
