/**
 * Rotary frequencies as transformers computes them: every kind of scaling, both spellings of the
 * configuration. Arithmetic on tensors is f32 there, step by step, and so it is here.
 */
import type { ConfigReader } from "../files/config-reader.js";
import { unsupported } from "./config-keys.js";

/** Frequencies of the pairs and the factor on cosine and sine, f32. */
export interface Frequencies {
  readonly inverse: Float32Array;
  readonly scaling: number;
}

export interface Rope extends Frequencies {
  /** Sequences longer than `above` use other frequencies for all of their positions. */
  readonly long?: { readonly above: number; readonly inverse: Float32Array };
  /** Positions beyond this would need frequencies that depend on the sequence's length. */
  readonly limit?: number;
}

/** Where a family differs from what most have in common. */
export interface RopeContext {
  /** Elements of a head. */
  readonly dims: number;
  readonly maxPositions: number;
  /** The base's key beside the nested object; `rope_theta` by default. */
  readonly thetaKey?: string;
  /** The base where the configuration does not say it; 10,000 by default. */
  readonly theta?: number;
  /** The part of each head that is rotated: its key beside the nested object, and the default. */
  readonly part?: { readonly key: string; readonly otherwise: number };
  /** The pretrained length where the configuration does not say it. */
  readonly original?: number;
  /** The kinds of scaling that the family has, and what each stands for; all by default. */
  readonly kinds?: Readonly<Record<string, string>>;
}

interface Parameters {
  readonly reader: ConfigReader;
  /** Elements of a head that are rotated. */
  readonly dims: number;
  readonly maxPositions: number;
  readonly theta: number;
  /** The pretrained length: a key of the scaling, or of the config, or the longest sequence. */
  readonly original: number;
}

const f32 = Math.fround;
const twoPi = f32(2 * Math.PI);

/** Elements of a rotated head: far more than any model has, and a table of them is small. */
const mostDims = 1 << 16;

/** Keys of one kind that another kind ignores, as transformers does. */
const knownKeys = [
  ...["rope_theta", "rope_type", "type", "factor", "original_max_position_embeddings"],
  ...["attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
  ...["short_factor", "long_factor", "low_freq_factor", "high_freq_factor"],
];

/** Reads `rope_scaling` with `rope_theta`, or `rope_parameters`; the older spelling wins. */
export function readRope(config: ConfigReader, context: RopeContext): Rope {
  const outer = config.optionalInt("original_max_position_embeddings", { min: 1 });
  const parameters = config.optionalNested("rope_parameters");
  const legacy = config.optionalNested("rope_scaling");
  for (const each of [parameters, legacy]) each?.markRead(...knownKeys);
  const reader = legacy !== undefined && legacy.keys().length > 0 ? legacy : parameters;
  const theta = readTheta(config, reader, context);
  const dims = readDims(config, reader, context);
  const type = readKind(config, reader, context);
  if (reader === undefined || type === "default")
    return { inverse: inverseOf(theta, dims), scaling: 1 };
  const inner = reader.optionalInt("original_max_position_embeddings", { min: 1 });
  const original = outer ?? context.original ?? inner ?? context.maxPositions;
  const { maxPositions } = context;
  const rope = kinds[type]!({ reader, theta, dims, maxPositions, original });
  const finite = [...rope.inverse, rope.scaling].every(Number.isFinite);
  if (!finite) throw reader.invalid("rope_type", "the frequencies are not finite");
  return rope;
}

function readTheta(
  config: ConfigReader,
  reader: ConfigReader | undefined,
  { thetaKey = "rope_theta", theta: otherwise = 10_000 }: RopeContext,
): number {
  const outer = config.optionalNumber(thetaKey, { above: 0 });
  const theta = reader?.optionalNumber("rope_theta", { above: 0 }) ?? outer ?? otherwise;
  agree(config, "rope_theta", thetaKey, theta);
  return theta;
}

/** Elements that are rotated: whole heads, or the part that the configuration says. */
function readDims(
  config: ConfigReader,
  reader: ConfigReader | undefined,
  { dims, part }: RopeContext,
): number {
  if (dims > mostDims) {
    const what = `rotary embedding of heads of ${dims} elements, at most ${mostDims}`;
    throw config.invalid("rope_theta", what);
  }
  const key = "partial_rotary_factor";
  if (part === undefined) {
    for (const each of [config, reader]) {
      const found = each?.optionalNumber(key) ?? 1;
      if (found !== 1) throw unsupported(config, key, `${found}, expected 1`);
    }
    return dims;
  }
  const range = { above: 0, max: 1 };
  const outer = config.optionalNumber(part.key, range);
  const factor = reader?.optionalNumber(key, range) ?? outer ?? part.otherwise;
  agree(config, key, part.key, factor);
  const rotated = Math.trunc(dims * factor);
  if (rotated === 0) throw config.invalid(part.key, `${factor} of ${dims} elements is none`);
  return rotated;
}

/** Files of some versions of transformers say a value under the common key besides the family's. */
function agree(config: ConfigReader, key: string, own: string, value: number): void {
  const common = key === own ? value : (config.optionalNumber(key) ?? value);
  if (common !== value) throw unsupported(config, key, `${common}, and elsewhere ${value}`);
}

function readKind(
  config: ConfigReader,
  reader: ConfigReader | undefined,
  context: RopeContext,
): string {
  const named = reader?.optionalString("rope_type") ?? reader?.optionalString("type") ?? "default";
  const known = ["default", ...Object.keys(kinds)];
  const names = context.kinds ?? Object.fromEntries(known.map((kind) => [kind, kind]));
  if (Object.hasOwn(names, named)) return names[named]!;
  const listed = Object.keys(names).join(", ");
  const what = `${JSON.stringify(named)} is not supported; these are: ${listed}`;
  throw unsupported(config, "rope_type", what);
}

const pairs = (dims: number): number[] => Array.from({ length: Math.ceil(dims / 2) }, (_, i) => i);

/** theta ** (2i / dims) of each pair. */
function powers(theta: number, dims: number): Float32Array {
  const base = f32(theta);
  return Float32Array.from(pairs(dims), (i) => Math.pow(base, f32((2 * i) / dims)));
}

const inverseOf = (theta: number, dims: number): Float32Array =>
  powers(theta, dims).map((power) => 1 / power);

const factorOf = (reader: ConfigReader): number => reader.number("factor", { above: 0 });

function linear({ reader, theta, dims }: Parameters): Rope {
  const factor = factorOf(reader);
  return { inverse: inverseOf(theta, dims).map((each) => each / f32(factor)), scaling: 1 };
}

/** Up to the longest sequence nothing depends on the sequence's length. */
function dynamic({ reader, theta, dims, maxPositions }: Parameters): Rope {
  const factor = factorOf(reader);
  const grown = (factor * maxPositions) / maxPositions - (factor - 1);
  const base = theta * grown ** (dims / (dims - 2));
  return { inverse: inverseOf(base, dims), scaling: 1, limit: maxPositions };
}

/** The growth of attention's temperature with the context's, from the YaRN paper. */
export function yarnScale(factor: number, mscale = 1): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

function yarnAttention(reader: ConfigReader, factor: number): number {
  const given = reader.optionalNumber("attention_factor", { min: 0 });
  if (given !== undefined) return given;
  const [mscale, all] = [reader.optionalNumber("mscale"), reader.optionalNumber("mscale_all_dim")];
  const both = orDefault(mscale, 0) !== 0 && orDefault(all, 0) !== 0;
  return both ? yarnScale(factor, mscale) / yarnScale(factor, all) : yarnScale(factor);
}

/** Python's `or`: 0 counts as absent. */
const orDefault = (value: number | undefined, otherwise: number): number =>
  value === undefined || value === 0 ? otherwise : value;

function yarn({ reader, theta, dims, original, maxPositions }: Parameters): Rope {
  const factor = reader.optionalNumber("factor", { above: 0 }) ?? maxPositions / original;
  const fast = orDefault(reader.optionalNumber("beta_fast", { min: 0 }), 32);
  const slow = orDefault(reader.optionalNumber("beta_slow", { min: 0 }), 1);
  const whole = reader.optionalBoolean("truncate") ?? true;
  const dimOf = (turns: number): number =>
    (dims * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const low = Math.max(whole ? Math.floor(dimOf(fast)) : dimOf(fast), 0);
  const end = Math.min(whole ? Math.ceil(dimOf(slow)) : dimOf(slow), dims - 1);
  const high = low === end ? end + 0.001 : end;
  const power = powers(theta, dims);
  const inverse = power.map((each, i) => {
    const ramp = Math.min(1, Math.max(0, f32(f32(i - low) / f32(high - low))));
    const extrapolated = f32(1 - ramp);
    const stretched = f32(f32(1 / f32(f32(factor) * each)) * f32(1 - extrapolated));
    return stretched + f32(f32(1 / each) * extrapolated);
  });
  return { inverse, scaling: yarnAttention(reader, factor) };
}

function longrope({ reader, theta, dims, original, maxPositions }: Parameters): Rope {
  const factor = reader.optionalNumber("factor", { above: 0 }) ?? maxPositions / original;
  const stretched = (key: string): Float32Array => {
    const list = reader.optionalNumbers(key, { above: 0 });
    const power = powers(theta, dims);
    if (list?.length !== power.length) {
      const found = list === undefined ? "nothing" : `${list.length}`;
      throw reader.invalid(key, `expected ${power.length} numbers, found ${found}`);
    }
    return power.map((each, i) => 1 / f32(f32(list[i]!) * each));
  };
  const grown = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  const scaling = reader.optionalNumber("attention_factor", { min: 0 }) ?? grown;
  const long = { above: original, inverse: stretched("long_factor") };
  return { inverse: stretched("short_factor"), scaling, long };
}

function llama3({ reader, theta, dims, original }: Parameters): Rope {
  const factor = f32(factorOf(reader));
  const low = reader.number("low_freq_factor", { above: 0 });
  const high = reader.number("high_freq_factor", { above: low });
  const inverse = inverseOf(theta, dims).map((each) => {
    const wavelength = f32(f32(1 / each) * twoPi);
    if (wavelength < f32(original / high)) return each;
    if (wavelength > f32(original / low)) return each / factor;
    const turns = f32(f32(1 / wavelength) * f32(original));
    const smooth = f32(f32(turns - f32(low)) / f32(high - low));
    return f32(f32(f32(1 - smooth) * each) / factor) + f32(smooth * each);
  });
  return { inverse, scaling: 1 };
}

const kinds: Readonly<Record<string, (parameters: Parameters) => Rope>> = {
  linear,
  dynamic,
  yarn,
  longrope,
  llama3,
};
