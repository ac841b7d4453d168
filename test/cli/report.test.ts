/** What `report.json` says of graphs that are known, and of the fixtures. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { bundleReport, reportText, type Report } from "../../compiler/bundle/report.js";
import { leastBytes } from "../../compiler/bundle/report-intermediates.js";
import { braced, numbered } from "../../compiler/bundle/report-words.js";
import { lower } from "../../compiler/compile.js";
import * as ir from "../../compiler/ir/build.js";
import { matmul } from "../../compiler/ir/build-anchor.js";
import { GraphBuilder, type Graph, type Node } from "../../compiler/ir/graph.js";
import { primitive } from "../../compiler/scalar/primitives.js";
import { fixture, temporaryDirectory } from "../support.js";

const f32 = 4;

class Sketch {
  readonly g = new GraphBuilder();
  readonly #inputs: Node<"input">[] = [];

  input(name: string, shape: readonly number[]): Node {
    const node = ir.input(this.g, name, "f32", shape);
    this.#inputs.push(node);
    return node;
  }

  map(name: "add" | "neg", ...inputs: Node[]): Node {
    return ir.map(this.g, primitive(name), inputs);
  }

  matmul(a: Node, b: Node): Node {
    return matmul(this.g, a, b);
  }

  graph(output: Node): Graph {
    const outputs = [{ name: "out", node: output }];
    return { builder: this.g, inputs: this.#inputs, outputs, states: [] };
  }
}

describe("the least bytes of intermediates", () => {
  it("is nothing for one product with elementwise neighbours", () => {
    const s = new Sketch();
    const product = s.matmul(s.map("neg", s.input("a", [8, 16])), s.input("b", [16, 32]));
    expect(leastBytes(s.graph(s.map("neg", product)))).toBe(0);
  });

  it("is what passes from one product to the next", () => {
    const s = new Sketch();
    const first = s.matmul(s.input("a", [8, 16]), s.input("b", [16, 32]));
    const second = s.matmul(s.map("neg", first), s.input("c", [32, 4]));
    expect(leastBytes(s.graph(second))).toBe(8 * 32 * f32);
  });

  it("cuts where the values are smallest", () => {
    const s = new Sketch();
    const first = s.matmul(s.input("a", [8, 16]), s.input("b", [16, 32]));
    const sum = ir.reduce(s.g, "sum", first, [0]);
    const second = s.matmul(s.map("neg", sum), s.input("c", [32, 4]));
    expect(leastBytes(s.graph(second))).toBe(32 * f32);
  });

  it("stores a value once, whoever reads it, and a residual sum in place of its terms", () => {
    const s = new Sketch();
    const [a, w] = [s.input("a", [8, 16]), s.input("w", [16, 16])];
    const first = s.map("add", a, s.matmul(a, w));
    const second = s.map("add", first, s.matmul(first, w));
    expect(leastBytes(s.graph(s.matmul(second, w)))).toBe(2 * 8 * 16 * f32);
  });

  it("takes outputs as written anyway", () => {
    const s = new Sketch();
    const first = s.matmul(s.input("a", [8, 16]), s.input("b", [16, 32]));
    const second = s.matmul(first, s.input("c", [32, 4]));
    const graph = s.graph(second);
    const outputs = [...graph.outputs, { name: "first", node: first }];
    expect(leastBytes({ ...graph, outputs })).toBe(0);
  });
});

describe("names of modules", () => {
  it.each([
    [["m.0.q", "m.0.k"], "m.0.{q, k}"],
    [["m.0.q"], "m.0.q"],
    [["a", "b"], "a, b"],
    [["m", "m.a"], "m, m.a"],
    [[], ""],
  ])("%j", (names, text) => expect(braced(names)).toBe(text));
});

describe("names with numbers", () => {
  const experts = Array.from({ length: 6 }, (_, i) => [`m.0.e.${i}.up`, `m.0.e.${i}.down`]).flat();

  it("are one where they are a run", () => {
    expect(numbered(experts)).toEqual(["m.0.e.[0-5].up", "m.0.e.[0-5].down"]);
    expect(braced(numbered(experts))).toBe("m.0.e.[0-5].{up, down}");
  });

  it("stay where they are few, or no run", () => {
    const few = ["m.0.q", "m.1.q", "m.1.k", "n"];
    expect(numbered(few)).toEqual(few);
    const gaps = [0, 1, 2, 4].map((i) => `m.${i}.q`);
    expect(numbered(gaps)).toEqual(gaps);
  });
});

describe.each([
  ["llama", 2],
  ["gpt2", 2],
])("the report of %s", (name, layers) => {
  let made: Promise<Report> | undefined;
  const report = (): Promise<Report> =>
    (made ??= lower(fixture(name, "hf"), { dtype: "f32", target: ["cpu", "sm_80"] }).then(
      bundleReport,
    ));

  it("has at most 5 launches a layer and 2 more, and fewer than without fusion", async () => {
    for (const { entries } of (await report()).targets)
      for (const { name, launches, launchesBefore } of entries) {
        // Entries with caches draw the next ids besides.
        const drawing = name === "main" ? 0 : 1;
        expect(launches).toBeLessThanOrEqual(5 * layers + 2 + drawing);
        expect(launchesBefore).toBeGreaterThan(2 * launches);
      }
  });

  it("writes at most 1.3 times the least possible bytes between kernels", async () => {
    for (const { entries } of (await report()).targets)
      for (const { intermediates } of entries) {
        expect(intermediates.least).toBeGreaterThan(0);
        expect(intermediates.bytes).toBeGreaterThanOrEqual(intermediates.least);
        expect(intermediates.bytes).toBeLessThanOrEqual(1.3 * intermediates.least);
        expect(intermediates.before).toBeGreaterThan(intermediates.bytes);
      }
  });

  it("lists each launch once, with its norm and its activation", async () => {
    for (const { entries } of (await report()).targets)
      for (const { launches, kernels, values } of entries) {
        expect(kernels).toHaveLength(launches);
        const gated = kernels.filter(({ epilogue }) =>
          epilogue.includes(name === "llama" ? "silu" : "gelu_tanh"),
        );
        expect(gated).toHaveLength(layers);
        for (const { family, prologue } of gated) {
          expect(family).toBe("gemm");
          expect(prologue).toEqual([name === "llama" ? "RMS norm" : "layer norm"]);
        }
        for (const { writer, readers } of values)
          for (const reader of readers) expect(reader).toBeGreaterThan(writer);
      }
  });

  it("says which passes changed what", async () => {
    const { passes } = await report();
    const folded = passes.find(
      ({ pass, entry }) => entry === "main" && pass.startsWith("matmul(n * scale"),
    )!;
    expect(folded.changed).toBe(true);
    expect(folded.operators["map"]).toBeLessThan(0);
    for (const pass of passes) {
      const change = Object.values(pass.operators).reduce((sum, by) => sum + by, 0);
      expect(pass.after - pass.before).toBe(change);
    }
  });
});

describe("operators of a fixture", () => {
  it("are each computed by a launch, and come before those that take them", async () => {
    const report = bundleReport(await lower(fixture("llama", "hf"), { weights: { kind: "none" } }));
    const entry = report.targets[0]!.entries.find(({ name }) => name === "decode")!;
    expect(entry.operators.filter(({ op }) => op === "attention")).toHaveLength(2);
    entry.operators.forEach(({ inputs, launches }, number) => {
      expect(launches.length).toBeGreaterThan(0);
      for (const launch of launches) expect(launch).toBeLessThan(entry.launches);
      for (const input of inputs) expect(input).toBeLessThan(number);
    });
  });

  it("are told of every plan whose launches are others", async () => {
    const directory = temporaryDirectory();
    const config = JSON.parse(
      fs.readFileSync(fixture("llama", "hf", "config.json"), "utf8"),
    ) as object;
    const wide = { hidden_size: 2048, num_hidden_layers: 1, intermediate_size: 8192, head_dim: 64 };
    const long = { max_position_embeddings: 8192 };
    fs.writeFileSync(
      path.join(directory, "config.json"),
      JSON.stringify({ ...config, ...wide, ...long }),
    );
    const lowered = await lower(directory, {
      ...{ target: ["sm_80"], weights: { kind: "none" } },
      dims: { batch: [1, 1], seq: [1, 4096] },
    });
    const entry = bundleReport(lowered).targets[0]!.entries.find(({ name }) => name === "main")!;
    const plans = lowered.targets[0]!.plans.entries["main"]!;
    expect(entry.others.length).toBeGreaterThan(0);
    plans.forEach(({ steps }, number) => {
      const { kernels } = entry.others.find((each) => each.plans.includes(number)) ?? entry;
      expect(kernels).toHaveLength(steps.length);
    });
  });

  it("are written a line each", async () => {
    const report = bundleReport(await lower(fixture("gpt2", "hf"), { weights: { kind: "none" } }));
    const text = reportText(report);
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(report)));
    const { operators, kernels } = report.targets[0]!.entries[0]!;
    const lines = text.split("\n").map((line) => line.replace(/,$/, ""));
    for (const each of [...operators, ...kernels]) expect(lines).toContain(JSON.stringify(each));
  });
});
