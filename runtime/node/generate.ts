/** Continues prompts of different lengths in one batch: prefill by the chunk, then a step for each id. */
import type { SymbolInfo } from "./description.js";
import { badInput, FarrierRuntimeError } from "./errors.js";
import type { Model, State } from "./model.js";
import { exhausted, PageAllocator, pageLayoutOf } from "./pages.js";

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
 * @throws FarrierRuntimeError E_UNSUPPORTED, E_RT_INPUT, E_RT_INDEX, E_RT_OOM
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
  const positions = prompts.map((prompt, i) => {
    if (prompt.length === 0) throw badInput("E_RT_INPUT", `prompt ${i} has no ids`);
    const needed = prompt.length + options.maxNewTokens - 1;
    const room = capacityOf(model);
    if (needed > room)
      throw badInput(
        "E_RT_INDEX",
        `prompt and new ids need ${needed} positions, the cache holds ${room}`,
        "ask for fewer ids, or compile with a larger --dim seq",
      );
    return needed;
  });
  const made: number[][] = [];
  for (const [first, end] of groupsOf(model, positions)) {
    const group = prompts.slice(first, end);
    made.push(...(await new Group(model, group, first, options).run()));
  }
  return made;
}

/**
 * Runs of prompts that make a batch, as [first, end): as many as it may have, and no more than the
 * pool has pages for should each sequence grow to its full length.
 */
function groupsOf(model: Model, positions: readonly number[]): [number, number][] {
  const layout = pageLayoutOf(model);
  const size = symbol(model, "batch").max;
  const groups: [number, number][] = [];
  let free = 0;
  positions.forEach((count, i) => {
    const needed = layout === null ? 0 : Math.ceil(count / layout.pageSize);
    if (layout !== null && needed > layout.pages)
      throw exhausted(`prompt ${i} with its new ids`, needed, layout.pages, layout);
    const group = groups.at(-1);
    if (group !== undefined && i - group[0] < size && needed <= free) group[1] = i + 1;
    else {
      groups.push([i, i + 1]);
      free = layout?.pages ?? 0;
    }
    free -= needed;
  });
  return groups;
}

const nextIds = "next_ids";

/** Positions of a sequence that the model's caches hold. */
export function capacityOf(model: Model): number {
  const whole = pageLayoutOf(model) === null;
  const capacity = model.states.find(({ shape }) => shape.length === 4)?.shape[2];
  return (whole ? capacity : undefined) ?? symbol(model, "seq").max;
}

function symbol(model: Model, name: string): SymbolInfo {
  return model.symbols.find((each) => each.name === name) ?? { name, min: 1, max: 1, divisor: 1 };
}

/** The least extent of a symbol that is not below `extent`. */
function fitting({ min, divisor }: SymbolInfo, extent: number): number {
  return Math.ceil(Math.max(min, extent) / divisor) * divisor;
}

/** What a step is given for each row; `counts` is 0 where a row has no new ids. */
interface Step {
  readonly input_ids: readonly (readonly number[])[];
  readonly lengths: readonly number[];
  readonly counts: readonly number[];
}

class Group {
  readonly #model: Model;
  readonly #first: number;
  readonly #prompts: readonly (readonly number[])[];
  readonly #options: GenerateOptions;
  readonly #stop: ReadonlySet<number>;
  /** Sequences, and rows beside them that only fill up the batch. */
  readonly #rows: number;
  /** Of paged caches. */
  readonly #pages: PageAllocator | null;
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
    const layout = pageLayoutOf(model);
    this.#pages = layout === null ? null : new PageAllocator(layout);
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
        if (!this.#stop.has(id) && made[row]!.length < maxNewTokens) continue;
        open.delete(row);
        this.#pages?.release(row);
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
    // Rows whose sequences have ended take part from the first position on, and nobody looks at them.
    const past = this.#eachRow((_, row) => (open.has(row) ? length(row) - 1 : 0));
    const next =
      outgrown.length === open.size
        ? past
        : await this.#step("decode", state, {
            input_ids: this.#eachRow((_, row) => [made[row]?.at(-1) ?? 0]),
            lengths: past,
            counts: this.#eachRow((_, row) => (open.has(row) ? 1 : 0)),
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

  async #step(entry: string, state: State, step: Step): Promise<number[]> {
    const options = { entry, state, outputs: [nextIds], graph: entry === "decode" };
    const table = this.#table(step);
    const known = this.#model.entry(entry).inputs.map(({ name }) => name);
    const given = { ...step, ...table, ...this.#limits };
    const inputs = Object.entries(given).filter(([name]) => known.includes(name));
    const outputs = await this.#model.run(Object.fromEntries(inputs), options);
    return [...outputs[nextIds]!.toFloat64()];
  }

  /** Pages for the positions that a step writes. */
  #table({ lengths, counts }: Step): { readonly block_table?: number[][] } {
    const pages = this.#pages;
    if (pages === null) return {};
    const rows = this.#eachRow((_, row) => row);
    for (const row of rows) if (counts[row]! > 0) pages.grow(row, lengths[row]! + counts[row]!);
    return { block_table: pages.table(rows) };
  }
}

const padded = (ids: readonly number[], width: number): number[] => [
  ...ids,
  ...Array<number>(width - ids.length).fill(0),
];
