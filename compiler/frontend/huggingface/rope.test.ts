import { describe, expect, it } from "vitest";
import { failure } from "../files/failure.testing.js";
import { ConfigReader } from "../files/config-reader.js";
import { readRope, type Rope } from "./rope.js";

const parse = (config: unknown): ConfigReader =>
  ConfigReader.parse(Buffer.from(JSON.stringify(config)), "config.json");

function rope(config: unknown, dims = 16, maxPositions = 4096): Rope {
  return readRope(parse(config), { dims, maxPositions });
}

const theta = 10_000;
const original = 1024;
const short = [1, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35];
const long = [1.5, 2.25, 3, 3.75, 4.5, 5.25, 6, 6.75];

/** Buffers of transformers 5.17's LlamaRotaryEmbedding, in f32. */
const expected: [string, object, number[], number][] = [
  [
    "linear",
    { rope_type: "linear", factor: 3, rope_theta: theta },
    [
      0.3333333432674408, 0.10540925711393356, 0.03333333507180214, 0.010540925897657871,
      0.003333333181217313, 0.0010540926596149802, 0.0003333333588670939, 0.0001054092645063065,
    ],
    1,
  ],
  [
    "dynamic",
    { rope_type: "dynamic", factor: 2.5, rope_theta: theta },
    [
      1, 0.3162277638912201, 0.10000000149011612, 0.03162277862429619, 0.009999999776482582,
      0.003162277862429619, 0.0010000000474974513, 0.0003162277862429619,
    ],
    1,
  ],
  [
    "yarn",
    {
      rope_type: "yarn",
      factor: 4,
      original_max_position_embeddings: original,
      rope_theta: theta,
    },
    [
      1, 0.3162277638912201, 0.08125000447034836, 0.019764237105846405, 0.0043750000186264515,
      0.0007905694656074047, 0.0002500000118743628, 7.905694656074047e-5,
    ],
    1.138629436111989,
  ],
  [
    "yarn without truncation, with two mscales",
    {
      ...{ rope_type: "yarn", factor: 4, original_max_position_embeddings: original },
      ...{ rope_theta: theta, mscale: 1, mscale_all_dim: 0.8 },
      ...{ beta_fast: 16, beta_slow: 2, truncate: false },
    },
    [
      1, 0.3162277638912201, 0.10000000149011612, 0.01870180480182171, 0.0024999999441206455,
      0.0007905694656074047, 0.0002500000118743628, 7.905694656074047e-5,
    ],
    1.0249579607969668,
  ],
];

describe("frequencies of transformers", () => {
  it.each(expected)("%s", (_, parameters, inverse, scaling) => {
    const found = rope({ rope_parameters: parameters });
    const error = inverse.map((value, i) => Math.abs(found.inverse[i]! / value - 1));
    // One unit in the last place of f32.
    expect(Math.max(...error)).toBeLessThan(1.2e-7);
    expect(found.scaling).toBe(scaling);
  });

  it("llama3, as in Llama 3.1", () => {
    const parameters = {
      ...{ rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
      ...{ original_max_position_embeddings: 8192, rope_theta: 500_000 },
    };
    const { inverse } = rope({ rope_parameters: parameters }, 128, 131_072);
    // Kept, blended and divided ones.
    const picked = [1, 20, 28, 30, 31, 32, 34, 36, 38, 63].map((i) => inverse[i]);
    expect(picked).toEqual([
      0.8146172165870667, 0.016560440883040428, 0.0032114461064338684, 0.0013718936825171113,
      0.0008567514596506953, 0.0005248460220173001, 0.0001785077911335975, 7.784655463183299e-5,
      5.165906986803748e-5, 3.068925877869333e-7,
    ]);
  });

  it("longrope, with the temperature of its growth", () => {
    const parameters = {
      ...{ rope_type: "longrope", short_factor: short, long_factor: long },
      ...{ original_max_position_embeddings: 4096, rope_theta: theta },
    };
    const found = rope({ rope_parameters: parameters }, 16, 131_072);
    expect([...found.inverse]).toEqual([
      1, 0.3011693060398102, 0.09090909361839294, 0.027498068287968636, 0.00833333283662796,
      0.002529822289943695, 0.0007692307699471712, 0.0002342427906114608,
    ]);
    expect(found.scaling).toBe(1.1902380714238083);
    expect(found.long?.above).toBe(4096);
    expect(found.long?.inverse[0]).toBe(Math.fround(1 / 1.5));
  });
});

describe("spellings", () => {
  const both = { factor: 4, original_max_position_embeddings: 64 };
  const wanted = rope({ rope_parameters: { ...both, rope_type: "yarn", rope_theta: 500 } });

  it.each([
    ["rope_scaling with type", { rope_theta: 500, rope_scaling: { ...both, type: "yarn" } }],
    [
      "rope_scaling with rope_type",
      { rope_theta: 500, rope_scaling: { ...both, rope_type: "yarn" } },
    ],
    [
      "the pretrained length outside",
      {
        ...{ rope_theta: 500, original_max_position_embeddings: 64 },
        rope_scaling: { factor: 4, type: "yarn" },
      },
    ],
    [
      "rope_theta outside rope_parameters",
      { rope_theta: 500, rope_parameters: { ...both, rope_type: "yarn" } },
    ],
  ])("%s", (_, config) => {
    expect(rope(config)).toEqual(wanted);
  });

  it("default, absent and null are the same", () => {
    const plain = rope({});
    expect(rope({ rope_scaling: null, rope_theta: theta })).toEqual(plain);
    expect(rope({ rope_parameters: { rope_type: "default", rope_theta: theta } })).toEqual(plain);
    expect(plain.inverse[4]).toBe(Math.fround(0.01));
  });
});

describe("a part of each head", () => {
  const part = { key: "rotary_pct", otherwise: 0.25 };
  const pairs = (config: unknown, dims = 16): number =>
    readRope(parse(config), { dims, maxPositions: 64, part }).inverse.length;

  it("is the nested key's, or the family's own, or the default", () => {
    expect(pairs({})).toBe(2);
    expect(pairs({ rotary_pct: 0.5 })).toBe(4);
    expect(pairs({ rotary_pct: 0.5, rope_parameters: { partial_rotary_factor: 1 } })).toBe(8);
  });

  it("has the frequencies of that many elements", () => {
    const config = { rotary_pct: 0.5, rope_theta: theta };
    const found = readRope(parse(config), { dims: 32, maxPositions: 64, part });
    expect(found).toEqual(rope({ rope_theta: theta }, 16));
    // 5 of 16 elements: transformers turns 6 of them.
    const five = { rotary_pct: 0.33, rope_theta: 32 };
    const { inverse } = readRope(parse(five), { dims: 16, maxPositions: 64, part });
    expect([...inverse]).toEqual([1, Math.fround(32 ** -0.4), Math.fround(32 ** -0.8)]);
  });

  it("kinds may have other names", () => {
    const kinds = { default: "default", su: "longrope" };
    const config = { rope_scaling: { type: "su", short_factor: short, long_factor: long } };
    const found = readRope(parse(config), { dims: 16, maxPositions: 64, original: 32, kinds });
    expect(found.long?.above).toBe(32);
    const other = { rope_scaling: { type: "longrope", short_factor: short, long_factor: long } };
    const context = { dims: 16, maxPositions: 64, kinds };
    const error = failure(() => readRope(parse(other), context));
    expect(error.code).toBe("E_CONFIG_UNSUPPORTED");
  });
});

describe("refusals", () => {
  const scaled = (parameters: object): object => ({ rope_scaling: parameters });

  it.each([
    ["an unknown kind", scaled({ type: "cubic", factor: 2 }), "E_CONFIG_UNSUPPORTED"],
    ["a part of each head", { partial_rotary_factor: 0.5 }, "E_CONFIG_UNSUPPORTED"],
    ["no factor", scaled({ type: "linear" }), "E_CONFIG"],
    ["a factor of 0", scaled({ type: "linear", factor: 0 }), "E_CONFIG_VALUE"],
    ["a theta of 0", { rope_theta: 0 }, "E_CONFIG_VALUE"],
    ["a factor in quotes", scaled({ type: "linear", factor: "2" }), "E_CONFIG"],
    [
      "factors of another length",
      scaled({ type: "longrope", short_factor: [1], long_factor: long }),
      "E_CONFIG_VALUE",
    ],
    [
      "high frequencies below low ones",
      scaled({ type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 4 }),
      "E_CONFIG_VALUE",
    ],
    [
      "a base that is no number",
      scaled({ type: "yarn", factor: 2, rope_theta: 1 }),
      "E_CONFIG_VALUE",
    ],
  ])("%s", (_, config, code) => {
    expect(failure(() => rope(config)).code).toBe(code);
  });

  it("heads larger than any model's, before a table of them is made", () => {
    const error = failure(() => rope({}, 2 ** 24));
    expect(error.code).toBe("E_CONFIG_VALUE");
    expect(error.message).toContain("16777216 elements, at most 65536");
  });
});
