/** The entries of a model: the whole sequence at once, or by way of its caches. */
import { FarrierError } from "../../errors.js";
import { input, reshape } from "../../ir/build.js";
import type { Node } from "../../ir/graph.js";
import { int, sym } from "../../scalar/build.js";
import type { Expr, SymbolInfo } from "../../scalar/expr.js";
import type { EntryName, ModelEntry } from "../model.js";
import { lastOfEach } from "./blocks.js";
import type { Encoder, LanguageModel, Model, OptionalInput } from "./family.js";
import { blockTable } from "./pages.js";
import { nextIds, samplingFills, samplingInputs, type SamplingInputs } from "./sampling.js";
import { Scope, type EntryInputs, type ModelScope } from "./scope.js";

/** Lowest and highest value of a symbol. */
export type Span = readonly [number, number];

export interface Profile {
  readonly batch: SymbolInfo;
  readonly seq: SymbolInfo;
}

/** The value of an input that is left out; without one it has to be given. */
const fillOf: { readonly [I in OptionalInput]?: number } = {
  attention_mask: 1,
  token_type_ids: 0,
};

/** What stands for `counts` where every sequence has all of the run's ids. */
const allIds = 2 ** 31 - 1;

const names = ["batch", "seq"] as const;

/** The symbols' ranges: those that the user gave, the model's for the rest. */
export function profileOf(model: Model, dims: Readonly<Record<string, Span>>): Profile {
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

export interface Entries {
  readonly entries: readonly ModelEntry[];
  readonly fills: ReadonlyMap<string, number>;
}

/** @param asked the inputs of `main` besides the ids; by default those that the model wants */
export function entriesOf(
  model: Model,
  m: ModelScope,
  profile: Profile,
  asked: readonly OptionalInput[] | undefined,
): Entries {
  const names = asked ?? (model.kind === "encoder" ? model.inputs : []);
  const fills = names.flatMap((name) => {
    const fill = fillOf[name];
    return fill === undefined ? [] : [[name, fill] as const];
  });
  const [batch, seq] = [sym(profile.batch), sym(profile.seq)];
  const extra = (name: OptionalInput): Node<"input"> | undefined =>
    names.includes(name) ? input(m.g, name, "i64", [batch, seq]) : undefined;
  const [mask, positions, types] = [
    extra("attention_mask"),
    extra("position_ids"),
    extra("token_type_ids"),
  ];
  const whole: InputNodes = {
    ids: input(m.g, "input_ids", "i64", [batch, seq]),
    ...(mask && { mask }),
    ...(positions && { positions }),
    ...(types && { types }),
  };
  const entries =
    model.kind === "encoder"
      ? [encoderEntry(model, m, whole)]
      : [entry("main", model, m, whole), ...cachedEntries(model, m, batch, seq)];
  const cached: Readonly<Record<string, number>> =
    model.kind === "language" ? { counts: allIds, ...samplingFills } : {};
  return { entries, fills: new Map([...fills, ...Object.entries(cached)]) };
}

type InputNodes = { readonly [K in keyof EntryInputs]: Node<"input"> };

function encoderEntry(model: Encoder, m: ModelScope, inputs: InputNodes): ModelEntry {
  const s = new Scope(m, inputs);
  const outputs = model.outputs(s);
  for (const { name, node } of outputs) m.g.name(node, name);
  const graph = { builder: m.g, inputs: Object.values(inputs), outputs, states: [] };
  return { name: "main", graph };
}

/** `prefill` and `decode`, which share the caches. */
function cachedEntries(model: LanguageModel, m: ModelScope, batch: Expr, seq: Expr): ModelEntry[] {
  const [lengths, counts] = ["lengths", "counts"].map((name) => input(m.g, name, "i32", [batch]));
  const ids = (length: Expr): Node<"input"> => input(m.g, "input_ids", "i64", [batch, length]);
  const sampling = samplingInputs(m, batch);
  const cached = { lengths: lengths!, ...(m.pool && { table: blockTable(m.g, batch, m.pool) }) };
  const [prefill, decode] = [
    { ids: ids(seq), ...cached, counts: counts! },
    // Without a page to write to, a row of the batch that is no sequence has to say so.
    { ids: ids(int(1)), ...cached, ...(m.pool && { counts: counts! }) },
  ];
  return [
    entry("prefill", model, m, prefill, sampling),
    entry("decode", model, m, decode, sampling),
  ];
}

function entry(
  name: EntryName,
  model: LanguageModel,
  m: ModelScope,
  inputs: InputNodes,
  sampling?: SamplingInputs,
): ModelEntry {
  const s = new Scope(m, inputs);
  const hidden = model.hidden(s);
  const all = sampling === undefined;
  const logits = model.logits(s, all ? hidden : lastOfEach(s, hidden));
  const shaped = reshape(m.g, logits, [s.batch, all ? s.seq : 1, model.vocabulary]);
  m.g.name(shaped, "logits");
  const outputs = [{ name: "logits", node: shaped }];
  if (sampling !== undefined) {
    const next = nextIds(s, logits, s.nextPlace(), sampling);
    m.g.name(next, "next_ids");
    outputs.push({ name: "next_ids", node: next });
  }
  const drawn: readonly Node<"input">[] = sampling === undefined ? [] : Object.values(sampling);
  const given = [...Object.values(inputs), ...drawn];
  return { name, graph: { builder: m.g, inputs: given, outputs, states: s.states } };
}
