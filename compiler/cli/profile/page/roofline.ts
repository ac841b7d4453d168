/** What launches reach of what memory and arithmetic allow, by operations for each byte (both axes logarithmic). */
import { scaleLog, scaleSqrt } from "d3-scale";
import type { Rates } from "../rates.js";
import type { Row } from "../rows.js";
import { colourOf } from "./families.js";
import { el, ofLaunches, type Markup } from "./svg.js";

const [width, height, left, bottom, edge] = [780, 420, 96, 40, 24];

interface Point {
  readonly row: Row;
  /** Operations for each byte, and in a second. */
  readonly intensity: number;
  readonly speed: number;
}

export function roofline(rows: readonly Row[], rates: Rates): Markup {
  const points = rows.flatMap((row): Point[] => {
    const { operations, read, written } = row.launches[0]!;
    if (operations === 0 || row.ms === 0) return [];
    return [{ row, intensity: operations / (read + written), speed: (operations / row.ms) * 1e3 }];
  });
  if (points.length === 0) return el("p", {}, "No launch multiplies.");
  const types = [...new Set(points.flatMap(({ row }) => row.launches[0]!.dtype ?? []))];
  const ceilings = types.flatMap((dtype) => {
    const rate = rates.operations[dtype];
    return rate === undefined ? [] : [{ dtype, rate }];
  });
  const ridges = ceilings.map(({ rate }) => rate / rates.bytes);
  const x = scaleLog()
    .domain(around([...points.map(({ intensity }) => intensity), ...ridges]))
    .range([left, width - edge]);
  const [least, most] = x.domain() as [number, number];
  const reached = points.map(({ speed }) => speed);
  const y = scaleLog()
    .domain(around([...reached, ...ceilings.map(({ rate }) => rate), least * rates.bytes]))
    .range([height - bottom, 10]);
  const size = scaleSqrt().domain([0, 1]).range([3, 34]);
  const roof = (dtype: string, top: number): Markup => {
    const corners = [least, Math.min(most, top / rates.bytes), most].map(
      (at) => `${x(at).toFixed(1)},${y(Math.min(at * rates.bytes, top)).toFixed(1)}`,
    );
    const title = top === Infinity ? "memory" : `memory, then ${dtype}`;
    return el("polyline", { class: "roof", points: corners.join(" ") }, el("title", {}, title));
  };
  const roofs =
    ceilings.length === 0
      ? [roof("", Infinity)]
      : ceilings.map(({ dtype, rate }) => roof(dtype, rate));
  const marks = points.map(({ row, intensity, speed }) =>
    el(
      "circle",
      {
        ...{ class: "point", cx: x(intensity), cy: y(speed), r: size(row.share) },
        fill: colourOf(row.launches[0]!.family),
        ...ofLaunches(row.launches.map(({ number }) => number)),
      },
      el(
        "title",
        {},
        `${row.computes}: ${(speed / 1e9).toPrecision(3)} GFLOP/s at ${intensity.toPrecision(3)} operations a byte`,
      ),
    ),
  );
  const box = { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" };
  return el("svg", box, axes(x, y), roofs, marks);
}

/** A domain of whole powers of ten that holds all values. */
function around(values: readonly number[]): [number, number] {
  const power = (value: number, round: (x: number) => number): number =>
    10 ** round(Math.log10(value));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const from = power(low, Math.floor);
  return [from, Math.max(from * 10, power(high, Math.ceil))];
}

type Scale = ReturnType<typeof scaleLog<number, number>>;

function axes(x: Scale, y: Scale): Markup[] {
  const powers = (scale: Scale): number[] =>
    scale.ticks().filter((tick) => Math.abs(Math.log10(tick) % 1) < 1e-9);
  const base = height - bottom;
  return [
    ...powers(x).map((tick) =>
      el(
        "g",
        { class: "tick" },
        el("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 10, y2: base }),
        el("text", { x: x(tick), y: base + 16, "text-anchor": "middle" }, String(tick)),
      ),
    ),
    ...powers(y).map((tick) =>
      el(
        "g",
        { class: "tick" },
        el("line", { class: "grid", x1: left, x2: width - edge, y1: y(tick), y2: y(tick) }),
        el("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, flops(tick)),
      ),
    ),
    el(
      "text",
      { x: width / 2, y: height - 6, "text-anchor": "middle" },
      "operations for each byte",
    ),
  ];
}

const flops = (rate: number): string =>
  rate >= 1e12 ? `${rate / 1e12} TFLOP/s` : `${rate / 1e9} GFLOP/s`;
