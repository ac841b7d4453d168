/** Weights that hold NaN or infinity: legal, and seldom what their author meant. */
import type { DType } from "../ir/dtype.js";

type Bits = Uint8Array | Uint16Array | Uint32Array;

interface Words {
  of(bytes: Uint8Array): Bits;
  /** Whether a word is, or in f64 ends, a value that is not finite. */
  special(word: number): boolean;
}

const bytes8 = (special: Words["special"]): Words => ({ of: (bytes) => bytes, special });
const words16 = (mask: number): Words => ({
  of: (bytes) => new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 1),
  special: (word) => (word & mask) === mask,
});
const words32 = (mask: number): Words => ({
  of: (bytes) => new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2),
  special: (word) => (word & mask) === mask,
});

/** How each dtype writes what is not finite; dtypes that cannot are absent. */
const spellings: Readonly<Partial<Record<DType, Words>>> = {
  f16: words16(0x7c00),
  bf16: words16(0x7f80),
  f32: words32(0x7f800000),
  e4m3fn: bytes8((byte) => (byte & 0x7f) === 0x7f),
  e5m2: bytes8((byte) => (byte & 0x7c) === 0x7c),
  e4m3fnuz: bytes8((byte) => byte === 0x80),
  e5m2fnuz: bytes8((byte) => byte === 0x80),
  e8m0: bytes8((byte) => byte === 0xff),
};

/** How many of the elements are NaN or infinite. */
export function countSpecial(dtype: DType, bytes: Uint8Array): number {
  if (dtype === "f64") return countDoubles(bytes);
  const spelling = spellings[dtype];
  if (spelling === undefined) return 0;
  const words = spelling.of(aligned(bytes));
  let count = 0;
  for (const word of words) if (spelling.special(word)) count++;
  return count;
}

function countDoubles(bytes: Uint8Array): number {
  const own = aligned(bytes);
  const values = new Float64Array(own.buffer, own.byteOffset, own.byteLength >> 3);
  let count = 0;
  for (const value of values) if (!Number.isFinite(value)) count++;
  return count;
}

const aligned = (bytes: Uint8Array): Uint8Array =>
  bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();

/** Names in a notice. */
const mostNames = 12;

export class SpecialValues {
  readonly #counts = new Map<string, number>();

  /** Passes the pieces of a tensor on, and counts; each piece holds whole elements. */
  *watch(name: string, dtype: DType, pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
    for (const piece of pieces) {
      const found = countSpecial(dtype, piece);
      if (found > 0) this.#counts.set(name, (this.#counts.get(name) ?? 0) + found);
      yield piece;
    }
  }

  /** One notice for all of them, or none. */
  notices(): string[] {
    if (this.#counts.size === 0) return [];
    const names = [...this.#counts].map(([name, count]) => `${JSON.stringify(name)} (${count})`);
    const more = names.length > mostNames ? ` and ${names.length - mostNames} more` : "";
    const many = names.length === 1 ? "1 weight holds" : `${names.length} weights hold`;
    return [`${many} NaN or infinite values: ${names.slice(0, mostNames).join(", ")}${more}`];
  }
}
