import { describe, expect, it } from "vitest";
import { layerOf, mayImport } from "../scripts/lint/layers.mjs";

describe("the import direction", () => {
  it.each([
    ["compiler/passes/fold.ts", "compiler/rewrite/rule.js"],
    ["compiler/ir/evaluate.ts", "compiler/scalar/functions.js"],
    ["compiler/scalar/expr.ts", "compiler/ir/dtype.js"],
    ["compiler/frontend/onnx/read.ts", "compiler/ir/graph.js"],
    ["compiler/bundle/select.ts", "templates/gemm/view.js"],
    ["compiler/compile.ts", "compiler/frontend/index.js"],
    ["compiler/cli/compile.ts", "compiler/compile.js"],
    ["compiler/cli/run.ts", "runtime/node/index.js"],
    ["compiler/ir/graph.ts", "compiler/errors.js"],
    ["templates/map/cpu.ts", "compiler/errors.js"],
    ["templates/map/cpu.ts", "compiler/codegen/c.js"],
    ["templates/map/cpu.ts", "compiler/ir/dtype.js"],
    ["templates/gemm/view.ts", "templates/map/view.js"],
    ["autotune/measure.ts", "runtime/node/index.js"],
    ["test/gpu/gemm.ts", "compiler/kernel/desc.js"],
  ])("%s may import %s", (from, to) => {
    expect(mayImport(from, to)).toBe(true);
  });

  it.each([
    ["compiler/rewrite/rule.ts", "compiler/passes/fold.js"],
    ["compiler/ir/graph.ts", "compiler/rewrite/rule.js"],
    ["compiler/passes/fold.ts", "compiler/frontend/onnx/read.js"],
    ["compiler/frontend/onnx/read.ts", "compiler/passes/index.js"],
    ["compiler/kernel/desc.ts", "compiler/codegen/render.js"],
    ["compiler/errors.ts", "compiler/ir/dtype.js"],
    ["compiler/bundle/write.ts", "compiler/compile.js"],
    ["compiler/compile.ts", "compiler/cli/main.js"],
    ["compiler/codegen/render.ts", "runtime/node/index.js"],
    ["compiler/codegen/render.ts", "templates/gemm/view.js"],
    ["templates/gemm/view.ts", "compiler/kernel/desc.js"],
    ["runtime/node/load.ts", "compiler/errors.js"],
    ["runtime/node/load.ts", "compiler/ir/dtype.js"],
    ["runtime/node/load.ts", "test/helpers.js"],
    ["compiler/ir/graph.ts", "test/helpers.js"],
  ])("%s may not import %s", (from, to) => {
    expect(mayImport(from, to)).toBe(false);
  });

  it("lets templates name the compiler's types", () => {
    expect(mayImport("templates/gemm/view.ts", "compiler/kernel/desc.js", true)).toBe(true);
    expect(mayImport("templates/gemm/view.ts", "compiler/frontend/hf.js", true)).toBe(false);
  });

  it("knows the layer of the drivers", () => {
    expect(layerOf("compiler/compile.ts")).toBe("compiler/top");
    expect(layerOf("compiler/errors.ts")).toBe("compiler/errors");
    expect(layerOf("index.ts")).toBeUndefined();
  });
});
