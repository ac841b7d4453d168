/**
 * Attention whose keys and values are products of one short vector for each id, the latent, beside a
 * rotated part of the keys that all heads share. Caches hold the latent and that part.
 */
import { broadcastTo, cast, concat, reshape, split, transpose } from "../../ir/build.js";
import { rotary } from "../../ir/build-anchor.js";
import type { Node } from "../../ir/graph.js";
import { mul } from "../../scalar/build.js";
import type { ConfigReader } from "../files/config-reader.js";
import * as b from "./blocks.js";
import { readCount } from "./common-config.js";
import { readRope, yarnScale, type Rope } from "./rope.js";
import type { Angles } from "./rotary.js";
import type { Scope } from "./scope.js";

export interface LatentHeads {
  readonly count: number;
  /** Elements of a query and a key that are not rotated, and that are. */
  readonly still: number;
  readonly turned: number;
  readonly value: number;
  readonly latent: number;
  /** The short vector that queries are made of; null where they are made of the hidden value. */
  readonly query: number | null;
  readonly bias: boolean;
  /** On products of queries and keys. */
  readonly scale: number;
  readonly interleaved: boolean;
  /** Rotation in f32 of values in f32. */
  readonly wide: boolean;
}

/** What the family's configuration class says where the file says nothing. */
export interface LatentDefaults {
  readonly query: number | null;
  readonly interleaved: boolean;
  readonly wide: boolean;
  readonly positions: number;
}

export interface LatentConfig {
  readonly heads: LatentHeads;
  readonly rope: Rope;
  readonly positions: number;
}

export function readLatentHeads(config: ConfigReader, defaults: LatentDefaults): LatentConfig {
  const positions =
    config.optionalInt("max_position_embeddings", { min: 1, max: 1 << 28 }) ?? defaults.positions;
  const count = readCount(config, "num_attention_heads");
  const keyValue = config.optionalInt("num_key_value_heads", { min: 1 }) ?? count;
  if (keyValue !== count)
    throw config.invalid("num_key_value_heads", `${keyValue}, and ${count} heads of queries`);
  const [still, turned] = [
    size(config, "qk_nope_head_dim", 128),
    size(config, "qk_rope_head_dim", 64),
  ];
  if (turned % 2 !== 0)
    throw config.invalid("qk_rope_head_dim", `${turned} elements have no pairs`);
  const query = config.optionalInt("q_lora_rank", { min: 1, max: 1 << 24 });
  const heads: LatentHeads = {
    count,
    still,
    turned,
    value: size(config, "v_head_dim", 128),
    latent: size(config, "kv_lora_rank", 512),
    query: query ?? (config.keys().includes("q_lora_rank") ? null : defaults.query),
    bias: config.optionalBoolean("attention_bias") ?? false,
    scale: (still + turned) ** -0.5 * scaleOfRope(config),
    interleaved: config.optionalBoolean("rope_interleave") ?? defaults.interleaved,
    wide: defaults.wide,
  };
  const rope = readRope(config, { dims: turned, maxPositions: positions });
  return { heads, rope, positions };
}

const size = (config: ConfigReader, key: string, otherwise: number): number =>
  config.has(key) ? readCount(config, key) : otherwise;

/** The second temperature of a stretched rotation, on the products themselves. */
function scaleOfRope(config: ConfigReader): number {
  const legacy = config.optionalNested("rope_scaling");
  const reader =
    legacy !== undefined && legacy.keys().length > 0
      ? legacy
      : config.optionalNested("rope_parameters");
  const type = reader?.optionalString("rope_type") ?? reader?.optionalString("type") ?? "default";
  const all = reader?.optionalNumber("mscale_all_dim") ?? 0;
  if (reader === undefined || type === "default" || all === 0) return 1;
  return yarnScale(reader.number("factor", { above: 0 }), all) ** 2;
}

/** Normalisations inside have this epsilon, whatever the configuration says of the others. */
const innerEpsilon = 1e-6;

function queriesOf(s: Scope, h: LatentHeads, x: Node, at: string): Node {
  const outputs = h.count * (h.still + h.turned);
  if (h.query === null) return b.linear(s, x, `${at}.q_proj`, { outputs, bias: false });
  const short = b.linear(s, x, `${at}.q_a_proj`, { outputs: h.query, bias: h.bias });
  const normal = b.rmsNorm(s, short, `${at}.q_a_layernorm`, innerEpsilon);
  return b.linear(s, normal, `${at}.q_b_proj`, { outputs, bias: false });
}

function rotated(s: Scope, h: LatentHeads, x: Node, { cos, sin }: Angles): Node {
  if (!h.wide) return rotary(s.g, x, cos, sin, h.interleaved);
  return cast(s.g, rotary(s.g, b.wide(s, x), cos, sin, h.interleaved), s.dtype);
}

/** For x [tokens, width]; `angles` are of `turned` elements. */
export function latentAttention(
  s: Scope,
  h: LatentHeads,
  x: Node,
  layer: { readonly index: number; readonly at: string; readonly turned: Angles },
): Node {
  const at = `${layer.at}.self_attn`;
  const width = b.widthOf(x);
  const queries = b.splitHeads(s, queriesOf(s, h, x, at), h.count);
  const [stillQ, turnedQ] = split(s.g, queries, 3, [h.still, h.turned]) as [Node, Node];
  const q = concat(s.g, [stillQ, rotated(s, h, turnedQ, layer.turned)], 3);
  const short = b.linear(s, x, `${at}.kv_a_proj_with_mqa`, {
    outputs: h.latent + h.turned,
    bias: h.bias,
  });
  const [latent, shared] = split(s.g, short, 1, [h.latent, h.turned]) as [Node, Node];
  const normal = b.rmsNorm(s, latent, `${at}.kv_a_layernorm`, innerEpsilon);
  const turnedK = rotated(s, h, b.splitHeads(s, shared, 1), layer.turned);
  const row = concat(s.g, [b.splitHeads(s, normal, 1), turnedK], 3);
  const { keys, values } = expanded(s, h, s.cached(layer.index, "latent", row), at);
  const mixed = s.attendAll(q, { keys, values }, { scale: h.scale });
  return b.linear(s, b.mergeHeads(s, mixed), `${at}.o_proj`, { outputs: width, bias: h.bias });
}

/** Keys and values of every head from rows [batch, 1, ids, latent + turned]. */
function expanded(
  s: Scope,
  h: LatentHeads,
  rows: Node,
  at: string,
): { readonly keys: Node; readonly values: Node } {
  const [batch, , ids] = rows.shape;
  const [latent, turned] = split(s.g, rows, 3, [h.latent, h.turned]) as [Node, Node];
  const flat = reshape(s.g, latent, [mul(batch!, ids!), h.latent]);
  const each = h.still + h.value;
  const both = b.linear(s, flat, `${at}.kv_b_proj`, { outputs: h.count * each, bias: false });
  const heads = transpose(s.g, reshape(s.g, both, [batch!, ids!, h.count, each]), [0, 2, 1, 3]);
  const [still, values] = split(s.g, heads, 3, [h.still, h.value]) as [Node, Node];
  const repeated = broadcastTo(s.g, turned, [batch!, h.count, ids!, h.turned]);
  return { keys: concat(s.g, [still, repeated], 3), values };
}
