/** Tensors of the model as constants: weights stay in their files, small values are literals. */
import { FarrierError } from "../../errors.js";
import { constant } from "../../ir/build.js";
import { isFloat, type DType } from "../../ir/dtype.js";
import type { GraphBuilder, Node } from "../../ir/graph.js";
import { printable, type SourceFile } from "../files/source-file.js";
import type { ModelTensor } from "../model.js";
import { elemTypeOf } from "./wire/elem-type.js";
import type { OnnxTensor } from "./wire/types.js";
import { largestTable, type ConstantBytes } from "./host-values.js";

/** Floats of more bytes are weights. */
const largestScalar = 64;

interface Stored {
  tensor: ModelTensor;
  readonly bytes: () => Uint8Array;
}

export class Constants {
  readonly #g: GraphBuilder;
  readonly #files: ReadonlyMap<string, SourceFile>;
  readonly #withBytes: boolean;
  readonly #nodes = new Map<OnnxTensor, Node>();
  readonly #stored = new Map<string, Stored>();

  /** @param withBytes whether weights have a place in their files, or only a shape */
  constructor(g: GraphBuilder, files: readonly SourceFile[], withBytes: boolean) {
    this.#g = g;
    this.#files = new Map(files.map((file) => [file.name, file]));
    this.#withBytes = withBytes;
  }

  /** @param name what the value is called where it is used */
  node(tensor: OnnxTensor, name: string): Node {
    const known = this.#nodes.get(tensor);
    if (known !== undefined) return known;
    const node = this.#make(tensor, name);
    this.#g.name(node, name);
    this.#nodes.set(tensor, node);
    return node;
  }

  #make(tensor: OnnxTensor, name: string): Node {
    const { dtype, shape, data } = tensor;
    if (dtype === null)
      throw new FarrierError("E_TYPE_UNSUPPORTED", `a tensor of type ${tensor.elemType}`, {
        where: `tensor ${JSON.stringify(printable(name))}`,
      });
    const small = data.byteLength <= (isFloat(dtype) ? largestScalar : largestTable);
    const file = data.location === null ? undefined : this.#files.get(data.location.file);
    if (small || data.location === null || file === undefined)
      // A copy: the view would keep the whole model file in memory.
      return constant(this.#g, { kind: "literal", data: data.bytes().slice() }, dtype, shape);
    const unique = this.#unique(name);
    const { offset } = data.location;
    const bytes = data.byteLength;
    const place = this.#withBytes ? { file, offset, bytes } : null;
    const random = { scale: 0.02, shift: 0 };
    const modelTensor = { name: unique, dtype, shape, place, random };
    this.#stored.set(unique, { tensor: modelTensor, bytes: () => data.bytes() });
    const source = { kind: "file", file: file.name, offset, bytes, tensor: unique } as const;
    return constant(
      this.#g,
      this.#withBytes ? source : { kind: "absent", tensor: unique },
      dtype,
      shape,
    );
  }

  #unique(name: string): string {
    let candidate = name;
    for (let i = 1; this.#stored.has(candidate); i++) candidate = `${name}#${i}`;
    return candidate;
  }

  /** The dtype that an attribute names by ONNX's code. */
  dtypeOf(code: number, where: string): DType {
    const type = elemTypeOf(code);
    if (type === undefined)
      throw new FarrierError("E_DTYPE_UNKNOWN", `element type ${code}, known are 1..26`, { where });
    if (type.dtype !== null) return type.dtype;
    throw new FarrierError("E_TYPE_UNSUPPORTED", `element type ${type.name}`, { where });
  }

  /** Factors of a normalisation are around one, also where they are random. */
  aroundOne(node: Node): void {
    if (node.op !== "constant") return;
    const { source } = (node as Node<"constant">).attrs;
    const stored = source.kind === "literal" ? undefined : this.#stored.get(source.tensor);
    if (stored !== undefined)
      stored.tensor = { ...stored.tensor, random: { ...stored.tensor.random, shift: 1 } };
  }

  readonly bytes: ConstantBytes = (node) => {
    const { source } = node.attrs;
    if (source.kind === "literal") return source.data;
    const stored = this.#stored.get(source.tensor);
    return source.kind === "file" && source.bytes <= largestTable
      ? (stored?.bytes() ?? null)
      : null;
  };

  /** In the order in which the graph first needs them. */
  tensors(): ModelTensor[] {
    return [...this.#stored.values()].map(({ tensor }) => tensor);
  }
}
