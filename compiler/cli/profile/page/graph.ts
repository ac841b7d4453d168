/** The model as a graph: its operators, and the launches that they became. */
import { Graph, layout } from "@dagrejs/dagre";
import type { OperatorReport } from "../../../bundle/report-operators.js";
import type { LaunchProfile } from "../measured.js";
import { colourOf } from "./families.js";
import { drawnFor, repeatsOf, type Repeats } from "./folding.js";
import { el, ofLaunches, type Markup } from "./svg.js";

interface Box {
  readonly label: string;
  readonly title: string;
  readonly colour: string;
  /** Launches that it is a part of, those of layers like it too. */
  readonly launches: number[];
  /** Keys of boxes whose results it takes. */
  readonly inputs: Set<string>;
}

export interface Drawings {
  readonly before: Markup;
  readonly after: Markup;
  /** What is drawn once for many layers. */
  readonly note: string;
}

export function drawings(
  launches: readonly LaunchProfile[],
  operators: readonly OperatorReport[],
  kinds: readonly string[],
): Drawings {
  const repeats = repeatsOf(kinds);
  return {
    before: drawing(operatorBoxes(launches, operators, repeats)),
    after: drawing(launchBoxes(launches, operators, repeats)),
    note: repeats === null ? "" : noteOf(repeats),
  };
}

const noteOf = ({ start, period, count }: Repeats): string =>
  `Launches ${start} to ${start + period * count - 1} are ${count} times the same ${period}: drawn once, with an edge back.`;

function operatorBoxes(
  launches: readonly LaunchProfile[],
  operators: readonly OperatorReport[],
  repeats: Repeats | null,
): Map<string, Box> {
  const boxes = new Map<string, Box>();
  const keys: string[] = [];
  const seen = new Map<string, number>();
  for (const { op, inputs, launches: own } of operators) {
    // The how-manieth of its name in its launch tells operators of alike layers.
    const place = `${own.join(" ")}|${op}`;
    const ordinal = seen.get(place) ?? 0;
    seen.set(place, ordinal + 1);
    const drawn = own.map((launch) => drawnFor(repeats, launch));
    const key = `${drawn.join(" ")}|${op}|${ordinal}`;
    keys.push(key);
    const known = boxes.get(key);
    const box = known ?? {
      label: op,
      title: `in launch ${own.join(", ")}`,
      colour: colourOf(launches[own[0] ?? 0]?.family ?? ""),
      launches: [],
      inputs: new Set(),
    };
    box.launches.push(...own);
    for (const input of inputs) if (keys[input] !== undefined) box.inputs.add(keys[input]);
    boxes.set(key, box);
  }
  return boxes;
}

function launchBoxes(
  launches: readonly LaunchProfile[],
  operators: readonly OperatorReport[],
  repeats: Repeats | null,
): Map<string, Box> {
  const boxes = new Map<string, Box>();
  const keyOf = (launch: number): string => String(drawnFor(repeats, launch));
  for (const { number, family, computes, prologue, epilogue } of launches) {
    const box = boxes.get(keyOf(number)) ?? {
      label: `${number} ${shortened(computes)}`,
      title: [...prologue.map((each) => `before: ${each}`), ...epilogue].join("\n"),
      colour: colourOf(family),
      launches: [],
      inputs: new Set(),
    };
    box.launches.push(number);
    boxes.set(keyOf(number), box);
  }
  for (const { inputs, launches: readers } of operators)
    for (const input of inputs) {
      const writers = operators[input]?.launches ?? [];
      for (const reader of readers)
        if (writers.length > 0 && !writers.includes(reader))
          boxes.get(keyOf(reader))?.inputs.add(keyOf(writers[0]!));
    }
  return boxes;
}

/** The verb, and the last two parts of the name. */
function shortened(computes: string): string {
  const [verb = "", modules = ""] = computes.split(": ");
  const parts = modules.split(/\.(?![^{]*\})/).slice(-2);
  return modules === "" ? verb : `${verb}: ${parts.join(".")}`;
}

/** More boxes than people look at, and than are laid out at once. */
const mostBoxes = 800;
const arrowHead = el(
  "marker",
  {
    id: "head",
    viewBox: "0 0 6 6",
    refX: 6,
    refY: 3,
    markerWidth: 6,
    markerHeight: 6,
    orient: "auto",
  },
  el("path", { d: "M0,0 L6,3 L0,6 z", fill: "#aaa" }),
);

const [boxHeight, letter, padding, margin] = [22, 6.4, 8, 10];

function drawing(boxes: ReadonlyMap<string, Box>): Markup {
  if (boxes.size > mostBoxes) return el("p", {}, `${boxes.size} boxes are not drawn.`);
  const graph = new Graph();
  graph.setGraph({ nodesep: 12, ranksep: 22, marginx: margin, marginy: margin });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const [key, { label }] of boxes)
    graph.setNode(key, { width: label.length * letter + 2 * padding, height: boxHeight });
  for (const [key, { inputs }] of boxes)
    for (const input of inputs) if (input !== key) graph.setEdge(input, key);
  layout(graph);
  const { width = 0, height = 0 } = graph.graph();
  const edges = graph.edges().map((edge) => {
    const { points } = graph.edge(edge);
    const path = points.map(({ x, y }) => `${Math.round(x)},${Math.round(y)}`).join(" ");
    return el("polyline", { points: path, class: "edge", "marker-end": "url(#head)" });
  });
  const nodes = [...boxes].map(([key, box]) => {
    const { x, y, width: wide } = graph.node(key);
    const place = { x: x - wide / 2, y: y - boxHeight / 2, width: wide, height: boxHeight };
    return el(
      "g",
      { class: "node", ...ofLaunches(box.launches) },
      el("title", {}, box.title),
      el("rect", { ...place, rx: 3, stroke: box.colour }),
      el("text", { x, y: y + 4, "text-anchor": "middle" }, box.label),
    );
  });
  return el(
    "svg",
    { width, height, viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`, role: "img" },
    el("defs", {}, arrowHead),
    edges,
    nodes,
  );
}
