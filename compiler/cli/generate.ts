import type { AddCommand } from "./main.js";
import type { Model, Tensor } from "../../runtime/node/index.js";
import { FarrierError } from "../errors.js";
import { existing, isBundle, withModel } from "./open.js";
import { compileOptions, count, withModelOptions, type RawCompileOptions } from "./options.js";
import { Output } from "./output.js";

const defaultNewTokens = 24;

interface Raw extends RawCompileOptions {
  readonly promptIds?: readonly number[];
  readonly prompt?: string;
  readonly maxNewTokens?: number;
  readonly ignoreEos?: boolean;
  readonly device?: string;
  readonly json?: boolean;
}

function ids(text: string): number[] {
  const parts = text.split(",").map((part) => part.trim());
  if (!parts.every((part) => /^\d{1,15}$/.test(part)))
    throw new FarrierError("E_OPTION", `${JSON.stringify(text)} is no list of ids`, {
      where: "--prompt-ids",
      hint: "write 1,2,3",
    });
  return parts.map(Number);
}

export const generateCommand: AddCommand = (program) => {
  const command = program
    .command("generate")
    .description("continue a prompt, greedily; the new ids are one line on standard output")
    .argument("<bundle or model>")
    .option("--prompt-ids <ids>", "the prompt as ids: 1,2,3", ids)
    .option("--prompt <text>", "the prompt as text (later: needs the model's tokenizer)")
    .option(
      "--max-new-tokens <n>",
      "ids to generate at most (default: 24, or as many as the cache has room for)",
      count(1),
    )
    .option("--ignore-eos", "go on after an end-of-sequence id")
    .option("--target <names>", "what a model is compiled for (default: what the device runs)")
    .option("--device <name>", "cpu or cuda:N")
    .option("--json", "one event a line");
  withModelOptions(command).action(async (place: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    existing(place);
    if (raw.prompt !== undefined)
      throw new FarrierError("E_UNSUPPORTED", "prompts as text are not supported yet", {
        where: "--prompt",
        hint: "give --prompt-ids",
      });
    const prompt = raw.promptIds;
    if (prompt === undefined)
      throw new FarrierError("E_OPTION", "no prompt is given", { hint: "give --prompt-ids 1,2,3" });
    const options = compileOptions(raw);
    const dims =
      isBundle(place) || options.dims !== undefined
        ? {}
        : {
            dims: {
              batch: [1, 1],
              seq: [1, prompt.length + (raw.maxNewTokens ?? defaultNewTokens)],
            } as const,
          };
    await withModel(
      { place, device: raw.device, options: { ...options, ...dims }, output },
      async (model) => {
        const generated = await greedy(model, prompt, raw, output);
        output.event("generated", { ids: generated }, generated.join(","));
      },
    );
  });
};

async function greedy(
  model: Model,
  prompt: readonly number[],
  raw: Raw,
  output: Output,
): Promise<number[]> {
  const names = model.entries.map((entry) => entry.name);
  if (!names.includes("prefill") || !names.includes("decode"))
    throw new FarrierError("E_UNSUPPORTED", "the model has no entries to generate with", {
      hint: "generate needs a Hugging Face language model",
    });
  const wanted = newTokens(model, prompt.length, raw.maxNewTokens, output);
  const stop = new Set(raw.ignoreEos === true ? [] : eosOf(model));
  const state = model.createState();
  const generated: number[] = [];
  let next = best(
    (await model.run({ input_ids: [[...prompt]], lengths: [0] }, { entry: "prefill", state }))[
      "logits"
    ]!,
  );
  const useGraph = model.device.type === "cuda";
  for (;;) {
    generated.push(next);
    output.progress("generating", generated.length, wanted);
    if (stop.has(next) || generated.length >= wanted) break;
    const past = prompt.length + generated.length - 1;
    const { logits } = await model.run(
      { input_ids: [[next]], lengths: [past] },
      { entry: "decode", state, graph: useGraph },
    );
    next = best(logits!);
  }
  state.close();
  return generated;
}

/** The first of the largest logits of the last position. */
function best(logits: Tensor): number {
  const values = logits.toFloat64();
  const vocabulary = logits.shape[logits.shape.length - 1]!;
  const start = values.length - vocabulary;
  let index = 0;
  for (let i = 1; i < vocabulary; i++) if (values[start + i]! > values[start + index]!) index = i;
  return index;
}

/**
 * How many ids to make: what was asked for, or the default cut to the room in the cache.
 * @throws FarrierError E_RT_INDEX
 */
function newTokens(
  model: Model,
  prompt: number,
  asked: number | undefined,
  output: Output,
): number {
  const capacity = model.states[0]?.shape[2];
  const wanted = asked ?? defaultNewTokens;
  // The last id needs no place: nothing is computed from it.
  if (typeof capacity !== "number" || prompt + wanted - 1 <= capacity) return wanted;
  const room = capacity - prompt + 1;
  if (asked === undefined && room > 0) {
    output.notice(`the cache of ${capacity} positions has room for ${room} new ids`);
    return room;
  }
  throw new FarrierError(
    "E_RT_INDEX",
    `prompt and new ids need ${prompt + wanted - 1} positions, the cache holds ${capacity}`,
    { hint: "ask for fewer with --max-new-tokens, or compile with a larger --dim seq" },
  );
}

function eosOf(model: Model): readonly number[] {
  const { generation } = model.description.plan as {
    generation?: { eosTokenIds?: readonly number[] };
  };
  return generation?.eosTokenIds ?? [];
}
