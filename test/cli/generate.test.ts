/** `generate`, over one bundle of the Llama fixture for the CPU, which is given a tokenizer of bytes. */
import fs from "node:fs";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { bundleOf, fixture, reference, temporaryDirectory } from "../support.js";
import { farrier } from "./support.js";

const { prompt, greedy } = reference("llama");
/** Positions of the bundle's cache. */
const positions = 64;
let bundle: string;

/** The characters that stand for bytes in GPT-2's vocabulary. */
function characterOf(byte: number): string {
  const printable = (code: number): boolean =>
    (code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255);
  if (printable(byte)) return String.fromCharCode(byte);
  const before = Array.from({ length: byte }, (_, i) => i).filter((each) => !printable(each));
  return String.fromCharCode(256 + before.length);
}

/** A byte is an id. */
const tokenizer = {
  version: "1.0",
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel" },
  model: {
    type: "BPE",
    vocab: Object.fromEntries(Array.from({ length: 256 }, (_, byte) => [characterOf(byte), byte])),
    merges: [],
  },
};

const template =
  "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}" +
  "{% if add_generation_prompt %}assistant: {% endif %}";

beforeAll(async () => {
  const directory = path.join(temporaryDirectory(), "llama");
  fs.cpSync(fixture("llama", "hf"), directory, { recursive: true });
  const config = { bos_token: { content: "<s>" }, chat_template: template };
  fs.writeFileSync(path.join(directory, "tokenizer.json"), JSON.stringify(tokenizer));
  fs.writeFileSync(path.join(directory, "tokenizer_config.json"), JSON.stringify(config));
  const dims = { batch: [1, 4], seq: [1, positions] } as const;
  bundle = await bundleOf(directory, { dtype: "f32", dims });
}, 240_000);

describe("generate", () => {
  const ids = ["--prompt-ids", prompt.join(",")];

  it("prints transformers' ids on one line, and nothing else", async () => {
    const argv = [...ids, "--max-new-tokens", String(greedy.length), "--ignore-eos"];
    const { status, out, err } = await farrier("generate", bundle, ...argv);
    expect({ status, out, err }).toEqual({ status: 0, out: `${greedy.join(",")}\n`, err: "" });
  });

  it("gives the ids as an event", async () => {
    const argv = [...ids, "--max-new-tokens", "2", "--ignore-eos", "--json"];
    const { events } = await farrier("generate", bundle, ...argv);
    expect(events.at(-1)).toEqual({ event: "generated", ids: greedy.slice(0, 2) });
  });

  it("stops where the cache is full, and says so", async () => {
    const long = Array.from({ length: positions - 2 }, (_, i) => i % 200).join(",");
    const { status, out, err } = await farrier("generate", bundle, "--prompt-ids", long);
    expect(status).toBe(0);
    expect(out.split(",").length).toBeLessThanOrEqual(3);
    expect(err).toContain(`the cache of ${positions} positions has room for 3 new ids`);
  });

  const other = [9, 8, 7];
  const run = async (...argv: string[]): Promise<number[][]> => {
    const { status, out, err } = await farrier("generate", bundle, ...argv, "--ignore-eos");
    expect({ status, err: err.replace(/note: --seed \d+\n/, "") }).toEqual({ status: 0, err: "" });
    const lines = out.trimEnd().split("\n");
    return lines.map((line) => line.split(",").map(Number));
  };

  it("continues prompts of different lengths as it does each alone", async () => {
    const prompts = [prompt, other, [1], [...prompt, ...other], [5, 5]].map((each) =>
      each.join(","),
    );
    const alone: number[][][] = [];
    for (const each of prompts) alone.push(await run("--prompt-ids", each));
    const together = await run(...prompts.flatMap((each) => ["--prompt-ids", each]));
    expect(together).toEqual(alone.flat());
    expect(new Set(together.map((line) => line.join(","))).size).toBe(prompts.length);
  });

  it("draws, the same for the same seed", async () => {
    const argv = ["--prompt-ids", other.join(","), "--temperature", "2", "--top-k", "50"];
    const [a, b, c] = [
      await run(...argv, "--seed", "1"),
      await run(...argv, "--seed", "1"),
      await run(...argv, "--seed", "2"),
    ];
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
    const { err } = await farrier("generate", bundle, ...argv);
    expect(err).toMatch(/^note: --seed \d+\n$/);
  });

  it("takes texts, by the tokenizer that the bundle has of the model", async () => {
    const bytes = [...Buffer.from("héllo", "utf8")];
    const ids = await run("--prompt-ids", bytes.join(","));
    const argv = ["--prompt", "héllo", "--ignore-eos"];
    const { status, events } = await farrier("generate", bundle, ...argv, "--json");
    expect(status).toBe(0);
    expect(events.at(-1)).toEqual({
      event: "generated",
      ids: ids[0],
      text: Buffer.from(ids[0]!).toString("utf8"),
    });
    const { out } = await farrier("generate", bundle, ...argv);
    expect(out).toBe(`${Buffer.from(ids[0]!).toString("utf8")}\n`);
  });

  it("puts messages into the chat template", async () => {
    const bytes = [...Buffer.from("<s>system: be kind\nuser: hi\nassistant: ", "utf8")];
    const argv = ["--prompt", "hi", "--chat", "--system", "be kind", "--ignore-eos", "--json"];
    const { events } = await farrier("generate", bundle, ...argv);
    const [ids] = await run("--prompt-ids", bytes.join(","));
    expect(events.at(-1)).toMatchObject({ ids });
  });

  it.each<[string, string[], number, string[]]>([
    [
      "more ids than the cache holds",
      ["--prompt-ids", "1,2,3", "--max-new-tokens", "100"],
      2,
      ["E_RT_INDEX", "102 positions", String(positions)],
    ],
    [
      "a prompt that alone is too long",
      [
        "--prompt-ids",
        Array(positions + 1)
          .fill(1)
          .join(","),
      ],
      2,
      ["E_RT_INDEX", "holds"],
    ],
    ["an id beyond the vocabulary", ["--prompt-ids", "1,99999"], 2, ["E_RT_INDEX"]],
    ["no prompt", [], 2, ["--prompt-ids"]],
    ["an empty prompt", ["--prompt-ids", ""], 2, ["E_OPTION"]],
    ["words", ["--prompt-ids", "once upon"], 2, ["E_OPTION", "1,2,3"]],
    ["text and ids", ["--prompt", "a", "--prompt-ids", "1"], 2, ["E_OPTION"]],
    ["text without ids", ["--prompt", ""], 2, ["E_OPTION", "no ids"]],
    ["a system's message alone", ["--prompt", "a", "--system", "b"], 2, ["E_OPTION", "--chat"]],
    [
      "limits of draws that are not made",
      ["--prompt", "a", "--top-k", "5"],
      2,
      ["--temperature 1"],
    ],
    ["another directory's tokenizer", ["--prompt", "a", "--tokenizer", "/tmp"], 2, ["E_TOKENIZER"]],
  ])("refuses %s", async (_what, argv, status, says) => {
    const said = await farrier("generate", bundle, ...argv);
    expect({ status: said.status, err: said.err }).toMatchObject({ status });
    for (const text of says) expect(said.err).toContain(text);
    expect(said.out).toBe("");
  });
});

describe("generate with paged caches", () => {
  const paged = ["--dtype", "f32", "--cache", "paged", "--page-size", "8"];
  const ask = ["--max-new-tokens", "6", "--ignore-eos"];

  it("prints the ids of contiguous ones", async () => {
    const argv = ["--prompt-ids", prompt.join(","), ...paged, ...ask];
    const { status, out } = await farrier("generate", fixture("llama", "hf"), ...argv);
    expect({ status, out }).toEqual({ status: 0, out: `${greedy.slice(0, 6).join(",")}\n` });
  }, 120_000);

  it("refuses what the pool has no pages for", async () => {
    const argv = ["--prompt-ids", prompt.slice(0, 12).join(","), ...paged, "--cache-tokens", "16"];
    const { status, err } = await farrier("generate", fixture("llama", "hf"), ...argv, ...ask);
    expect({ status, err }).toEqual({ status: 4, err: expect.stringContaining("E_RT_OOM") });
    expect(err).toContain("prompt 0 with its new ids needs 3 pages of 8 positions");
  }, 120_000);

  it.each([
    ["pages without a layout", "llama/hf", ["--page-size", "16"], /E_OPTION: --page-size/],
    ["a model without caches", "bert/hf", ["--cache", "paged"], /E_OPTION: --cache: .* no caches/],
    [
      "an ONNX file",
      "llama/static.onnx",
      ["--cache", "paged"],
      /E_OPTION: --cache: .* Hugging Face/,
    ],
  ])("refuses %s", async (_, model, argv, message) => {
    const { status, err } = await farrier("explain", fixture(model), ...argv);
    expect({ status, err }).toEqual({ status: 2, err: expect.stringMatching(message) });
  });
});
