/** A profile as one page that loads nothing: everything is drawn before it is written. */
import { createHash } from "node:crypto";
import type { EntryReport } from "../../../bundle/report.js";
import type { Measured } from "../measured.js";
import { rowsOf, type Row } from "../rows.js";
import { cellsOf, columns, fusedLines, headerLines } from "../table.js";
import { script, style } from "./assets.js";
import { colourOf } from "./families.js";
import { drawings } from "./graph.js";
import { roofline } from "./roofline.js";
import { el, ofLaunches, type Markup } from "./svg.js";
import { timeline } from "./timeline.js";

export function pageOf(measured: Measured, operators: EntryReport["operators"]): string {
  const rows = rowsOf(measured.launches);
  const kinds = measured.launches.map(({ number }) =>
    String(rows.findIndex(({ launches }) => launches.some((each) => each.number === number))),
  );
  const { before, after, note } = drawings(measured.launches, operators, kinds);
  const [title = "", ...lines] = headerLines(measured);
  const policy = `default-src 'none'; style-src '${hashOf(style)}'; script-src '${hashOf(script)}'`;
  const head = [
    el("meta", { charset: "utf-8" }),
    el("meta", { "http-equiv": "Content-Security-Policy", content: policy }),
    el("title", {}, `farrier profile: ${title}`),
    raw("style", style),
  ];
  const body = [
    el("h1", {}, title),
    ...lines.map((line) => el("p", {}, line)),
    section("timeline", "Timeline", [
      el(
        "p",
        {},
        "Launches in order, as wide as they take; darker: their floors. Widen it: ",
        el("input", { id: "zoom", type: "range", min: 100, max: 4000, value: 100 }),
      ),
      el("div", { class: "scroll" }, timeline(measured.launches)),
    ]),
    section("launches", "Launches", [table(rows)]),
    section("roofline", "Roofline", [
      el(
        "p",
        {},
        "Launches with products, by their share of the time; the line is what the device allows.",
      ),
      roofline(rows, measured.rates),
    ]),
    section("graph", "Before and after fusion", [
      el("p", {}, `${operators.length} operators in ${measured.launches.length} launches. ${note}`),
      el(
        "div",
        { class: "graphs" },
        el("div", { class: "scroll", id: "before" }, before),
        el("div", { class: "scroll", id: "after" }, after),
      ),
    ]),
    raw("script", script),
  ];
  const page = el("html", { lang: "en" }, el("head", {}, head), el("body", {}, body));
  return `<!doctype html>\n${page.markup}\n`;
}

/** Its text as it is: nothing in it comes from a model. */
const raw = (name: "style" | "script", text: string): Markup => ({
  markup: `<${name}>${text}</${name}>`,
});

const hashOf = (text: string): string =>
  `sha256-${createHash("sha256").update(text).digest("base64")}`;

const section = (id: string, title: string, content: readonly Markup[]): Markup =>
  el("section", { id }, el("h2", {}, title), content);

const numbered = 5;
const cellClass = (index: number): { class?: string } =>
  index < numbered ? { class: "number" } : {};

const swatch = (family: string): Markup =>
  el(
    "svg",
    { width: 10, height: 10 },
    el("rect", { width: 10, height: 10, fill: colourOf(family) }),
  );

function table(rows: readonly Row[]): Markup {
  const heads = [...columns, "", "computes"].map((name, i) => el("th", cellClass(i), name));
  const lines = rows.map((row) => {
    const fused = fusedLines(row.launches[0]!).map((text) => el("small", {}, text));
    return el(
      "tr",
      ofLaunches(row.launches.map(({ number }) => number)),
      cellsOf(row).map((text, i) => el("td", cellClass(i), text)),
      el("td", {}, swatch(row.launches[0]!.family)),
      el("td", {}, row.computes, fused),
    );
  });
  return el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, lines));
}
