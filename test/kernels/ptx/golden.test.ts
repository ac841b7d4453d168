/** The text of one kernel of each family, so that a change of the emitter shows as a change of text. */
import { expect, it } from "vitest";
import { hopperCases } from "../../gpu/cases/registry.js";
import { gelu } from "../../gpu/cases/map.js";
import { layerNorm } from "../../gpu/cases/reduce.js";
import { attentionCases } from "../../gpu/cases/simt-attention.js";
import { gemmCases } from "../../gpu/cases/simt-gemm.js";

// In one order: names of equal expressions depend on which was made first.
const chosen = {
  map: gelu("bf16", 1000),
  reduce: layerNorm("bf16", 9, 768),
  gemm: gemmCases({ m: 8, n: 64, k: 96, a: "rms", epilogue: "gate", symbolic: true }),
  attention: attentionCases({
    batch: 2,
    heads: 2,
    repeat: 2,
    queries: 1,
    keys: 300,
    depth: 64,
    mask: "cached",
  }),
  "gemm-sm90a": hopperCases().slice(0, 1),
};

it.each(Object.entries(chosen))("%s", async (family, [test]) => {
  await expect(test!.kernel().text).toMatchFileSnapshot(`golden/${family}.ptx`);
});
