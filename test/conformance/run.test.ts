/** The conformance runner on cases of its own: what passes, and each way to fail. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import {
  attr,
  encodeModel,
  encodeTensor,
  f32Tensor,
  i64Tensor,
  node,
  type GraphSpec,
  type TensorSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { temporaryDirectory } from "../support.js";
import { runBatch } from "./batch.js";
import { findCases } from "./cases.js";
import { runAll } from "./pool.js";
import type { Verdict } from "./batch.js";

interface Spec {
  readonly graph: GraphSpec;
  readonly inputs: readonly TensorSpec[];
  readonly outputs: readonly TensorSpec[];
}

function write(root: string, name: string, { graph, inputs, outputs }: Spec): void {
  const data = path.join(root, name, "test_data_set_0");
  fs.mkdirSync(data, { recursive: true });
  fs.writeFileSync(path.join(root, name, "model.onnx"), encodeModel({ opset: 21, graph }));
  inputs.forEach((each, i) =>
    fs.writeFileSync(path.join(data, `input_${i}.pb`), encodeTensor(each)),
  );
  outputs.forEach((each, i) =>
    fs.writeFileSync(path.join(data, `output_${i}.pb`), encodeTensor(each)),
  );
}

const x = { name: "x", type: "f32", shape: [2] } as const;
const y = { name: "y", type: "f32", shape: [2] } as const;

const negated = (found: readonly number[]): Spec => ({
  graph: { nodes: [node("Neg", ["x"], ["y"])], inputs: [x], outputs: [y] },
  inputs: [f32Tensor("x", [2], [1, -2])],
  outputs: [f32Tensor("y", [2], found)],
});

function cases(): string {
  const root = temporaryDirectory();
  write(root, "right", negated([-1, 2]));
  write(root, "near", negated([-1.0005, 2]));
  write(root, "wrong", negated([-1, 2.01]));
  write(root, "deep/unknown", {
    ...negated([-1, 2]),
    graph: { nodes: [node("Unheard", ["x"], ["y"])], inputs: [x], outputs: [y] },
  });
  write(root, "shaped", {
    graph: {
      nodes: [node("Expand", ["x", "shape"], ["y"])],
      inputs: [x, { name: "shape", type: "i64", shape: [2] }],
      outputs: [{ name: "y", type: "f32", shape: [2, 2] }],
    },
    inputs: [f32Tensor("x", [2], [1, 2]), i64Tensor("shape", [2], [2, 2])],
    outputs: [f32Tensor("y", [2, 2], [1, 2, 1, 2])],
  });
  write(root, "typed", {
    graph: {
      nodes: [node("Cast", ["x"], ["y"], { to: attr.int(7) })],
      inputs: [x],
      outputs: [{ name: "y", type: "i64", shape: [2] }],
    },
    inputs: [f32Tensor("x", [2], [1, 2])],
    outputs: [f32Tensor("y", [2], [1, 2])],
  });
  return root;
}

const judged = (root: string, verdicts: readonly Verdict[]): Record<string, string> =>
  Object.fromEntries(
    verdicts.map(({ directory, passed, reason }) => [
      path.relative(root, directory),
      passed ? "passed" : reason,
    ]),
  );

const expected = {
  right: "passed",
  near: "passed",
  wrong: expect.stringContaining("y[1] is 2, expected 2.0099"),
  "deep/unknown": expect.stringContaining("E_OP_UNSUPPORTED"),
  shaped: "passed",
  typed: "differs: y is i64[2], expected f32[2]",
};

describe("conformance", () => {
  it("judges each case by what its kernels computed", { timeout: 120_000 }, async () => {
    const root = cases();
    const verdicts = await runBatch(findCases(root), { device: "cpu", numerics: "strict" });
    expect(judged(root, verdicts)).toEqual(expected);
    const fixed = verdicts.filter((each) => each.fixed.length > 0);
    expect(fixed.map((each) => each.fixed)).toEqual([["shape"]]);
    for (const { passed, kernels } of verdicts) expect(kernels > 0).toBe(passed);
  });

  it("loses one case to a process that dies", { timeout: 120_000 }, async () => {
    const root = cases();
    const verdicts: Verdict[] = [];
    await runAll(findCases(root), {
      device: "cpu",
      numerics: "fast",
      processes: 1,
      batch: 3,
      onVerdicts: (made) => verdicts.push(...made),
      script: path.join(import.meta.dirname, "dying.testing.mjs"),
    });
    const found = judged(root, verdicts);
    expect(Object.keys(found)).toHaveLength(6);
    expect(found["near"]).toBe("its kernels ended the process");
    expect(found["right"]).toBe("passed");
  });
});
