/** Changes of bytes that know nothing of their meaning. */
import type { Rng } from "../fuzz/random.js";

/** What inputs are mixed with. */
export interface Sources {
  readonly rng: Rng;
  /** Another input that was worth keeping. */
  readonly other: () => Uint8Array;
  /** Texts that the reader compares with. */
  readonly words: readonly string[];
}

const edges = [0, 1, 2, 3, 7, 8, 0x1f, 0x20, 0x22, 0x2c, 0x5b, 0x5d, 0x7b, 0x7d, 0x7f, 0x80, 0xff];

export const word = ({ rng, words }: Sources): string =>
  words.length === 0 ? "" : rng.pick(words);

/** Longer inputs find nothing that shorter ones do not, and take longer. */
export const mostBytes = 1 << 14;

function inserted(bytes: Uint8Array, at: number, piece: Uint8Array): Uint8Array {
  const made = new Uint8Array(bytes.length + piece.length);
  made.set(bytes.subarray(0, at));
  made.set(piece, at);
  made.set(bytes.subarray(at), at + piece.length);
  return made;
}

function removed(bytes: Uint8Array, from: number, to: number): Uint8Array {
  const made = new Uint8Array(bytes.length - (to - from));
  made.set(bytes.subarray(0, from));
  made.set(bytes.subarray(to), from);
  return made;
}

function edited(bytes: Uint8Array, edit: (copy: Uint8Array) => void): Uint8Array {
  // Not `slice`, which shares the memory of a Buffer.
  const copy = new Uint8Array(bytes);
  edit(copy);
  return copy;
}

type Change = (bytes: Uint8Array, sources: Sources) => Uint8Array;

const spanOf = ({ rng }: Sources, length: number): readonly [number, number] => {
  const from = rng.int(0, length);
  return [from, Math.min(length, from + rng.int(1, rng.pick([1, 4, 16, 128])))];
};

const changes: readonly Change[] = [
  (bytes, { rng }) =>
    edited(bytes, (copy) => {
      if (copy.length > 0) copy[rng.int(0, copy.length - 1)]! ^= 1 << rng.int(0, 7);
    }),
  (bytes, { rng }) =>
    edited(bytes, (copy) => {
      if (copy.length > 0) copy[rng.int(0, copy.length - 1)] = rng.pick(edges);
    }),
  (bytes, { rng }) =>
    edited(bytes, (copy) => {
      if (copy.length > 0) copy[rng.int(0, copy.length - 1)] = rng.int(0, 255);
    }),
  (bytes, { rng }) =>
    edited(bytes, (copy) => {
      const width = rng.pick([2, 4, 8]);
      const value = rng.pick([0, 1, -1, 2, 255, 65_535, 2 ** 31 - 1, -(2 ** 31)]);
      const at = rng.int(0, Math.max(0, copy.length - width));
      for (let i = 0; i < width && at + i < copy.length; i++)
        copy[at + i] = i < 4 ? (value >> (8 * i)) & 255 : value < 0 ? 255 : 0;
    }),
  (bytes, sources) => removed(bytes, ...spanOf(sources, bytes.length)),
  (bytes, sources) => bytes.slice(0, sources.rng.int(0, bytes.length)),
  (bytes, sources) =>
    inserted(
      bytes,
      sources.rng.int(0, bytes.length),
      bytes.slice(...spanOf(sources, bytes.length)),
    ),
  (bytes, sources) =>
    inserted(bytes, sources.rng.int(0, bytes.length), Buffer.from(word(sources), "utf8")),
  (bytes, sources) => {
    const other = sources.other();
    const piece = other.slice(...spanOf(sources, other.length));
    return inserted(bytes, sources.rng.int(0, bytes.length), piece);
  },
  (bytes, { rng }) =>
    edited(bytes, (copy) => {
      const at = rng.int(0, copy.length);
      copy.copyWithin(rng.int(0, copy.length), at, at + rng.int(1, 32));
    }),
];

/** One change of bytes. */
export function havoc(bytes: Uint8Array, sources: Sources): Uint8Array {
  const made = sources.rng.pick(changes)(bytes, sources);
  return made.length > mostBytes ? made.slice(0, mostBytes) : made;
}
