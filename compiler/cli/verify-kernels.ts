/** Each kernel of a model against the fp64 evaluator's value of what it computes. */
import type { Inputs, Model } from "../../runtime/node/index.js";
import { constantReader } from "../constants.js";
import { FarrierError } from "../errors.js";
import { bindSymbols } from "../ir/bind.js";
import { byteSize, type DType } from "../ir/dtype.js";
import { evaluateGraph } from "../ir/evaluate.js";
import { roundInPlace } from "../ir/evaluate-map.js";
import { isNode, type Graph, type Node } from "../ir/graph.js";
import type { ConstantSource } from "../ir/ops.js";
import { countOf, fromBytes, tensor, type TensorValue } from "../ir/tensor.js";
import type { Buffer, PlannedKernel } from "../kernel/memory.js";
import type { Partition } from "../kernel/partition.js";
import { constValue } from "../scalar/build.js";
import type { Compiled } from "./open.js";
import { compare, numbersOf, type Comparison, type FileTensor } from "./tensors.js";

/** A value that a kernel wrote, beside what it should be. */
export interface KernelFinding extends Comparison {
  /** The number of the launch, and of what the kernel computes. */
  readonly launch: number;
  readonly computes: string;
  readonly prologue: readonly string[];
  readonly epilogue: readonly string[];
  /** What the model calls the value. */
  readonly value: string;
  readonly dtype: string;
}

/**
 * Runs the default entry step by step. A kernel is compared with the value of what it computes from the
 * operands that it found in memory, so that what others made wrong is not laid at its door. Caches are
 * not compared.
 * @throws FarrierError E_WEIGHTS where the model's weights are not at hand
 */
export async function kernelFindings(
  model: Model,
  compiled: Compiled,
  golden: ReadonlyMap<string, FileTensor>,
): Promise<KernelFinding[]> {
  const entry = model.entry();
  const { graph } = compiled.lowered.graphs.find(({ name }) => name === entry.name)!;
  const inputs = inputValues(graph, compiled, golden);
  const made = compiled.lowered.targets.find(({ target }) => target.name === model.target)!;
  const reports = compiled.report.targets
    .find(({ target }) => target === model.target)!
    .entries.find(({ name }) => name === entry.name)!;
  const constants = constantsOf(compiled);
  const found: KernelFinding[] = [];
  const given = new Map<Node, TensorValue>();
  await model.trace(asInputs(inputs), { entry: entry.name }, (launch, read, plan) => {
    const partition = made.planned[entry.name]![plan]!;
    const { kernels } = reports.others.find(({ plans }) => plans.includes(plan)) ?? reports;
    const { computes, prologue, epilogue } = kernels[launch]!;
    const values = finished(graph, partition, launch);
    const outputs = values.map(({ node, buffer }) => ({ name: buffer.id, node }));
    const part = { ...graph, outputs, states: [] };
    const expected = evaluateGraph(part, inputs, { constants, given }).outputs;
    for (const { index, buffer, node } of values) {
      const { shape, data } = expected.get(buffer.id)!;
      const { dtype, name } = buffer;
      const bytes = read(index).slice(0, byteSize(dtype, countOf(shape)));
      const reference = Float64Array.from(data as ArrayLike<number | bigint>, Number);
      found.push({
        ...{ launch, computes, prologue, epilogue, value: name, dtype },
        ...compare(numbersOf({ dtype, shape, bytes }), reference, shape),
      });
      keep(given, node, fromBytes(dtype, shape, bytes));
    }
  });
  return found;
}

/** A value that is all there after a launch. */
interface Finished {
  /** Which operand of the kernel it is. */
  readonly index: number;
  readonly buffer: Buffer;
  readonly node: Node;
}

/** Of what several launches write parts of, the last is the one that finishes it. */
function finished(graph: Graph, { kernels }: Partition, launch: number): Finished[] {
  const writes = ({ desc, buffers }: PlannedKernel, id: string): boolean =>
    buffers.some((each, i) => each.id === id && desc.operands[i]!.access !== "read");
  const kernel = kernels[launch]!;
  return kernel.buffers.flatMap((buffer, index) => {
    const { place, name, id } = buffer;
    if (!writes(kernel, id) || kernels.slice(launch + 1).some((later) => writes(later, id)))
      return [];
    const output = graph.outputs.find((each) => each.name === name)?.node;
    const node = place === "temp" ? buffer.node : place === "output" ? (output ?? null) : null;
    return node === null ? [] : [{ index, buffer, node }];
  });
}

/** Others may read an output in a shape that it had before. */
function keep(values: Map<Node, TensorValue>, node: Node, value: TensorValue): void {
  values.set(node, value);
  for (let before = node; isNode(before, "reshape");) {
    before = before.inputs[0]!;
    const shape = before.shape.flatMap((dim) => constValue(dim) ?? []);
    if (shape.length === before.shape.length) values.set(before, { ...value, shape });
  }
}

function constantsOf({ lowered: { model } }: Compiled): (source: ConstantSource) => Uint8Array {
  const reader = constantReader(model);
  return (source) => {
    const bytes = reader.source(source, Infinity);
    if (bytes !== null) return bytes;
    throw new FarrierError("E_WEIGHTS", "the model's values are not at hand", {
      where: "--per-kernel",
      hint: "compile with the model's own weights",
    });
  };
}

const asInputs = (values: ReadonlyMap<string, TensorValue>): Inputs =>
  Object.fromEntries(
    [...values].map(([name, { data, shape }]) => [
      name,
      { data: Array.from<number | bigint>(data), shape },
    ]),
  );

/** Golden inputs in the model's types; those that may be left out are filled. */
function inputValues(
  graph: Graph,
  { lowered: { model } }: Compiled,
  golden: ReadonlyMap<string, FileTensor>,
): Map<string, TensorValue> {
  const given = graph.inputs.flatMap(({ attrs: { name }, shape }) => {
    const found = golden.get(name);
    return found === undefined ? [] : [{ name, declared: shape, actual: found.shape }];
  });
  const dims = bindSymbols(given);
  return new Map(
    graph.inputs.map(({ attrs: { name }, dtype, shape }) => {
      const found = golden.get(name);
      const fill = model.fills.get(name);
      if (found !== undefined) return [name, converted(found, dtype)] as const;
      if (fill === undefined)
        throw new FarrierError("E_GOLDEN", "it has no such tensor", { where: `input ${name}` });
      const own = dims.shape(shape);
      return [name, tensor(dtype, own, Array<number>(countOf(own)).fill(fill))] as const;
    }),
  );
}

function converted(file: FileTensor, dtype: DType): TensorValue {
  const value = tensor(dtype, file.shape, [...numbersOf(file)]);
  roundInPlace(value);
  return value;
}

export function findingText(finding: KernelFinding, bound: number): string {
  const { launch, computes, prologue, epilogue, value, relRms, largest, at } = finding;
  const fused = [...prologue, ...epilogue];
  return [
    `kernel ${launch}, ${computes}`,
    ...(fused.length === 0 ? [] : [` with ${fused.join(", ")}`]),
    `: ${value} has rel-RMS ${relRms.toExponential(3)} (bound ${bound.toExponential(1)})`,
    `, largest error ${largest.toExponential(3)} at [${at.join(", ")}]`,
    ...(finding.sameSpecials ? [] : [", NaN or infinity in other places"]),
  ].join("");
}
