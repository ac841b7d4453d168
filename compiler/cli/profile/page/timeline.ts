/** Launches one after the other, as wide as they take, the part that is their floor darker. */
import { scaleLinear } from "d3-scale";
import type { LaunchProfile } from "../measured.js";
import { colourOf } from "./families.js";
import { el, ofLaunches, type Markup } from "./svg.js";

const [width, barHeight, axisHeight] = [1100, 56, 20];

export function timeline(launches: readonly LaunchProfile[]): Markup {
  const total = launches.reduce((sum, { ms }) => sum + ms, 0);
  const x = scaleLinear()
    .domain([0, total * 1e3])
    .range([0, width]);
  let at = 0;
  const bars = launches.map(({ number, family, computes, ms, floorMs }) => {
    const [start, end] = [x(at * 1e3), x((at + ms) * 1e3)];
    const floor = ms === 0 ? 0 : (end - start) * Math.min(1, floorMs / ms);
    at += ms;
    const place = { x: start, y: 0, height: barHeight, fill: colourOf(family) };
    return el(
      "g",
      { class: "bar", ...ofLaunches([number]) },
      el("title", {}, `${number} ${computes}: ${us(ms)} µs, floor ${us(floorMs)} µs`),
      el("rect", { ...place, width: end - start, "fill-opacity": 0.35 }),
      el("rect", { ...place, width: floor }),
    );
  });
  const ticks = x
    .ticks(10)
    .map((tick) =>
      el(
        "g",
        { class: "tick" },
        el("line", { x1: x(tick), x2: x(tick), y1: barHeight, y2: barHeight + 4 }),
        el("text", { x: x(tick), y: barHeight + 16 }, `${tick} µs`),
      ),
    );
  const height = barHeight + axisHeight;
  const box = { viewBox: `0 0 ${width} ${height}`, height, width: "100%" };
  return el("svg", { ...box, preserveAspectRatio: "none", role: "img" }, bars, ticks);
}

const us = (ms: number): string => (ms * 1e3).toFixed(2);
