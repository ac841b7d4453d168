/**
 * Writes ONNX models of a known architecture from code: the file that both sides of a comparison
 * read. Weights are seeded random numbers in external data beside it.
 */
import fs from "node:fs";
import path from "node:path";
import {
  attr,
  encodeModel,
  floatBytes,
  int64Bytes,
  type AttrSpec,
  type NodeSpec,
  type TensorSpec,
  type ValueSpec,
} from "../../compiler/frontend/onnx/wire/encode.testing.js";
import { fillUniform } from "./random.js";

type Attrs = Readonly<Record<string, AttrSpec>>;

interface Weight {
  readonly name: string;
  readonly dims: readonly number[];
  readonly offset: number;
  /** Uniform around `mean`, up to `spread` to each side. */
  readonly mean: number;
  readonly spread: number;
}

/** Large enough for whatever maps the file. */
const pageBytes = 4096;
const elementsOf = (dims: readonly number[]): number => dims.reduce((x, y) => x * y, 1);

export class GraphWriter {
  readonly #nodes: NodeSpec[] = [];
  readonly #small = new Map<string, TensorSpec>();
  readonly #weights: Weight[] = [];
  readonly #inputs: ValueSpec[] = [];
  readonly #outputs: ValueSpec[] = [];
  #end = 0;

  constructor(readonly opset = 17) {}

  input(name: string, type: "f32" | "i64", shape: readonly number[]): string {
    this.#inputs.push({ name, type, shape });
    return name;
  }

  output(name: string, from: string, shape: readonly number[]): void {
    this.#nodes.push({ op: "Identity", inputs: [from], outputs: [name] });
    this.#outputs.push({ name, type: "f32", shape });
  }

  /** One output, named after what it is called in `outputs` or after its place. */
  op(op: string, inputs: readonly string[], attrs: Attrs = {}): string {
    return this.many(op, inputs, 1, attrs)[0]!;
  }

  many(op: string, inputs: readonly string[], count: number, attrs: Attrs = {}): string[] {
    const name = `${op}_${this.#nodes.length}`;
    const outputs = Array.from({ length: count }, (_, i) => (i === 0 ? name : `${name}_${i}`));
    this.#nodes.push({ op, name, inputs, outputs, attrs });
    return outputs;
  }

  /** Of random numbers. */
  weight(name: string, dims: readonly number[], mean = 0, spread = 0.035): string {
    this.#weights.push({ name, dims, offset: this.#end, mean, spread });
    const bytes = elementsOf(dims) * 4;
    this.#end += Math.ceil(bytes / pageBytes) * pageBytes;
    return name;
  }

  ints(values: readonly number[], dims: readonly number[] = [values.length]): string {
    const name = `i64_${dims.join("x")}_${values.join("_")}`;
    this.#small.set(name, { name, type: "i64", dims, raw: int64Bytes(values) });
    return name;
  }

  float(value: number): string {
    return this.floats(`f32_${value}`, [], [value]);
  }

  floats(name: string, dims: readonly number[], values: readonly number[]): string {
    this.#small.set(name, { name, type: "f32", dims, raw: floatBytes(values) });
    return name;
  }

  // ---- what models are made of ----------------------------------------------------------------

  add = (a: string, b: string): string => this.op("Add", [a, b]);
  mul = (a: string, b: string): string => this.op("Mul", [a, b]);
  matmul = (a: string, b: string): string => this.op("MatMul", [a, b]);
  reshape = (x: string, shape: readonly number[]): string =>
    this.op("Reshape", [x, this.ints(shape)]);
  transpose = (x: string, perm: readonly number[]): string =>
    this.op("Transpose", [x], { perm: attr.ints(perm) });
  concat = (parts: readonly string[], axis: number): string =>
    this.op("Concat", parts, { axis: attr.int(axis) });

  linear(x: string, name: string, from: number, to: number): string {
    const product = this.matmul(x, this.weight(`${name}.weight`, [from, to]));
    return this.add(product, this.weight(`${name}.bias`, [to]));
  }

  layerNorm(x: string, name: string, width: number, epsilon: number): string {
    const scale = this.weight(`${name}.weight`, [width], 1, 0.2);
    const bias = this.weight(`${name}.bias`, [width]);
    return this.op("LayerNormalization", [x, scale, bias], {
      axis: attr.int(-1),
      epsilon: attr.float(epsilon),
    });
  }

  softmax = (x: string): string => this.op("Softmax", [x], { axis: attr.int(-1) });

  /** x · (1 + erf(x / √2)) / 2, as exporters spell it. */
  geluErf(x: string): string {
    const erf = this.op("Erf", [this.op("Div", [x, this.float(Math.SQRT2)])]);
    return this.mul(this.mul(x, this.add(erf, this.float(1))), this.float(0.5));
  }

  /** x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³))), as exporters spell it. */
  geluTanh(x: string): string {
    const cube = this.mul(this.op("Pow", [x, this.float(3)]), this.float(0.044715));
    const inner = this.mul(this.add(x, cube), this.float(Math.sqrt(2 / Math.PI)));
    const factor = this.add(this.op("Tanh", [inner]), this.float(1));
    return this.mul(this.mul(x, this.float(0.5)), factor);
  }

  // ---- files ----------------------------------------------------------------------------------

  /** `directory/NAME.onnx` and its data. */
  write(directory: string, name: string): string {
    const data = `${name}.data`;
    this.#writeData(path.join(directory, data));
    const weights = this.#weights.map((weight): TensorSpec => ({
      name: weight.name,
      type: "f32",
      dims: weight.dims,
      external: {
        location: data,
        offset: String(weight.offset),
        length: String(elementsOf(weight.dims) * 4),
      },
    }));
    const file = path.join(directory, `${name}.onnx`);
    const bytes = encodeModel({
      irVersion: 8,
      opset: this.opset,
      graph: {
        name,
        nodes: this.#nodes,
        initializers: [...this.#small.values(), ...weights],
        inputs: this.#inputs,
        outputs: this.#outputs,
      },
    });
    fs.writeFileSync(file, bytes);
    return file;
  }

  #writeData(file: string): void {
    const handle = fs.openSync(file, "w");
    try {
      this.#weights.forEach(({ dims, offset, mean, spread }, index) => {
        const values = new Float32Array(elementsOf(dims));
        fillUniform(values, index + 1, mean, spread);
        fs.writeSync(handle, new Uint8Array(values.buffer), 0, values.byteLength, offset);
      });
      fs.ftruncateSync(handle, this.#end);
    } finally {
      fs.closeSync(handle);
    }
  }
}
