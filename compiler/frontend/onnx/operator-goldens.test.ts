/**
 * Values of ONNX's own reference implementation (version 1.23) for operators whose definitions are
 * long: resizing, sampling, recurrence, transforms, losses, pooling. `test/fixtures/onnx-operators.json`
 * has a node, its inputs (of which `fixed` are known while compiling) and its outputs for each.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { isFloat, type DType } from "../../ir/dtype.js";
import { integerAt, isWide, tensor, type TensorValue } from "../../ir/tensor.js";
import { evaluated, imported } from "./import.testing.js";
import { attr, node, type AttrSpec } from "./wire/encode.testing.js";

type Packed = readonly [DType, readonly number[], readonly (number | string)[]];

interface Golden {
  readonly name: string;
  readonly op: string;
  readonly opset: number;
  readonly attrs: Readonly<Record<string, readonly [keyof typeof attr, never]>>;
  readonly order: readonly string[];
  readonly fixed: readonly string[];
  readonly results: readonly string[];
  readonly inputs: Readonly<Record<string, Packed>>;
  readonly outputs: Readonly<Record<string, Packed>>;
}

const file = new URL("../../../test/fixtures/onnx-operators.json", import.meta.url);
const goldens = JSON.parse(readFileSync(file, "utf8")) as readonly Golden[];

function unpacked([dtype, shape, values]: Packed): TensorValue {
  const value = (each: number | string): number | bigint =>
    isWide(dtype) ? BigInt(each) : Number(each);
  return tensor(dtype, shape, values.map(value));
}

const attributeOf = (kind: keyof typeof attr, value: never): AttrSpec =>
  (attr[kind] as (value: never) => AttrSpec)(value);

function run({ op, opset, attrs, order, fixed, results, inputs, outputs }: Golden) {
  const given = new Map(Object.entries(inputs).map(([name, each]) => [name, unpacked(each)]));
  const known = new Map([...given].filter(([name]) => fixed.includes(name)));
  const free = [...given].filter(([name]) => !known.has(name));
  const spelled = Object.entries(attrs).map(
    ([name, [kind, value]]) => [name, attributeOf(kind, value)] as const,
  );
  const typed = Object.entries(inputs).map(([name, [type, shape]]) => ({ name, type, shape }));
  const graph = {
    inputs: typed,
    outputs: Object.entries(outputs).map(([name, [type, shape]]) => ({ name, type, shape })),
    nodes: [node(op, order, results, Object.fromEntries(spelled))],
  };
  const model = imported({ opset, graph }, { fixed: known });
  return evaluated(model, Object.fromEntries(free));
}

const limits: Partial<Record<DType, number>> = { f16: 1e-3, bf16: 1e-2, f64: 1e-12 };

function check(name: string, found: TensorValue, [dtype, shape, values]: Packed): void {
  expect(found.dtype, name).toBe(dtype);
  expect(found.shape, name).toEqual(shape);
  values.forEach((value, i) => {
    if (!isFloat(dtype)) return expect(integerAt(found, i), `${name}[${i}]`).toBe(BigInt(value));
    const [a, b] = [Number(found.data[i]!), Number(value)];
    if (!Number.isFinite(b)) return expect(a, `${name}[${i}]`).toBe(b);
    const limit = (limits[dtype] ?? 1e-5) * (1 + Math.abs(b));
    return expect(Math.abs(a - b), `${name}[${i}] is ${a}, expected ${b}`).toBeLessThan(limit);
  });
}

test.each(goldens.map((each) => [each.name, each] as const))("%s", (_, each) => {
  const results = run(each);
  for (const [name, wanted] of Object.entries(each.outputs))
    check(name, results.get(name)!, wanted);
});
