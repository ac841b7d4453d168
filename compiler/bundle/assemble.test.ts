import { expect, it } from "vitest";
import { modelOf, normals } from "../../test/models/graphs.js";
import { lower } from "../compile.js";
import { map, reshape } from "../ir/build.js";
import { attention } from "../ir/build-anchor.js";
import { param } from "../scalar/build.js";
import { primitive } from "../scalar/primitives.js";

/** One query of two heads over 512 keys, few enough for blocks that would share them. */
const model = modelOf(8, ({ g, x, weight }) => {
  const heads = (seed: number, rows: number) =>
    weight("bf16", [1, 2, rows, 64], normals(seed, 128 * rows));
  const options = { scale: 0.125, score: param("score", "f32") };
  const known = attention(g, heads(1, 1), heads(2, 512), heads(3, 512), options);
  return map(g, primitive("add"), [x(128, "bf16"), reshape(g, known, [1, 128])]);
});

it("makes weights by kernels whose blocks do not meet", async () => {
  const { targets } = await lower(model, { target: ["sm_80"] });
  const { plans } = targets[0]!;
  const steps = plans.weights.flatMap((weight) => weight.steps ?? []);
  expect(steps.map(({ kernel }) => plans.kernels[kernel]!.family)).toEqual(["attention"]);
  for (const { kernel, buffers } of steps)
    expect(buffers).toHaveLength(plans.kernels[kernel]!.access!.length);
});
