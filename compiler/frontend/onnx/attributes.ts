/** A node's attributes by the types that its operator gives them; what nobody asks for is an error. */
import { FarrierError } from "../../errors.js";
import { printable } from "../files/source-file.js";
import type { OnnxAttribute, OnnxGraph, OnnxTensor } from "./wire/types.js";

interface Values {
  readonly int: bigint;
  readonly float: number;
  readonly string: string;
  readonly ints: readonly bigint[];
  readonly floats: readonly number[];
  readonly strings: readonly string[];
  readonly tensor: OnnxTensor;
  readonly graph: OnnxGraph;
}

export class Attributes {
  readonly #all: ReadonlyMap<string, OnnxAttribute>;
  readonly #where: string;
  readonly #known = new Set<string>();

  constructor(all: ReadonlyMap<string, OnnxAttribute>, where: string) {
    this.#all = all;
    this.#where = where;
  }

  has(name: string): boolean {
    this.#known.add(name);
    return this.#all.has(name);
  }

  int(name: string): number | undefined;
  int(name: string, fallback: number): number;
  int(name: string, fallback?: number): number | undefined {
    const value = this.#value(name, "int");
    return value === undefined ? fallback : this.#number(name, value);
  }

  flag(name: string, fallback = false): boolean {
    return this.int(name, fallback ? 1 : 0) !== 0;
  }

  bigint(name: string): bigint | undefined {
    return this.#value(name, "int");
  }

  float(name: string): number | undefined;
  float(name: string, fallback: number): number;
  float(name: string, fallback?: number): number | undefined {
    return this.#value(name, "float") ?? fallback;
  }

  string(name: string): string | undefined;
  string(name: string, fallback: string): string;
  string(name: string, fallback?: string): string | undefined {
    return this.#value(name, "string") ?? fallback;
  }

  ints(name: string): number[] | undefined {
    return this.#value(name, "ints")?.map((value) => this.#number(name, value));
  }

  bigints(name: string): readonly bigint[] | undefined {
    return this.#value(name, "ints");
  }

  floats(name: string): readonly number[] | undefined {
    return this.#value(name, "floats");
  }

  strings(name: string): readonly string[] | undefined {
    return this.#value(name, "strings");
  }

  tensor(name: string): OnnxTensor | undefined {
    return this.#value(name, "tensor");
  }

  graph(name: string): OnnxGraph {
    const graph = this.#value(name, "graph");
    if (graph === undefined) throw this.missing(name);
    return graph;
  }

  /** One of a few words. */
  choice<W extends string>(name: string, words: readonly W[], fallback: W): W {
    const found = this.string(name, fallback);
    const word = words.find((each) => each === found);
    if (word !== undefined) return word;
    throw this.invalid(name, `expected ${words.join(" or ")}, found "${printable(found)}"`);
  }

  /** Attributes that do not change what farrier computes. */
  ignore(...names: readonly string[]): void {
    for (const name of names) this.#known.add(name);
  }

  missing(name: string): FarrierError {
    return new FarrierError("E_ATTR_MISSING", `no attribute "${name}"`, { where: this.#where });
  }

  invalid(name: string, what: string): FarrierError {
    return new FarrierError("E_ATTR_VALUE", `attribute "${name}": ${what}`, { where: this.#where });
  }

  /** Throws if there are attributes that the operator did not look at. */
  finish(): void {
    for (const name of this.#all.keys()) {
      if (this.#known.has(name)) continue;
      const what = `attribute ${JSON.stringify(printable(name))} is none of this operator's`;
      throw new FarrierError("E_ATTR_UNKNOWN", what, { where: this.#where });
    }
  }

  #value<T extends keyof Values>(name: string, type: T): Values[T] | undefined {
    this.#known.add(name);
    const attribute = this.#all.get(name);
    if (attribute === undefined) return undefined;
    if (attribute.type !== type) {
      const what = `attribute "${name}": expected ${type}, found ${attribute.type}`;
      throw new FarrierError("E_ATTR_TYPE", what, { where: this.#where });
    }
    return (attribute as unknown as { readonly value: Values[T] }).value;
  }

  #number(name: string, value: bigint): number {
    const number = Number(value);
    if (Number.isSafeInteger(number)) return number;
    throw this.invalid(name, `${value} is out of range`);
  }
}
