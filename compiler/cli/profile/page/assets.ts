/** The style of the page, and the script that shows what belongs together. */

export const style = `
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1160px; padding: 0 1rem; color: #222; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: 2px 10px 2px 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; } th { border-bottom: 1px solid #999; }
td small { color: #666; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: #333; }
.scroll { overflow: auto; max-height: 80vh; border: 1px solid #ddd; }
.graphs { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.edge { fill: none; stroke: #aaa; } .node rect { fill: #fff; stroke-width: 2; }
.tick line { stroke: #999; } .tick .grid { stroke: #eee; } .roof { fill: none; stroke: #222; stroke-width: 1.5; }
.point { fill-opacity: 0.6; }
tr.shown { background: #fff3c4; } .node.shown rect { fill: #fff3c4; } .bar.shown rect, .point.shown { stroke: #000; stroke-width: 1.5; }
[data-launches] { cursor: pointer; }
`;

/** Pointing at a launch shows it in every drawing; a click keeps it shown. The slider widens the timeline. */
export const script = `
"use strict";
const parts = [...document.querySelectorAll("[data-launches]")];
const numbers = (part) => part.dataset.launches.split(" ");
let kept = null;
const show = (part) => {
  const wanted = new Set(part === null ? [] : numbers(part));
  for (const each of parts) each.classList.toggle("shown", numbers(each).some((n) => wanted.has(n)));
};
for (const part of parts) {
  part.addEventListener("pointerenter", () => show(part));
  part.addEventListener("pointerleave", () => show(kept));
  part.addEventListener("click", () => { kept = kept === part ? null : part; show(kept); });
}
const zoom = document.getElementById("zoom");
const bars = document.querySelector("#timeline svg");
zoom.addEventListener("input", () => { bars.setAttribute("width", zoom.value + "%"); });
`;
