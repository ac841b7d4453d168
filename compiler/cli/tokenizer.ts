/** Texts to ids and back, by the tokenizer and the chat template of a model's directory. */
import fs from "node:fs";
import path from "node:path";
import { FarrierError } from "../errors.js";
import { tokenizerDirectory, tokenizerFiles } from "../frontend/huggingface/tokenizer-files.js";

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

export interface Tokenizer {
  /** With the ids that the model wants around a text. */
  encode(text: string): number[];
  /** The ids that a conversation begins with, up to where the model is to answer. */
  chat(messages: readonly ChatMessage[]): Promise<number[]>;
  /** Without special ids. */
  decode(ids: readonly number[]): string;
}

interface LibraryTokenizer {
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: number[] };
  decode(ids: number[], options: { skip_special_tokens: boolean }): string;
}

interface LibraryModule {
  readonly Tokenizer: new (tokenizer: Config, config: Config) => LibraryTokenizer;
}

type Config = Readonly<Record<string, unknown>>;

const reasonOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

function json(file: string): Config {
  try {
    const value = JSON.parse(fs.readFileSync(file, "utf8")) as unknown;
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Config;
  } catch (cause) {
    throw new FarrierError("E_TOKENIZER", `it cannot be read: ${reasonOf(cause)}`, { file, cause });
  }
  throw new FarrierError("E_TOKENIZER", "it is no JSON object", { file });
}

/** The files' directory: the model's own, or that in a bundle. */
function directoryOf(place: string): string {
  const inside = path.join(place, tokenizerDirectory);
  return fs.existsSync(path.join(inside, tokenizerFiles.tokenizer)) ? inside : place;
}

/**
 * The tokenizer of a model's directory or of a bundle.
 * @throws FarrierError E_TOKENIZER
 */
export async function tokenizerOf(place: string): Promise<Tokenizer> {
  const directory = directoryOf(place);
  const file = path.join(directory, tokenizerFiles.tokenizer);
  if (!fs.existsSync(file))
    throw new FarrierError("E_TOKENIZER", `${tokenizerFiles.tokenizer} is absent`, {
      file: place,
      hint: "give --prompt-ids, or --tokenizer with the directory that has it",
    });
  const configFile = path.join(directory, tokenizerFiles.config);
  const config = fs.existsSync(configFile) ? json(configFile) : {};
  // Its declarations do not resolve by Node's rules: what is used of it is declared here.
  const found = (await import("@huggingface/tokenizers")) as unknown as LibraryModule;
  let library: LibraryTokenizer;
  try {
    library = new found.Tokenizer(json(file), config);
  } catch (cause) {
    if (cause instanceof FarrierError) throw cause;
    throw new FarrierError("E_TOKENIZER", reasonOf(cause), { file, cause });
  }
  const encode = (text: string, special: boolean): number[] =>
    library.encode(text, { add_special_tokens: special }).ids;
  const template = templateOf(directory, config);
  return {
    encode: (text) => encode(text, true),
    decode: (ids) => library.decode([...ids], { skip_special_tokens: true }),
    chat: async (messages) => encode(await template(messages), false),
  };
}

/** What templates name besides the conversation. */
function specials(config: Config): Record<string, string> {
  const names = ["bos_token", "eos_token", "pad_token", "unk_token"];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = config[name];
      const text =
        typeof value === "object" && value !== null && "content" in value ? value.content : value;
      return typeof text === "string" ? [[name, text]] : [];
    }),
  );
}

function templateOf(
  directory: string,
  config: Config,
): (messages: readonly ChatMessage[]) => Promise<string> {
  const file = path.join(directory, tokenizerFiles.template);
  const source = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : named(config);
  return async (messages) => {
    if (source === null)
      throw new FarrierError("E_TOKENIZER", "the model has no chat template", {
        file: directory,
        hint: "leave --chat out",
      });
    return rendered(source, directory, {
      ...specials(config),
      messages,
      add_generation_prompt: true,
    });
  };
}

/** The template in the configuration: a text, or one of several that is called default. */
function named(config: Config): string | null {
  const found = config["chat_template"];
  if (typeof found === "string") return found;
  const list: readonly unknown[] = Array.isArray(found) ? found : [];
  for (const each of list) {
    if (typeof each !== "object" || each === null) continue;
    const { name, template } = each as Config;
    if (name === "default" && typeof template === "string") return template;
  }
  return null;
}

async function rendered(
  source: string,
  file: string,
  names: Readonly<Record<string, unknown>>,
): Promise<string> {
  const { Template } = await import("@huggingface/jinja");
  try {
    return new Template(source).render({ ...names });
  } catch (cause) {
    throw new FarrierError("E_TOKENIZER", `the chat template fails: ${reasonOf(cause)}`, {
      file,
      hint: "leave --chat out",
      cause,
    });
  }
}
