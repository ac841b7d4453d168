/** Cases of the family that chooses one of each row. */
import type { Operand, SampleDesc } from "../../../compiler/kernel/desc.js";
import { targetNamed } from "../../../compiler/kernel/target.js";
import type { DType } from "../../../compiler/ir/dtype.js";
import { sampled } from "../../../compiler/ir/evaluate-sample.js";
import { tensor } from "../../../compiler/ir/tensor.js";
import { add, cast, coord, int, load, mul, ne, no, param } from "../../../compiler/scalar/build.js";
import type { Expr } from "../../../compiler/scalar/expr.js";
import { sm80Sample } from "../../../templates/sample/sm80.js";
import { hash32, seedOf, tolerances, type GpuCase } from "./case.js";

const target = targetNamed("sm_80");

interface Rows {
  readonly name: string;
  readonly choices: number;
  /** Of each row: the limits. */
  readonly counts: readonly number[];
  readonly masses: readonly number[];
  readonly value?: (row: number, index: number) => number;
  readonly noise?: (row: number, index: number) => number;
}

const nothing = (): number => 0;
const unit = (index: number, seed: number): number => (hash32(index, seedOf(seed)) >>> 8) / 2 ** 24;
/** Multiples of 1/64, so that some are equal. */
const logit = (row: number, index: number): number =>
  Math.round((unit(index, row + 1) ** 4 * 12 - 4) * 64) / 64;
const gumbel = (row: number, index: number): number =>
  Math.fround(-Math.log(-Math.log(unit(index, row + 100) * 0.999 + 0.0005)));

function caseOf({ name, choices, counts, masses, value = logit, noise = gumbel }: Rows): GpuCase {
  const rows = counts.length;
  const [row, index] = [coord("row", int(rows)), coord("index", int(choices))];
  const at = add(mul(row, int(choices)), index);
  const operand = (
    operandName: string,
    dtype: DType,
    elements: number,
    access: Operand["access"] = "read",
  ): Operand => ({ name: operandName, dtype, access, elements: int(elements) });
  const f32 = (operandName: string, place: Expr): Expr => load(operandName, place, "f32");
  const desc: SampleDesc = {
    family: "sample",
    label: name,
    operands: [
      operand("x", "f32", rows * choices),
      operand("z", "f32", rows * choices),
      operand("k", "i32", rows),
      operand("p", "f32", rows),
      operand("y", "i64", rows, "write"),
    ],
    row,
    rowExtent: int(rows),
    index,
    choices: int(choices),
    value: f32("x", at),
    noise: f32("z", at),
    noisy: noise === nothing ? no : ne(row, int(1)),
    count: cast(load("k", row, "i32"), "i64"),
    mass: f32("p", row),
    stores: [{ operand: "y", offset: row, value: param("chosen", "i64"), guard: null }],
  };
  const kept = (line: number, i: number): number => (line === 1 ? 0 : noise(line, i));
  const all = (each: (row: number, index: number) => number): number[] =>
    Array.from({ length: rows * choices }, (_, i) =>
      Math.fround(each(Math.floor(i / choices), i % choices)),
    );
  const given = { x: all(value), z: all(kept), k: counts, p: masses.map(Math.fround) };
  return {
    name: `sample ${name}`,
    desc,
    kernel: (on = target) => sm80Sample.render(desc, sm80Sample.candidates(desc, target)[0]!, on),
    symbols: {},
    inputs: Object.fromEntries(
      Object.entries(given).map(([key, values]) => [key, { kind: "values", values } as const]),
    ),
    expected: () => {
      const { data } = sampled(
        tensor("f32", [rows, choices], given.x),
        tensor("f32", [rows, choices], given.z),
        {
          temperature: tensor("f32", [rows], Array<number>(rows).fill(1)),
          count: tensor("i32", [rows], [...given.k]),
          mass: tensor("f32", [rows], given.p),
        },
      );
      return new Map([["y", [...data]]]);
    },
    tolerance: tolerances.exact,
    large: choices > 2000,
  };
}

export const sampleCases = (): GpuCase[] =>
  (
    [
      { name: "greedy", choices: 300, counts: [0, 1, 0], masses: [1, 1, 0], noise: nothing },
      { name: "the whole row", choices: 257, counts: [0, -1, 257, 300], masses: [1, 2, 1, NaN] },
      { name: "the largest", choices: 259, counts: [1, 2, 17, 258], masses: [1, 1, 1, 1] },
      { name: "the mass", choices: 255, counts: [0, 0, 0, 0], masses: [0.01, 0.5, 0.9, 0.999] },
      { name: "both", choices: 300, counts: [3, 50, 200, 5], masses: [0.5, 0.8, 0.3, 0.999] },
      { name: "one value", choices: 1, counts: [0, 5], masses: [1, 0.5] },
      {
        name: "equal values",
        choices: 70,
        counts: [3, 0],
        masses: [1, 0.1],
        value: () => 2,
      },
      {
        name: "masked values",
        choices: 70,
        counts: [0, 2, 0],
        masses: [1, 0.9, 0.5],
        value: (row, index) => (row === 2 || index % 3 === 0 ? -Infinity : index / 16),
      },
      {
        name: "values that are not numbers",
        choices: 70,
        counts: [0, 4],
        masses: [1, 0.9],
        value: (_, index) => (index % 2 === 0 ? NaN : -index),
      },
      {
        name: "a vocabulary",
        choices: 128256,
        counts: [0, 50, 0, 20, 1000],
        masses: [1, 1, 0.9, 0.95, 0.3],
      },
    ] satisfies Rows[]
  ).map(caseOf);
