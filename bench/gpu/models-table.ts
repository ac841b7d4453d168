/**
 * Generates the tables of whole models in docs/performance.md from results of `models.py`
 * (`npx tsx bench/gpu/models-table.ts RESULT.json… --start RESULT.json`) and of `first_token.py`.
 * A row of a later file replaces the same row of an earlier one.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { fromRoot, geometricMean, intoPerformancePage } from "../performance-page.js";

interface Side {
  /** Median of a step, µs. */
  readonly us: number;
  /** Seconds of the first three calls: compilation and recording. */
  readonly first_s: number;
  readonly launches: number;
}

interface Bundle {
  readonly compile_s: number;
  readonly bytes: number;
  readonly load_s: { readonly cold: number; readonly warm: number };
  /** Bytes of weights that binding makes. */
  readonly derived_bytes: number;
  readonly target: string;
}

interface Row {
  readonly name: string;
  readonly model: string;
  readonly work: "encode" | "prefill" | "decode";
  readonly batch: number;
  readonly tokens: number;
  readonly alone: boolean;
  readonly floor: number;
  readonly failed: Readonly<Record<string, string>>;
  readonly sides: Readonly<Record<string, Side>>;
  /** By the side that they are of. */
  readonly bundles: Readonly<Record<string, Bundle>>;
}

interface Results {
  readonly device: string;
  readonly driver: string;
  readonly cuda: string;
  readonly torch: string;
  readonly transformers: string;
  readonly commit: string;
  readonly date: string;
  readonly rows: readonly Row[];
}

/** Seconds from the start of a process. */
interface Marks {
  readonly imported?: number;
  readonly loaded?: number;
  readonly first: number;
  readonly second?: number;
}

interface Start {
  readonly model: string;
  readonly prompt: number;
  readonly commit: string;
  readonly date: string;
  readonly rows: readonly { readonly name: string; readonly cold: Marks; readonly warm: Marks }[];
}

const { values, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { start: { type: "string", multiple: true } },
});
if (files.length === 0) throw new Error("give files that bench/gpu/models.py wrote");
const read = (file: string): unknown => JSON.parse(readFileSync(file, "utf8"));
const runs = files.map((file) => read(file) as Results);
const latest = new Map<string, { readonly row: Row; readonly run: number }>();
runs.forEach(({ rows }, run) => {
  for (const row of rows) latest.set(row.name, { row, run });
});

const compiledName = "reduce-overhead";
const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string[] => [
  line(head),
  `|${"---|".repeat(head.length)}`,
  ...rows.map(line),
];
const short = (time: number): string => time.toFixed(time < 100 ? 1 : 0);
const two = (value: number | undefined): string => value?.toFixed(2) ?? "";

/** The faster of eager's ways to keep a cache. */
function eagerOf({ sides }: Row): Side | undefined {
  const found = Object.entries(sides).filter(([name]) => /^eager(,|$)/.test(name));
  return found.map(([, side]) => side).sort((a, b) => a.us - b.us)[0];
}

const columns: readonly (readonly [string, (row: Row, own: Side) => string])[] = [
  ["pass", ({ work, batch, tokens }) => `${work} ${batch}×${tokens}`],
  ["floor", ({ floor }) => short(floor)],
  ["farrier", (_, { us }) => short(us)],
  ["of the floor", ({ floor }, { us }) => `${Math.round((100 * floor) / us)} %`],
  ["as a call", ({ sides }) => short(sides["farrier, called"]?.us ?? NaN)],
  ["eager", (row) => time(eagerOf(row))],
  ["eager's kernels, one graph", ({ sides }) => time(sides["eager's kernels in a graph"])],
  ["torch.compile", ({ sides }) => time(sides[compiledName])],
  ["ratio to eager", (row, own) => two(ratio(eagerOf(row), own))],
  ["to torch.compile", ({ sides }, own) => two(ratio(sides[compiledName], own))],
  ["launches", (row, own) => [own, row.sides[compiledName], eagerOf(row)].map(count).join(" / ")],
];

const time = (side: Side | undefined): string => (side === undefined ? "" : short(side.us));
const count = (side: Side | undefined): string => (side === undefined ? "–" : `${side.launches}`);
const ratio = (peer: Side | undefined, own: Side): number | undefined =>
  peer === undefined ? undefined : peer.us / own.us;

const order = (a: Row, b: Row): number =>
  a.work.localeCompare(b.work) || a.batch - b.batch || a.tokens - b.tokens;

function passes(model: string): string[] {
  const rows = [...latest.values()]
    .filter(({ row }) => row.model === model)
    .sort((a, b) => order(a.row, b.row));
  const lines = rows.flatMap(({ row, run }) => {
    const own = row.sides["farrier"];
    return own === undefined ? [] : [[...columns.map(([, cell]) => cell(row, own)), `${run + 1}`]];
  });
  const head = [...columns.map(([name]) => name), "run"];
  // What no run measured has no column.
  const kept = head.flatMap((_, i) => (lines.some((cells) => cells[i] !== "") ? [i] : []));
  const of = (cells: readonly string[]): string[] => kept.map((i) => cells[i]!);
  return ["", `### ${model}`, "", ...table(of(head), lines.map(of))];
}

const liveName = "farrier, live weights";

/** Live weights beside derived ones, in the runs that have both. */
function liveWeights(): string[] {
  const lines = runs.flatMap(({ rows }, run) =>
    rows.flatMap(({ name, sides }) => {
      const [own, live] = [sides["farrier"], sides[liveName]];
      if (own === undefined || live === undefined) return [];
      const launches = `${own.launches} / ${live.launches}`;
      return [[name, time(own), time(live), two(live.us / own.us), launches, `${run + 1}`]];
    }),
  );
  if (lines.length === 0) return [];
  const head = ["pass", "derived weights", "live weights", "times", "launches", "run"];
  return ["", "### Live weights", "", ...table(head, lines)];
}

function means(): string[] {
  const of = (work: Row["work"], peer: (row: Row) => Side | undefined): string => {
    const ratios = [...latest.values()].flatMap(({ row }) => {
      const own = row.sides["farrier"];
      const found = own && row.work === work ? ratio(peer(row), own) : undefined;
      return found === undefined ? [] : [found];
    });
    return ratios.length === 0
      ? ""
      : `${two(geometricMean(ratios))} (least ${two(Math.min(...ratios))}, ${ratios.length} rows)`;
  };
  const rows = (["encode", "prefill", "decode"] as const).map((work) => [
    work,
    of(work, eagerOf),
    of(work, ({ sides }) => sides[compiledName]),
  ]);
  return ["", "Geometric means:", "", ...table(["", "to eager", "to torch.compile"], rows)];
}

function bundles(): string[] {
  const made = [...latest.values()].flatMap(({ row: { name, bundles: each, sides } }) =>
    Object.entries(each).map(([side, bundle]) => ({ name, side, bundle, sides })),
  );
  const rows = made.map(({ name, side, bundle, sides }) => [
    name + side.replace("farrier", ""),
    bundle.target,
    (bundle.bytes / 1e6).toFixed(1),
    bundle.compile_s.toFixed(1),
    `${bundle.load_s.cold.toFixed(1)} / ${bundle.load_s.warm.toFixed(1)}`,
    (bundle.derived_bytes / 1e9).toFixed(2),
    sides[compiledName]?.first_s.toFixed(1) ?? "",
  ]);
  return [
    "",
    "### Bundles",
    "",
    ...table(
      [
        "bundle",
        "target",
        "MB",
        "compiling, s",
        "loading cold / warm, s",
        "weights made, GB",
        "torch.compile, s",
      ],
      rows,
    ),
  ];
}

function start(file: string): string[] {
  const { model, prompt, commit, date, rows } = read(file) as Start;
  const each = ({ imported, loaded, first, second }: Marks): string =>
    [imported, loaded, first, second].map((s) => s?.toFixed(2) ?? "–").join(" / ");
  return [
    "",
    `### From the start of a process, ${model}, a prompt of ${prompt}`,
    "",
    `Seconds until everything is imported / the weights are there / the first id / the second. ${date}, farrier ${commit}, \`${fromRoot(file)}\`.`,
    "",
    ...table(
      ["", "cold", "warm"],
      rows.map(({ name, cold, warm }) => [name, each(cold), each(warm)]),
    ),
  ];
}

const failures = [...latest.values()].flatMap(({ row }) =>
  Object.entries(row.failed).map(([side, why]) => `- ${row.name}, ${side}: ${why}`),
);
const described = runs.map(
  ({ device, driver, cuda, torch, transformers, commit, date }, i) =>
    `${i + 1}. ${date}, ${device}, driver ${driver}, CUDA ${cuda}, PyTorch ${torch}, transformers ${transformers}; farrier ${commit}; \`${fromRoot(files[i]!)}\``,
);
const models = [...new Set([...latest.values()].map(({ row }) => row.model))];
const text = [
  ...described,
  ...models.flatMap(passes),
  ...liveWeights(),
  ...means(),
  ...bundles(),
  ...(values.start ?? []).flatMap(start),
  "",
  failures.length === 0 ? "Nothing failed the gate." : `Left out:\n\n${failures.join("\n")}`,
].join("\n");

intoPerformancePage("bench/gpu/models-table.ts", text);
