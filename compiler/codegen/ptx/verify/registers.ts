/** Declared registers: names as a prefix and a number, or one by one. */
import type { ScalarType } from "./types.js";

interface Range {
  readonly prefix: string;
  readonly first: number;
  readonly count: number;
}

export class RegisterTable {
  readonly types: ScalarType[] = [];
  readonly #ranges = new Map<string, Range>();
  readonly #singles = new Map<string, number>();

  /** `%r<count>`; false if the prefix is taken. */
  declareRange(prefix: string, count: number, type: ScalarType): boolean {
    if (this.#ranges.has(prefix)) return false;
    this.#ranges.set(prefix, { prefix, first: this.types.length, count });
    for (let i = 0; i < count; i++) this.types.push(type);
    return true;
  }

  declare(name: string, type: ScalarType): boolean {
    if (this.find(name) >= 0) return false;
    this.#singles.set(name, this.types.length);
    this.types.push(type);
    return true;
  }

  /** Number of a register, or -1. */
  find(name: string): number {
    const single = this.#singles.get(name);
    if (single !== undefined) return single;
    let digits = name.length;
    while (digits > 1 && isDigit(name.charCodeAt(digits - 1))) digits--;
    const length = name.length - digits;
    if (length === 0 || length > 7 || (length > 1 && name.charCodeAt(digits) === 48)) return -1;
    return this.findIndexed(name.slice(0, digits), Number(name.slice(digits)));
  }

  findIndexed(prefix: string, index: number): number {
    const range = this.#ranges.get(prefix);
    return range !== undefined && index < range.count ? range.first + index : -1;
  }

  name = (id: number): string => {
    for (const { prefix, first, count } of this.#ranges.values())
      if (id >= first && id < first + count) return `${prefix}${id - first}`;
    for (const [name, single] of this.#singles) if (single === id) return name;
    return `register ${id}`;
  };
}

const isDigit = (char: number): boolean => char >= 48 && char <= 57;
