/**
 * What keeps a fusion from happening: each limit with what it allows and what was found, as numbers
 * and as a sentence for `explain`.
 */

export interface Refusal {
  readonly limit: LimitName;
  readonly allowed: number;
  readonly found: number;
  /** For people: both numbers, and what they count. */
  readonly text: string;
}

interface Words {
  readonly allowed: string;
  readonly found: string;
  /** What the refusal is about, where the limit has several subjects. */
  readonly of: string;
}

const times = (count: string, one: string, many = `${one}s`): string =>
  `${count} ${count === "1" ? one : many}`;

const limits = {
  anchors: ({ allowed, found }) =>
    `a kernel has ${times(allowed, "anchor")} (a product, attention, reduction or map), with its reader it would have ${found}`,
  readers: ({ allowed, found }) =>
    `a value that is computed as it is read has ${times(allowed, "reader")}, this one has ${found}`,
  passes: ({ allowed, found, of }) =>
    `${of} are ${found} more passes over a row, apart it is ${allowed}`,
  operations: ({ allowed, found, of }) =>
    `${of} reads rows of memory, with ${times(allowed, "operation")} in between; here it is ${found}`,
  stride: ({ allowed, found, of }) =>
    `neighbours that ${of} reads are ${times(allowed, "element")} apart in memory, these are ${found}`,
  places: ({ allowed, found, of }) =>
    `${of} steps evenly through memory, with ${times(allowed, "division or look-up", "divisions or look-ups")} for a place; here it is ${found}`,
  checks: ({ allowed, found, of }) =>
    `${of} looks places up with ${times(allowed, "check")} of its own, here it would be ${found}`,
  row: ({ allowed, found }) =>
    `the product sums rows of ${allowed} elements, the normalisation is over ${found}`,
  axis: ({ allowed, found }) =>
    `the product sums along axis ${allowed} from the end, the normalisation is along axis ${found}`,
  normalisations: ({ allowed, found }) =>
    `a product normalises its rows ${times(allowed, "time")}, here it would be ${found}`,
  elements: ({ allowed, found, of }) =>
    `an operand's element is computed from ${times(allowed, "element")}, ${of} takes ${found}`,
  "epilogue operators": ({ allowed, found, of }) =>
    `${of} has ${times(allowed, "operator")} after it in its kernel, this would be ${found}`,
  producers: ({ allowed, found }) =>
    `an epilogue has the results of ${times(allowed, "kernel")}, this takes those of ${found}`,
  copies: ({ allowed, found }) =>
    `an epilogue has each result ${times(allowed, "time")}, this repeats it ${found} times`,
  "distance of operands": ({ allowed, found }) =>
    `a thread holds results that are ${times(allowed, "element")} apart, these operands are ${found}`,
  "distance of a pair": ({ allowed, found }) =>
    `a thread holds results that are ${times(allowed, "element")} apart, those of a pair are ${found}`,
  step: ({ allowed, found }) =>
    `an epilogue passes on results ${times(allowed, "element")} apart, this takes those ${found} apart`,
  "scattered places": ({ allowed, found }) =>
    `scattering goes through at least ${allowed} places, here it is ${found}`,
  reads: ({ allowed, found }) =>
    `one element of a result may read at ${allowed} places, here it would be ${found}`,
  chain: ({ allowed, found }) =>
    `one kernel computes at most ${allowed} operators in a row, here it would be ${found}`,
} satisfies Readonly<Record<string, (words: Words) => string>>;

export type LimitName = keyof typeof limits;

/** `50,257`, also where the number is not whole or has no end. */
const numberText = (value: number): string => value.toLocaleString("en-US");

export function refusal(limit: LimitName, found: number, allowed: number, of = ""): Refusal {
  const say: (words: Words) => string = limits[limit];
  const text = say({ allowed: numberText(allowed), found: numberText(found), of });
  return { limit, allowed, found, text };
}
