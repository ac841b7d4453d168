/** Checkpoints whose weights are 8-bit floats with a factor for each block, as graphs see them. */
import { dequantize } from "../../ir/build-anchor.js";
import { broadcastTo, concat, reshape, slice } from "../../ir/build.js";
import type { Node } from "../../ir/graph.js";
import type { ConfigReader } from "../files/config-reader.js";
import { unsupported } from "./config-keys.js";
import type { Scope } from "./scope.js";
import type { BlockScales } from "./weights.js";

const key = "quantization_config";

/** How `quantization_config` says that weights are stored, or null where they are as they are. */
export function readBlockScales(config: ConfigReader): BlockScales | null {
  const reader = config.optionalNested(key);
  if (reader === undefined) return null;
  const method = reader.optionalString("quant_method");
  const format = reader.optionalString("fmt") ?? "e4m3";
  const block = reader.optionalInts("weight_block_size", { min: 1, max: 1 << 20 });
  if (method !== "fp8" || format !== "e4m3" || block?.length !== 2) {
    const size = block === undefined ? "" : `, blocks of [${block.join(", ")}]`;
    const what = `${method ?? "no method"}, format ${format}${size}`;
    throw unsupported(config, key, `${what}: only fp8, e4m3, in blocks of two axes is supported`);
  }
  // How activations were quantised changes nothing where products are not quantised.
  reader.markRead("activation_scheme", "modules_to_not_convert", "dequantize");
  return {
    dtype: "e4m3fn",
    block: [block[0]!, block[1]!],
    suffix: "_scale_inv",
    names: /_(proj|mqa)\.weight$/,
  };
}

/** The weights `names`, each [rows, columns], times their factors: f32 [names, rows, columns]. */
export function blockScaled(
  s: Scope,
  names: readonly string[],
  shape: readonly number[],
  { dtype, block, suffix }: BlockScales,
): Node {
  const { g, weights } = s;
  const [rows, columns] = shape as [number, number];
  const [rowBlocks, columnBlocks] = [Math.ceil(rows / block[0]), Math.ceil(columns / block[1])];
  const stored = names.map((name) => weights.tensor(name, shape, { scale: 1, shift: 0 }, dtype));
  const factors = names.map((name) => {
    const random = { scale: 0, shift: 0.02 };
    return weights.tensor(`${name}${suffix}`, [rowBlocks, columnBlocks], random, "f32");
  });
  const count = names.length;
  const perBlock = reshape(g, concat(g, factors, 0), [count, rowBlocks, 1, columnBlocks]);
  const repeated = broadcastTo(g, perBlock, [count, rowBlocks, block[0], columnBlocks]);
  const padded = reshape(g, repeated, [count, rowBlocks * block[0], columnBlocks]);
  const perRow = slice(g, padded, { axis: 1, start: 0, end: rows });
  const x = reshape(g, concat(g, stored, 0), [count, rows, columns]);
  return dequantize(g, x, perRow, { axis: 2, group: block[1], dtype: "f32" });
}
