/** Sums of products by an equation over letters: reduced to batched matrix products. */
import { matmul } from "../../../ir/build-anchor.js";
import {
  broadcastTo,
  concat,
  gatherNd,
  iota,
  reduce,
  reshape,
  transpose,
  unsqueeze,
} from "../../../ir/build.js";
import type { GraphBuilder, Node } from "../../../ir/graph.js";
import { isConst, one } from "../../../scalar/build.js";
import type { Expr } from "../../../scalar/expr.js";
import type { Call } from "../call.js";
import { product } from "./common.js";

/** A tensor whose axes have labels: letters, or places under the ellipsis. */
interface Term {
  readonly node: Node;
  readonly labels: readonly string[];
}

export function Einsum(call: Call): Node {
  const equation = call.attrs.string("equation");
  if (equation === undefined) throw call.attrs.missing("equation");
  const inputs = call.all();
  const [left = "", right, ...rest] = equation.replaceAll(" ", "").split("->");
  const texts = left.split(",");
  const fail = (what: string): Error => call.error("E_EINSUM", `"${equation}": ${what}`);
  if (rest.length > 0) throw fail("more than one arrow");
  if (texts.length !== inputs.length) throw fail(`${inputs.length} operands`);
  const terms = inputs.map((node, i) =>
    diagonal(call.g, node, labelsOf(texts[i]!, node, fail), fail),
  );
  const dots = [
    ...new Set(terms.flatMap(({ labels }) => labels.filter((each) => each.startsWith(".")))),
  ];
  dots.sort((a, b) => Number(b.slice(1)) - Number(a.slice(1)));
  const output = right === undefined ? implied(left, dots) : outputOf(right, dots, fail);
  const known = new Set(terms.flatMap(({ labels }) => labels));
  const unknown = output.find((label) => !known.has(label));
  if (unknown !== undefined) throw fail(`"${unknown}" is of no operand`);
  if (new Set(output).size !== output.length) throw fail("a letter of the output repeats");
  return contracted(call, terms, output);
}

/** Dots count from the last place of the ellipsis: it aligns at the right. */
function labelsOf(text: string, node: Node, fail: (what: string) => Error): string[] {
  const bad = /[^A-Za-z.]/.exec(text.replace("...", ""));
  const [before, after, ...more] = text.split("...");
  if (bad !== null || more.length > 0 || text.replace("...", "").includes("."))
    throw fail(`character "${bad?.[0] ?? "."}"`);
  const letters = (before ?? "").length + (after ?? "").length;
  const hidden = node.shape.length - letters;
  if (hidden < 0 || (after === undefined && hidden > 0))
    throw fail(`"${text}" for a tensor of ${node.shape.length} axes`);
  const dots = Array.from({ length: hidden }, (_, i) => `.${hidden - 1 - i}`);
  return [...(before ?? ""), ...dots, ...(after ?? "")];
}

function outputOf(text: string, dots: readonly string[], fail: (what: string) => Error): string[] {
  const [before = "", after, ...more] = text.split("...");
  if (more.length > 0 || /[^A-Za-z]/.test(before + (after ?? ""))) throw fail("the output");
  return after === undefined ? [...before] : [...before, ...dots, ...after];
}

/** Without an arrow: letters that occur once, in alphabetical order. */
function implied(left: string, dots: readonly string[]): string[] {
  const letters = [...left.replace(/[^A-Za-z]/g, "")];
  const once = letters.filter((each) => letters.indexOf(each) === letters.lastIndexOf(each));
  return [...dots, ...once.sort()];
}

/** Of repeated letters only the diagonal is left. */
function diagonal(
  g: GraphBuilder,
  x: Node,
  labels: readonly string[],
  fail: (what: string) => Error,
): Term {
  const unique = [...new Set(labels)];
  if (unique.length === labels.length) return { node: x, labels };
  const shape = unique.map((label) => x.shape[labels.indexOf(label)]!);
  if (labels.some((label, i) => x.shape[i] !== shape[unique.indexOf(label)]))
    throw fail("a repeated letter of two extents");
  const coordinates = labels.map((label) =>
    unsqueeze(g, iota(g, shape, unique.indexOf(label)), [-1]),
  );
  return { node: gatherNd(g, x, concat(g, coordinates, -1)), labels: unique };
}

function contracted(call: Call, terms: readonly Term[], output: readonly string[]): Node {
  const { g } = call;
  const [first, ...others] = terms as [Term, ...Term[]];
  let total = first;
  others.forEach((term, i) => {
    const later = new Set([...output, ...others.slice(i + 1).flatMap(({ labels }) => labels)]);
    total = multiplied(g, total, term, later);
  });
  const { node, labels } = summed(g, total, new Set(output));
  return transpose(
    g,
    node,
    output.map((label) => labels.indexOf(label)),
  );
}

/** Without the axes that nobody needs any more. */
function summed(g: GraphBuilder, { node, labels }: Term, needed: ReadonlySet<string>): Term {
  const gone = labels.flatMap((label, axis) => (needed.has(label) ? [] : [axis]));
  if (gone.length === 0) return { node, labels };
  return {
    node: reduce(g, "sum", node, gone, { keep: false }),
    labels: labels.filter((label) => needed.has(label)),
  };
}

/** [batch, rows, inner] times [batch, inner, columns]. */
function multiplied(g: GraphBuilder, a: Term, b: Term, later: ReadonlySet<string>): Term {
  const left = summed(g, a, new Set([...later, ...b.labels]));
  const right = summed(g, b, new Set([...later, ...a.labels]));
  const shared = left.labels.filter((label) => right.labels.includes(label));
  const batch = shared.filter((label) => later.has(label));
  const inner = shared.filter((label) => !later.has(label));
  const rows = left.labels.filter((label) => !shared.includes(label));
  const columns = right.labels.filter((label) => !shared.includes(label));
  const extent = (label: string): Expr => {
    const [x, y] = [left, right].map(
      ({ node, labels }) => node.shape[labels.indexOf(label)] ?? one,
    );
    return isConst(x!, 1) ? y! : x!;
  };
  const flat = ({ node, labels }: Term, ...groups: readonly (readonly string[])[]): Node => {
    const order = groups.flat();
    const moved = transpose(
      g,
      node,
      order.map((label) => labels.indexOf(label)),
    );
    const whole = broadcastTo(g, moved, order.map(extent));
    return reshape(
      g,
      whole,
      groups.map((group) => product(group.map(extent))),
    );
  };
  const made = matmul(g, flat(left, batch, rows, inner), flat(right, batch, inner, columns));
  const labels = [...batch, ...rows, ...columns];
  return { node: reshape(g, made, labels.map(extent)), labels };
}
