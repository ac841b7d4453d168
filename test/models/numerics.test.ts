/** What `strict` and `fast` promise, and normalisations folded into products. */
import { describe, expect, it } from "vitest";
import { map, normalize, cast } from "../../compiler/ir/build.js";
import { matmul } from "../../compiler/ir/build-anchor.js";
import { lower } from "../../compiler/compile.js";
import { elementwise } from "../../compiler/scalar/elementwise.js";
import { primitive } from "../../compiler/scalar/primitives.js";
import { roundFloat } from "../../compiler/scalar/round.js";
import { FarrierError } from "../../compiler/errors.js";
import { bundleOf, compare, loaded } from "../support.js";
import { evaluated, floats, modelOf, normals } from "./graphs.js";

async function run(
  model: Parameters<typeof bundleOf>[0],
  x: { shape: number[]; values: Float64Array; dtype: "f32" | "bf16" },
  numerics: "strict" | "fast",
): Promise<Float64Array> {
  const loadedModel = await loaded(await bundleOf(model, { numerics }));
  const { y } = await loadedModel.run({ x: { data: [...x.values], shape: x.shape } });
  await loadedModel.close();
  return y!.toFloat64();
}

describe("a function of one's own", () => {
  const squash = elementwise((v) => (v > 0 ? Math.sqrt(v) : -Math.log1p(-v)) * 0.5);
  const model = (dtype: "f32"): Parameters<typeof bundleOf>[0] =>
    modelOf(64, ({ g, x, weight }) =>
      map(g, squash, [matmul(g, x(48, dtype), weight(dtype, [48, 40], normals(1, 48 * 40)))]),
    );

  it("is part of the product's kernel on both back ends", async () => {
    for (const target of ["cpu", "sm_80"]) {
      const lowered = await lower(model("f32"), { target: [target] });
      const { partition } = lowered.targets[0]!.partitions[0]!;
      expect(partition.kernels.map((kernel) => kernel.desc.family)).toEqual(["gemm"]);
    }
  });

  it("computes what the function computes", async () => {
    const values = normals(2, 33 * 48).map(Math.fround);
    const expected = evaluated(model("f32") as never, floats("f32", [33, 48], values));
    const found = await run(model("f32"), { shape: [33, 48], values, dtype: "f32" }, "fast");
    expect(compare(found, expected, [33, 40]).relRms).toBeLessThan(1e-6);
  });

  const factor = 3;
  it.each([
    ["a closure", (x: number) => x * factor],
    [
      "a loop",
      (x: number) => {
        let y = x;
        for (let i = 0; i < 3; i++) y *= 2;
        return y;
      },
    ],
    ["an unknown call", (x: number) => Number.parseFloat(String(x))],
  ])("refuses %s with its place", (_what, fn) => {
    let error: unknown = null;
    try {
      elementwise(fn);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(FarrierError);
    expect((error as FarrierError).code).toBe("E_SCALAR_LIFT");
    expect((error as FarrierError).message).toMatch(/\d+:\d+/);
  });
});

describe("strict", () => {
  // Three roundings in a row: eager bf16 rounds after each, a fused kernel only at the end.
  const model = modelOf(64, ({ g, x, weight }) => {
    const product = matmul(g, x(64, "bf16"), weight("bf16", [64, 32], normals(3, 64 * 32)));
    const shifted = map(g, primitive("add"), [product, weight("bf16", [32], normals(4, 32))]);
    return map(g, primitive("mul"), [shifted, shifted]);
  });
  const values = normals(5, 16 * 64).map((v) => roundFloat(v, "bf16"));
  const input = { shape: [16, 64], values, dtype: "bf16" as const };

  it("rounds where each operator of the model rounds", async () => {
    const eager = evaluated(model, floats("bf16", [16, 64], values), "strict");
    const strict = await run(model, input, "strict");
    const mismatches = strict.filter((value, index) => value !== eager[index]).length;
    // Sums in f32 and in f64 may round to different neighbours in rare ties.
    expect(mismatches / strict.length).toBeLessThan(0.01);
  });

  it("differs from fast, which rounds once", async () => {
    const exact = evaluated(model, floats("bf16", [16, 64], values));
    const [strict, fast] = [await run(model, input, "strict"), await run(model, input, "fast")];
    expect(strict).not.toEqual(fast);
    const [strictError, fastError] = [strict, fast].map(
      (found) => compare(found, exact, [16, 32]).relRms,
    ) as [number, number];
    expect(fastError).toBeLessThan(strictError);
  });
});

describe("LayerNorm folded into the product after it", () => {
  it.each(["f32", "bf16"] as const)("is exact where |mean| is 100 σ, %s", async (dtype) => {
    const [rows, width, columns] = [32, 256, 96];
    const model = modelOf(64, ({ g, x, weight }) => {
      const normal = normalize(g, cast(g, x(width, dtype), "f32"), "layer", 1e-5);
      const scaled = map(g, primitive("mul"), [
        normal,
        weight(
          "f32",
          [width],
          normals(6, width).map((v) => 1 + 0.1 * v),
        ),
      ]);
      const shifted = map(g, primitive("add"), [scaled, weight("f32", [width], normals(7, width))]);
      return matmul(
        g,
        cast(g, shifted, dtype),
        weight(
          dtype,
          [width, columns],
          normals(8, width * columns).map((v) => v / 16),
        ),
      );
    });
    const values = normals(9, rows * width).map((v) => roundFloat(100 + v, dtype));
    const expected = evaluated(model, floats(dtype, [rows, width], values));
    const found = await run(model, { shape: [rows, width], values, dtype }, "fast");
    const lowered = await lower(model, { target: ["cpu"] });
    expect(lowered.targets[0]!.partitions[0]!.partition.kernels).toHaveLength(1);
    expect(compare(found, expected, [rows, columns]).relRms).toBeLessThan(
      dtype === "f32" ? 2e-6 : 1e-2,
    );
  });
});
