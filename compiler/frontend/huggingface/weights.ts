/**
 * The tensors of a checkpoint under the names that a family's code uses, whatever prefix and spelling
 * the files have. What is missing, unexpected or of another shape is told in one error.
 */
import { FarrierError } from "../../errors.js";
import { constant } from "../../ir/build.js";
import type { DType } from "../../ir/dtype.js";
import type { GraphBuilder, Node } from "../../ir/graph.js";
import type { ConstantSource } from "../../ir/ops.js";
import type { Checkpoint, TensorRef } from "../files/checkpoint.js";
import { printable } from "../files/source-file.js";
import type { ModelTensor } from "../model.js";

/** How checkpoints of a family name their tensors. */
export interface TensorNames {
  /** Of the base model: present in checkpoints of the whole model, absent in those of the base. */
  readonly prefix: string;
  /** Tensors that stand outside the prefix. */
  readonly outside: readonly string[];
  /** Older spellings and what they became. */
  readonly renamed: readonly (readonly [RegExp, string])[];
  /** Buffers and parts of other tasks, left where they are. */
  readonly ignored: readonly RegExp[];
}

/** Weights that are stored in a narrow type, each block of them with a factor. */
export interface BlockScales {
  readonly dtype: DType;
  /** Rows and columns of a block. */
  readonly block: readonly [number, number];
  /** What follows a weight's name in that of its factors. */
  readonly suffix: string;
  /** Which weights are, where there are no files that say it. */
  readonly names: RegExp;
}

export interface Random {
  readonly scale: number;
  readonly shift: number;
}

export class Weights {
  readonly #g: GraphBuilder;
  readonly #checkpoint: Checkpoint | null;
  readonly #names: TensorNames;
  readonly #stored: DType;
  readonly #scales: BlockScales | null;
  readonly #refs = new Map<string, TensorRef>();
  readonly #claimed = new Map<string, ModelTensor>();
  readonly #made = new Map<string, Node<"constant">>();
  readonly #derived = new Map<string, Node>();
  readonly #missing: string[] = [];
  readonly #wrong: string[] = [];

  /** @param stored the dtype of tensors that are in no file */
  constructor(
    g: GraphBuilder,
    checkpoint: Checkpoint | null,
    names: TensorNames,
    stored: DType,
    scales: BlockScales | null = null,
  ) {
    this.#g = g;
    this.#scales = scales;
    this.#checkpoint = checkpoint;
    this.#names = names;
    this.#stored = stored;
    for (const ref of checkpoint?.tensors.values() ?? []) {
      const name = canonical(ref.name, names);
      const before = this.#refs.get(name);
      if (before === undefined) this.#refs.set(name, ref);
      else this.#wrong.push(`${quoted(ref.name)} is ${quoted(before.name)} by another name`);
    }
  }

  inFiles(name: string): boolean {
    return this.#refs.has(name);
  }

  /** Whether there are files, and this is in none. */
  lacks(name: string): boolean {
    return this.#checkpoint !== null && !this.#refs.has(name);
  }

  /** How `name` is scaled; null where it is stored as it is. */
  scalesOf(name: string): BlockScales | null {
    const scales = this.#scales;
    if (scales === null) return null;
    const scaled =
      this.#checkpoint === null ? scales.names.test(name) : this.inFiles(`${name}${scales.suffix}`);
    return scaled ? scales : null;
  }

  /** Leaves a tensor that another one stands for where it is. */
  leave(name: string): void {
    this.#refs.delete(name);
  }

  /** Whether the files have both, with the same bytes. */
  same(a: string, b: string): boolean {
    const [x, y] = [this.#refs.get(a), this.#refs.get(b)];
    if (x === undefined || x.dtype !== y?.dtype || x.bytes !== y.bytes) return false;
    for (let at = 0; at < x.bytes; at += chunkBytes) {
      const length = Math.min(chunkBytes, x.bytes - at);
      const [left, right] = [x, y].map((ref) => this.#checkpoint!.readRange(ref, at, length));
      if (Buffer.compare(left!, right!) !== 0) return false;
    }
    return true;
  }

  /**
   * The tensor as a constant of the type in which it is stored.
   * @param dtype the only type that it may have; by default any whose values are what they say
   */
  tensor(name: string, shape: readonly number[], random: Random, dtype?: DType): Node<"constant"> {
    const known = this.#made.get(name);
    if (known !== undefined) return known;
    const node = this.#constant(name, this.#claim(name, shape, random, dtype));
    this.#made.set(name, node);
    return node;
  }

  /** A value that is made of tensors alone, once for all entries. */
  once(key: string, build: () => Node): Node {
    const made = this.#derived.get(key) ?? build();
    this.#derived.set(key, made);
    return made;
  }

  #constant(name: string, claimed: ModelTensor): Node<"constant"> {
    const { place, dtype, name: tensor } = claimed;
    const source: ConstantSource =
      place === null
        ? { kind: "absent", tensor }
        : { kind: "file", file: place.file.name, offset: place.offset, bytes: place.bytes, tensor };
    const node = constant(this.#g, source, dtype, claimed.shape);
    this.#g.name(node, name);
    return node;
  }

  /** What does not fit is noted for `finish` and stands as a shape until then. */
  #claim(name: string, shape: readonly number[], random: Random, only?: DType): ModelTensor {
    const ref = this.#refs.get(name);
    const types = only === undefined ? plainTypes : [only];
    const usable = ref !== undefined && fits(ref, shape, types) ? ref : undefined;
    if (ref === undefined) this.#missing.push(name);
    else if (usable === undefined) {
      const found = `${ref.dtype} [${ref.shape.join(", ")}]`;
      this.#wrong.push(
        `${quoted(ref.name)} is ${found}, expected ${only ?? "a float"} [${shape.join(", ")}]`,
      );
    }
    const tensor: ModelTensor = {
      name: usable?.name ?? name,
      dtype: usable?.dtype ?? only ?? this.#stored,
      shape,
      place: usable === undefined ? null : placeOf(usable),
      random,
    };
    this.#claimed.set(name, tensor);
    return tensor;
  }

  /** In the order in which they were first asked for. */
  tensors(): ModelTensor[] {
    return [...this.#claimed.values()];
  }

  /** Throws E_WEIGHTS with everything that does not fit. */
  finish(directory: string): void {
    if (this.#checkpoint === null) return;
    const unexpected = [...this.#refs]
      .filter(([name]) => !this.#claimed.has(name))
      .map(([, ref]) => ref.name)
      .filter((name) => !this.#names.ignored.some((pattern) => pattern.test(name)));
    const lists: [string, readonly string[]][] = [
      ["missing", this.#missing.map(quoted)],
      ["unexpected", unexpected.map(quoted)],
      ["wrong", this.#wrong],
    ];
    const told = lists.filter(([, list]) => list.length > 0);
    if (told.length === 0) return;
    const what = told.map(([kind, list]) => `${list.length} ${kind}: ${listOf(list)}`);
    throw new FarrierError("E_WEIGHTS", what.join("; "), {
      file: directory,
      hint: "config.json and the weights must be of one model",
    });
  }
}

/** More than a model of many layers lacks, and less than fills a screen for minutes. */
const mostListed = 1000;

const listOf = (names: readonly string[]): string =>
  names.slice(0, mostListed).join(", ") +
  (names.length > mostListed ? ` and ${names.length - mostListed} more` : "");

const chunkBytes = 1 << 24;

const placeOf = ({ file, offset, bytes }: TensorRef): ModelTensor["place"] => ({
  file,
  offset,
  bytes,
});

const quoted = (name: string): string => JSON.stringify(printable(name));

/** Types whose values are what they say: narrower floats come with scales. */
const plainTypes: readonly DType[] = ["f16", "bf16", "f32", "f64"];

function fits(ref: TensorRef, shape: readonly number[], types: readonly DType[]): boolean {
  return (
    types.includes(ref.dtype) &&
    ref.shape.length === shape.length &&
    shape.every((n, i) => ref.shape[i] === n)
  );
}

/** The name that the family's code uses for a checkpoint's `name`. */
function canonical(name: string, { prefix, outside, renamed }: TensorNames): string {
  let result = name;
  for (const [pattern, replacement] of renamed) result = result.replace(pattern, replacement);
  const whole = result.startsWith(prefix) || outside.some((each) => result.startsWith(each));
  return whole ? result : prefix + result;
}
