/**
 * Generates the tables of docs/performance.md from results of `rows.py`:
 * `npx tsx bench/gpu/table.ts RESULT.json…`. A row of a later file replaces the same row of an earlier one.
 */
import { readFileSync } from "node:fs";
import { fromRoot, geometricMean, intoPerformancePage } from "../performance-page.js";

interface Timed {
  readonly name: string;
  /** Medians, µs; null where that was not measured. */
  readonly screened: number;
  readonly burst: number | null;
  readonly sustained: number | null;
}

interface Row {
  readonly row: string;
  readonly name: string;
  readonly bytes: number;
  readonly floor: number;
  readonly farrier: readonly Timed[];
  readonly peers: readonly Timed[];
  readonly failed: Readonly<Record<string, string>>;
}

interface Results {
  readonly device: string;
  readonly driver: string;
  readonly cuda: string;
  readonly torch: string;
  readonly cudnn: number;
  readonly commit: string;
  readonly date: string;
  readonly rows: readonly Row[];
}

const titles: readonly (readonly [string, string])[] = [
  ["1", "bf16 GEMM, 2048 rows and more"],
  ["2", "bf16 GEMM, 128 rows and fewer"],
  ["3", "x + W₂·gelu(W₁·LayerNorm(x))"],
  ["3b", "x + W_d·(silu(W_g·n) ⊙ W_u·n), n = RMSNorm(x)"],
  ["4", "Attention, prefill"],
  ["5", "Attention, decode with grouped heads"],
];

const files = process.argv.slice(2);
if (files.length === 0) throw new Error("give files that bench/gpu/rows.py wrote");
const runs = files.map((file) => JSON.parse(readFileSync(file, "utf8")) as Results);
const latest = new Map<string, { readonly row: Row; readonly run: number }>();
runs.forEach((results, run) => {
  for (const row of results.rows) latest.set(`${row.row} ${row.name}`, { row, run });
});

const best = (list: readonly Timed[], time: "burst" | "sustained"): Timed | null =>
  list
    .filter((x) => x[time] !== null)
    .sort((x, y) => x[time]! - y[time]!)
    .at(0) ?? null;

const short = (time: number): string => time.toFixed(time < 100 ? 1 : 0);

const ratio = (peer: Timed | null, own: Timed, time: "burst" | "sustained"): number | null =>
  peer === null || own[time] === null ? null : peer[time]! / own[time];

function table(number: string): string[] {
  const rows = [...latest.values()].filter(({ row }) => row.row === number);
  if (rows.length === 0) return [];
  const lines = [
    "| shape | floor | farrier | of the floor | best variant | peers | ratio | sustained | run |",
    "|---|---|---|---|---|---|---|---|---|",
  ];
  const ratios: Record<"burst" | "sustained", number[]> = { burst: [], sustained: [] };
  const cell = (value: number | null): string => (value === null ? "" : value.toFixed(2));
  for (const { row, run } of rows) {
    const own = row.farrier[0]!;
    const fastest = best(row.farrier, "burst")!;
    const compared = (["burst", "sustained"] as const).map((time) => {
      const value = ratio(best(row.peers, time), own, time);
      if (value !== null) ratios[time].push(value);
      return cell(value);
    });
    const peers = row.peers
      .filter((peer) => peer.burst !== null)
      .map((peer) => `${peer.name.replace("-no-cudagraphs", "")} ${short(peer.burst!)}`);
    const other = fastest === own ? "" : `${short(fastest.burst!)} (${fastest.name})`;
    lines.push(
      `| ${[
        row.name.replace(/^(gemm|attention|decode|gelu|swiglu) /, ""),
        short(row.floor),
        short(own.burst!),
        `${Math.round((100 * row.floor) / own.burst!)} %`,
        other,
        peers.join(", "),
        ...compared,
        String(run + 1),
      ].join(" | ")} |`,
    );
  }
  const mean = (values: readonly number[]): string =>
    values.length === 0 ? "" : geometricMean(values).toFixed(2);
  lines.push(`| geometric mean | | | | | | ${mean(ratios.burst)} | ${mean(ratios.sustained)} | |`);
  return lines;
}

const failures = [...latest.values()].flatMap(({ row }) =>
  Object.entries(row.failed).map(([name, why]) => `- ${row.name}, ${name}: ${why}`),
);

const text = [
  ...runs.map(
    ({ device, driver, cuda, torch, cudnn, commit, date }, index) =>
      `${index + 1}. ${date}, ${device}, driver ${driver}, CUDA ${cuda}, PyTorch ${torch}, cuDNN ${cudnn}; farrier ${commit}; \`${fromRoot(files[index]!)}\``,
  ),
  ...titles.flatMap(([number, title]) => {
    const lines = table(number);
    return lines.length === 0 ? [] : ["", `### ${number}. ${title}`, "", ...lines];
  }),
  "",
  failures.length === 0
    ? "Nothing failed the correctness gate or refused to run."
    : `Left out:\n\n${failures.join("\n")}`,
].join("\n");

intoPerformancePage("bench/gpu/table.ts", text);
