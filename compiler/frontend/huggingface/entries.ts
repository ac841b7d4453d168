/** The entries of a language model: the whole sequence at once, or by way of its caches. */
import { FarrierError } from "../../errors.js";
import { input, reshape } from "../../ir/build.js";
import type { Node } from "../../ir/graph.js";
import { int, sym } from "../../scalar/build.js";
import type { Expr, SymbolInfo } from "../../scalar/expr.js";
import type { EntryName, ModelEntry } from "../model.js";
import { lastOfEach } from "./blocks.js";
import type { LanguageModel } from "./family.js";
import { Scope, type EntryInputs, type ModelScope } from "./scope.js";

/** Lowest and highest value of a symbol. */
export type Span = readonly [number, number];

export interface Profile {
  readonly batch: SymbolInfo;
  readonly seq: SymbolInfo;
}

/** Inputs of `main` that transformers' models take besides the ids. */
export type OptionalInput = "attention_mask" | "position_ids";

const names = ["batch", "seq"] as const;

/** The symbols' ranges: those that the user gave, the model's for the rest. */
export function profileOf(model: LanguageModel, dims: Readonly<Record<string, Span>>): Profile {
  for (const [name, [low, high]] of Object.entries(dims)) {
    const place = { where: `--dim ${name}` };
    if (!names.some((each) => each === name))
      throw new FarrierError("E_DIM", `the model's symbols are ${names.join(" and ")}`, place);
    const ordered = Number.isSafeInteger(low) && Number.isSafeInteger(high) && low <= high;
    if (!ordered || low < 1)
      throw new FarrierError("E_DIM", `${low}..${high} is no range of positive integers`, place);
  }
  const { limit, beyond } = model.positions;
  const batch: Span = dims["batch"] ?? [1, 8];
  const seq: Span = dims["seq"] ?? [1, limit];
  if (seq[1] > limit && beyond !== null)
    throw new FarrierError("E_CONFIG_UNSUPPORTED", `${seq[1]} positions: ${beyond}`, {
      where: "--dim seq",
      hint: `give at most ${limit}`,
    });
  return { batch: symbol("batch", batch), seq: symbol("seq", seq) };
}

const symbol = (name: string, [min, max]: Span): SymbolInfo => ({
  name,
  space: "host",
  min,
  max,
  divisor: 1,
});

/** `main`, and `prefill` and `decode`, which share the caches. */
export function languageEntries(
  model: LanguageModel,
  m: ModelScope,
  profile: Profile,
  optional: readonly OptionalInput[],
): ModelEntry[] {
  const [batch, seq] = [sym(profile.batch), sym(profile.seq)];
  const ids = (length: Expr): Node<"input"> => input(m.g, "input_ids", "i64", [batch, length]);
  const lengths = input(m.g, "lengths", "i32", [batch]);
  const extra = (name: OptionalInput): Node<"input"> | undefined =>
    optional.includes(name) ? input(m.g, name, "i64", [batch, seq]) : undefined;
  const [mask, positions] = [extra("attention_mask"), extra("position_ids")];
  const whole = { ids: ids(seq), ...(mask && { mask }), ...(positions && { positions }) };
  return [
    entry("main", model, m, whole),
    entry("prefill", model, m, { ids: ids(seq), lengths }),
    entry("decode", model, m, { ids: ids(int(1)), lengths }),
  ];
}

type InputNodes = { readonly [K in keyof EntryInputs]: Node<"input"> };

function entry(
  name: EntryName,
  model: LanguageModel,
  m: ModelScope,
  inputs: InputNodes,
): ModelEntry {
  const s = new Scope(m, inputs);
  const hidden = model.hidden(s);
  const all = name === "main";
  const logits = model.logits(s, all ? hidden : lastOfEach(s, hidden));
  const shaped = reshape(m.g, logits, [s.batch, all ? s.seq : 1, model.vocabulary]);
  m.g.name(shaped, "logits");
  const graph = {
    builder: m.g,
    inputs: Object.values(inputs),
    outputs: [{ name: "logits", node: shaped }],
    states: s.states,
  };
  return { name, graph };
}
