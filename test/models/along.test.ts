/** Compiled kernels of the families that walk an axis, and of narrow element types, against the oracle. */
import { execFile, execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildNative, lower, writeLowered } from "../../compiler/compile.js";
import type { ImportedModel } from "../../compiler/frontend/model.js";
import { matmul, sample } from "../../compiler/ir/build-anchor.js";
import {
  cast,
  concat,
  constantScalar,
  input,
  literal,
  map,
  reshape,
  scan,
  scatter,
  topK,
  transpose,
} from "../../compiler/ir/build.js";
import { isFloat, type DType } from "../../compiler/ir/dtype.js";
import { evaluateGraph } from "../../compiler/ir/evaluate.js";
import { GraphBuilder, type Graph, type Node } from "../../compiler/ir/graph.js";
import { fromBytes, tensor, toBytes, type TensorValue } from "../../compiler/ir/tensor.js";
import { primitive } from "../../compiler/scalar/primitives.js";
import { load, Tensor } from "../../runtime/node/index.js";
import { graphOf, randomInputs } from "../graphs.js";
import { isas } from "../fuzz/machine.js";
import { temporaryDirectory } from "../support.js";

interface Example {
  readonly name: string;
  readonly build: (g: GraphBuilder) => Readonly<Record<string, Node>>;
  readonly inputs?: Readonly<Record<string, TensorValue>>;
  /** The error of the run. */
  readonly fails?: RegExp;
  /** No kernels for a GPU: why. */
  readonly cpuOnly?: string;
}

const x = (g: GraphBuilder, dtype: DType, ...shape: number[]): Node => input(g, "x", dtype, shape);

const scans: Example[] = (["sum", "prod"] as const).flatMap((kind) =>
  (["f32", "f64", "f16", "i64", "i8"] as const).flatMap((dtype) =>
    [0, 1].map((axis): Example => {
      const options = { exclusive: axis === 1, reverse: dtype !== "f32" };
      return {
        name: `running ${kind} of ${dtype} along axis ${axis}`,
        build: (g) => ({ y: scan(g, kind, x(g, dtype, 3, 70), axis, options) }),
      };
    }),
  ),
);

const order: Example[] = [
  {
    name: "a running sum with work before and after it",
    build: (g) => {
      const [a, two] = [x(g, "f32", 40), constantScalar(g, "f32", 2)];
      const doubled = map(g, primitive("mul"), [a, two]);
      return { y: map(g, primitive("add"), [scan(g, "sum", doubled, 0), two]) };
    },
  },
  {
    name: "a running sum of one element",
    build: (g) => ({ y: scan(g, "sum", x(g, "f32", 4, 1), 1) }),
  },
  ...(["f32", "f64", "f16", "i8", "u8", "i64"] as const).flatMap((dtype) =>
    [true, false].map((largest): Example => ({
      name: `the ${largest ? "largest" : "smallest"} of ${dtype}`,
      build: (g) => ({ y: topK(g, x(g, dtype, 5, 67), 1, 9, largest) }),
    })),
  ),
  {
    name: "the largest along the first axis, transposed",
    build: (g) => ({ y: transpose(g, topK(g, x(g, "f32", 6, 4), 0, 6), [1, 0]) }),
  },
  {
    name: "the largest among NaN, infinities and zeros",
    build: (g) => ({ y: topK(g, x(g, "f32", 8), 0, 8), z: topK(g, x(g, "f32", 8), 0, 8, false) }),
    inputs: { x: tensor("f32", [8], [0, NaN, -0, -Infinity, 3, Infinity, -1, NaN]) },
  },
];

const places = (g: GraphBuilder): Node => literal(g, "i64", [2, 4], [0, 2, 2, 5, 1, 1, 0, 3]);

const scatters: Example[] = [
  {
    // The output is in the memory that is scattered to, and no kernel but this one writes it.
    name: "scattering into rows, as an output of another shape",
    build: (g) => {
      const at = literal(g, "i64", [2, 4], [2, 2, 2, 2, 0, 0, 0, 0]);
      const made = scatter(g, x(g, "f32", 3, 4), at, input(g, "u", "f32", [2, 4]), 0);
      return { y: reshape(g, made, [3, 2, 2]) };
    },
  },
  ...(["none", "add", "mul", "max", "min"] as const).flatMap((reduction) =>
    (["f32", "f16", "i32"] as const).map((dtype): Example => ({
      name: `scattering ${dtype}, ${reduction}`,
      build: (g) => {
        const updates = input(g, "u", dtype, [2, 4]);
        return { y: scatter(g, x(g, dtype, 3, 6), places(g), updates, 1, reduction) };
      },
    })),
  ),
  {
    name: "scattering to one place",
    build: (g) => {
      const at = literal(g, "i64", [5], [1, 1, 1, 1, 1]);
      return { y: scatter(g, x(g, "f32", 3), at, input(g, "u", "f32", [5]), 0, "add") };
    },
  },
  {
    name: "scattering booleans along the first axis, and what follows",
    build: (g) => {
      const at = literal(g, "i64", [2, 2], [2, 0, 1, 1]);
      const made = scatter(g, x(g, "bool", 3, 2), at, input(g, "u", "bool", [2, 2]), 0);
      return { y: map(g, primitive("not"), [made]), z: made };
    },
  },
  {
    name: "scattering beyond the end",
    build: (g) => {
      const [at, u] = [input(g, "i", "i64", [1]), input(g, "u", "f32", [1])];
      return { y: scatter(g, x(g, "f32", 3), at, u, 0) };
    },
    inputs: {
      x: tensor("f32", [3], [1, 2, 3]),
      i: tensor("i64", [1], [3n]),
      u: tensor("f32", [1], [4]),
    },
    fails: /E_RT_INDEX/,
  },
];

const tiny = ["e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0", "e2m1"] as const;
const packed = ["i4", "u4", "i2", "u2"] as const;

const narrow: Example[] = [
  ...[...tiny, ...packed].flatMap((dtype): Example[] => [
    {
      name: `f32 to ${dtype} and back`,
      build: (g) => {
        const y = cast(g, x(g, "f32", 3, 7), dtype);
        return { y, z: cast(g, y, "f32") };
      },
    },
    {
      name: `${dtype} joined and moved`,
      build: (g) => {
        const [a, b] = [input(g, "a", dtype, [3, 5]), input(g, "b", dtype, [3, 2])];
        return { y: transpose(g, concat(g, [a, b], 1), [1, 0]), z: a };
      },
    },
    { name: `${dtype} of f64`, build: (g) => ({ y: cast(g, x(g, "f64", 9), dtype) }) },
    { name: `${dtype} of i64`, build: (g) => ({ y: cast(g, x(g, "i64", 9), dtype) }) },
  ]),
  {
    name: "an infinity of e5m2 through a choice",
    build: (g) => {
      const [a, b] = [input(g, "a", "e5m2", [2]), input(g, "b", "e5m2", [2])];
      return { y: map(g, primitive("select"), [input(g, "c", "bool", [2]), a, b]) };
    },
    inputs: {
      c: tensor("bool", [2], [1, 0]),
      a: tensor("e5m2", [2], [Infinity, 1]),
      b: tensor("e5m2", [2], [2, -Infinity]),
    },
  },
];

const others: Example[] = [
  ...(["i32", "i64", "u8", "f64"] as const).map((dtype): Example => ({
    name: `a product of ${dtype}`,
    build: (g) => ({ y: matmul(g, input(g, "a", dtype, [2, 3, 5]), input(g, "b", dtype, [5, 4])) }),
  })),
  {
    name: "outputs that are inputs and constants",
    build: (g) => {
      const a = x(g, "f32", 2);
      return { y: a, z: a, w: literal(g, "i64", [2], [4, 5]), v: constantScalar(g, "bool", 1) };
    },
  },
  {
    name: "rank 0 and no elements",
    build: (g) => {
      const a = input(g, "a", "f32", [0, 3]);
      const b = input(g, "b", "f32", []);
      return {
        y: map(g, primitive("neg"), [a]),
        z: map(g, primitive("neg"), [b]),
        w: reshape(g, b, [1]),
      };
    },
  },
];

/** Rows, and limits of each: see `test/gpu/cases/sample.ts` for more of them. */
const choosing: Example[] = (
  [
    ["anything", [1, 2, 0.25], [0, 0, 0], [1, 1, 1]],
    ["the largest", [0, -1, 0], [0, 7, 0], [1, 1, 0.5]],
    ["one of the largest", [1, 0.5, 3], [1, 7, 40], [1, 1, 1]],
    ["from a mass", [0.5, 0.25, 1], [0, 0, 0], [0, 0.4, 0.95]],
    ["from a mass of the largest", [0.5, 0.5, 0.5], [3, 20, 90], [0.5, 0.9, 0.99]],
  ] as const
).map(([name, temperatures, counts, masses]) => ({
  name: `choosing ${name}`,
  build: (g) => {
    const [values, z] = [x(g, "f32", 3, 97), input(g, "z", "f32", [3, 97])];
    const [temperature, mass] = [temperatures, masses].map((each) => literal(g, "f32", [3], each));
    const count = literal(g, "i32", [3], counts);
    return { y: sample(g, values, z, { temperature: temperature!, count, mass: mass! }) };
  },
}));

const examples = [...scans, ...order, ...scatters, ...choosing, ...narrow, ...others];

function modelOf(graph: Graph): ImportedModel {
  const entries = [{ name: "main" as const, graph }];
  return { entries, symbols: [], fills: new Map(), tensors: [], dtype: "f32", notices: [] };
}

function made({ build, inputs }: Example): { graph: Graph; inputs: Map<string, TensorValue> } {
  const g = new GraphBuilder();
  const graph = graphOf(g, build(g));
  return {
    graph,
    inputs: new Map(inputs === undefined ? randomInputs(graph) : Object.entries(inputs)),
  };
}

const present = ((): boolean => {
  try {
    execFileSync("ptxas", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

describe("kernels along an axis and of narrow types", () => {
  const bundles = new Map<string, string>();
  let built: Awaited<ReturnType<typeof buildNative>> = null;

  beforeAll(async () => {
    const lowered = await Promise.all(
      examples.map(async (each) => lower(modelOf(made(each).graph), { numerics: "strict" })),
    );
    built = await buildNative(lowered, { native: { isas: isas().slice(-1) } });
    const directory = temporaryDirectory();
    lowered.forEach((each, i) => {
      const bundle = path.join(directory, `${i}.farrier`);
      writeLowered(each, built, bundle);
      bundles.set(examples[i]!.name, bundle);
    });
  }, 300_000);
  afterAll(() => {
    if (built !== null) fs.rmSync(built.directory, { recursive: true, force: true });
  });

  it.each(examples)("$name", async (each) => {
    const { graph, inputs } = made(each);
    const model = await load(bundles.get(each.name)!);
    try {
      const given = [...inputs].map(([name, value]) => {
        const bytes = toBytes(value);
        return [name, new Tensor(value.dtype, value.shape, bytes)] as const;
      });
      const run = model.run(Object.fromEntries(given));
      if (each.fails !== undefined) {
        await expect(run).rejects.toThrow(each.fails);
        return;
      }
      const { outputs } = evaluateGraph(graph, inputs, { mode: "strict" });
      for (const [name, { dtype, shape, bytes }] of Object.entries(await run)) {
        const wanted = outputs.get(name)!;
        expect([dtype, shape]).toEqual([wanted.dtype, wanted.shape]);
        const found = fromBytes(wanted.dtype, shape, bytes);
        expectEqual(found, wanted);
      }
    } finally {
      await model.close();
    }
  });

  it.skipIf(!present)("all assemble for sm_80", { timeout: 300_000 }, async () => {
    const directory = temporaryDirectory();
    for (const [i, each] of examples.entries()) {
      const lowered = await lower(modelOf(made(each).graph), { target: ["sm_80"] });
      for (const { files } of lowered.targets)
        for (const [name, text] of files) {
          const file = path.join(directory, `${i}-${path.basename(name)}`);
          fs.writeFileSync(file, text);
          await promisify(execFile)("ptxas", ["-arch=sm_80", "-O0", file, "-o", `${file}.cubin`]);
        }
    }
  });
});

/** Sums are taken in another order than the oracle's, products in the same. */
function expectEqual(found: TensorValue, wanted: TensorValue): void {
  const [left, right] = [Array.from(found.data, Number), Array.from(wanted.data, Number)];
  const coarse = wanted.dtype === "f16" ? 2e-3 : 2e-6;
  const relative = isFloat(wanted.dtype) ? (wanted.dtype === "f64" ? 1e-12 : coarse) : 0;
  left.forEach((value, i) => {
    const reference = right[i]!;
    const close =
      Object.is(value, reference) ||
      value === reference ||
      Math.abs(value - reference) <= relative * Math.abs(reference);
    expect(close, `[${i}] is ${value}, expected ${reference}`).toBe(true);
  });
}
