import { describe, expect, it } from "vitest";
import { failure } from "../files/failure.testing.js";
import type { ImportedModel } from "../model.js";
import { importEdited, type TensorValueBytes } from "./models.testing.js";

const names = ({ tensors }: ImportedModel): string[] => tensors.map(({ name }) => name);

function rename(tensors: Map<string, TensorValueBytes>, prefix: string, to: string): void {
  for (const [name, tensor] of [...tensors]) {
    if (!name.startsWith(prefix)) continue;
    tensors.delete(name);
    tensors.set(to + name.slice(prefix.length), tensor);
  }
}

describe("tensors", () => {
  it("missing, unexpected and mis-shaped ones are one error with the full list", () => {
    const error = failure(() =>
      importEdited("gpt2", (tensors) => {
        tensors.delete("transformer.h.0.ln_1.weight");
        tensors.delete("transformer.h.1.mlp.c_fc.bias");
        const table = tensors.get("transformer.wpe.weight")!;
        tensors.set("transformer.wpe.weight", { ...table, shape: [64, 128] });
        const norm = tensors.get("transformer.ln_f.bias")!;
        tensors.set("transformer.h.2.ln_1.bias", norm);
        tensors.set("score.weight", norm);
      }),
    );
    expect(error.code).toBe("E_WEIGHTS");
    expect(error.message).toContain(
      '2 missing: "transformer.h.0.ln_1.weight", "transformer.h.1.mlp.c_fc.bias"; ' +
        '2 unexpected: "score.weight", "transformer.h.2.ln_1.bias"; ' +
        '1 wrong: "transformer.wpe.weight" is f32 [64, 128], expected a float [128, 64]',
    );
  });

  it("integers are no weights", () => {
    const error = failure(() =>
      importEdited("gpt2", (tensors) => {
        const { shape, bytes } = tensors.get("transformer.ln_f.bias")!;
        tensors.set("transformer.ln_f.bias", { dtype: "i32", shape, bytes });
      }),
    );
    expect(error.message).toMatch(/"transformer.ln_f.bias" is i32 \[64\]/);
  });

  it("one tensor may not have two names", () => {
    const error = failure(() =>
      importEdited("gpt2", (tensors) => {
        tensors.set("ln_f.bias", tensors.get("transformer.ln_f.bias")!);
      }),
    );
    expect(error.code).toBe("E_WEIGHTS");
    expect(error.message).toMatch(/ln_f.bias" by another name/);
  });

  it("the base model's prefix may be absent, buffers are left", () => {
    const model = importEdited("llama", (tensors) => {
      rename(tensors, "model.", "");
      const norm = tensors.get("norm.weight")!;
      tensors.set("layers.0.self_attn.rotary_emb.inv_freq", norm);
    });
    expect(names(model)).toContain("layers.0.mlp.up_proj.weight");
    expect(names(model)).not.toContain("layers.0.self_attn.rotary_emb.inv_freq");
  });
});

describe("the head", () => {
  const embeddings = "model.embed_tokens.weight";

  it("without its own tensor is missing, unless it is tied", () => {
    const drop = (tensors: Map<string, TensorValueBytes>): boolean =>
      tensors.delete("lm_head.weight");
    expect(failure(() => importEdited("llama", drop)).message).toMatch(/missing: "lm_head.weight"/);
    const tied = importEdited("llama", drop, { tie_word_embeddings: true });
    expect(names(tied)).toContain(embeddings);
  });

  it("is the table of embeddings where both are stored and equal", () => {
    const model = importEdited(
      "llama",
      (tensors) => tensors.set("lm_head.weight", tensors.get(embeddings)!),
      { tie_word_embeddings: true },
    );
    expect(names(model)).not.toContain("lm_head.weight");
  });

  it("is its own where both are stored and differ, as in transformers", () => {
    const model = importEdited("llama", () => undefined, { tie_word_embeddings: true });
    expect(names(model)).toContain("lm_head.weight");
  });
});
