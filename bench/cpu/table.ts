/** Generates the CPU's tables of docs/performance.md: `npx tsx bench/cpu/table.ts RESULT.json…`. */
import { readFileSync } from "node:fs";
import { fromRoot, geometricMean, intoPerformancePage } from "../performance-page.js";
import { ratioOf, type Results, type Row } from "./results.js";

const files = process.argv.slice(2);
if (files.length === 0) throw new Error("give files that bench/cpu/run.ts wrote");

const ms = (time: number): string => time.toFixed(time < 10 ? 3 : 1);
const two = (value: number | null): string => value?.toFixed(2) ?? "";

function line(row: Row): string {
  const { name, farrier, peer, relRms, failed } = row;
  if (farrier === null || peer === null) return `| ${name} | failed: ${failed ?? ""} | | | | | | |`;
  const rounds = farrier.rounds.map((time, i) => peer.rounds[i]! / time);
  const spread = `${two(Math.min(...rounds))} to ${two(Math.max(...rounds))}`;
  const cells = [
    name,
    `${ms(farrier.median)} (${ms(farrier.min)})`,
    `${ms(peer.median)} (${ms(peer.min)})`,
    two(ratioOf(row, "median")),
    two(ratioOf(row, "min")),
    two(ratioOf(row, "cpu")),
    spread,
    Math.max(...Object.values(relRms)).toExponential(1),
  ];
  return `| ${cells.join(" | ")} |`;
}

function mean(rows: readonly Row[], time: "median" | "min" | "cpu"): string {
  const ratios = rows.flatMap((row) => ratioOf(row, time) ?? []);
  return ratios.length === 0 ? "" : two(geometricMean(ratios));
}

function table(file: string): string {
  const results = JSON.parse(readFileSync(file, "utf8")) as Results;
  const { date, cpu, threads, cores, isa, peer, node, compiler, commit, load, rows } = results;
  const count = threads === 1 ? "1 thread" : `${threads} threads`;
  return [
    `### ${count}`,
    "",
    `${date}: ${cpu}, ${cores} cores, ${count}, ${isa} kernels by ${compiler}; ${peer}, Node ${node};`,
    `farrier ${commit}; load of the machine before and after ${load.map((x) => x.toFixed(1)).join(" and ")}; \`${fromRoot(file)}\`.`,
    "",
    "| model | farrier, ms (fastest run) | ONNX Runtime, ms (fastest run) | ratio | of the fastest | of CPU time | of the rounds | rel-RMS |",
    "|---|---|---|---|---|---|---|---|",
    ...rows.map(line),
    `| geometric mean | | | ${mean(rows, "median")} | ${mean(rows, "min")} | ${mean(rows, "cpu")} | | |`,
  ].join("\n");
}

intoPerformancePage("bench/cpu/table.ts", files.map(table).join("\n\n"));
