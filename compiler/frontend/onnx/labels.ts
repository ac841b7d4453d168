/** What errors call nodes and values. */
import { printable } from "../files/source-file.js";
import type { OnnxNode } from "./wire/types.js";

export const quoted = (name: string): string => JSON.stringify(printable(name));

export const operatorName = (node: Pick<OnnxNode, "op" | "domain">): string =>
  printable(node.domain === "" ? node.op : `${node.domain}.${node.op}`);

/** `node 17 (MatMul "name")` */
export function nodeLabel(node: OnnxNode): string {
  const name = node.name === "" ? "" : ` ${quoted(node.name)}`;
  return `node ${node.index} (${operatorName(node)}${name})`;
}
