/**
 * What is known of an integer: the memory that it points into, a range, and its low bits. A value
 * with a base counts from there. `null` is a value that no path has computed yet.
 */
export interface Known {
  /** 0: a plain number. Others: see `bases`. */
  readonly base: number;
  readonly min: number;
  readonly max: number;
  /** Low bits that are known: 0 to 32. */
  readonly bits: number;
  /** Their value, below 2^bits. */
  readonly low: number;
}

/** Kinds of base: operand `i` is `i + 1`. */
export const bases = { none: 0, shared: -1, mixed: -2 } as const;

const mask = (bits: number): number => (bits >= 32 ? -1 : (1 << bits) - 1);

export function known(base: number, min: number, max: number, bits: number, low: number): Known {
  return { base, min, max, bits, low: low & mask(bits) };
}

export const anything: Known = known(0, -Infinity, Infinity, 0, 0);
export const unknownBase: Known = known(bases.mixed, -Infinity, Infinity, 0, 0);
export const exactly = (value: number, low: number): Known => known(0, value, value, 32, low);
export const within = (min: number, max: number): Known => known(0, min, max, 0, 0);

/**
 * Values of a register are modulo 2^width: a range beyond what both readings hold says nothing. What
 * has no bound is a loop's counter or pointer, and is taken not to wrap.
 */
export function wrapped(value: Known, width: number): Known {
  const [least, most] = width === 64 ? [-(2 ** 53), 2 ** 53] : [-(2 ** 31), 2 ** 32];
  const { base, min, max, bits, low } = value;
  const fits = (bound: number): boolean =>
    !Number.isFinite(bound) || (bound >= least && bound <= most);
  return fits(min) && fits(max) ? value : known(base, -Infinity, Infinity, bits, low);
}

const zeroBits = (value: number): number => (value === 0 ? 32 : 31 - Math.clz32(value & -value));

/** How many low bits are known to be zero. */
export const trailing = ({ bits, low }: Known): number => Math.min(bits, zeroBits(low));

export const isExact = ({ base, min, max }: Known): boolean => base === 0 && min === max;

export const same = (a: Known, b: Known): boolean =>
  a.base === b.base && a.min === b.min && a.max === b.max && a.bits === b.bits && a.low === b.low;

/** Either of both. */
export function join(a: Known, b: Known): Known {
  if (a.base !== b.base) return unknownBase;
  const bits = Math.min(a.bits, b.bits, zeroBits(a.low ^ b.low));
  return known(a.base, Math.min(a.min, b.min), Math.max(a.max, b.max), bits, a.low);
}

/** `next`, with bounds that still move given up. */
export function widen(before: Known, next: Known): Known {
  const min = next.min < before.min ? -Infinity : next.min;
  const max = next.max > before.max ? Infinity : next.max;
  return { ...next, min, max };
}

const sumBase = (a: Known, b: Known): number =>
  a.base === 0 ? b.base : b.base === 0 ? a.base : bases.mixed;

export function add(a: Known, b: Known): Known {
  const base = sumBase(a, b);
  return known(base, a.min + b.min, a.max + b.max, Math.min(a.bits, b.bits), a.low + b.low);
}

export function subtract(a: Known, b: Known): Known {
  const base = b.base === 0 ? a.base : bases.mixed;
  return known(base, a.min - b.max, a.max - b.min, Math.min(a.bits, b.bits), a.low - b.low);
}

/** The base of a result that is no address any more. */
const plain = (...values: readonly Known[]): number =>
  values.every(({ base }) => base === 0) ? 0 : bases.mixed;

const times = (x: number, y: number): number => (x === 0 || y === 0 ? 0 : x * y);

export function multiply(a: Known, b: Known): Known {
  const corners = [
    times(a.min, b.min),
    times(a.min, b.max),
    times(a.max, b.min),
    times(a.max, b.max),
  ];
  const bits = Math.min(a.bits + trailing(b), b.bits + trailing(a), 32);
  return known(
    plain(a, b),
    Math.min(...corners),
    Math.max(...corners),
    bits,
    Math.imul(a.low, b.low),
  );
}

export function shiftLeft(a: Known, count: number): Known {
  const bits = Math.min(32, a.bits + count);
  const factor = 2 ** count;
  return known(plain(a), a.min * factor, a.max * factor, bits, count > 31 ? 0 : a.low << count);
}

/** `signed` false: of the value as it is without a sign. */
export function shiftRight(a: Known, count: number, signed: boolean, width: number): Known {
  const factor = 2 ** count;
  const [least, most] = signed ? [-(2 ** (width - 1)), 2 ** (width - 1)] : [0, 2 ** width];
  const inside = a.min >= least && (a.max < most || a.max === Infinity);
  const [min, max] = inside ? [a.min, a.max] : [least, most - 1];
  const bits = Math.max(0, a.bits - count);
  const low = count > 31 ? 0 : a.low >>> count;
  return known(plain(a), Math.floor(min / factor), Math.floor(max / factor), bits, low);
}

const filled = (max: number): number => (max < 1 ? 0 : 2 ** (Math.floor(Math.log2(max)) + 1) - 1);

export function and(a: Known, b: Known): Known {
  const positive = [a, b].filter(({ min }) => min >= 0).map(({ max }) => max);
  const max = positive.length === 0 ? Infinity : Math.min(...positive);
  const both = Math.min(a.bits, b.bits);
  const zeros = Math.max(trailing(a), trailing(b));
  const low = zeros > both ? 0 : a.low & b.low;
  return known(plain(a, b), positive.length === 0 ? -Infinity : 0, max, Math.max(both, zeros), low);
}

export function or(a: Known, b: Known, exclusive: boolean): Known {
  const positive = a.min >= 0 && b.min >= 0;
  const low = exclusive ? a.low ^ b.low : a.low | b.low;
  const min = positive ? (exclusive ? 0 : Math.max(a.min, b.min)) : -Infinity;
  const max = positive ? filled(Math.max(a.max, b.max)) : Infinity;
  return known(plain(a, b), min, max, Math.min(a.bits, b.bits), low);
}

/** The smaller or the larger: one of both, so their low bits and base hold. */
export function extreme(a: Known, b: Known, largest: boolean): Known {
  const either = join(a, b);
  const pick = largest ? Math.max : Math.min;
  return { ...either, min: pick(a.min, b.min), max: pick(a.max, b.max) };
}

export function divide(a: Known, b: Known): Known {
  if (isExact(b) && b.min > 0 && a.base === 0) {
    const bits = zeroBits(b.min);
    // Nothing is cut off where the low bits are zero, whatever the sign.
    if (2 ** bits === b.min && (a.min >= 0 || trailing(a) >= bits))
      return shiftRight(a, bits, a.min < 0, 54);
    if (a.min >= 0) return within(Math.floor(a.min / b.min), Math.floor(a.max / b.min));
  }
  if (a.min >= 0 && b.min >= 0) return within(0, a.max);
  return plain(a, b) === 0 ? anything : unknownBase;
}

export function remainder(a: Known, b: Known): Known {
  if (plain(a, b) !== 0) return unknownBase;
  const bits = Math.min(a.bits, trailing(b));
  const most = b.min >= 0 ? Math.max(0, b.max - 1) : Infinity;
  const positive = a.min >= 0;
  return known(0, positive ? 0 : -most, Math.min(most, positive ? a.max : Infinity), bits, a.low);
}
