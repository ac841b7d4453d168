/**
 * Lifted trees as text: one node after another, each `op args…` with arguments by position, so that
 * shared subtrees stay shared. The text is canonical: equal functions have equal texts, whatever
 * their parameters are called.
 */
import { bug } from "../errors.js";
import type { DType } from "../ir/dtype.js";
import * as build from "./build.js";
import { isOp, postorder, type BinaryOp, type Expr, type UnaryOp } from "./expr.js";

/** A function of numbers as an expression: f64 parameters `param(name)`, f64 or bool inside. */
export interface Lifted {
  readonly params: readonly string[];
  readonly tree: Expr;
}

const numberText = (value: number | bigint): string =>
  Object.is(value, -0) ? "-0" : String(value);

/** @throws E_INTERNAL for what lifting never makes: integers, loads, coordinates. */
export function serialiseTree({ params, tree }: Lifted): string {
  const places = new Map<Expr, number>();
  const lines: string[] = [];
  postorder([tree], (node) => {
    places.set(node, lines.length);
    lines.push(
      nodeText(
        node,
        params,
        node.args.map((arg) => places.get(arg)!),
      ),
    );
  });
  return lines.join(";");
}

function nodeText(node: Expr, params: readonly string[], args: readonly number[]): string {
  if (isOp(node, "param")) return `param ${params.indexOf(node.attr.name)}`;
  if (isOp(node, "const")) {
    if (node.type === "bool") return node.attr.value === 1 ? "true" : "false";
    return `const ${numberText(node.attr.value)}`;
  }
  if (isOp(node, "cast")) return `cast ${args[0]} ${node.type}`;
  if (isOp(node, "load") || isOp(node, "coord") || isOp(node, "sym") || isOp(node, "check"))
    throw bug(`${node.op} in a lifted function`);
  return `${node.op} ${args.join(" ")}`;
}

/** The tree of a text written by `serialiseTree`, over `param(params[i])`. */
export function parseTree(text: string, params: readonly string[]): Expr {
  const nodes: Expr[] = [];
  for (const line of text.split(";")) {
    const [op, ...words] = line.split(" ") as [string, ...string[]];
    nodes.push(parseNode(op, words, params, (position) => nodes[Number(words[position])]!));
  }
  return nodes[nodes.length - 1]!;
}

function parseNode(
  op: string,
  words: readonly string[],
  params: readonly string[],
  arg: (position: number) => Expr,
): Expr {
  if (op === "param") return build.param(params[Number(words[0])]!, "f64");
  if (op === "const") return build.constant(Number(words[0]), "f64");
  if (op === "true" || op === "false") return build.constant(op === "true", "bool");
  if (op === "cast") return build.cast(arg(0), words[1] as DType);
  if (op === "select") return build.select(arg(0), arg(1), arg(2));
  if (op === "fma") return build.fma(arg(0), arg(1), arg(2));
  return words.length === 1
    ? build.unary(op as UnaryOp, arg(0))
    : build.binary(op as BinaryOp, arg(0), arg(1));
}
