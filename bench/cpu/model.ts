/** A model that is compared: how its file is written, and what it is run on. */
import { fillUniform, seeded } from "./random.js";

export type InputSpec =
  | { readonly kind: "ids"; readonly below: number; readonly shape: readonly number[] }
  | { readonly kind: "ones"; readonly shape: readonly number[] }
  | { readonly kind: "count"; readonly from: number; readonly shape: readonly number[] }
  | { readonly kind: "real"; readonly shape: readonly number[] };

export interface Model {
  readonly name: string;
  /** Writes the ONNX file and its data into a directory; the file's path. */
  write(directory: string): string;
  readonly inputs: Readonly<Record<string, InputSpec>>;
}

export interface Input {
  readonly data: Float32Array | BigInt64Array;
  readonly shape: readonly number[];
}

const makers: {
  readonly [K in InputSpec["kind"]]: (
    spec: Extract<InputSpec, { kind: K }>,
    elements: number,
    seed: number,
  ) => Input["data"];
} = {
  ids: ({ below }, elements, seed) => {
    const next = seeded(seed);
    return BigInt64Array.from({ length: elements }, () => BigInt(next() % below));
  },
  ones: (_, elements) => new BigInt64Array(elements).fill(1n),
  count: ({ from }, elements) =>
    BigInt64Array.from({ length: elements }, (_, i) => BigInt(from + i)),
  real: (_, elements, seed) => {
    const values = new Float32Array(elements);
    fillUniform(values, seed, 0, 1);
    return values;
  },
};

/** Random inputs, the same for both sides and in every run. */
export function inputsOf({ inputs }: Model): Readonly<Record<string, Input>> {
  return Object.fromEntries(
    Object.entries(inputs).map(([name, spec], index) => {
      const elements = spec.shape.reduce((x, y) => x * y, 1);
      const make = makers[spec.kind] as (
        spec: InputSpec,
        elements: number,
        seed: number,
      ) => Input["data"];
      return [name, { data: make(spec, elements, 1000 + index), shape: spec.shape }];
    }),
  );
}
