/** Continues prompts of different lengths in one batch: prefill by the chunk, then a step for each id. */
import type { SymbolInfo } from "./description.js";
import { badInput, FarrierRuntimeError } from "./errors.js";
import type { Model, State } from "./model.js";

export interface Sampling {
  /** What scores are divided by; 0 (the default) takes the largest. */
  readonly temperature?: number;
  /** How many of the largest scores are drawn from; 0 (the default) for all. */
  readonly topK?: number;
  /** The share of the softmax, from above, that is drawn from; 1 by default. */
  readonly topP?: number;
  /** Draws are a function of it and of an id's place. The prompts of a call have seeds that follow it. */
  readonly seed?: bigint;
}

export interface GenerateOptions extends Sampling {
  readonly maxNewTokens: number;
  /** Ids after which a sequence ends; by default those that the model's files name. */
  readonly stop?: readonly number[];
  /** Called with each new id, in the order in which they are made. */
  readonly onId?: (prompt: number, id: number) => void;
}

/** Unsupported, rather than wrong. */
const unsupported = 3;

/**
 * The new ids of each prompt, its stop id among them.
 * @throws FarrierRuntimeError E_UNSUPPORTED, E_RT_INPUT, E_RT_INDEX
 */
export async function generate(
  model: Model,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<number[][]> {
  const names = model.entries.map(({ name }) => name);
  const drawn = model.entries.some(({ outputs }) => outputs.some(({ name }) => name === nextIds));
  if (!names.includes("prefill") || !names.includes("decode") || !drawn)
    throw new FarrierRuntimeError(
      "E_UNSUPPORTED",
      "E_UNSUPPORTED: the model has no entries to generate with (generate needs a Hugging Face language model)",
      unsupported,
    );
  prompts.forEach((prompt, i) => {
    if (prompt.length === 0) throw badInput("E_RT_INPUT", `prompt ${i} has no ids`);
    const needed = prompt.length + options.maxNewTokens - 1;
    const room = capacityOf(model);
    if (needed > room)
      throw badInput(
        "E_RT_INDEX",
        `prompt and new ids need ${needed} positions, the cache holds ${room}`,
        "ask for fewer ids, or compile with a larger --dim seq",
      );
  });
  const size = symbol(model, "batch").max;
  const made: number[][] = [];
  for (let first = 0; first < prompts.length; first += size) {
    const group = prompts.slice(first, first + size);
    made.push(...(await new Group(model, group, first, options).run()));
  }
  return made;
}

const nextIds = "next_ids";

/** Positions of a sequence that the model's caches hold. */
export function capacityOf(model: Model): number {
  const capacity = model.states.find(({ shape }) => shape.length === 4)?.shape[2];
  return capacity ?? symbol(model, "seq").max;
}

function symbol(model: Model, name: string): SymbolInfo {
  return model.symbols.find((each) => each.name === name) ?? { name, min: 1, max: 1, divisor: 1 };
}

/** The least extent of a symbol that is not below `extent`. */
function fitting({ min, divisor }: SymbolInfo, extent: number): number {
  return Math.ceil(Math.max(min, extent) / divisor) * divisor;
}

class Group {
  readonly #model: Model;
  readonly #first: number;
  readonly #prompts: readonly (readonly number[])[];
  readonly #options: GenerateOptions;
  readonly #stop: ReadonlySet<number>;
  /** Sequences, and rows beside them that only fill up the batch. */
  readonly #rows: number;
  readonly #limits: Readonly<Record<string, readonly (number | bigint)[]>>;

  constructor(
    model: Model,
    prompts: readonly (readonly number[])[],
    first: number,
    options: GenerateOptions,
  ) {
    this.#model = model;
    this.#prompts = prompts;
    this.#first = first;
    this.#options = options;
    this.#stop = new Set(options.stop ?? model.description.plan.generation?.eosTokenIds ?? []);
    this.#rows = fitting(symbol(model, "batch"), prompts.length);
    const { temperature = 0, topK = 0, topP = 1, seed = 0n } = options;
    const all = (value: number): number[] => Array<number>(this.#rows).fill(value);
    this.#limits = {
      temperature: all(temperature),
      top_k: all(topK),
      top_p: all(topP),
      seed: Array.from({ length: this.#rows }, (_, i) =>
        BigInt.asIntN(64, seed + BigInt(first + i)),
      ),
    };
  }

  async run(): Promise<number[][]> {
    const state = this.#model.createState();
    try {
      const next = await this.#prefill(state, this.#prompts);
      return await this.#decode(state, next);
    } finally {
      state.close();
    }
  }

  /**
   * The id after each sequence, whose keys are computed from its first id on.
   * @param sequences none of a row's ids: its `kept` ids stay in the cache
   */
  async #prefill(
    state: State,
    sequences: readonly (readonly number[])[],
    kept: readonly (number | undefined)[] = [],
  ): Promise<number[]> {
    const seq = symbol(this.#model, "seq");
    const longest = Math.max(...sequences.map(({ length }) => length));
    const next = Array<number>(this.#rows).fill(0);
    for (let start = 0; start < longest; start += seq.max) {
      const width = fitting(seq, Math.min(seq.max, longest - start));
      const parts = this.#eachRow((_, row) => (sequences[row] ?? []).slice(start, start + width));
      const found = await this.#step("prefill", state, {
        input_ids: parts.map((part) => padded(part, width)),
        lengths: this.#eachRow(
          (_, row) => kept[row] ?? Math.min(start, sequences[row]?.length ?? 0),
        ),
        counts: parts.map(({ length }) => length),
      });
      sequences.forEach(({ length }, row) => {
        if (length > start && length <= start + width) next[row] = found[row]!;
      });
    }
    return next;
  }

  async #decode(state: State, first: readonly number[]): Promise<number[][]> {
    const { maxNewTokens, onId } = this.#options;
    const made: number[][] = this.#prompts.map(() => []);
    const open = new Set(made.keys());
    let next = first;
    for (;;) {
      for (const row of open) {
        const id = next[row]!;
        made[row]!.push(id);
        onId?.(this.#first + row, id);
        if (this.#stop.has(id) || made[row]!.length >= maxNewTokens) open.delete(row);
      }
      if (open.size === 0) return made;
      next = await this.#advance(state, made, open);
    }
  }

  /** The id after each of the new ones. */
  async #advance(
    state: State,
    made: readonly (readonly number[])[],
    open: ReadonlySet<number>,
  ): Promise<number[]> {
    const { recomputeAbove } = this.#model.description.plan.generation ?? {};
    const length = (row: number): number => this.#prompts[row]!.length + made[row]!.length;
    const outgrown = [...open].filter((row) => length(row) - 1 === recomputeAbove);
    // Sequences that have ended do their last step again.
    const past = this.#eachRow((_, row) => (row < made.length ? length(row) - 1 : 0));
    const next =
      outgrown.length === open.size
        ? past
        : await this.#step("decode", state, {
            input_ids: this.#eachRow((_, row) => [made[row]?.at(-1) ?? 0]),
            lengths: past,
          });
    if (outgrown.length === 0) return next;
    const again = this.#prompts.map((prompt, row) =>
      outgrown.includes(row) ? [...prompt, ...made[row]!] : [],
    );
    // The others have taken their step: its key is in the cache.
    const kept = again.map(({ length: ids }, row) =>
      ids > 0 ? undefined : past[row]! + (open.has(row) ? 1 : 0),
    );
    const found = await this.#prefill(state, again, kept);
    return next.map((id, row) => (outgrown.includes(row) ? found[row]! : id));
  }

  #eachRow<T>(of: (prompt: readonly number[], row: number) => T): T[] {
    return Array.from({ length: this.#rows }, (_, row) => of(this.#prompts[row] ?? [], row));
  }

  async #step(
    entry: string,
    state: State,
    inputs: Readonly<Record<string, readonly (number | readonly number[])[]>>,
  ): Promise<number[]> {
    const options = { entry, state, outputs: [nextIds], graph: entry === "decode" };
    const outputs = await this.#model.run({ ...inputs, ...this.#limits }, options);
    return [...outputs[nextIds]!.toFloat64()];
  }
}

const padded = (ids: readonly number[], width: number): number[] => [
  ...ids,
  ...Array<number>(width - ids.length).fill(0),
];
