/** Phi-3: one weight for queries, keys and values, one for gate and up; a part of heads may turn. */
import { concat, slice } from "../../../ir/build.js";
import type { Node } from "../../../ir/graph.js";
import type { ConfigReader } from "../../files/config-reader.js";
import * as b from "../blocks.js";
import { readWindow } from "../common-config.js";
import type { Family, LanguageModel } from "../family.js";
import { pairedHeads, rotate } from "../rotary.js";
import {
  preNormBlock,
  readRotaryDecoder,
  rotaryDecoder,
  rotaryTensors,
  type Layer,
  type RotaryDecoder,
} from "../rotary-decoder.js";
import type { Scope } from "../scope.js";

interface Config extends RotaryDecoder {
  readonly window: number | null;
}

function readConfig(config: ConfigReader): Config {
  const c = readRotaryDecoder(config, {
    positions: 4096,
    eos: [32_000],
    epsilon: 1e-5,
    rope: {
      part: { key: "partial_rotary_factor", otherwise: 1 },
      original: 4096,
      kinds: { default: "default", longrope: "longrope", su: "longrope", yarn: "longrope" },
    },
  });
  return { ...c, window: readWindow(config, null) };
}

function attention(s: Scope, c: Config, x: Node, { at, index, turned }: Layer): Node {
  const { query, keyValue, size } = c.heads;
  const qkv = b.stackedLinear(s, x, `${at}.self_attn.qkv_proj`, {
    stack: [query + 2 * keyValue, size],
    bias: false,
    arrange: (stacked) => arranged(s, c, stacked),
  });
  const [q, keys, values] = b.splitQkv(s, qkv, c.heads);
  const mixed = s.attend(
    index,
    rotate(s, q, turned),
    { keys: rotate(s, keys, turned), values },
    { scale: size ** -0.5, window: c.window },
  );
  const options = { outputs: c.width, bias: false };
  return b.linear(s, b.mergeHeads(s, mixed), `${at}.self_attn.o_proj`, options);
}

/** Heads of queries and keys with their pairs apart, those of values as they are. */
function arranged(s: Scope, c: Config, stacked: Node): Node {
  const { query, keyValue } = c.heads;
  const [turning, all] = [query + keyValue, query + 2 * keyValue];
  const part = (start: number, end: number): Node => slice(s.g, stacked, { axis: 0, start, end });
  const paired = pairedHeads(s, part(0, turning), c.rope);
  return c.rope.inverse.length * 2 === c.heads.size
    ? stacked
    : concat(s.g, [paired, part(turning, all)], 0);
}

function read(config: ConfigReader): LanguageModel {
  const c = readConfig(config);
  const { long } = c.rope;
  const decoder = rotaryDecoder(c, {
    block: (s, x, layer) =>
      preNormBlock(s, c, x, layer.at, {
        attention: (normal) => attention(s, c, normal, layer),
        mlp: (normal) =>
          b.mergedMlp(
            s,
            normal,
            { gateUp: `${layer.at}.mlp.gate_up_proj`, down: `${layer.at}.mlp.down_proj` },
            { ...c, bias: false },
          ),
      }),
    notices: (capacity) =>
      long === undefined || capacity <= long.above
        ? []
        : [
            `longer than ${long.above} ids, all positions have other rotary frequencies: generation ` +
              "computes the cached keys again when a sequence grows past it, and so must a program " +
              "that runs prefill and decode itself",
          ],
  });
  return long === undefined ? decoder : { ...decoder, recomputeAbove: long.above };
}

export const phi3: Family = {
  modelType: "phi3",
  architectures: ["Phi3ForCausalLM", "Phi3Model"],
  keys: {
    inert: ["attention_dropout", "embd_pdrop", "resid_pdrop"],
    fixed: {
      attention_bias: [false],
      mlp_bias: [false],
      lm_head_bias: [false],
      full_attn_mod: [1],
      interpolate_factor: [1],
    },
  },
  tensors: rotaryTensors,
  read,
};
