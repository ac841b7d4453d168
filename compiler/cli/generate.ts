import { randomBytes } from "node:crypto";
import type { AddCommand } from "./main.js";
import { capacityOf, generate, type Model, type Sampling } from "../../runtime/node/index.js";
import { FarrierError } from "../errors.js";
import { existing, isBundle, withModel } from "./open.js";
import {
  compileOptions,
  count,
  number,
  withModelOptions,
  type RawCompileOptions,
} from "./options.js";
import { Output } from "./output.js";
import { tokenizerOf, type ChatMessage, type Tokenizer } from "./tokenizer.js";

const defaultNewTokens = 24;

interface Raw extends RawCompileOptions {
  readonly promptIds?: readonly (readonly number[])[];
  readonly prompt?: readonly string[];
  readonly chat?: boolean;
  readonly system?: string;
  readonly tokenizer?: string;
  readonly maxNewTokens?: number;
  readonly ignoreEos?: boolean;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
  readonly device?: string;
  readonly json?: boolean;
}

function ids(text: string, before: readonly (readonly number[])[] = []): (readonly number[])[] {
  const parts = text.split(",").map((part) => part.trim());
  if (!parts.every((part) => /^\d{1,15}$/.test(part)))
    throw new FarrierError("E_OPTION", `${JSON.stringify(text)} is no list of ids`, {
      where: "--prompt-ids",
      hint: "write 1,2,3",
    });
  return [...before, parts.map(Number)];
}

const texts = (text: string, before: readonly string[] = []): string[] => [...before, text];

export const generateCommand: AddCommand = (program) => {
  const command = program
    .command("generate")
    .description("continue prompts; what is new of each is one line on standard output")
    .argument("<bundle or model>")
    .option("--prompt-ids <ids>", "a prompt as ids: 1,2,3; repeat for several", ids)
    .option("--prompt <text>", "a prompt as text; repeat for several", texts)
    .option("--chat", "each text is a message, put into the model's chat template")
    .option("--system <text>", "with --chat: the system's message")
    .option("--tokenizer <dir>", "where tokenizer.json is (default: the model's or the bundle's)")
    .option(
      "--max-new-tokens <n>",
      "ids to generate at most (default: 24, or as many as the cache has room for)",
      count(1),
    )
    .option("--ignore-eos", "go on after an end-of-sequence id")
    .option(
      "--temperature <t>",
      "draw from the softmax of scores over this (default: 0, greedy)",
      number,
    )
    .option("--top-k <n>", "draw from the n largest scores", count(0))
    .option("--top-p <p>", "draw from the largest scores whose softmax reaches p", number)
    .option("--seed <n>", "makes draws repeatable (default: told on standard error)", count(0))
    .option("--target <names>", "what a model is compiled for (default: what the device runs)")
    .option("--device <name>", "cpu or cuda:N")
    .option("--json", "one event a line");
  withModelOptions(command).action(async (place: string, raw: Raw) => {
    const output = new Output(raw.json === true);
    existing(place);
    const tokenizer = raw.prompt === undefined ? null : await tokenizerOf(raw.tokenizer ?? place);
    const prompts = await promptsOf(raw, tokenizer);
    const sampling = samplingOf(raw, output);
    const options = compileOptions(raw);
    const longest = Math.max(...prompts.map(({ length }) => length));
    const seq = [1, longest + (raw.maxNewTokens ?? defaultNewTokens)] as const;
    const dims =
      isBundle(place) || options.dims !== undefined
        ? {}
        : { dims: { batch: [1, Math.min(prompts.length, 8)] as const, seq } };
    await withModel(
      { place, device: raw.device, options: { ...options, ...dims }, output },
      async (model) => {
        const wanted = newTokens(model, longest, raw.maxNewTokens, output);
        let made = 0;
        const generated = await generate(model, prompts, {
          ...sampling,
          maxNewTokens: wanted,
          ...(raw.ignoreEos === true ? { stop: [] } : {}),
          onId: () => output.progress("generating", ++made, wanted * prompts.length),
        });
        for (const each of generated) report(output, each, tokenizer);
      },
    );
  });
};

function report(output: Output, made: readonly number[], tokenizer: Tokenizer | null): void {
  if (tokenizer === null) {
    output.event("generated", { ids: made }, made.join(","));
    return;
  }
  const text = tokenizer.decode(made);
  output.event("generated", { ids: made, text }, text);
}

async function promptsOf(raw: Raw, tokenizer: Tokenizer | null): Promise<(readonly number[])[]> {
  const { promptIds = [], prompt = [], chat = false, system } = raw;
  if (promptIds.length + prompt.length === 0)
    throw new FarrierError("E_OPTION", "no prompt is given", {
      hint: "give --prompt TEXT or --prompt-ids 1,2,3",
    });
  if (promptIds.length > 0 && prompt.length > 0)
    throw new FarrierError("E_OPTION", "prompts are either texts or ids", {
      where: "--prompt, --prompt-ids",
    });
  if (!chat && system !== undefined)
    throw new FarrierError("E_OPTION", "a system's message needs --chat", { where: "--system" });
  if (tokenizer === null) return [...promptIds];
  const before: ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
  return Promise.all(
    prompt.map(async (content) => {
      const found = chat
        ? await tokenizer.chat([...before, { role: "user", content }])
        : tokenizer.encode(content);
      if (found.length > 0) return found;
      throw new FarrierError("E_OPTION", "the text has no ids", { where: "--prompt" });
    }),
  );
}

function samplingOf(raw: Raw, output: Output): Sampling {
  const { temperature = 0, topK = 0, topP = 1 } = raw;
  if (temperature === 0 && (topK !== 0 || topP < 1))
    throw new FarrierError("E_OPTION", "they say what is drawn from, and nothing is drawn", {
      where: "--top-k, --top-p",
      hint: "give --temperature 1",
    });
  if (temperature === 0) return {};
  const seed = raw.seed ?? randomBytes(6).readUIntBE(0, 6);
  if (raw.seed === undefined) output.notice(`--seed ${seed}`);
  return { temperature, topK, topP, seed: BigInt(seed) };
}

/** How many ids to make: what was asked for, or the default cut to the room in the cache. */
function newTokens(
  model: Model,
  longest: number,
  asked: number | undefined,
  output: Output,
): number {
  const room = capacityOf(model) - longest + 1;
  if (asked !== undefined || room >= defaultNewTokens || room <= 0)
    return asked ?? defaultNewTokens;
  output.notice(`the cache of ${capacityOf(model)} positions has room for ${room} new ids`);
  return room;
}
